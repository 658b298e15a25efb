"""Pictures of every method for a batch of pairs, and the files that keep them.

A pair's file holds its pictures and what is known of the truth, so that measuring, contact sheets
and further judges need no second generation.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core import images
from pcdm_core.files import atomic_file
from pcdm_core.options import SamplingOptions
from pcdm_core.output import PCDMsOutput
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.run_stages import Batch, Hooks, run_stages
from pcdm_core.speed import find_fast

from ..synthetic.shots import Shot
from .embedding_baseline import EmbeddingRegression
from .held_out_pairs import PairName
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


@dataclass(frozen=True, kw_only=True)
class Sampling(SamplingOptions):
    """How pictures are made.

    Attributes:
        methods: which of `METHODS`; a part that the weights lack is left out.
        oracle_pairs: the first pairs, for which four whole runs are made.
        fast: the name of a preset of `pcdm_core.speed`, which stands above the other options.
    """

    seed: int
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
        self.pipeline, self.regression = pipeline, regression
        self.sampling = sampling.under(find_fast(sampling.fast))
        self.seconds = Seconds()

    @torch.no_grad()
    def __call__(
        self, pairs: Sequence[PairName], shots: Sequence[tuple[Shot, Shot]]
    ) -> list[dict[str, np.ndarray]]:
        """A dictionary a pair: method to picture uint8 [H, W, 3], in the order of `METHODS`."""
        pipeline, methods, count = self.pipeline, set(self.sampling.methods), len(pairs)
        truths, sources = (np.stack([pair[k].picture for pair in shots]) for k in (1, 0))
        pictures: dict[str, np.ndarray] = {"truth": truths, "copy": sources}
        oracle: dict[int, np.ndarray] = {}
        batch = self._batch(pairs, shots)
        truth = images.from_uint8(truths).to(pipeline.device)
        if "autoencoder" in methods:
            with self.seconds.of("autoencoder", count):
                latents = pipeline.autoencoder.encode(truth.to(pipeline.dtype))
                pictures["autoencoder"] = images.to_uint8(pipeline.autoencoder.decode(latents))
        if methods & {"coarse", "refined"}:
            refining = pipeline.refining is not None and "refined" in methods
            output = self._stages(batch, refining)
            assert output.coarse is not None  # `_stages` decodes it
            pictures["coarse"] = images.to_uint8(output.coarse)
            if refining:
                pictures["refined"] = images.to_uint8(output.image)
                if "oracle" in methods:
                    oracle = self._oracle(pairs, shots, pictures["refined"])
        poses = batch.source_pose, batch.target_pose
        run: dict[str, Any] = {"options": self.sampling, "seed": batch.seed}
        for name, embeds in self._other_embeds(batch, truth).items():
            if name in methods:
                with self.seconds.of(name, count):
                    coarse = pipeline.inpaint(batch.features, *poses, embeds, **run)
                pictures[name] = images.to_uint8(coarse)
        names = [name for name in METHODS if name in methods]
        return [
            {name: pictures[name][row] for name in names if name in pictures}
            | ({"oracle": oracle[row]} if row in oracle else {})
            for row in range(count)
        ]

    def _batch(self, pairs: Sequence[PairName], shots: Sequence[tuple[Shot, Shot]]) -> Batch:
        """The pairs as the stages take them."""
        sources = np.stack([source.picture for source, _ in shots])
        features = self.pipeline.encode_source(images.from_uint8(sources))
        poses = [features.fitted(poses_of(list(views))) for views in zip(*shots, strict=True)]
        seeds = [self.sampling.seed * 1_000_003 + pair.number for pair in pairs]
        return Batch(features, poses[0], poses[1], seeds)

    def _stages(self, batch: Batch, refining: bool) -> PCDMsOutput:
        """All stages, and the coarse pictures where the latents go on to stage 3 as they are."""
        canvases: list[Tensor] = []

        def keep_latents(what: str, result: Tensor) -> Tensor:
            if what == "latents":
                canvases.append(result)
            return result

        count = len(batch.target_pose)
        hooks = Hooks(during=lambda stage: self.seconds.of(stage, count), after=keep_latents)
        run: dict[str, Any] = {"refining": refining, "chunk": count, "hooks": hooks}
        output = run_stages(self.pipeline, batch, self.sampling, **run)
        if output.coarse is not None:
            return output
        coarse = self.pipeline.decode_target(canvases[0], options=self.sampling)
        return replace(output, coarse=coarse)

    def _other_embeds(self, batch: Batch, truth: Tensor) -> dict[str, Tensor]:
        """What stage 2 is given in place of stage 1's embeddings, by method."""
        encoder = self.pipeline.global_encoder
        if encoder is None:
            return {}
        true = encoder(encoder.pixels(truth).to(self.pipeline.dtype))
        embeds = {"coarse_true": true, "coarse_null": torch.zeros_like(true)}
        if self.regression is not None and batch.features.image_embeds is not None:
            source = batch.features.image_embeds.float().cpu()
            predicted = self.regression(source, batch.source_pose, batch.target_pose)
            embeds["coarse_regression"] = predicted.to(true)
        return embeds

    def _oracle(
        self,
        pairs: Sequence[PairName],
        shots: Sequence[tuple[Shot, Shot]],
        refined: np.ndarray,
    ) -> dict[int, np.ndarray]:
        """The best of four whole runs by SSIM with the truth, as the paper's scripts choose."""
        rows = [k for k, pair in enumerate(pairs) if pair.number < self.sampling.oracle_pairs]
        if not rows:
            return {}
        candidates = [refined[rows]]
        with self.seconds.of("oracle (3 more runs)", len(rows)):
            parts = [pairs[k] for k in rows], [shots[k] for k in rows]
            batch = self._batch(*parts)
            for index in range(1, ORACLE_SEEDS):
                draw = replace(batch, batch_index=[index] * len(rows))
                output = run_stages(self.pipeline, draw, self.sampling, chunk=len(rows))
                candidates.append(images.to_uint8(output.image))

        def likeness(place: int) -> list[float]:
            truth = shots[rows[place]][1].picture
            return [ssim(pictures[place], truth) for pictures in candidates]

        return {
            row: candidates[int(np.argmax(likeness(place)))][place]
            for place, row in enumerate(rows)
        }


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
