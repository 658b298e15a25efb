"""Stage 3, on stage 2's own pictures."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.models import RefiningModel

from ..config import StageRun
from ..data.in_memory import CoarsePictures, People
from ..features.protocol import Features
from .base import (
    CANVAS,
    CONDITION,
    DROP,
    START,
    Batch,
    DenoisingStage,
    Frozen,
    features_of,
    keep_rows,
)


class RefiningStage(DenoisingStage):
    """Stage 3, on stage 2's own results."""

    def __init__(
        self,
        model: RefiningModel,
        frozen: Frozen,
        people: People | Features,
        coarse: CoarsePictures | None,
        run: StageRun,
        seed: int,
    ) -> None:
        """`coarse` is None where `people` are features that know their coarse pictures."""
        if isinstance(people, People) and frozen.patch_encoder is None:
            raise ValueError("Stage 3 needs the patch encoder that stage 2 trained.")
        super().__init__(model, run, seed, features_of(people, frozen, coarse))
        self.frozen = frozen

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"refining": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        features, run, autoencoder = self.features, self.run, self.frozen.autoencoder
        source, target, coarse = pairs.unbind(1)
        x0 = self._latents(autoencoder, CANVAS, samples, features.picture_moments(target))
        moments = features.coarse_moments(coarse)
        drops = self._uniform(DROP, samples, 2)
        coarse_kept = drops[:, 1] >= run.drop_coarse
        if self._null_is_encoded:
            keep = coarse_kept[:, None, None, None]
            moments = torch.where(keep, moments, features.null_moments())
        coarse_latents = self._latents(autoencoder, CONDITION, samples, moments)
        start: Batch = {}
        if run.noised == "coarse":
            other = self._uniform(START, samples, 1)[:, :, None, None] < run.other_starts
            start["start"] = torch.where(other, coarse_latents.flip(-1), coarse_latents)
        if run.sharpen:
            x0 = autoencoder.encode(sharpened(autoencoder.decode(x0), run.sharpen))
        return {
            **start,
            "x0": x0,
            "coarse_latents": coarse_latents,
            "patch_tokens": features.patch_tokens(source),
            "noise": self._noise(samples, x0),
            "timesteps": self._timesteps(samples, self.schedule),
            "tokens_kept": drops[:, 0] >= run.drop_tokens,
            "coarse_kept": coarse_kept,
            "weight": self._picture_weight(target, x0.shape[-2], x0.shape[-1]),
            **self._pose(target),
        }

    def condition(self, batch: Batch, model: Any = None) -> Conditioning:
        return (model or self.model).condition(batch["patch_tokens"], batch["coarse_latents"])

    def forward(self, batch: Batch) -> Tensor:
        whole = self.condition(batch)
        null = self.model.unconditional(whole)
        cond = keep_rows(whole, null, batch["tokens_kept"], batch["tokens_kept"])
        if not self._null_is_encoded:
            rows = batch["coarse_kept"][:, None, None, None]
            cond = replace(cond, concat=torch.where(rows, whole.concat, null.concat))
        return self._loss(batch, cond, self._perceived(self.frozen, batch))


def sharpened(pictures: Tensor, strength: float) -> Tensor:
    """Pictures [B, 3, H, W] with so much more of what a blur by [1 2 1] takes away."""
    line = pictures.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (line[:, None] * line).expand(pictures.shape[1], 1, 3, 3)
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    soft = functional.conv2d(padded, kernel, groups=pictures.shape[1])
    return pictures + strength * (pictures - soft)
