"""Stage 2: the target half of the canvas, with or without a patch encoder that learns along."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.images import right_half
from pcdm_core.models import InpaintingModel

from ..config import StageRun
from ..data.in_memory import People
from ..features.protocol import Features
from .base import (
    CANVAS,
    CONDITION,
    DROP,
    EMBEDS_NOISE,
    Batch,
    DenoisingStage,
    Frozen,
    features_of,
    keep_rows,
)


class InpaintingStage(DenoisingStage):
    """Stage 2; with a patch encoder to train that it shares with stage 3, or on frozen tokens."""

    def __init__(
        self,
        model: InpaintingModel,
        patch_encoder: PatchImageEncoder | None,
        frozen: Frozen,
        people: People | Features,
        run: StageRun,
        seed: int,
    ) -> None:
        """`patch_encoder` is trained along; None where `frozen` has it, or a cache its tokens."""
        super().__init__(model, run, seed, features_of(people, frozen))
        self.patch_encoder = patch_encoder
        self.frozen = frozen
        if patch_encoder is not None and self._null_is_encoded:
            raise ValueError(
                "null_conditioning: encoded_zeros is for a frozen patch encoder; use zeros."
            )

    @property
    def components(self) -> dict[Component, nn.Module]:
        parts: dict[Component, nn.Module] = {"inpainting": self.model}
        if self.patch_encoder is not None:
            parts["patch_encoder"] = self.patch_encoder
        return parts

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        features, run, autoencoder = self.features, self.run, self.frozen.autoencoder
        source, target = pairs.unbind(1)
        x0 = self._latents(autoencoder, CANVAS, samples, features.pair_moments(source, target))
        moments = features.source_moments(source)
        embeds = features.embeds(target)
        drops = self._uniform(DROP, samples, 2)
        tokens_kept, embeds_kept = drops[:, 0] >= run.drop_tokens, drops[:, 1] >= run.drop_embeds
        if not run.independent_drops:
            # Guidance drops both together, so a sample without tokens often loses both.
            embeds_kept = embeds_kept & (tokens_kept | (drops[:, 0] >= run.drop_tokens / 2))
        if run.embeds_noise:
            # The prior's predictions miss the truth; with noise stage 2 learns to bear it.
            strength = run.embeds_noise * self._uniform(EMBEDS_NOISE, samples, 1)
            embeds = embeds + strength * self._normal(EMBEDS_NOISE, samples, embeds)
        batch = {
            "x0": x0,
            "source_latents": self._latents(autoencoder, CONDITION, samples, moments),
            "pose_map": features.pose_maps(source, target),
            "target_embeds": embeds,
            "noise": self._noise(samples, x0),
            "timesteps": self._timesteps(samples, self.schedule),
            "tokens_kept": tokens_kept,
            "embeds_kept": embeds_kept,
            "weight": self._weight(target, x0),
            **self._pose(target),
        }
        if self.patch_encoder is not None:
            return {**batch, "patch_pixels": features.patch_pixels(source)}
        tokens = features.patch_tokens(source)
        if self._null_is_encoded:
            tokens = torch.where(tokens_kept[:, None, None], tokens, features.null_tokens())
            embeds = torch.where(embeds_kept[:, None], embeds, features.null_embed())
        return {**batch, "patch_tokens": tokens, "target_embeds": embeds}

    def _weight(self, target: Tensor, x0: Tensor) -> Tensor:
        """[B, 1, h, 2w]: the source half's weight, then 1 on background and more on the person."""
        height, width = x0.shape[-2], x0.shape[-1] // 2
        weight = self._picture_weight(target, height, width)
        return torch.cat([torch.full_like(weight, self.run.source_weight), weight], dim=-1)

    def _of_target(self, canvas: Tensor) -> Tensor:
        return right_half(canvas)

    def condition(self, batch: Batch, model: Any = None) -> Conditioning:
        if self.patch_encoder is not None:
            tokens = self.patch_encoder(batch["patch_pixels"])
        else:
            tokens = batch["patch_tokens"]
        return (model or self.model).condition(
            tokens, batch["target_embeds"], batch["source_latents"], batch["pose_map"]
        )

    def forward(self, batch: Batch) -> Tensor:
        cond = self.condition(batch)
        if not self._null_is_encoded:
            null = self.model.unconditional(cond)
            cond = keep_rows(cond, null, batch["tokens_kept"], batch["embeds_kept"])
        return self._loss(batch, cond, self._perceived(self.frozen, batch))
