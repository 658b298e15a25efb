"""What the stages are given and how the prior runs: the steps that every host shares.

`pipeline.py` strings them together with its own sampling loop; a host with samplers of its own
calls them one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .conditioning import Conditioning, PriorConditioning
from .finite import check_finite
from .inputs import FittedPose, Seed, draw_rows
from .pose.render import pose_canvas, render_pose
from .ranges import check_settings
from .sampling import Denoiser, sample
from .schedules import check_steps, make_scheduler
from .torch_compile import CompiledDenoiser

if TYPE_CHECKING:
    from .models import InpaintingModel, PosePrior, RefiningModel
    from .vae import Autoencoder


def decode(autoencoder: Autoencoder, latents: Tensor, stage: str) -> Tensor:
    """A stage's latents -> its pictures, float32 [B, 3, H, W] in [-1, 1].

    Raises:
        FloatingPointError: they are not finite.
    """
    # Before values are cut off: infinity would become black or white.
    pictures = check_finite(autoencoder.decode(latents), f"The {stage} stage's picture")
    return pictures.float().clamp(-1, 1)


def predict_embedding(
    prior: PosePrior,
    image_embeds: Tensor,
    source_pose: FittedPose,
    target_pose: FittedPose,
    *,
    seed: Seed,
    steps: int = 20,
    guidance_scale: float = 0.0,
    batch_index: Sequence[int] | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
    denoiser: CompiledDenoiser | None = None,
) -> Tensor:
    """Stage 1: the target picture's embedding [B, E] in encoder space, B target poses.

    Args:
        image_embeds: [B, E] of the source picture.
        source_pose: 1 or B rows.
        guidance_scale: As published: 0, which means unguided here, as does 1.
        callback: called after each step with its index and the sample.
        denoiser: what the loop calls in place of the prior itself.

    Raises:
        ValueError: a setting that is no number of its range (see `ranges`), or more steps than the
            noise table has.
        FloatingPointError: the result is not finite.
    """
    check_settings(steps=steps, guidance_scale=guidance_scale)
    check_steps(make_scheduler(prior.config.schedule), steps)
    batch = len(target_pose)
    cond = prior.condition(image_embeds, source_pose.expand(batch), target_pose)
    steps = max(steps, 2)  # the first and the last timestep; the sampler cannot do with one
    guided = guidance_scale not in (0.0, 1.0)
    shape = image_embeds.shape[1:]
    embeds = run_prior(
        prior,
        cond,
        draw_rows(shape, seed, batch, batch_index, draws=steps).to(image_embeds),
        uncond=prior.unconditional(cond) if guided else None,
        guidance_scale=guidance_scale if guided else 1.0,
        callback=callback,
        denoiser=denoiser,
    )
    return check_finite(embeds, "The prior stage's embedding")


def run_prior(
    prior: PosePrior,
    cond: PriorConditioning,
    noise: Tensor,
    *,
    uncond: PriorConditioning | None = None,
    guidance_scale: float = 1.0,
    callback: Callable[[int, Tensor], None] | None = None,
    denoiser: CompiledDenoiser | None = None,
) -> Tensor:
    """The prior's loop; embeddings [B, E] in encoder space.

    Args:
        noise: [steps, B, E], standard normal; it is multiplied by the prior's temperature here.
    """
    noise = noise * prior.config.temperature
    x = sample(
        prior if denoiser is None else denoiser,
        make_scheduler(prior.config.schedule),
        noise[0],
        cond,
        uncond,
        steps=len(noise),
        guidance_scale=guidance_scale,
        step_noise=noise[1:],
        callback=callback,
    )
    return prior.denormalise(x)


def run_latents(
    model: InpaintingModel | RefiningModel,
    cond: Conditioning,
    noise: Tensor,
    *,
    denoiser: Denoiser[Conditioning] | None = None,
    **loop: Any,
) -> Tensor:
    """The loop of stages 2 and 3; latents like `noise` [B, C, h, w].

    Args:
        denoiser: what the loop calls in place of the model itself.
        loop: further arguments of `sample`.
    """
    scheduler = make_scheduler(model.config.schedule)
    denoiser = model if denoiser is None else denoiser
    return sample(denoiser, scheduler, noise, cond, model.unconditional(cond), **loop)


def condition_inpainting(
    model: InpaintingModel,
    patch_tokens: Tensor,
    canvas_latents: Tensor,
    source_pose: FittedPose,
    target_pose: FittedPose,
    target_embeds: Tensor | None,
) -> Conditioning:
    """Stage 2: draw both skeletons in their frame and assemble what the UNet sees.

    Args:
        patch_tokens: [1 or B, L, P] of the source.
        canvas_latents: [1 or B, C, h, 2w] of source|black.
        source_pose: 1 or B rows.
        target_embeds: [B, E], or None for a preset without a prior.
    """
    config = model.config
    maps = [
        render_pose(pose, *pose.frame, config.draws_hands, config.skeleton_reduction)
        for pose in (source_pose, target_pose)
    ]
    pose_map = pose_canvas(*maps).to(patch_tokens)
    return model.condition(patch_tokens, target_embeds, canvas_latents, pose_map)
