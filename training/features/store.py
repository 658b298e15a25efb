"""Features of frozen encoders, computed once: Arrow files that are memory-mapped.

A table is a folder of Arrow IPC files, each with keys and features. A key is the digest of what the
feature was made from: the picture file's content (or two pictures' digests for a canvas). The
folder's name carries the digest of the encoder's weights and of the way pictures come to it, so
that another encoder or size has another table and nothing stale is ever read. Files are written
whole or not at all; an interrupted run goes on with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.write import weights_hash
from pcdm_core.config import config_to_dict
from pcdm_core.files import atomic_file, file_hash

FORMAT = "1"
KEY_BYTES = 32
NULL_KEY = bytes(KEY_BYTES)  # of the feature of an input of zeros
DTYPES = {"float32": pa.float32(), "float16": pa.float16()}


class CacheError(ValueError):
    """A cache cannot be used; the message says which file or folder, why, and what to do."""


def content_key(path: Path) -> bytes:
    """The digest of a file's content."""
    return bytes.fromhex(file_hash(path))


def pair_key(first: bytes, second: bytes) -> bytes:
    """The key of a canvas of two pictures."""
    return hashlib.sha256(first + second).digest()


def table_name(
    kind: str,
    encoder: nn.Module,
    size: tuple[int, int],
    fit: str,
    dtype: str,
    precision: str = "float32",
    weights: str | None = None,
) -> str:
    """The folder of a table: what it holds, and a digest of all that its values depend on.

    `weights` is the encoder's `weights_hash` where it is known.
    """
    config = config_to_dict(encoder.config)
    computed = [] if precision == "float32" else [precision]  # tables of earlier versions stay
    settings = json.dumps([FORMAT, kind, config, size, fit, dtype, *computed], sort_keys=True)
    weights = weights or weights_hash(dict(encoder.state_dict()))
    digest = hashlib.sha256(f"{settings}{weights}".encode()).hexdigest()[:16]
    return f"{kind}-{size[0]}x{size[1]}-{digest}"


class FeatureTable:
    """Features of one kind, by key."""

    def __init__(self, folder: Path, dtype: str = "float32") -> None:
        """Open a table; a folder that is not there is an empty one.

        Raises:
            CacheError: a file in it is damaged.
        """
        if dtype not in DTYPES:
            raise ValueError(f"A cache stores {' or '.join(DTYPES)}, got {dtype!r}.")
        self.folder = folder
        self.dtype = dtype
        self.shape: tuple[int, ...] | None = None
        self._parts: list[np.ndarray] = []
        self._places: dict[bytes, tuple[int, int]] = {}
        for path in sorted(folder.glob("part-*.arrow")):
            self._open(path)

    def __len__(self) -> int:
        return len(self._places)

    def _open(self, path: Path) -> None:
        try:
            with pa.memory_map(str(path)) as source:
                table = pa.ipc.open_file(source).read_all()
            described = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
            shape = tuple(json.loads(described["shape"]))
            keys: list[bytes] = table.column("key").to_pylist()
            features = table.column("feature").combine_chunks().flatten()
            values = features.to_numpy(zero_copy_only=True).reshape(len(keys), *shape)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise CacheError(
                f"{path}: damaged ({error}). Delete this file and fill the cache again; the other "
                f"files of the cache stay."
            ) from error
        self._add(keys, values)

    def _add(self, keys: Sequence[bytes], values: np.ndarray) -> None:
        shape = values.shape[1:]
        if self.shape is not None and shape != self.shape:
            raise CacheError(
                f"{self.folder}: features of {list(shape)} among features of {list(self.shape)}. "
                f"Delete the folder and fill the cache again."
            )
        self.shape = shape
        for row, key in enumerate(keys):
            self._places.setdefault(key, (len(self._parts), row))
        self._parts.append(values)

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """Those that are not there yet, each once, in order."""
        return [key for key in dict.fromkeys(keys) if key not in self._places]

    def append(self, keys: Sequence[bytes], features: Tensor, process: int = 0) -> None:
        """Write features [N, ...] as a new file; `process` keeps the names of several apart."""
        self.folder.mkdir(parents=True, exist_ok=True)
        values = features.detach().to(torch.float32).cpu().numpy().astype(self.dtype)
        values = np.ascontiguousarray(values)
        count = math.prod(values.shape[1:])
        flat = pa.array(values.reshape(-1), type=DTYPES[self.dtype])
        column = pa.FixedSizeListArray.from_arrays(flat, count)
        schema = pa.schema(
            [
                ("key", pa.binary(KEY_BYTES)),
                ("feature", pa.list_(DTYPES[self.dtype], count)),
            ],
            metadata={"shape": json.dumps(list(values.shape[1:])), "pcdm_format": FORMAT},
        )
        batch = pa.record_batch([pa.array(list(keys), pa.binary(KEY_BYTES)), column], schema=schema)
        numbers = (int(p.stem[-6:]) for p in self.folder.glob(f"part-{process:03d}-*.arrow"))
        number = max(numbers, default=-1) + 1  # one that was deleted leaves a gap
        path = self.folder / f"part-{process:03d}-{number:06d}.arrow"
        try:
            with atomic_file(path) as file, pa.ipc.new_file(file, schema) as writer:
                writer.write_batch(batch)
        except OSError as error:
            raise OSError(
                f"{path}: could not be written ({error}). What the cache has so far is intact; "
                f"make room on the disk and start the same command again."
            ) from error
        self._open(path)

    def read(self, keys: Sequence[bytes]) -> Tensor:
        """Features [B, ...] in fp32.

        Raises:
            CacheError: some are missing.
        """
        absent = self.missing(keys)
        if self.shape is None or absent:
            raise CacheError(
                f"{self.folder}: {len(absent)} of {len(keys)} features are missing. Fill it with "
                f"the same data, encoders and sizes before training (it resumes)."
            )
        result = np.empty((len(keys), *self.shape), np.float32)
        for row, key in enumerate(keys):
            part, place = self._places[key]
            result[row] = self._parts[part][place]
        return torch.from_numpy(result)
