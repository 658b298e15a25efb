"""The three stages in a row: one person's picture and poses in, pictures in those poses out.

Data flow: paper figure 2; upstream `stage{1,2,3}_batchtest_*.py`. Every stage can be called alone;
what depends on the source alone is computed once and handed on as `SourceFeatures`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from . import images, inputs, stages
from .checkpoints.components import PathLike, open_components
from .conditioning import Conditioning
from .config import Preset
from .finite import check_finite
from .inputs import (
    Seed,
    SourceFeatures,
    check_draws,
    check_poses,
    draw_rows,
    draw_step_noise,
    note_poses,
)
from .offload import Offload, Progress
from .options import SamplingOptions
from .output import PCDMsOutput
from .placement import Keep, Placement, choose_placement
from .pose.keypoints import Keypoints
from .ranges import check_settings
from .run_stages import Batch, report, run_stages
from .schedules import check_steps, make_scheduler
from .speed import Fast, sampling_options
from .torch_compile import Backend, compiled_denoisers

if TYPE_CHECKING:
    from PIL.Image import Image

    from .encoders import GlobalEncoder, PatchImageEncoder
    from .models import InpaintingModel, PosePrior, RefiningModel
    from .vae import Autoencoder


class PCDMsPipeline:
    """Pose-guided person image synthesis with the models of one preset.

    Key points without a canvas are normalised to the source picture, both the source's and the
    target's; those of another canvas are shown whole in its frame. Sampling is a function of
    (seed, batch index) alone: a pose in a batch equals the same pose alone.
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
        offload: Offload | None = None,
        compile: bool | Backend = False,
    ) -> None:
        """Take loaded components, in the types that they have.

        Args:
            offload: where they compute; None is where the inpainting model lies, with all of them.
            compile: the networks of the loops, see `compiled_denoisers`.

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
        models = {"prior": prior, "inpainting": inpainting, "refining": refining}
        self.compiled = compiled_denoisers(compile, models)
        self.placement: Placement | None = None  # of `from_folder`
        self.offload = offload or Offload(next(inpainting.parameters()).device)

    @classmethod
    def from_folder(
        cls,
        folder: PathLike | None = None,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype | None = None,
        with_refining: bool = True,
        student: PathLike | bool | None = None,
        keep: Keep | Literal["auto"] = "auto",
        tiled: bool = False,
        compile: bool | Backend = False,
        progress: Progress | None = None,
    ) -> PCDMsPipeline:
        """Load a folder of weights, or with None those that ship; see `load_components`.

        Args:
            dtype: of every component: float32, bfloat16 or float16; None chooses, see
                `choose_placement`.
            keep: what stays on the device between uses, see `Keep`; the rest waits in its file.
                "auto" chooses.
            tiled: the autoencoder works on overlapping tiles where a picture is large: less memory,
                and pictures that differ a little.
            compile: the networks of the loops, see `compiled_denoisers`.
            progress: see `Progress`; told of what is no step, then and in every call: loading,
                encoding, decoding.

        Raises:
            CheckpointError: a file is missing or is not what its name says.
        """
        preset, stored = open_components(folder, with_refining=with_refining, student=student)
        counts = {name: part.parameters for name, part in stored.items()}
        placement = choose_placement(counts, device, dtype, keep)
        offload = Offload(placement.device, placement.keep, progress)
        parts = offload.load(stored, placement.dtype)
        parts["autoencoder"].set_tiling(tiled)
        pipeline = cls(preset, **parts, offload=offload, compile=compile)
        pipeline.placement = placement
        return pipeline

    @property
    def device(self) -> torch.device:
        """Where the components compute."""
        return self.offload.device

    @property
    def dtype(self) -> torch.dtype:
        """The floating type of the inpainting model."""
        return next(self.inpainting.parameters()).dtype

    @torch.no_grad()
    def encode_source(self, source: Tensor | Image) -> SourceFeatures:
        """Source pictures [S, 3, H, W] in [-1, 1] of any size -> what the stages see of them.

        Pictures of another size than the preset's are fitted as the preset says. One of
        `load_image` takes less memory and gives the same.
        """
        frame = self.preset.height, self.preset.width, self.preset.fit
        picture = images.as_picture(source) if isinstance(source, Tensor) else source
        fitted, fit = images.fit(picture, *frame)
        fitted = fitted.to(self.device)

        def encode(name: str, encoder: PatchImageEncoder | GlobalEncoder, what: str) -> Tensor:
            with self.offload.using(name, encoder, "encoding"):
                return check_finite(encoder(encoder.pixels(fitted).to(self.dtype)), what)

        embeds = None
        if self.global_encoder is not None and self.prior is not None:
            embeds = encode("global_encoder", self.global_encoder, inputs.SEEN_BY_GLOBAL)
        tokens = encode("patch_encoder", self.patch_encoder, inputs.SEEN_BY_PATCHES)
        with self.offload.using("autoencoder", self.autoencoder, "encoding"):
            canvas = self.autoencoder.encode(images.source_canvas(fitted).to(self.dtype))
        return SourceFeatures(tokens, embeds, check_finite(canvas, "The source's latent"), fit)

    def predict_embedding(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        *,
        steps: int | None = None,
        callback: Progress | None = None,
        **sampling: Any,
    ) -> Tensor | None:
        """Stage 1: the target picture's embedding [B, E] in encoder space, B target poses.

        Takes `seed`, `batch_index` and `guidance_scale` as `stages.predict_embedding` does; `steps`
        None takes the preset's.

        Returns:
            None for a preset without a prior.
        """
        if self.prior is None:
            return None
        embeds = features.expand(len(target_pose)).image_embeds
        if embeds is None:
            raise ValueError("These source features were made without the prior's image encoder.")
        steps = self.preset.steps if steps is None else steps
        check_settings(steps=steps)
        poses = features.fitted(source_pose), features.fitted(target_pose)
        sampling["callback"] = report(callback, "prior", max(steps, 2))  # so many does it take
        sampling["denoiser"] = self.compiled.get("prior")
        with self.offload.using("prior", self.prior):
            return stages.predict_embedding(self.prior, embeds, *poses, steps=steps, **sampling)

    def inpaint(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        target_embeds: Tensor | None,
        **sampling: Any,
    ) -> Tensor:
        """Stage 2, see `inpaint_latents`: coarse pictures [B, 3, H, W] in [-1, 1]."""
        poses = source_pose, target_pose
        latents = self.inpaint_latents(features, *poses, target_embeds, **sampling)
        return self.decode_target(latents, **{k: sampling.get(k) for k in ("options", "fast")})

    @torch.no_grad()
    def inpaint_latents(
        self,
        features: SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        target_embeds: Tensor | None,
        **sampling: Any,
    ) -> Tensor:
        """Stage 2: latents of the canvas source|target [B, C, h, 2w].

        Args:
            target_embeds: [B, E] from `predict_embedding`, or of the true target picture; None for
                a preset without a prior.
            sampling: `seed`, `batch_index` and `callback` as in a call; and `options`, or in their
                place what `speed.sampling_options` takes.
        """
        model, features = self.inpainting, features.expand(len(target_pose))
        tokens, latents = features.patch_tokens, features.canvas_latents
        poses = features.fitted(source_pose), features.fitted(target_pose)
        with self.offload.using("inpainting", model):
            cond = stages.condition_inpainting(model, tokens, latents, *poses, target_embeds)
            return self._sample("inpainting", model, cond, latents, **sampling)

    @torch.no_grad()
    def decode_target(
        self, latents: Tensor, *, options: SamplingOptions | None = None, fast: Fast = None
    ) -> Tensor:
        """Canvas latents [B, C, h, 2w] -> the target's pictures [B, 3, H, W] in [-1, 1]."""
        half = (options or sampling_options(fast)).target_half_decode
        # Else the whole canvas is decoded, because a decoder may look across the seam.
        latents = images.right_half(latents) if half else latents
        with self.offload.using("autoencoder", self.autoencoder, "decoding"):
            pictures = stages.decode(self.autoencoder, latents, "inpainting")
        return pictures if half else images.right_half(pictures)

    @torch.no_grad()
    def refine(
        self,
        features: SourceFeatures,
        coarse: Tensor | None = None,
        *,
        coarse_latents: Tensor | None = None,
        denoise: float | None = None,
        **sampling: Any,
    ) -> Tensor:
        """Stage 3: refined pictures [B, 3, H, W] in [-1, 1] from coarse ones at the preset's size.

        Args:
            coarse: [B, 3, H, W] in [-1, 1].
            coarse_latents: [B, C, h, w] in their place.
            denoise: None takes the preset's. Below 1 the coarse pictures are not drawn anew: noise
                is put over them that only that share of the way takes away.
            sampling: `seed`, `batch_index` and `callback` as in a call; and `options`, or in their
                place what `speed.sampling_options` takes.

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
            with self.offload.using("autoencoder", self.autoencoder, "encoding"):
                coarse_latents = self.autoencoder.encode(pixels)
        denoise = self.preset.refining_denoise if denoise is None else denoise
        loop = {"start": coarse_latents, "denoise": denoise}
        with self.offload.using("refining", model):
            tokens = features.expand(len(coarse_latents)).patch_tokens
            cond = model.condition(tokens, coarse_latents)
            latents = self._sample("refining", model, cond, coarse_latents, loop, **sampling)
        with self.offload.using("autoencoder", self.autoencoder, "decoding"):
            return stages.decode(self.autoencoder, latents, "refining")

    def _sample(
        self,
        stage: str,
        model: InpaintingModel | RefiningModel,
        cond: Conditioning,
        like: Tensor,
        loop: Mapping[str, Any] | None = None,
        *,
        seed: Seed,
        batch_index: Sequence[int] | None = None,
        callback: Progress | None = None,
        options: SamplingOptions | None = None,
        **sampling: Any,
    ) -> Tensor:
        """Latents like `like` [B, C, h, w]."""
        options = options or sampling_options(**sampling)
        loop = {**options.loop(self.preset), **(loop or {})}
        loop |= {"denoiser": self.compiled.get(stage)}
        loop |= {"callback": report(callback, stage, loop["steps"])}
        rows = like.shape[1:], seed, len(like), batch_index
        noise = draw_rows(*rows)[0].to(like)
        if model.config.schedule.ancestral:
            loop["step_noise"] = draw_step_noise(*rows, steps=loop["steps"]).to(like)
        latents = stages.run_latents(model, cond, noise, **loop)
        return check_finite(latents, f"The {stage} stage's latent")

    def __call__(
        self,
        source: Tensor | Image | SourceFeatures,
        source_pose: Keypoints,
        target_pose: Keypoints,
        *,
        seed: Seed,
        steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_rescale: float = 0.0,
        batch_index: Sequence[int] | None = None,
        with_refining: bool = True,
        restore: bool = False,
        callback: Progress | None = None,
        fast: Fast = None,
        chunk: int = 16,
    ) -> PCDMsOutput:
        """B pictures of the source's person, one a target pose.

        Args:
            source: pictures [1 or B, 3, H, W] in [-1, 1] of any size, or one of `load_image`; or
                what `encode_source` made of them (for further poses or seeds of the same person).
            source_pose: 1 or B rows, in the source picture's frame, see above.
            target_pose: B rows, normalised likewise.
            seed: of every stage's own generator; one a row is possible.
            steps: of every stage; None takes the preset's.
            guidance_scale: of stages 2 and 3; None takes the preset's.
            guidance_rescale: As published: 2.0 in stage 3; the default is 0 everywhere.
            batch_index: [B], which of the seed's noises a row takes; None is 0 in every row. Rows
                1, 2, ... give further pictures of one pose.
            with_refining: False stops after stage 2.
            restore: give the pictures back at the source's size instead of the preset's.
            callback: see `Progress`.
            fast: a preset of `pcdm_core.speed` or its name, which changes the pictures and stands
                above `steps` and `guidance_scale`.
            chunk: so many rows go through a stage at once; every stage makes all rows before the
                next one begins. More rows' pictures wait in the host's memory, so that the device
                needs no more for many poses than for one chunk.

        Raises:
            ValueError: an unknown fast preset, a setting outside its range (see `ranges`), more
                steps than a noise table has, a pose without a visible joint inside the picture, or
                batches that differ.
            FloatingPointError: what a stage gives is not finite.
        """
        check_settings(chunk=chunk, steps=steps)
        check_draws(seed, len(target_pose), batch_index)
        options = sampling_options(
            fast, steps=steps, guidance_scale=guidance_scale, guidance_rescale=guidance_rescale
        )
        models = (self.prior, self.inpainting, self.refining if with_refining else None)
        for schedule in (model.config.schedule for model in models if model is not None):
            check_steps(make_scheduler(schedule), options.steps or self.preset.steps)
        check_poses(source_pose, target_pose)
        features = source if isinstance(source, SourceFeatures) else self.encode_source(source)
        draws_hands, pair = self.inpainting.config.draws_hands, (source_pose, target_pose)
        notes = note_poses(self.preset, draws_hands, features.fit, *pair)
        poses = features.fitted(source_pose), features.fitted(target_pose)
        batch = Batch(features, *poses, seed, batch_index)
        run: dict[str, Any] = {"refining": with_refining, "chunk": chunk, "callback": callback}
        output = replace(run_stages(self, batch, options, **run), notes=tuple(notes))
        return output.restored(features.fit, target_pose) if restore else output
