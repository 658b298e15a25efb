"""Downloads under the names under which Python or ComfyUI looks for them.

What can be used as it is gets a hard link, or a copy where the file system has none. The rest is
converted. Nothing is overwritten unless that was asked for, and every file appears whole.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..checkpoints.detect import detect
from ..checkpoints.files import CheckpointError, read_metadata
from ..checkpoints.layouts import ORIGINAL_VAE, read_weights
from ..checkpoints.load import check_weights, convert, open_model
from ..checkpoints.signatures import dinov2_published
from ..checkpoints.write import write_state_dict
from ..config import STAGES
from ..files import BLOCK, atomic_file, file_hash, part_of, replace_file
from .search import (
    Weights,
    archives,
    best,
    comfyui_models,
    likely_preset,
    search,
    weights_members,
)
from .table import ModelFile, PresetName, files_of, in_words
from .verify import check_values, content_hash

# What both the pack and ComfyUI read as it is.
_PLAIN = ("safetensors", f"safetensors, {ORIGINAL_VAE}")
_PLAIN_LAYOUTS = ("diffusers AutoencoderKL", "transformers", "transformers CLIP")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Target:
    """Where the files go: a folder of weights, or ComfyUI's folder `models`."""

    root: Path
    comfyui: bool

    def path(self, file: ModelFile) -> Path:
        """The place of a file."""
        return self.root / (file.comfyui if self.comfyui else file.python)


def target_of(weights: Path | None, comfyui: Path | None) -> Target:
    """The target of the options --weights and --comfyui.

    Raises:
        ValueError: not exactly one of both, or no ComfyUI.
    """
    if comfyui is not None and weights is None:
        return Target(comfyui_models(comfyui), comfyui=True)
    if weights is not None and comfyui is None:
        return Target(weights, comfyui=False)
    raise ValueError("Give --weights FOLDER for Python, or --comfyui FOLDER.")


def place(
    downloads: Path,
    target: Target,
    *,
    preset: PresetName | None = None,
    copy: bool = False,
    replace: bool = False,
    say: Say = print,
    dtype: torch.dtype | None = torch.float16,
) -> PresetName:
    """Put everything that a preset needs where it is looked for.

    Args:
        downloads: files under any names, in any folders; zip archives are unpacked.
        preset: None is the one whose models are there.
        copy: copy where a link would do.
        replace: write over another file under a name that is needed.
        say: gets a line for each file.
        dtype: of the files that are converted; None keeps theirs.

    Returns:
        The preset.

    Raises:
        ValueError: something is missing or in the way; the rest has been placed.
    """
    if not downloads.is_dir():
        raise ValueError(f"{downloads} is no folder.")
    with _unpacked(downloads, target.root, say) as folders:
        weights = search(folders)
        preset = preset or likely_preset(weights)
        lacks: list[str] = []
        sources: set[Path] = set()
        for file in files_of(preset):
            entry = best(weights, file, preset)
            path = target.path(file)
            if entry is None:
                lacks.append(f"{file.title}: {file.source.name}, {file.source.address}")
                say(f"{file.title}: missing")
                continue
            sources.add(entry.path)
            try:
                values = check_values(entry)
                if not values.good:
                    raise CheckpointError(values.words)
                options: Any = {"copy": copy, "replace": replace, "dtype": dtype}
                deed = _place_file(entry, path, file, target, **options)
            except (FileExistsError, CheckpointError) as error:
                lacks.append(str(error))
                say(f"{file.title}: not placed")
                continue
            say(f"{file.title}: {deed} {path} ({entry.path}, {in_words(entry.bytes)})")
            say(f"  {values.words}")
        for entry in weights:
            if entry.path not in sources:
                say(f"not used: {entry.fault or entry.path}")
    if lacks:
        raise ValueError("not everything is in place.\n  " + "\n  ".join(lacks))
    return preset


def _place_file(
    entry: Weights,
    path: Path,
    file: ModelFile,
    target: Target,
    *,
    copy: bool,
    replace: bool,
    dtype: torch.dtype | None,
) -> str:
    """Place one file, and say in a word how.

    Raises:
        FileExistsError: another file is there.
    """
    assert entry.summary is not None
    if path.exists():
        if _equal(entry, path):
            return "already at"
        if not replace:
            raise FileExistsError(
                f"{path}: another file than {entry.path} is there. --replace writes over it."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.component in STAGES:
        if entry.summary.layout.startswith("pack's") and entry.summary.container == "safetensors":
            return link_or_copy(entry.path, path, copy)
        convert(entry.path, path, dtype=dtype)
        return "converted to"
    plain = entry.summary.container in _PLAIN and entry.path.suffix == ".safetensors"
    if plain and (entry.summary.layout in _PLAIN_LAYOUTS or not target.comfyui):
        open_model(entry.path, stage=file.component)  # every tensor has its place
        return link_or_copy(entry.path, path, copy)
    _write_plain(entry, path, dtype)
    return "converted to"


def _equal(entry: Weights, path: Path) -> bool:
    """Whether the file at `path` is this one, or was made of it."""
    if path.samefile(entry.path):
        return True
    digest = content_hash(entry)
    if read_metadata(path).get("source_sha256") == digest:
        return True
    return path.stat().st_size == entry.path.stat().st_size and file_hash(path) == digest


def link_or_copy(source: Path, path: Path, copy: bool = False) -> str:
    """Give a file a second name, or where that fails a copy; say which."""
    part = part_of(path)
    try:
        if copy:
            raise OSError("a copy was asked for")
        os.link(source.resolve(), part)
        replace_file(part, path)
    except OSError:
        with source.open("rb") as original, atomic_file(path) as target:
            shutil.copyfileobj(original, target, BLOCK)
        return "copied to"
    finally:
        part.unlink(missing_ok=True)
    return "linked to"


def _write_plain(entry: Weights, path: Path, dtype: torch.dtype | None) -> None:
    """An encoder or autoencoder under the names of transformers or diffusers, which ComfyUI reads.

    Opening it tells whether all of its tensors are there.
    """
    open_model(entry.path)
    file = read_weights(entry.path, mapped=True)
    tensors = detect(file.tensors, file.name).to_ours(file.tensors)
    plain = {
        name.removeprefix("model.").removeprefix("vae."): (
            tensor.to(dtype=dtype) if tensor.is_floating_point() else tensor
        )
        for name, tensor in dinov2_published(tensors).items()
    }
    check_weights(plain, str(entry.path))
    origin = {"source": entry.path.name, "source_sha256": file_hash(*file.files)}
    write_state_dict(plain, path, {"format": "pt", **origin})


@contextmanager
def _unpacked(downloads: Path, root: Path, say: Say) -> Generator[list[Path], None, None]:
    """The folder, and one with what its zip archives hold, which goes when the block ends."""
    packed = archives(downloads)
    if not packed:
        yield [downloads]
        return
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root, prefix=".unpacked-") as name:
        for number, path in enumerate(packed):
            with zipfile.ZipFile(path) as archive:
                members = [archive.getinfo(member) for member in weights_members(path)]
                size = sum(member.file_size for member in members)
                if size > shutil.disk_usage(name).free:
                    raise ValueError(
                        f"{path} unpacks to {in_words(size)}, for which {root} has no room."
                    )
                say(f"unpacking {path} ({in_words(size)})")
                for member in members:
                    archive.extract(member, Path(name) / str(number))
        yield [downloads, Path(name)]
