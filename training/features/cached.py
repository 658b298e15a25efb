"""Features of a data set on disk: filled into tables once, read from them at every step."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pcdm_core.config import Preset
from pcdm_core.encoders import GlobalEncoder, PatchImageEncoder
from pcdm_core.images import fit, from_planes, load_picture, source_canvas
from pcdm_core.pose.render import draw_people, people_of, pose_canvas
from pcdm_core.vae import Autoencoder

from ..data import PictureSet
from .store import NULL_KEY, CacheError, FeatureTable, content_key, fill, pair_key, table_name

logger = logging.getLogger(__name__)

# What each stage reads.
STAGE_TABLES = {
    "prior": ("embeds",),
    "inpainting": ("embeds", "tokens", "source", "pair"),
    "refining": ("tokens", "picture", "coarse"),
}


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
    ) -> None:
        """`digests` are of the pictures' files (`ContentIndex`); `coarse` is a file a pair."""
        if len(digests) != len(pictures):
            raise ValueError(f"{len(pictures)} pictures, but {len(digests)} digests of them.")
        self.pictures, self.digests, self.preset = pictures, list(digests), preset
        self.encoders, self.coarse = encoders, list(coarse)
        self.coarse_digests = [content_key(path) for path in self.coarse]
        self.folder, self.dtype = folder, dtype
        self._tables: dict[str, FeatureTable] = {}

    def table(self, kind: str) -> FeatureTable:
        """The table of a kind, opened once."""
        # Coarse pictures and plain ones are encoded alike, and have one table.
        kind = "picture" if kind == "coarse" else kind
        if kind not in self._tables:
            size = self.preset.height, self.preset.width
            name = table_name(kind, self.encoders.of(kind), size, self.preset.fit, self.dtype)
            self._tables[kind] = FeatureTable(self.folder / name, self.dtype)
        return self._tables[kind]

    def keys(self, kind: str) -> list[bytes]:
        """Of everything that a kind is needed of, the input of zeros first where it is."""
        source, target = (column.tolist() for column in self.pictures.pairs.unbind(1))
        digests = self.digests
        if kind == "pair":
            pairs = zip(source, target, strict=True)
            return [pair_key(digests[s], digests[t]) for s, t in pairs]
        if kind == "source":
            return [digests[row] for row in dict.fromkeys(source)]
        if kind == "coarse":
            return self.coarse_digests
        if kind == "picture":
            return [NULL_KEY, *(digests[row] for row in dict.fromkeys(target))]
        return [NULL_KEY, *digests]

    @torch.no_grad()
    def fill(
        self,
        kind: str,
        *,
        batch: int = 16,
        rows_per_file: int = 1024,
        share: tuple[int, int] = (0, 1),
    ) -> int:
        """Compute what a table lacks; returns how many features that were.

        Raises:
            OSError: the disk is full; what was written stays.
        """
        table, keys = self.table(kind), self.keys(kind)
        inputs = self._inputs(kind)
        encoder = self.encoders.of(kind)
        device = next((t.device for t in encoder.state_dict().values()), torch.device("cpu"))
        encode = encoder if kind in ("embeds", "tokens") else encoder.moments

        def compute(numbers: list[int]) -> Tensor:
            return encode(torch.cat([inputs(number) for number in numbers]).to(device))

        missing = len(table.missing(keys))
        progress = tqdm(total=missing // share[1], desc=f"features: {kind}", unit="picture")
        done = fill(
            table,
            keys,
            compute,
            batch=batch,
            rows_per_file=rows_per_file,
            share=share,
            progress=progress.update,
        )
        progress.close()
        return done

    def _picture(self, row: int) -> Tensor:
        preset = self.preset
        picture = load_picture(self.pictures.paths[row])
        return fit(picture, preset.height, preset.width, preset.fit)[0]

    def _inputs(self, kind: str) -> Callable[[int], Tensor]:
        """Number of a key -> what its encoder takes, [1, 3, H, W]."""
        source, target = (column.tolist() for column in self.pictures.pairs.unbind(1))
        if kind == "pair":
            return lambda n: torch.cat([self._picture(source[n]), self._picture(target[n])], dim=-1)
        if kind == "source":
            rows = list(dict.fromkeys(source))
            return lambda n: source_canvas(self._picture(rows[n]))
        if kind == "coarse":
            preset = self.preset
            paths = self.coarse
            return lambda n: fit(load_picture(paths[n]), preset.height, preset.width, preset.fit)[0]
        if kind == "picture":
            rows = list(dict.fromkeys(target))
            zeros = torch.zeros(1, 3, self.preset.height, self.preset.width)
            return lambda n: zeros if n == 0 else self._picture(rows[n - 1])
        pixels = self.encoders.of(kind).pixels
        return lambda n: (
            torch.zeros_like(pixels(self._picture(0))) if n == 0 else pixels(self._picture(n - 1))
        )

    def complete(self, stage: str) -> None:
        """Refuse a cache that lacks something a stage reads.

        Raises:
            CacheError: it says how much of which table is missing.
        """
        for kind in STAGE_TABLES[stage]:
            keys = self.keys(kind)
            table = self.table(kind)
            if absent := len(table.missing(keys)):
                raise CacheError(
                    f"{table.folder}: {absent} of {len(keys)} features are missing. Fill the "
                    f"cache with the same data, encoders and size first (it resumes)."
                )


class CachedFeatures:
    """`Features` that come from tables; nothing is encoded while training."""

    def __init__(self, cache: FeatureCache, device: torch.device | str) -> None:
        self.cache = cache
        self.device = torch.device(device)
        preset, pictures = cache.preset, cache.pictures
        self.poses = pictures.fitted_poses(preset.height, preset.width, preset.fit)
        missing = preset.prior.missing_joint if preset.prior else -1.0
        self.vectors = self.poses.to_vector(missing).to(self.device)
        self._skeletons: dict[int, bytes] = {}
        self._nulls: dict[str, Tensor] = {}

    def _read(self, kind: str, keys: Sequence[bytes]) -> Tensor:
        return self.cache.table(kind).read(keys).to(self.device)

    def _rows(self, kind: str, rows: Tensor) -> Tensor:
        return self._read(kind, [self.cache.digests[row] for row in rows.tolist()])

    def _null(self, kind: str) -> Tensor:
        if kind not in self._nulls:
            self._nulls[kind] = self._read(kind, [NULL_KEY])
        return self._nulls[kind]

    def embeds(self, rows: Tensor) -> Tensor:
        return self._rows("embeds", rows)

    def pose_vectors(self, rows: Tensor) -> Tensor:
        return self.vectors[rows]

    def patch_tokens(self, rows: Tensor) -> Tensor:
        return self._rows("tokens", rows)

    def patch_pixels(self, rows: Tensor) -> Tensor:
        raise ValueError("A patch encoder that is trained sees pictures; train it without a cache.")

    def pair_moments(self, source: Tensor, target: Tensor) -> Tensor:
        digests = self.cache.digests
        rows = zip(source.tolist(), target.tolist(), strict=True)
        return self._read("pair", [pair_key(digests[s], digests[t]) for s, t in rows])

    def source_moments(self, source: Tensor) -> Tensor:
        return self._rows("source", source)

    def picture_moments(self, rows: Tensor) -> Tensor:
        return self._rows("picture", rows)

    def coarse_moments(self, numbers: Tensor) -> Tensor:
        keys = [self.cache.coarse_digests[number] for number in numbers.tolist()]
        return self._read("coarse", keys)

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
        maps = [
            torch.from_numpy(np.stack([self._skeleton(row) for row in rows.tolist()]))
            for rows in (source, target)
        ]
        return pose_canvas(*(from_planes(planes.to(self.device)) for planes in maps))

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
