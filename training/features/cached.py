"""Features of a data set on disk: filled into tables once, read from them at every step."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core.checkpoints.write import weights_hash
from pcdm_core.config import Preset
from pcdm_core.encoders import GlobalEncoder, PatchImageEncoder
from pcdm_core.images import from_planes
from pcdm_core.pose.render import draw_people, people_of, pose_canvas
from pcdm_core.vae import Autoencoder

from ..data import PictureSet
from ..loop.precision import EncoderPrecision
from .fill import Filling, check_room, fill, missing_tasks
from .store import NULL_KEY, CacheError, FeatureTable, content_key, pair_key, table_name

# What each stage reads of the columns of a pair: 0 the source, 1 the target, 2 the coarse picture.
READS: dict[str, tuple[tuple[str, tuple[int, ...]], ...]] = {
    "prior": (("embeds", (0,)), ("embeds", (1,)), ("poses", (0,)), ("poses", (1,))),
    "inpainting": (
        ("embeds", (1,)), ("tokens", (0,)), ("source", (0,)), ("pair", (0, 1)),
        ("skeletons", (0,)), ("skeletons", (1,)),
    ),
    "refining": (("tokens", (0,)), ("picture", (1,)), ("coarse", (2,))),
}  # fmt: skip
STAGE_TABLES = {  # the others are drawn
    stage: tuple(dict.fromkeys(kind for kind, _ in reads if kind not in ("poses", "skeletons")))
    for stage, reads in READS.items()
}
Rows = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class FrozenEncoders:
    """The encoders whose answers are kept; None where no stage in question needs one."""

    autoencoder: Autoencoder | None = None
    patch_encoder: PatchImageEncoder | None = None
    global_encoder: GlobalEncoder | None = None

    def of(self, kind: str) -> Any:
        """The encoder of a table."""
        names = {"embeds": "global_encoder", "tokens": "patch_encoder"}
        name = names.get(kind, "autoencoder")
        encoder = getattr(self, name)
        if encoder is None:
            raise ValueError(f"The features {kind!r} need the {name}.")
        return encoder

    def weights_of(self, kind: str) -> str:
        """The hash of that encoder's weights, which takes seconds and is made once."""
        encoder = self.of(kind)
        if encoder not in self._hashes:
            self._hashes[encoder] = weights_hash(dict(encoder.state_dict()))
        return self._hashes[encoder]

    @cached_property
    def _hashes(self) -> dict[Any, str]:
        return {}


class FeatureCache:
    """The tables of one data set at one size with one set of encoders."""

    def __init__(
        self,
        folder: Path,
        pictures: PictureSet,
        digests: Sequence[bytes],
        preset: Preset,
        encoders: FrozenEncoders,
        *,
        dtype: str = "float32",
        coarse: Sequence[Path] = (),
        precision: EncoderPrecision = "float32",
    ) -> None:
        """`digests` are of the pictures' files (`ContentIndex`); `coarse` is a file a pair.

        `precision` is what the encoders compute in, `dtype` what is stored.
        """
        if len(digests) != len(pictures):
            raise ValueError(f"{len(pictures)} pictures, but {len(digests)} digests of them.")
        self.pictures, self.digests, self.preset = pictures, list(digests), preset
        self.encoders, self.coarse = encoders, list(coarse)
        self.coarse_digests = [content_key(path) for path in self.coarse]
        self.folder, self.dtype = folder, dtype
        self.precision: EncoderPrecision = precision
        self.paths = (*pictures.paths, *self.coarse)
        self._tables: dict[str, FeatureTable] = {}

    def table(self, kind: str) -> FeatureTable:
        """The table of a kind, opened once."""
        # Coarse pictures and plain ones are encoded alike, and have one table.
        kind = "picture" if kind == "coarse" else kind
        if kind not in self._tables:
            size = self.preset.height, self.preset.width
            weights = self.encoders.weights_of(kind)
            values = size, self.preset.fit, self.dtype, self.precision, weights
            name = table_name(kind, self.encoders.of(kind), *values)
            self._tables[kind] = FeatureTable(self.folder / name, self.dtype)
        return self._tables[kind]

    def inputs(self, kind: str) -> dict[bytes, tuple[int, ...]]:
        """The key of each feature that is needed of a kind, and what it is made of: numbers in
        `paths`, none for an input of zeros."""
        source, target = (column.tolist() for column in self.pictures.pairs.unbind(1))
        digests = self.digests
        zeros: dict[bytes, tuple[int, ...]] = {NULL_KEY: ()}
        if kind == "pair":
            pairs = zip(source, target, strict=True)
            return {pair_key(digests[s], digests[t]): (s, t) for s, t in pairs}
        if kind == "source":
            return {digests[row]: (row,) for row in dict.fromkeys(source)}
        if kind == "coarse":
            return {key: (n,) for n, key in enumerate(self.coarse_digests, len(self.pictures))}
        rows = dict.fromkeys(target) if kind == "picture" else range(len(digests))
        return zeros | {digests[row]: (row,) for row in rows}

    def fill(
        self,
        kinds: Iterable[str],
        *,
        batch: int = 16,
        rows_per_file: int = 1024,
        share: tuple[int, int] = (0, 1),
    ) -> Filling:
        """Compute what the tables of these kinds lack.

        Raises:
            CacheError: there is no room for it; nothing was computed.
            OSError: the disk is full; what was written stays.
        """
        tasks = missing_tasks(self, kinds)
        if tasks:
            check_room(self, tasks)
        return fill(self, tasks, batch=batch, rows_per_file=rows_per_file, share=share)

    def complete(self, stage: str) -> None:
        """Refuse a cache that lacks something a stage reads.

        Raises:
            CacheError: it says how much of which table is missing.
        """
        for kind in STAGE_TABLES[stage]:
            inputs, table = self.inputs(kind), self.table(kind)
            if absent := len(table.missing(inputs)):
                raise CacheError(
                    f"{table.folder}: {absent} of {len(inputs)} features are missing. Fill the "
                    f"cache with the same data, encoders and size first (it resumes)."
                )


class CachedFeatures:
    """`Features` that come from tables; nothing is encoded while training.

    Rows stay on the CPU, and what is read for them is copied from pinned memory: neither waits for
    the device.
    """

    def __init__(self, cache: FeatureCache, device: torch.device | str, stage: str) -> None:
        self.cache, self.stage = cache, stage
        self.device = torch.device(device)
        preset, pictures = cache.preset, cache.pictures
        self.poses = pictures.fitted_poses(preset.height, preset.width, preset.fit)
        missing = preset.prior.missing_joint if preset.prior else -1.0
        self.vectors = self.poses.to_vector(missing)
        self._skeletons: dict[int, bytes] = {}
        self._nulls: dict[str, Tensor] = {}
        self._inputs: dict[tuple[str, Rows], Tensor] = {}

    def read(self, pairs: Tensor) -> dict[tuple[str, Rows], Tensor]:
        """All that the stage asks of pairs [B, k], in pinned memory."""
        columns = [tuple(column.tolist()) for column in pairs.unbind(1)]
        inputs = [(kind, tuple(columns[n] for n in numbers)) for kind, numbers in READS[self.stage]]
        return {(kind, rows): self._load(kind, rows) for kind, rows in inputs}

    def place(self, pairs: Tensor, inputs: dict[tuple[str, Rows], Tensor]) -> Tensor:
        self._inputs = inputs
        return pairs

    def _load(self, kind: str, rows: Rows) -> Tensor:
        """[B, ...] on the CPU."""
        cache, first = self.cache, rows[0]
        if kind == "skeletons":
            values = torch.from_numpy(np.stack([self._skeleton(row) for row in first]))
        elif kind == "poses":
            values = self.vectors[list(first)]
        else:
            digests = cache.coarse_digests if kind == "coarse" else cache.digests
            keys = [digests[row] for row in first]
            if kind == "pair":
                keys = [pair_key(a, digests[b]) for a, b in zip(keys, rows[1], strict=True)]
            values = cache.table(kind).read(keys)
        return values.pin_memory() if self.device.type == "cuda" else values

    def _answer(self, kind: str, *columns: Tensor) -> Tensor:
        rows = tuple(tuple(column.tolist()) for column in columns)
        values = self._inputs.get((kind, rows))
        values = self._load(kind, rows) if values is None else values
        return values.to(self.device, non_blocking=True)

    def _null(self, kind: str) -> Tensor:
        if kind not in self._nulls:
            self._nulls[kind] = self.cache.table(kind).read([NULL_KEY]).to(self.device)
        return self._nulls[kind]

    def embeds(self, rows: Tensor) -> Tensor:
        return self._answer("embeds", rows)

    def pose_vectors(self, rows: Tensor) -> Tensor:
        return self._answer("poses", rows)

    def patch_tokens(self, rows: Tensor) -> Tensor:
        return self._answer("tokens", rows)

    def patch_pixels(self, rows: Tensor) -> Tensor:
        raise ValueError("A patch encoder that is trained sees pictures; train it without a cache.")

    def pair_moments(self, source: Tensor, target: Tensor) -> Tensor:
        return self._answer("pair", source, target)

    def source_moments(self, source: Tensor) -> Tensor:
        return self._answer("source", source)

    def picture_moments(self, rows: Tensor) -> Tensor:
        return self._answer("picture", rows)

    def coarse_moments(self, numbers: Tensor) -> Tensor:
        return self._answer("coarse", numbers)

    def _skeleton(self, row: int) -> np.ndarray:
        """uint8 [3, H, W]; drawn once, and kept small, because it is mostly black."""
        preset = self.cache.preset
        shape = 3, preset.height, preset.width
        if row not in self._skeletons:
            person, reduction = self.poses.select(row), preset.inpainting.skeleton_reduction
            skeleton = draw_people(people_of(person), *shape[1:], reduction)
            planes = np.ascontiguousarray(skeleton.transpose(2, 0, 1))
            self._skeletons[row] = zlib.compress(planes.tobytes(), level=1)
        return np.frombuffer(zlib.decompress(self._skeletons[row]), np.uint8).reshape(shape)

    def pose_maps(self, source: Tensor, target: Tensor) -> Tensor:
        maps = [self._answer("skeletons", rows) for rows in (source, target)]
        return pose_canvas(*map(from_planes, maps))

    def person_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Zeros: data sets on disk say nothing of where the person is, so all counts alike."""
        return torch.zeros(len(rows), 1, height, width, device=self.device)

    def head_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """Zeros, as above."""
        return torch.zeros(len(rows), 1, height, width, device=self.device)

    def joints(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Unknown here.

        Raises:
            ValueError: always; a run that asks for it is one on rendered people.
        """
        raise ValueError("perception knows rendered people only; set it to 0 for data on disk.")

    def null_embed(self) -> Tensor:
        return self._null("embeds")

    def null_tokens(self) -> Tensor:
        return self._null("tokens")

    def null_moments(self) -> Tensor:
        return self._null("picture")
