"""Weight files that are read: safetensors (one or parts with an index) and pickles of upstream.

Nothing here knows what the tensors mean. Errors about one missing or damaged file are here, those
about a folder that lacks files in `folder.py`.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..file_names import is_plain
from ..quoting import one_line, short
from .plain import odd_archive, odd_tensor, odd_tuple

PathLike = str | os.PathLike[str]
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
PART_SUFFIX = ".safetensors"
INDEX = ".index.json"
DEEPSPEED = "mp_rank_00_model_states.pt"
_ODD_DTYPE = re.compile(r"Dtype not understood|unknown variant")
PART_NAME = re.compile(r"(?P<stem>.+?)(?:\.save[0-9a-f]{8})?-\d{5}-of-\d{5}\.safetensors")
# What a browser or git leaves in place of a file.
_NOT_WEIGHTS: Mapping[tuple[bytes, ...], str] = {
    (b"version https://git-lfs",): "a Git LFS pointer: run `git lfs pull` in its folder",
    (b"<!doctype html", b"<html", b"<?xml", b"<!--", b"<head"): (
        "a web page, not weights: open it in a browser, and download the file itself"
    ),
}
MESSAGE = 1200  # letters; an error keeps so many of its beginning, and half as many of its end
INDEX_BYTES = 16 << 20  # of 100,000 long names
_HEAD = 4096  # bytes in which a web page begins, after blanks
_BLANKS = b" \t\r\n\f\xef\xbb\xbf"  # and the mark of UTF-8
WRAPPERS: Mapping[str, str] = {  # entries that hold the weights, beside other things
    "module": "DeepSpeed checkpoint",
    "state_dict": "PyTorch checkpoint with `state_dict`",
}


class CheckpointError(RuntimeError):
    """A weights file cannot be used. The message names the file, what it is, and what to do.

    Names inside a file can be of any length and number: the middle of a long message is left out.
    """

    def __init__(self, message: str) -> None:
        cut = f"{message[:MESSAGE]} [...] {message[-MESSAGE // 2 :]}"
        super().__init__(message if len(message) <= len(cut) else cut)


@dataclass(frozen=True)
class WeightsFile:
    """What a weights file holds."""

    path: Path  # the file, or the index of its parts
    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    container: str  # in words

    @property
    def name(self) -> str:
        """The file for a message."""
        return f"{self.path} ({self.container})"

    @property
    def files(self) -> list[Path]:
        """The file, or the index and its parts."""
        return [self.path, *parts_of_index(self.path)] if _is_index(self.path) else [self.path]


def _is_index(path: Path) -> bool:
    return path.name.endswith(INDEX)


def find_weights(path: PathLike) -> Path:
    """The file to read for a path that a person gave.

    `x.safetensors` stands for its parts where only `x.safetensors.index.json` exists, so does one
    part; a folder stands for the one weights file in it, or for DeepSpeed's.

    Raises:
        CheckpointError: there is no such file; what lies beside it is listed.
    """
    path = Path(path)
    if path.is_dir():
        if (path / DEEPSPEED).is_file():
            return path / DEEPSPEED
        indices = sorted(path.glob(f"*{INDEX}"))
        files = indices or [p for p in sorted(path.iterdir()) if p.suffix in SUFFIXES]
        if len(files) == 1:
            return files[0]
        raise CheckpointError(f"{path} is a folder; choose one weights file. {_listing(path)}")
    part = PART_NAME.fullmatch(path.name)
    stem = part["stem"] + ".safetensors" if part else path.name
    index = path.with_name(stem + INDEX)
    if index.is_file() and (part or not path.is_file()):
        return index
    if part and path.is_file():
        raise CheckpointError(
            f"{path} is one part of a model and its index {index.name} is missing. "
            f"Put all parts and the index into one folder."
        )
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist. {_listing(path.parent)}")
    return path


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    names = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES or _is_index(p))
    if not names:
        return f"{folder} has no weights files."
    return f"{folder} has: {_some(names)}."


def _some(names: list[str], count: int = 12) -> str:
    words = (one_line(name, 80) for name in names[:count])
    return ", ".join(words) + (f" and {len(names) - count} more" if names[count:] else "")


def read_state_dict(path: PathLike, *, mapped: bool = False) -> WeightsFile:
    """Read tensors and metadata, whatever the container; tensors stay on the CPU as stored.

    A pickle is read without running code; of one with an entry of `WRAPPERS` that entry counts,
    otherwise the file itself must be a dictionary of tensors.

    Args:
        mapped: leave the values of a pickle on disk too, until they are looked at.

    Raises:
        CheckpointError: missing, damaged, truncated, or a pickle with more than plain tensors.
    """
    path = find_weights(path)
    if _is_index(path):
        return _read_parts(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({one_line(error)}).") from error
    if head[8:9] == b"{":
        return WeightsFile(path, *_read_safetensors(path), "safetensors")
    is_zip = head[:4] == b"PK\x03\x04"
    if is_zip or head[:1] == b"\x80":
        return _read_pickle(path, is_zip, mapped)
    size = path.stat().st_size
    for starts, what in _NOT_WEIGHTS.items():
        if head.lstrip(_BLANKS).lower().startswith(starts):
            raise CheckpointError(f"{path} ({size} bytes) is {what}.")
    raise CheckpointError(
        f"{path} ({size} bytes) is neither safetensors nor a PyTorch file. "
        f"Download it again, or choose another file."
    )


def read_metadata(path: PathLike) -> dict[str, str]:
    """What a safetensors file (or the index of its parts) says of itself; of a pickle nothing.

    Raises:
        CheckpointError: missing or damaged.
    """
    path = find_weights(path)
    if _is_index(path):
        return _index_map(path)[1]
    with path.open("rb") as file:
        if file.read(9)[8:] != b"{":
            return {}
    return _read_safetensors(path, with_tensors=False)[1]


def _read_safetensors(
    path: Path, with_tensors: bool = True
) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            names = file.keys() if with_tensors else ()
            tensors = {name: file.get_tensor(name) for name in names}
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, AttributeError, KeyError, RuntimeError) as error:
        if not isinstance(error, SafetensorError) or _ODD_DTYPE.search(str(error)):
            raise CheckpointError(
                f"{path} has a tensor of a type that torch does not have ({one_line(error)}). "
                f"Convert it to float16 or float32 where it comes from."
            ) from error
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is a damaged or truncated safetensors file "
            f"({one_line(error)}). Copy or download it again."
        ) from error


def each_tensor(path: PathLike) -> Iterator[tuple[str, Tensor]]:
    """The tensors of safetensors one after another, of which the last alone is mapped.

    A mapping of the whole file would count as memory of the process, page after page.
    """
    path = find_weights(path)
    for file in parts_of_index(path) if _is_index(path) else (path,):
        with safe_open(file, framework="pt") as opened:
            names = list(opened.keys())
        for name in names:
            with safe_open(file, framework="pt") as opened:
                tensor = opened.get_tensor(name)
            yield name, tensor
            del tensor


def _index_map(index: Path) -> tuple[dict[str, str], dict[str, str]]:
    if (size := index.stat().st_size) > INDEX_BYTES:
        raise CheckpointError(
            f"{index} ({size} bytes) is too large for an index of a model in parts, which has "
            f"{INDEX_BYTES} at most. Copy or download it again."
        )
    try:
        content = json.loads(index.read_text(encoding="utf-8"))
        weight_map = {key: str(name) for key, name in content["weight_map"].items()}
        metadata = {key: str(value) for key, value in content.get("metadata", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{index} is no index of a model in parts ({one_line(error)}). "
            f"Copy or download it again."
        ) from error
    if not weight_map:
        raise CheckpointError(f"{index} names no tensor. Copy or download it again.")
    for name in set(weight_map.values()):
        if not (is_plain(name) and name.endswith(PART_SUFFIX)):
            raise CheckpointError(
                f"{index} names a part that is no {PART_SUFFIX} file beside it ({short(name)}). "
                f"Copy or download the model again, all parts into one folder."
            )
    return weight_map, metadata


def parts_of_index(index: Path) -> list[Path]:
    """The files that an index names.

    Raises:
        CheckpointError: it is no index.
    """
    return [index.with_name(name) for name in sorted(set(_index_map(index)[0].values()))]


def _read_parts(index: Path) -> WeightsFile:
    weight_map, metadata = _index_map(index)
    parts = parts_of_index(index)
    missing = [part.name for part in parts if not part.is_file()]
    if missing:
        raise CheckpointError(
            f"{index} needs {len(parts)} parts; missing: {_some(missing)}. "
            f"Put all parts into {index.parent}."
        )
    tensors: dict[str, Tensor] = {}
    for part in parts:
        try:
            stored, part_metadata = _read_safetensors(part)
        except CheckpointError as error:
            raise CheckpointError(f"{error} It is a part of {index.name}.") from error
        if part_metadata.get("weights_sha256") != metadata.get("weights_sha256"):
            raise CheckpointError(
                f"{part} belongs to another save than {index.name}. Copy all parts again."
            )
        tensors.update({k: v for k, v in stored.items() if weight_map.get(k) == part.name})
    lost = sorted(set(weight_map) - set(tensors))
    if lost:
        raise CheckpointError(
            f"{index} promises {len(lost)} tensors that its parts lack ({_some(lost, 1)}). "
            f"Copy all parts again."
        )
    return WeightsFile(index, tensors, metadata, f"safetensors in {len(parts)} parts")


def _read_pickle(path: Path, is_zip: bool, mapped: bool) -> WeightsFile:
    size = path.stat().st_size
    if is_zip and not _ends(path):
        raise CheckpointError(
            f"{path} ({size} bytes) is a truncated PyTorch file: its end is missing. "
            f"Copy or download it again."
        )
    if is_zip and (members := archive_members(path)):
        raise CheckpointError(
            f"{path} ({size} bytes) is a zip archive, not weights; in it: {_some(members)}. Unpack "
            f"it and choose a file, or give its folder to `pcdm models place`, which unpacks it."
        )
    if is_zip and (fault := odd_archive(path)):
        raise CheckpointError(f"{path} ({size} bytes) {fault} Copy or download it again.")
    try:
        fault = odd_tuple(path, is_zip)
        content: Any = fault or torch.load(
            path, map_location="cpu", weights_only=True, mmap=mapped and is_zip
        )
    except pickle.UnpicklingError as error:
        name = re.search(r"GLOBAL ([\w.]{1,80})", str(error))
        what = f"({name[1]})" if name else f"or damaged ({size} bytes)"
        raise CheckpointError(
            f"{path} is a pickle with more than plain tensors {what}; loading such a file could "
            f"run code, so it is refused. Copy or download it again; where you trust its origin, "
            f"load it there once and save the dictionary of tensors alone as safetensors."
        ) from error
    except Exception as error:  # a damaged pickle fails in whatever way its bytes lead to
        raise CheckpointError(
            f"{path} ({size} bytes) is a damaged PyTorch file ({type(error).__name__}). "
            f"Copy or download it again."
        ) from error
    if fault:
        raise CheckpointError(f"{path} ({size} bytes) {fault} Copy or download it again.")
    container = "PyTorch file without `module`"
    for entry, words in WRAPPERS.items():
        if isinstance(content, Mapping) and isinstance(content.get(entry), Mapping):
            content, container = content[entry], words
    tensors = content if isinstance(content, Mapping) else {}
    if not tensors or not all(isinstance(value, Tensor) for value in tensors.values()):
        keys = _some([_key(key) for key in tensors], 6) or type(content).__name__
        raise CheckpointError(
            f"{path} has no `module` entry as DeepSpeed checkpoints have, and is no dictionary of "
            f"tensors either (found: {keys}). Save the model's state dict alone."
        )
    if fault := odd_tensor(tensors):
        raise CheckpointError(
            f"{path}: {fault} Save the model's state dict with plain tensors in float16 or float32."
        )
    return WeightsFile(path, dict(tensors), {}, container)


def _key(key: object) -> str:
    return key if isinstance(key, str) else f"a {type(key).__name__}"


def archive_members(path: Path) -> list[str]:
    """The files in a zip archive; empty for a file of PyTorch's own, which is a zip too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged archive fails in whatever way its bytes lead to
        return []
    own_format = any(name.rpartition("/")[2] == "data.pkl" for name in names)
    return [] if own_format else [name for name in names if not name.endswith("/")]


def _ends(path: Path) -> bool:
    """Whether the directory at the end of a zip file is there."""
    with suppress(zipfile.BadZipFile):  # one is there, and damaged
        return zipfile.is_zipfile(path)
    return False
