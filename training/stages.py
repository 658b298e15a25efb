"""The stages as modules: prepared batch in, scalar out.

`prepare` turns rows of people into tensors without gradient (latents, embeddings, noise); `forward`
is the part that learns. The models' own `condition` and the one `denoising_loss` are used
throughout: what training sees is what sampling sees.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from pcdm_core.checkpoint_keys import Component
from pcdm_core.conditioning import Conditioning, PriorConditioning
from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.images import right_half
from pcdm_core.losses import denoising_loss
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from pcdm_core.schedules import alphas_cumprod

from .config import StageRun
from .features import Features, OnlineFeatures
from .people import CoarsePictures, People
from .stage_base import (
    CANVAS,
    CONDITION,
    DROP,
    EMBEDS_NOISE,
    START,
    TIMESTEP,
    Batch,
    Frozen,
    StageModule,
    check_snr_weight,
)

__all__ = [
    "TIMESTEP", "Batch", "Frozen", "InpaintingStage", "PriorStage",
    "RefiningStage", "StageModule", "features_of", "keep_rows", "sharpened",
]  # fmt: skip


class PriorStage(StageModule):
    """Stage 1: prediction of the target picture's embedding."""

    table: Tensor

    def __init__(
        self,
        model: PosePrior,
        people: People | Features,
        run: StageRun,
        seed: int,
    ) -> None:
        features = OnlineFeatures(people) if isinstance(people, People) else people
        super().__init__(run, seed, features)
        self.model = model
        self.schedule = model.config.schedule
        check_snr_weight(run, self.schedule)
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"prior": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        source, target = pairs.unbind(1)
        features, run = self.features, self.run
        x0 = self.model.normalise(features.embeds(target))
        embeds = features.embeds(source)
        null = features.null_embed() if self._null_is_encoded else torch.zeros_like(embeds[:1])
        drops = self._uniform(DROP, samples, 3)
        dropped = drops < drops.new_tensor(
            [run.drop_embeds, run.drop_source_pose, run.drop_target_pose]
        )
        poses = [features.pose_vectors(rows) for rows in (source, target)]
        # As published: a dropped pose is 18 joints at the origin.
        source_pose, target_pose = (
            torch.where(dropped[:, n, None, None], torch.zeros_like(pose), pose)
            for n, pose in enumerate(poses, start=1)
        )
        return {
            "x0": x0,
            "image_embeds": torch.where(dropped[:, :1], null, embeds),
            "source_pose": source_pose,
            "target_pose": target_pose,
            "noise": self._noise(samples, x0),
            "timesteps": self._timesteps(samples, self.schedule),
        }

    def forward(self, batch: Batch) -> Tensor:
        cond = PriorConditioning(batch["image_embeds"], batch["source_pose"], batch["target_pose"])
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            cond,
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            max_snr_weight=self.run.max_snr_weight,
        )


def keep_rows(
    cond: Conditioning, null: Conditioning, tokens: Tensor, embeds: Tensor
) -> Conditioning:
    """Replace dropped conditions by the null conditioning that sampling uses.

    Args:
        tokens: [B] bool, False where the image tokens are dropped.
        embeds: [B] bool, False where the target embedding (token and class embedding) is dropped.
    """
    length = cond.tokens.shape[1] - (cond.embed is not None)
    keep = torch.cat(
        [
            tokens[:, None].expand(-1, length),
            embeds[:, None].expand(-1, cond.tokens.shape[1] - length),
        ],
        dim=1,
    )
    embed = cond.embed
    if embed is not None and null.embed is not None:
        embed = torch.where(embeds[:, None], embed, null.embed)
    tokens_left = torch.where(keep[:, :, None], cond.tokens, null.tokens)
    return replace(cond, tokens=tokens_left, embed=embed)


class InpaintingStage(StageModule):
    """Stage 2; with a patch encoder to train that it shares with stage 3, or on frozen tokens."""

    table: Tensor

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
        super().__init__(run, seed, features_of(people, frozen))
        self.model = model
        self.patch_encoder = patch_encoder
        self.frozen = frozen
        self.schedule = model.config.schedule
        check_snr_weight(run, self.schedule)
        if patch_encoder is not None and self._null_is_encoded:
            raise ValueError(
                "null_conditioning: encoded_zeros is for a frozen patch encoder; use zeros."
            )
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

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
        tokens_kept, embeds_kept = (drops >= drops.new_tensor([run.drop_tokens, run.drop_embeds])).T
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

    def forward(self, batch: Batch) -> Tensor:
        if self.patch_encoder is not None:
            tokens = self.patch_encoder(batch["patch_pixels"])
        else:
            tokens = batch["patch_tokens"]
        cond = self.model.condition(
            tokens, batch["target_embeds"], batch["source_latents"], batch["pose_map"]
        )
        if not self._null_is_encoded:
            null = self.model.unconditional(cond)
            cond = keep_rows(cond, null, batch["tokens_kept"], batch["embeds_kept"])
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            cond,
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            weight=batch["weight"],
            max_snr_weight=self.run.max_snr_weight,
            perceived=self._perceived(self.frozen, batch, right_half),
        )


class RefiningStage(StageModule):
    """Stage 3, on stage 2's own results."""

    table: Tensor

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
        super().__init__(run, seed, features_of(people, frozen, coarse))
        self.model = model
        self.frozen = frozen
        self.schedule = model.config.schedule
        check_snr_weight(run, self.schedule)
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

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
            kept = coarse_kept[:, None, None, None]
            moments = torch.where(kept, moments, features.null_moments())
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

    def forward(self, batch: Batch) -> Tensor:
        cond = self.model.condition(batch["patch_tokens"], batch["coarse_latents"])
        null = self.model.unconditional(cond)
        kept = keep_rows(cond, null, batch["tokens_kept"], batch["tokens_kept"])
        if not self._null_is_encoded:
            rows = batch["coarse_kept"][:, None, None, None]
            kept = replace(kept, concat=torch.where(rows, cond.concat, null.concat))
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            kept,
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            weight=batch["weight"],
            max_snr_weight=self.run.max_snr_weight,
            start=batch.get("start"),
            perceived=self._perceived(self.frozen, batch),
        )


def sharpened(pictures: Tensor, strength: float) -> Tensor:
    """Pictures [B, 3, H, W] with so much more of what a blur by [1 2 1] takes away."""
    line = pictures.new_tensor([1.0, 2.0, 1.0]) / 4
    kernel = (line[:, None] * line).expand(pictures.shape[1], 1, 3, 3)
    padded = functional.pad(pictures, (1, 1, 1, 1), mode="replicate")
    soft = functional.conv2d(padded, kernel, groups=pictures.shape[1])
    return pictures + strength * (pictures - soft)


def features_of(
    people: People | Features, frozen: Frozen, coarse: CoarsePictures | None = None
) -> Features:
    """Features of people in memory, computed on line, or features as they are."""
    if not isinstance(people, People):
        return people
    # Embeddings of people in memory were computed once, and are rows already.
    return OnlineFeatures(people, frozen.autoencoder, frozen.patch_encoder, coarse=coarse)
