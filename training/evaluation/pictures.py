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
_SHOT = {  # a key of the file to a field of `Shot`
    "_mask": "mask", "_xy": "xy", "_inside": "inside", "_seen": "visible", "_found": "detectable",
}  # fmt: skip


def check_methods(names: Sequence[str] | None) -> tuple[str, ...]:
    """The rows of the table in its order; None takes all.

    Raises:
        ValueError: a name that is none, or the truth is missing; the known names are listed.
    """
    names = tuple(METHODS) if names is None else names
    unknown = sorted(set(names) - set(METHODS))
    if unknown or "truth" not in names:
        fault = f"{unknown[0]} is none of them" if unknown else "the truth is missing"
        raise ValueError(f"--methods: {fault}. Give truth and any of {', '.join(METHODS)}.")
    return tuple(name for name in METHODS if name in names)


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
    """Time of each step on the wall and of this process, and how many pairs it served."""

    spent: dict[str, tuple[float, float, int]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str, pairs: int) -> Generator[None, None, None]:
        """Adds what the block takes to a step."""
        wall, cpu = time.monotonic(), time.process_time()
        yield
        now = (time.monotonic() - wall, time.process_time() - cpu, pairs)
        before = self.spent.get(name, (0.0, 0.0, 0))
        self.spent[name] = (before[0] + now[0], before[1] + now[1], before[2] + now[2])

    def a_pair(self, names: Sequence[str]) -> float | None:
        """Seconds on the wall that these steps take together for one pair; None before the first.

        Pictures found on disk take none: what is reported is the average of those made.
        """
        steps = [self.spent[name] for name in names if name in self.spent]
        return sum(wall / pairs for wall, _, pairs in steps) if steps else None

    def lines(self) -> list[str]:
        """One line a step."""
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
        pipeline, methods, count = self.pipeline, set(self.sampling.methods), len(batch)
        truths, sources = (np.stack([pair[k].picture for pair in shots]) for k in (1, 0))
        pictures: dict[str, np.ndarray] = {"truth": truths, "copy": sources}
        oracle: dict[int, np.ndarray] = {}
        run = _Run(pipeline, self.sampling, batch, shots)
        truth = images.from_uint8(truths).to(pipeline.device)
        if "autoencoder" in methods:
            with self.seconds.of("autoencoder", count):
                latents = pipeline.autoencoder.encode(truth.to(pipeline.dtype))
                pictures["autoencoder"] = images.to_uint8(pipeline.autoencoder.decode(latents))
        coarse: dict[str, tuple[Tensor, Tensor]] = {}
        for name, embeds in self._embeds(run, truth).items():
            if name in methods or (name == "coarse" and "refined" in methods):
                with self.seconds.of(name, count):
                    coarse[name] = run.inpaint(embeds)
                pictures[name] = images.to_uint8(coarse[name][0])
        if pipeline.refining is not None and "refined" in methods:
            with self.seconds.of("refined", count):
                pictures["refined"] = images.to_uint8(run.refine(*coarse["coarse"]))
            if "oracle" in methods:
                oracle = self._oracle(batch, shots, pictures["refined"])
        names = [name for name in METHODS if name in methods]
        return [
            {name: pictures[name][row] for name in names if name in pictures}
            | ({"oracle": oracle[row]} if row in oracle else {})
            for row in range(count)
        ]

    def _embeds(self, run: _Run, truth: Tensor) -> dict[str, Tensor | None]:
        pipeline = self.pipeline
        with self.seconds.of("prior", len(truth)):
            embeds = {"coarse": run.predict()}
        if pipeline.global_encoder is None:
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
        rows = [k for k, pair in enumerate(batch) if pair.number < self.sampling.oracle_pairs]
        if not rows:
            return {}
        candidates = [refined[rows]]
        with self.seconds.of("oracle (3 more runs)", len(rows)):
            parts = [batch[k] for k in rows], [shots[k] for k in rows]
            run = _Run(self.pipeline, self.sampling, *parts)
            for index in range(1, ORACLE_SEEDS):
                coarse = run.inpaint(run.predict(index), index)
                candidates.append(images.to_uint8(run.refine(*coarse, index)))

        def likeness(place: int) -> list[float]:
            truth = shots[rows[place]][1].picture
            return [ssim(pictures[place], truth) for pictures in candidates]

        return {
            row: candidates[int(np.argmax(likeness(place)))][place]
            for place, row in enumerate(rows)
        }


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
        self.source_pose, self.target_pose = (poses_of([pair[k] for pair in shots]) for k in (0, 1))
        sources = np.stack([pair[0].picture for pair in shots])
        self.features = pipeline.encode_source(images.from_uint8(sources))
        self.fast, self.sampling = find_fast(sampling.fast), sampling
        self.seeds = [sampling.seed * 1_000_003 + pair.number for pair in batch]

    def _options(self, index: int) -> dict[str, Any]:
        """What stages 2 and 3 share; `index` counts the runs of a pair."""
        noise = {"seed": self.seeds, "batch_index": [index] * len(self.seeds)}
        scale = self.sampling.guidance_scale
        return {**noise, "steps": self.sampling.steps, "guidance_scale": scale, "fast": self.fast}

    def predict(self, index: int = 0) -> Tensor | None:
        """Stage 1's embeddings [B, E]."""
        return self.pipeline.predict_embedding(
            self.features,
            self.source_pose,
            self.target_pose,
            seed=self.seeds,
            batch_index=[index] * len(self.seeds),
            steps=self.fast.steps or self.sampling.steps,
        )

    def inpaint(self, embeds: Tensor | None, index: int = 0) -> tuple[Tensor, Tensor]:
        """Stage 2's pictures, and the latents of its canvases."""
        poses = self.source_pose, self.target_pose
        latents = self.pipeline.inpaint_latents(
            self.features, *poses, embeds, **self._options(index)
        )
        return self.pipeline.decode_target(latents, fast=self.fast), latents

    def refine(self, pictures: Tensor, latents: Tensor, index: int = 0) -> Tensor:
        """Stage 3's pictures of stage 2's, which it takes as the preset says."""
        direct = self.fast.hand_over_latents
        return self.pipeline.refine(
            self.features,
            None if direct else pictures,
            coarse_latents=images.right_half(latents) if direct else None,
            **self._options(index),
        )


def poses_of(shots: Sequence[Shot]) -> Keypoints:
    """The poses that the models are asked for, one row a picture."""
    height, width = shots[0].mask.shape
    xy, visible = (
        torch.from_numpy(np.stack([getattr(shot, name) for shot in shots]))
        for name in ("xy", "detectable")
    )
    return Keypoints.from_pixels(xy, visible, height, width)


# --- files ----------------------------------------------------------------------------------------


def pictures_file(folder: Path, number: int) -> Path:
    """Where the pictures of a pair lie."""
    return folder / f"{number:06d}.npz"


def save_pictures(
    folder: Path, number: int, pictures: Mapping[str, np.ndarray], truth: Shot
) -> None:
    """Write one pair, whole or not at all; equal pictures give equal bytes."""
    fields = {key: getattr(truth, name) for key, name in _SHOT.items()}
    with atomic_file(pictures_file(folder, number)) as file:
        np.savez_compressed(file, **pictures, **fields)


def read_pictures(folder: Path, number: int) -> tuple[dict[str, np.ndarray], Shot]:
    """The pictures of a pair and its truth."""
    with np.load(pictures_file(folder, number)) as table:
        arrays = {name: table[name] for name in table.files}
    fields = {name: arrays.pop(key) for key, name in _SHOT.items()}
    return arrays, Shot(picture=arrays["truth"], **fields)
