"""Weight files that are written: safetensors, one file or parts with an index, whole or not at all.

Parts are a set: they get names that no part of an earlier save has, and the index, renamed last,
puts all of them in place of the earlier ones at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..files import BLOCK, atomic_file, atomic_files, check_name, part_of, write_text
from .files import INDEX, PART_NAME, CheckpointError, PathLike, find_weights, parts_of_index


def weights_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values; independent of order and of the container."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        values: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(values)
    return digest.hexdigest()


def write_state_dict(
    tensors: Mapping[str, Tensor],
    path: PathLike,
    metadata: Mapping[str, str],
    max_shard_bytes: int | None = None,
) -> Path:
    """Write safetensors, whole or not at all; in parts with an index where they would be larger.

    Returns:
        The file, or the index. `read_state_dict(path)` finds either.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise CheckpointError(f"{path}: weights are written as safetensors; end it so.")
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    described = {**metadata, "weights_sha256": weights_hash(ready)}
    groups = _group(ready, max_shard_bytes)
    check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = _free_names(path, len(groups))
    index = [path.with_name(path.name + INDEX)] if len(groups) > 1 else []
    with _replaced(path, [*names, *index]) as temporary:
        for part, group in zip(temporary, groups, strict=False):
            _save({key: ready[key] for key in group}, part, described)
        if index:
            grouped = zip(names, groups, strict=True)
            weight_map = {key: name.name for name, group in grouped for key in group}
            content = json.dumps({"metadata": described, "weight_map": weight_map}, indent=1)
            write_text(temporary[-1], content + "\n")
    return [*names, *index][-1]


def copy_weights(source: PathLike, folder: PathLike) -> list[Path]:
    """Copy a weights file, or an index with its parts, into a folder: all of it or nothing.

    Returns:
        The file, or the parts and the index.

    Raises:
        CheckpointError: there is no such file, or its index is none.
    """
    source = find_weights(source)
    if not source.name.endswith(INDEX):
        path = Path(folder) / source.name
        with source.open("rb") as original, atomic_file(path) as target:
            shutil.copyfileobj(original, target, BLOCK)
        return [path]
    parts = parts_of_index(source)
    path = Path(folder) / source.name.removesuffix(INDEX)
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [Path(folder) / part.name for part in parts]
    if any(map(os.path.lexists, names)):
        names = _free_names(path, len(parts))
    index = path.with_name(source.name)
    with _replaced(path, [*names, index]) as temporary:
        for original, part in zip(parts, temporary, strict=False):
            shutil.copyfile(original, part)
        content = json.loads(source.read_text(encoding="utf-8"))
        new = {part.name: name.name for part, name in zip(parts, names, strict=True)}
        content["weight_map"] = {key: new[name] for key, name in content["weight_map"].items()}
        write_text(temporary[-1], json.dumps(content, indent=1) + "\n")
    return [*names, index]


def _free_names(path: Path, count: int) -> list[Path]:
    """The file itself, or names of its parts, none of which an earlier save has.

    The index of that save stays true until the new one takes its place.
    """
    if count == 1:
        return [path]
    for stem in (path.stem, f"{path.stem}.save{secrets.token_hex(4)}"):
        numbers = range(1, count + 1)
        names = [
            path.with_name(f"{stem}-{number:05d}-of-{count:05d}{path.suffix}") for number in numbers
        ]
        if not any(map(os.path.lexists, names)):
            break
    return names


@contextmanager
def _replaced(path: Path, names: list[Path]) -> Generator[list[Path]]:
    """Hidden files to fill, which get these names in their order; then what is older goes."""
    with atomic_files(names) as temporary:
        yield temporary
    index = path.with_name(path.name + INDEX)
    matches = {other: PART_NAME.fullmatch(other.name) for other in path.parent.iterdir()}
    parts = {other for other, match in matches.items() if match and match["stem"] == path.stem}
    for old in {path, index, *parts} - set(names):
        old.unlink(missing_ok=True)


def _save(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """safetensors with the metadata in order, so that equal saves are equal files.

    The library's order is random, and its files can be read by their owner alone.
    """
    private = part_of(path)
    try:
        save_file(dict(tensors), private, dict(metadata))
        with private.open("rb") as source, atomic_file(path) as target:
            length = int.from_bytes(source.read(8), "little")
            header = json.loads(source.read(length))
            header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
            text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
            text = text.ljust(max(length, -(-len(text) // 8) * 8))  # spaces, to a multiple of 8
            target.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(source, target, BLOCK)
    finally:
        private.unlink(missing_ok=True)


def _group(tensors: Mapping[str, Tensor], limit: int | None) -> list[list[str]]:
    """Names in groups whose files stay below `limit` bytes (a larger tensor has its own file)."""
    groups: list[list[str]] = [[]]
    filled = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size() + len(name) + 100  # with its header entry
        if limit is not None and groups[-1] and filled + size > limit - 4096:
            groups.append([])
            filled = 0
        groups[-1].append(name)
        filled += size
    return groups
