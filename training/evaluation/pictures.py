"""Pictures of every method for a batch of pairs, and the files that keep them.

A pair's file holds its pictures and what is known of the truth, so that measuring, contact sheets
and further judges need no second generation.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core import images
from pcdm_core.files import atomic_file
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.speed import find_fast

from .embedding_baseline import EmbeddingRegression
from .held_out_pairs import PairName, Shot
from .metrics import ssim

METHODS = {
    "truth": "the truth itself",
    "autoencoder": "autoencoder round trip of the truth",
    "copy": "copy of the source",
    "coarse_true": "coarse, true embedding",
    "coarse": "coarse, predicted embedding",
    "coarse_regression": "coarse, embedding by linear regression",
    "coarse_null": "coarse, null embedding",
    "refined": "refined",
    "oracle": "refined, best of 4 by SSIM with the truth (oracle)",
}
ORACLE_SEEDS = 4
_SHOT = ("mask", "xy", "inside", "seen", "found")


@dataclass(frozen=True)
class Sampling:
    """How pictures are made.

    Attributes:
        methods: which of `METHODS`; a part that the weights lack is left out.
        oracle_pairs: the first pairs, for which four whole runs are made.
        fast: a preset of `pcdm_core.speed`, which stands above steps and guidance.
    """

    seed: int
    steps: int
    guidance_scale: float | None = None
    methods: tuple[str, ...] = tuple(METHODS)
    oracle_pairs: int = 100
    fast: str | None = None


@dataclass
class Seconds:
    """Time of each case on the wall and of this process, and how many pairs it served."""

    spent: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str, pairs: int) -> Generator[None, None, None]:
        """Adds what the block takes to a case."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        before = self.spent.get(name, (0.0, 0.0, 0))
        now = (time.monotonic() - wall, time.process_time() - cpu, pairs)
        self.spent[name] = (before[0] + now[0], before[1] + now[1], before[2] + now[2])

    def a_pair(self, names: Sequence[str]) -> float | None:
        """Seconds on the wall that these cases take together for one pair; None before the first.

        Pictures found on disk take none: what is reported is the average of those made.
        """
        found = [self.spent[name] for name in names if name in self.spent]
        return sum(wall / pairs for wall, _, pairs in found) if found else None

    def lines(self) -> list[str]:
        """One line a case."""
        return [
            f"{name}: {wall / pairs:.2f} s a pair ({cpu / pairs:.2f} s of processor time)"
            for name, (wall, cpu, pairs) in self.spent.items()
        ]


class PictureMaker:
    """Makes every method's picture of a batch of pairs; a pair's noise is its own in any batch."""

    def __init__(
        self,
        pipeline: PCDMsPipeline,
        sampling: Sampling,
        regression: EmbeddingRegression | None = None,
    ) -> None:
        self.pipeline, self.sampling, self.regression = pipeline, sampling, regression
        self.seconds = Seconds()

    @torch.no_grad()
    def __call__(
        self, batch: Sequence[PairName], shots: Sequence[tuple[Shot, Shot]]
    ) -> list[dict[str, np.ndarray]]:
        """A dictionary a pair: method to picture uint8 [H, W, 3], in the order of `METHODS`."""
        wanted, count = set(self.sampling.methods), len(batch)
        truths, sources = (np.stack([pair[k].picture for pair in shots]) for k in (1, 0))
        made: dict[str, np.ndarray] = {"truth": truths, "copy": sources}
        run = _Run(self.pipeline, self.sampling, batch, shots)
        truth = images.from_uint8(truths).to(self.pipeline.device)
        if "autoencoder" in wanted:
            with self.seconds.of("autoencoder", count):
                latents = self.pipeline.autoencoder.encode(truth.to(self.pipeline.dtype))
                made["autoencoder"] = images.to_uint8(self.pipeline.autoencoder.decode(latents))
        coarse: _Coarse | None = None
        for name, embeds in self._embeds(run, truth).items():
            if name in wanted or name == "coarse":
                with self.seconds.of(name, count):
                    result = run.inpaint(embeds)
                made[name] = images.to_uint8(result.picture)
                coarse = result if name == "coarse" else coarse
        rows = [dict[str, np.ndarray]() for _ in batch]
        if self.pipeline.refining is not None and coarse is not None and "refined" in wanted:
            with self.seconds.of("refined", count):
                made["refined"] = images.to_uint8(run.refine(coarse))
            if "oracle" in wanted:
                for row, picture in self._oracle(batch, shots, made["refined"]).items():
                    rows[row]["oracle"] = picture
        for row, pictures in enumerate(rows):
            pictures |= {name: all_rows[row] for name, all_rows in made.items()}
        return [
            {name: pictures[name] for name in METHODS if name in pictures and name in wanted}
            for pictures in rows
        ]

    def _embeds(self, run: _Run, truth: Tensor) -> dict[str, Tensor | None]:
        pipeline = self.pipeline
        with self.seconds.of("prior", len(truth)):
            embeds = {"coarse": run.predict()}
        if pipeline.global_encoder is None or pipeline.prior is None:
            return embeds
        pixels = pipeline.global_encoder.pixels(truth).to(pipeline.dtype)
        embeds["coarse_true"] = pipeline.global_encoder(pixels)
        embeds["coarse_null"] = torch.zeros_like(embeds["coarse_true"])
        if self.regression is not None and run.features.image_embeds is not None:
            predicted = self.regression(
                run.features.image_embeds.float().cpu(), run.source_pose, run.target_pose
            )
            embeds["coarse_regression"] = predicted.to(embeds["coarse_true"])
        return embeds

    def _oracle(
        self,
        batch: Sequence[PairName],
        shots: Sequence[tuple[Shot, Shot]],
        refined: np.ndarray,
    ) -> dict[int, np.ndarray]:
        """The best of four whole runs by SSIM with the truth, as the paper's scripts choose."""
        chosen = [k for k, pair in enumerate(batch) if pair.number < self.sampling.oracle_pairs]
        if not chosen:
            return {}
        candidates = [refined[chosen]]
        with self.seconds.of("oracle (3 more runs)", len(chosen)):
            run = _Run(
                self.pipeline,
                self.sampling,
                [batch[k] for k in chosen],
                [shots[k] for k in chosen],
            )
            for index in range(1, ORACLE_SEEDS):
                coarse = run.inpaint(run.predict(index), index)
                candidates.append(images.to_uint8(run.refine(coarse, index)))
        best: dict[int, np.ndarray] = {}
        for place, row in enumerate(chosen):
            truth = shots[row][1].picture
            scores = [ssim(pictures[place], truth) for pictures in candidates]
            best[row] = candidates[int(np.argmax(scores))][place]
        return best


@dataclass(frozen=True)
class _Coarse:
    """Stage 2's result as stage 3 may take it."""

    picture: Tensor
    latents: Tensor  # of the canvas


class _Run:
    """The pipeline's stages on one batch, with its poses, seeds and sampling."""

    def __init__(
        self,
        pipeline: PCDMsPipeline,
        sampling: Sampling,
        batch: Sequence[PairName],
        shots: Sequence[tuple[Shot, Shot]],
    ) -> None:
        self.pipeline = pipeline
        self.source_pose, self.target_pose = (_poses([pair[k] for pair in shots]) for k in (0, 1))
        sources = np.stack([pair[0].picture for pair in shots])
        self.features = pipeline.encode_source(images.from_uint8(sources))
        self._common: dict[str, Any] = {
            "seed": [sampling.seed * 1_000_003 + pair.number for pair in batch],
            "steps": sampling.steps,
        }
        self._fast = find_fast(sampling.fast)
        self._guided: dict[str, Any] = {
            **self._common,
            "guidance_scale": sampling.guidance_scale,
            "fast": self._fast,
        }

    def predict(self, index: int = 0) -> Tensor | None:
        options: dict[str, Any] = dict(self._common)
        options["steps"] = self._fast.steps or options["steps"]
        return self.pipeline.predict_embedding(
            self.features,
            self.source_pose,
            self.target_pose,
            **options,
            batch_index=[index] * len(self.target_pose),
        )

    def inpaint(self, embeds: Tensor | None, index: int = 0) -> _Coarse:
        latents = self.pipeline.inpaint_latents(
            self.features,
            self.source_pose,
            self.target_pose,
            embeds,
            **self._guided,
            batch_index=[index] * len(self.target_pose),
        )
        # Decoded in any case, because it is measured too.
        return _Coarse(self.pipeline.decode_target(latents, fast=self._fast), latents)

    def refine(self, coarse: _Coarse, index: int = 0) -> Tensor:
        handed = self._fast.hand_over_latents
        return self.pipeline.refine(
            self.features,
            None if handed else coarse.picture,
            coarse_latents=images.right_half(coarse.latents) if handed else None,
            **self._guided,
            batch_index=[index] * len(coarse.latents),
        )


def _poses(shots: Sequence[Shot]) -> Keypoints:
    height, width = shots[0].mask.shape
    xy, found = (
        torch.from_numpy(np.stack(rows))
        for rows in zip(*((s.xy, s.found) for s in shots), strict=True)
    )
    return Keypoints.from_pixels(xy, found, height, width)


def target_pose(shot: Shot) -> Keypoints:
    """One row: the pose that was asked for."""
    return _poses([shot])


# --- files ----------------------------------------------------------------------------------------


def pictures_file(folder: Path, number: int) -> Path:
    """Where the pictures of a pair lie."""
    return folder / f"{number:06d}.npz"


def save_pictures(
    folder: Path, number: int, pictures: Mapping[str, np.ndarray], truth: Shot
) -> None:
    """Write one pair, whole or not at all; equal pictures give equal bytes."""
    known = {f"_{name}": getattr(truth, name) for name in _SHOT}
    with atomic_file(pictures_file(folder, number)) as file:
        np.savez_compressed(file, **pictures, **known)


def read_pictures(folder: Path, number: int) -> tuple[dict[str, np.ndarray], Shot]:
    """The pictures of a pair and its truth."""
    with np.load(pictures_file(folder, number)) as table:
        arrays = {name: table[name] for name in table.files}
    known = {name: arrays.pop(f"_{name}") for name in _SHOT}
    return arrays, Shot(picture=arrays["truth"], **known)
