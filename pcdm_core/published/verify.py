"""Sizes, headers and hashes of weights files, in little memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from ..checkpoints.detect import recognise
from ..checkpoints.files import CheckpointError, PathLike, find_weights
from ..checkpoints.layouts import read_weights
from ..checkpoints.load import open_model, value_fault
from ..checkpoints.signatures import dinov2_published
from ..files import BLOCK, file_hash
from .search import Weights, parts_of, read_header
from .table import PRESET_TITLES, Source, files_of, in_words, model_files

# safetensors' names of types, as `weights_hash` has them.
_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "U8": "uint8",
    "BOOL": "bool",
}

OTHER_VAE = "that of SDXL has the same shapes and gives wrong colours"


@dataclass(frozen=True)
class Check:
    """What is to be said of a file; `good` is False where it cannot be used or is damaged."""

    good: bool
    words: str


def verify_file(path: Path) -> Check:
    """Read the whole file once, or where nobody knows its hash, names, shapes and all values."""
    weights = read_header(path)
    if weights.summary is None or weights.fault:
        return Check(False, weights.fault)
    metadata = weights.summary.metadata
    title = _title(weights)
    if "weights_sha256" in metadata and path.suffix == ".safetensors":
        if stored_hash(path) != metadata["weights_sha256"]:
            return Check(
                False,
                f"{title}. Its weights are not those that were written: it is damaged. Place or "
                f"convert the original file again.",
            )
        origin = metadata.get("source")
        words = f"made of {origin}, and " if origin else ""
        return Check(True, f"{title}, {words}as it was written.")
    values = check_values(weights)
    if source_of_size(weights) is None and (fault := tensor_fault(weights)):
        return Check(False, fault)
    return Check(values.good, f"{title}. {values.words}" if values.good else values.words)


def check_values(weights: Weights) -> Check:
    """What the table's hashes say of a file, or of the file that it was made of."""
    assert weights.summary is not None
    source = source_of_size(weights)
    if source is not None:
        if content_hash(weights) == source.sha256:
            return Check(True, f"Size and SHA-256 are those of {source.name}.")
        return Check(False, wrong_hash(weights.path, source))
    origin = weights.summary.metadata.get("source_sha256", "")
    names = {source.sha256: source.name for file in model_files() for source in file.sources}
    if origin and origin in names:
        return Check(True, f"It was made of {names[origin]}, whose SHA-256 is known.")
    return Check(True, unknown_hash(weights))


def check_part(path: PathLike) -> Check | None:
    """As `check_values`, of a file that is a part of a published preset; None of another one.

    Raises:
        CheckpointError: there is no such file.
    """
    weights = read_header(find_weights(path))
    presets = (p for p in PRESET_TITLES for file in files_of(p) if weights.fills(file, p))
    return check_values(weights) if any(presets) else None


def content_hash(weights: Weights) -> str:
    """SHA-256 of a file, or of an index and its parts, as `convert` notes it."""
    return file_hash(weights.path, *parts_of(weights.path))


def tensor_fault(weights: Weights) -> str:
    """What is wrong with the names, shapes or values of a file's tensors; else nothing.

    The names of the table's networks are known by their hash, because building a network takes
    more memory than there should be need for. Values are looked at a part of the file at a time.
    """
    file = read_weights(weights.path, mapped=True)
    signature, _ = recognise(file.tensors, file.name)
    tensors = dinov2_published(signature.to_ours(file.tensors))
    if names_hash(tensors) not in {row.tensors_sha256 for row in model_files()}:
        try:
            open_model(weights.path)
        except CheckpointError as error:
            return str(error)
    del tensors  # a mapping takes memory already before its values are looked at
    file = replace(file, tensors={name: t.to("meta") for name, t in file.tensors.items()})
    return value_fault(file, signature)


def names_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names and shapes of a network's tensors, under the pack's names."""
    lines = (f"{name} {list(tensors[name].shape)}\n" for name in sorted(tensors))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def wrong_hash(path: Path, source: Source) -> str:
    """A sentence on a file with the size of a known one and other bytes."""
    other = f" or another one ({OTHER_VAE})" if "vae" in source.name else ""
    return (
        f"{path} has the size of {source.name} but another SHA-256: it is damaged or changed"
        f"{other}. Download it again: {source.address}"
    )


def source_of_size(weights: Weights) -> Source | None:
    """The source of the table with a known hash and the size of this file."""
    return next(
        (
            source
            for file in model_files()
            for source in file.sources
            if weights.summary is not None
            and weights.summary.component == file.component
            and source.sha256
            and source.bytes == weights.bytes
        ),
        None,
    )


def unknown_hash(weights: Weights) -> str:
    """A sentence on a file that is of the right shapes, and none of the table's known files."""
    assert weights.summary is not None
    component = weights.summary.component
    names = [
        source.name
        for file in model_files()
        for source in file.sources
        if source.sha256 and file.component == component
    ]
    if not names:
        return "No SHA-256 was published for it: its shapes are right, its values unchecked."
    sentence = f"It is another file than {' and '.join(names)}: its values are unchecked."
    if component == "autoencoder":
        sentence += f" Any VAE of Stable Diffusion 1 or 2 does; {OTHER_VAE}."
    return sentence


def stored_hash(path: Path) -> str:
    """As `weights_hash` of the tensors in a safetensors file, a block at a time.

    The file begins with the length of its header in 8 bytes; offsets count from the header's end.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name in sorted(header):
            entry = header[name]
            dtype = _TYPES.get(entry["dtype"], entry["dtype"])
            digest.update(f"{name} torch.{dtype} {entry['shape']}\n".encode())
            start, end = entry["data_offsets"]
            file.seek(8 + length + start)
            _feed(digest, file, end - start)
    return digest.hexdigest()


def _feed(digest: Any, file: BinaryIO, count: int) -> None:
    while count:
        block = file.read(min(count, BLOCK))
        digest.update(block)
        count -= len(block)


def _title(weights: Weights) -> str:
    assert weights.summary is not None
    rows = {
        file.title: preset
        for preset in PRESET_TITLES
        for file in files_of(preset)
        if weights.fills(file, preset)
    }
    title = next(iter(rows), f"{weights.summary.component} of the preset {weights.summary.preset}")
    return f"{title} ({in_words(weights.bytes)}, {weights.summary.container})"
