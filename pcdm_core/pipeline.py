"""The three stages in a row: one person's picture and poses in, pictures in those poses out.

Data flow: paper figure 2; upstream `stage{1,2,3}_batchtest_*.py`. Every stage can be called alone;
what depends on the source alone is computed once and handed on as `SourceFeatures`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import images, stages
from .components import PathLike, load_components
from .conditioning import Conditioning
from .config import Preset
from .encoders import GlobalEncoder, PatchImageEncoder
from .fast import FastPreset, find_fast
from .inputs import Seed, SourceFeatures, check_poses, draw_rows
from .models import InpaintingModel, PosePrior, RefiningModel
from .pose.keypoints import Keypoints
from .sampling import sample
from .schedules import make_scheduler
from .vae import Autoencoder

Fast = FastPreset | str | None
Progress = Callable[[str, int, int], None]
"""Called after each step with the stage's name, the steps done and the steps there are."""


@dataclass(frozen=True)
class PCDMsOutput:
    """What `PCDMsPipeline` returns; pictures are float32 [B, 3, H, W] in [-1, 1].

    Attributes:
        image: the result: refined, or the coarse picture where refining was left out.
        coarse: the picture after stage 2; None where its latents were handed to stage 3.
        target_embeds: [B, E] from the prior; None for a preset without one.
        mask: float32 [B, 1, H, W] in [0, 1], the target body's area, for compositing.
        notes: sentences a user should read, such as inputs that were left unused.
    """

    image: Tensor
    coarse: Tensor | None
    target_embeds: Tensor | None
    mask: Tensor
    notes: tuple[str, ...] = ()


class PCDMsPipeline:
    """Pose-guided person image synthesis with the models of one preset.

    Key points are normalised to the source picture, both the source's and the target's. Sampling
    is a function of (seed, batch index) alone: a pose in a batch equals the same pose alone.
    """

    def __init__(
        self,
        preset: Preset,
        *,
        inpainting: InpaintingModel,
        autoencoder: Autoencoder,
        patch_encoder: PatchImageEncoder,
        prior: PosePrior | None = None,
        global_encoder: GlobalEncoder | None = None,
        refining: RefiningModel | None = None,
    ) -> None:
        """Take loaded components; they stay on the device and in the type that they are in.

        Raises:
            ValueError: a prior without its image encoder.
        """
        if prior is not None and global_encoder is None:
            raise ValueError("The prior needs the global image encoder of its preset; give both.")
        self.preset = preset
        self.inpainting = inpainting.eval()
        self.autoencoder = autoencoder.eval()
        self.patch_encoder = patch_encoder.eval()
        self.prior = prior.eval() if prior is not None else None
        self.global_encoder = global_encoder.eval() if global_encoder is not None else None
        self.refining = refining.eval() if refining is not None else None

    @classmethod
    def from_folder(
        cls,
        folder: PathLike | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        with_refining: bool = True,
        student: PathLike | None = None,
    ) -> PCDMsPipeline:
        """Load a folder of weights, or with None those that ship; see `load_components`.

        Raises:
            CheckpointError: a file is missing or is not what its name says.
        """
        preset, components = load_components(
            folder, device=device, dtype=dtype, with_refining=with_refining, student=student
        )
        return cls(preset, **components)

    @property
    def device(self) -> torch.device:
        """Where the inpainting model lies; all components lie there."""
        return next(self.inpainting.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the inpainting model."""
        return next(self.inpainting.parameters()).dtype

    @torch.no_grad()
    def encode_source(self, source: Tensor) -> SourceFeatures:
        """Source pictures [S, 3, H, W] in [-1, 1] of any size -> what the stages see of them.

        Pictures of another size than the preset's are fitted as the preset says.
        """
        preset = self.preset
        fitted, fit = images.fit(
            images.as_picture(source).to(self.device), preset.height, preset.width, preset.fit
        )
        embeds = None
        if self.global_encoder is not None and self.prior is not None:
            embeds = self.global_encoder(self.global_encoder.pixels(fitted).to(self.dtype))
        return SourceFeatures(
            patch_tokens=self.patch_encoder(self.patch_encoder.pixels(fitted).to(self.dtype)),
            image_embeds=embeds,
            canvas_latents=self.autoencoder.encode(images.source_canvas(fitted).to(self.dtype)),
            fit=fit,
        )

    def predict_embedding(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        *,
        seed: Seed,
        steps: int = 20,
        guidance_scale: float = 0.0,
        batch_index: Sequence[int] | None = None,
        callback: Progress | None = None,
        savings: bool = True,
    ) -> Tensor | None:
        """Stage 1: the target picture's embedding [B, E] in encoder space, B target poses.

        Args:
            guidance_scale: As published: 0, which means unguided here, as does 1.

        Returns:
            None for a preset without a prior.
        """
        if self.prior is None:
            return None
        batch = len(target_pose)
        embeds = features.expand(batch).image_embeds
        if embeds is None:
            raise ValueError("These source features were made without the prior's image encoder.")
        steps = max(steps, 2)  # as the stage does, for the callback's count
        return stages.predict_embedding(
            self.prior,
            embeds,
            features.fit.apply(source_pose),
            features.fit.apply(target_pose),
            seed=seed,
            steps=steps,
            guidance_scale=guidance_scale,
            batch_index=batch_index,
            callback=_report(callback, "prior", steps),
            savings=savings,
        )

    def inpaint(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        target_embeds: Tensor | None,
        *,
        fast: Fast = None,
        **sampling: Any,
    ) -> Tensor:
        """Stage 2: coarse pictures [B, 3, H, W] in [-1, 1] at the preset's size.

        Takes what `inpaint_latents` takes.
        """
        latents = self.inpaint_latents(
            features, source_pose, target_pose, target_embeds, fast=fast, **sampling
        )
        return self.decode_target(latents, fast=fast)

    @torch.no_grad()
    def inpaint_latents(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        target_embeds: Tensor | None,
        *,
        seed: Seed,
        steps: int = 20,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        batch_index: Sequence[int] | None = None,
        callback: Progress | None = None,
        savings: bool = True,
        fast: Fast = None,
    ) -> Tensor:
        """Stage 2: latents of the canvas source|target [B, C, h, 2w].

        Args:
            target_embeds: [B, E] from `predict_embedding`, or of the true target picture; None for
                a preset without a prior.
            guidance_scale: None takes the preset's; 1 is unguided.
            fast: see `pcdm_core.fast`.
        """
        preset, model = self.preset, self.inpainting
        batch = len(target_pose)
        features = features.expand(batch)
        cond = stages.condition_inpainting(
            model,
            features.patch_tokens,
            features.canvas_latents,
            features.fit.apply(source_pose),
            features.fit.apply(target_pose),
            target_embeds,
            height=preset.height,
            width=preset.width,
        )
        known = features.canvas_latents
        return self._sample(
            "inpainting",
            model,
            draw_rows(known.shape[1:], seed, batch, batch_index)[0].to(known),
            cond,
            find_fast(fast),
            steps=steps,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            callback=callback,
            savings=savings,
        )

    @torch.no_grad()
    def decode_target(self, latents: Tensor, *, fast: Fast = None) -> Tensor:
        """Canvas latents [B, C, h, 2w] -> the target's pictures [B, 3, H, W] in [-1, 1]."""
        if find_fast(fast).target_half_decode:
            return self.autoencoder.decode(images.right_half(latents)).float().clamp(-1, 1)
        # The whole canvas is decoded, because a decoder may look across the seam.
        return images.right_half(self.autoencoder.decode(latents)).float().clamp(-1, 1)

    def _sample(
        self,
        stage: str,
        model: InpaintingModel | RefiningModel,
        noise: Tensor,
        cond: Conditioning,
        fast: FastPreset,
        *,
        steps: int,
        guidance_scale: float | None,
        callback: Progress | None,
        **options: Any,
    ) -> Tensor:
        """The loop of stages 2 and 3; what the fast preset says stands above the arguments."""
        steps = fast.steps or steps
        given = (fast.guidance_scale, guidance_scale, self.preset.guidance_scale)
        return sample(
            model,
            make_scheduler(model.config.schedule),
            noise,
            cond,
            model.unconditional(cond),
            steps=steps,
            guidance_scale=next(scale for scale in given if scale is not None),
            guidance_interval=fast.guidance_interval,
            callback=_report(callback, stage, steps),
            **options,
        )

    @torch.no_grad()
    def refine(
        self,
        features: SourceFeatures,
        coarse: Tensor | None = None,
        *,
        seed: Seed,
        coarse_latents: Tensor | None = None,
        steps: int = 20,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        batch_index: Sequence[int] | None = None,
        callback: Progress | None = None,
        savings: bool = True,
        fast: Fast = None,
    ) -> Tensor:
        """Stage 3: refined pictures [B, 3, H, W] in [-1, 1] from coarse ones at the preset's size.

        Args:
            coarse: [B, 3, H, W] in [-1, 1].
            coarse_latents: [B, C, h, w] in their place.

        Raises:
            ValueError: the preset has no refining model, or nothing coarse was given.
        """
        model = self.refining
        if model is None:
            raise ValueError(
                f"The {self.preset.name} preset has no refining model; take the coarse picture."
            )
        if coarse_latents is None:
            if coarse is None:
                raise ValueError("Stage 3 needs the coarse pictures, or their latents.")
            # The published scripts round the coarse picture to 8 bits on its way through a file. It
            # stays as it is here: rounding blows 1e-6 of difference between batch sizes to 1/255.
            pixels = coarse.clamp(-1, 1).to(self.device, self.dtype)
            coarse_latents = self.autoencoder.encode(pixels)
        batch = len(coarse_latents)
        cond = model.condition(features.expand(batch).patch_tokens, coarse_latents)
        latents = self._sample(
            "refining",
            model,
            draw_rows(coarse_latents.shape[1:], seed, batch, batch_index)[0].to(coarse_latents),
            cond,
            find_fast(fast),
            steps=steps,
            guidance_scale=guidance_scale,
            guidance_rescale=guidance_rescale,
            callback=callback,
            savings=savings,
        )
        return self.autoencoder.decode(latents).float().clamp(-1, 1)

    def __call__(
        self,
        source: Tensor | SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        *,
        seed: Seed,
        steps: int = 20,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        batch_index: Sequence[int] | None = None,
        with_refining: bool = True,
        restore: bool = False,
        callback: Progress | None = None,
        savings: bool = True,
        fast: Fast = None,
    ) -> PCDMsOutput:
        """B pictures of the source's person, one a target pose.

        Args:
            source: pictures [1 or B, 3, H, W] in [-1, 1] of any size, or what `encode_source` made
                of them (for further poses or seeds of the same person).
            source_pose: 1 or B rows, normalised to the source picture.
            target_pose: B rows, normalised likewise.
            seed: of every stage's own generator; one a row is possible.
            steps: of every stage.
            guidance_scale: of stages 2 and 3; None takes the preset's.
            guidance_rescale: As published: 2.0 in stage 3; the default is 0 everywhere.
            batch_index: [B], which of the seed's noises a row takes; None is 0 in every row. Rows
                1, 2, ... give further pictures of one pose.
            with_refining: False stops after stage 2.
            restore: give the pictures back at the source's size instead of the preset's.
            callback: see `Progress`.
            savings: compute what does not change from step to step once; the pictures are the same
                but for rounding. False computes everything in every step.
            fast: a preset of `pcdm_core.fast` or its name, which changes the pictures and stands
                above `steps` and `guidance_scale`.

        Raises:
            ValueError: an unknown fast preset, a pose without a visible joint inside the picture,
                or batches that differ.
        """
        notes: list[str] = []
        preset = find_fast(fast)
        check_poses(source_pose, target_pose)
        if not self.inpainting.config.draws_hands and (
            source_pose.has_hands or target_pose.has_hands
        ):
            notes.append(
                f"The {self.preset.name} preset does not draw hands: hand key points were left out."
            )
        features = self.encode_source(source) if isinstance(source, Tensor) else source
        common: dict[str, Any] = {
            "seed": seed,
            "steps": preset.steps or steps,
            "batch_index": batch_index,
            "callback": callback,
            "savings": savings,
        }
        embeds = self.predict_embedding(features, source_pose, target_pose, **common)
        common |= {"guidance_scale": guidance_scale, "guidance_rescale": guidance_rescale}
        common |= {"fast": preset}
        latents = self.inpaint_latents(features, source_pose, target_pose, embeds, **common)
        refines = with_refining and self.refining is not None
        coarse = handed = None
        if refines and preset.hand_over_latents:
            handed = images.right_half(latents)
        else:
            coarse = self.decode_target(latents, fast=preset)
        image = coarse
        if refines:
            image = self.refine(features, coarse, coarse_latents=handed, **common)
        assert image is not None
        height, width = self.preset.height, self.preset.width
        masked = features.fit.apply(target_pose)
        if restore:
            height, width = features.fit.source_height, features.fit.source_width
            masked = target_pose
            image = features.fit.undo(image)
            coarse = None if coarse is None else features.fit.undo(coarse)
        mask = images.body_mask(masked, height, width).to(image.device)
        return PCDMsOutput(image, coarse, embeds, mask, tuple(notes))


def _report(callback: Progress | None, stage: str, steps: int) -> Callable[..., None] | None:
    if callback is None:
        return None
    return lambda index, _: callback(stage, index + 1, steps)
