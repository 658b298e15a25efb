"""The plain path: the work of the published scripts, with nothing computed once for several uses.

Source: upstream `stage{1,2,3}_batchtest_*.py`, one pair after another. Each stage is a script of
its own there, so each encodes the source picture again; inside the loop every step projects the
context's keys and values, sends the null rows through cross-attention, and makes the sampler's
small tensors. Types are the scripts': encoders, prior and stage 3's UNet in fp32, stage 2's UNet
and the autoencoder in fp16. Attention is fused here, as it is there (by xformers).

What is left out, in this path's favour: a second, larger image encoder in stage 1 whose result
nobody reads (1 % of a picture's operations), and the way over files between the stages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core import images, stages
from pcdm_core.config import Preset
from pcdm_core.inputs import FittedPose, draw_rows, fitted_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.sampling import guide
from pcdm_core.schedules import make_scheduler

from .timing import StageClock

GUIDANCE = 2.0
Components = dict[str, Any]


@dataclass(frozen=True)
class Types:
    """The floating type of each component."""

    prior: torch.dtype
    inpainting: torch.dtype
    refining: torch.dtype
    autoencoder: torch.dtype
    patch_encoder: torch.dtype
    global_encoder: torch.dtype

    @classmethod
    def all_in(cls, dtype: torch.dtype) -> Types:
        """One type for all."""
        return cls(**{field.name: dtype for field in fields(cls)})

    def apply(self, components: Components) -> Components:
        """The components, each moved to its type."""
        return {name: part.to(getattr(self, name)) for name, part in components.items()}


AS_PUBLISHED = Types(
    prior=torch.float32,
    inpainting=torch.float16,
    refining=torch.float32,
    autoencoder=torch.float16,
    patch_encoder=torch.float32,
    global_encoder=torch.float32,
)


@torch.no_grad()
def plain_sample(
    model: Any,
    scheduler: Any,
    noise: Tensor,
    cond: Any,
    uncond: Any = None,
    *,
    steps: int,
    guidance_scale: float = 1.0,
    guidance_rescale: float = 0.0,
    step_noise: Tensor | None = None,
    callback: Callable[[int, Tensor], None] = lambda _, __: None,
) -> Tensor:
    """The loop of the scripts: the whole network and the library's sampler in every step.

    The arguments are those of `pcdm_core.sampling.sample`.
    """
    scheduler.set_timesteps(steps)
    rows, x = cond.expand(len(noise)), noise
    guided = guidance_scale != 1.0
    if uncond is None:
        guided = False
    elif guided:
        rows = uncond.expand(len(noise)).cat(rows)
    for index, t in enumerate(scheduler.timesteps):
        x_in = torch.cat([x, x]) if guided else x
        prediction = model(x_in, t.to(noise.device).expand(len(x_in)), rows)
        if guided:
            prediction = guide(*prediction.chunk(2), guidance_scale, guidance_rescale)
        if hasattr(scheduler, "ancestral_step"):  # the prior's
            drawn = step_noise[index] if step_noise is not None and t > 0 else None
            x = scheduler.ancestral_step(prediction, index, x, drawn)
        else:
            x = scheduler.step(prediction, t, x, return_dict=False)[0]
        callback(index, x)
    return x


class PlainPath:
    """One pair at a time through three scripts in a row."""

    def __init__(self, preset: Preset, components: Components) -> None:
        """Components in the types that they shall have, on one device."""
        self.preset = preset
        self.parts = components
        self.device = next(components["inpainting"].parameters()).device

    @torch.no_grad()
    def __call__(
        self,
        source: Tensor,
        source_pose: Keypoints,
        target_pose: Keypoints,
        *,
        samples: int,
        steps: int,
        seed: int,
        clock: StageClock,
    ) -> Tensor:
        """`samples` pictures [samples, 3, H, W] of one target pose.

        As published: stage 2 makes the samples, one of them is kept, and stage 3 makes as many of
        that one.
        """
        preset = self.preset
        fitted, fit = images.fit(images.as_picture(source), preset.height, preset.width, preset.fit)
        fitted = fitted.to(self.device)
        poses = fitted_pose(source_pose, fit), fitted_pose(target_pose, fit)
        common = {"steps": steps, "seed": seed, "clock": clock}
        embeds = None
        if "prior" in self.parts:
            embeds = self._predict(fitted, *poses, **common)
        coarse = self._inpaint(fitted, *poses, embeds, samples=samples, **common)
        if "refining" not in self.parts:
            return coarse
        kept = images.from_uint8(images.to_uint8(coarse[:1])).to(self.device)
        return self._refine(fitted, kept, samples=samples, **common)

    def _predict(
        self, fitted: Tensor, source_pose: FittedPose, target_pose: FittedPose, **run: Any
    ) -> Tensor:
        prior, clock = self.parts["prior"], run["clock"]
        with clock.of("prior"):
            return stages.predict_embedding(
                prior,
                self._encode("global_encoder", fitted).to(_type_of(prior)),
                source_pose,
                target_pose,
                seed=run["seed"],
                steps=run["steps"],
                callback=_told(clock, "prior", run["steps"]),
            )

    def _inpaint(
        self,
        fitted: Tensor,
        source_pose: FittedPose,
        target_pose: FittedPose,
        embeds: Tensor | None,
        *,
        samples: int,
        **run: Any,
    ) -> Tensor:
        model = self.parts["inpainting"]
        with run["clock"].of("inpainting"):
            dtype = _type_of(model)
            canvas = self._latents(images.source_canvas(fitted), run["seed"]).to(dtype)
            cond = stages.condition_inpainting(
                model,
                self._encode("patch_encoder", fitted).to(dtype),
                canvas,
                source_pose,
                target_pose,
                None if embeds is None else embeds.to(dtype),
            )
            latents = self._loop("inpainting", cond, canvas, 0.0, samples=samples, **run)
            return images.right_half(self._decode(latents))

    def _refine(self, fitted: Tensor, coarse: Tensor, *, samples: int, **run: Any) -> Tensor:
        model = self.parts["refining"]
        with run["clock"].of("refining"):
            dtype = _type_of(model)
            coarse_latents = self._latents(coarse, run["seed"]).to(dtype)
            tokens = self._encode("patch_encoder", fitted).to(dtype)
            cond = model.condition(tokens, coarse_latents)
            # As published: stage 3 rescales by the guidance itself.
            latents = self._loop("refining", cond, coarse_latents, GUIDANCE, samples=samples, **run)
            return self._decode(latents)

    def _loop(
        self, stage: str, cond: Any, like: Tensor, rescale: float, *, samples: int, **run: Any
    ) -> Tensor:
        model = self.parts[stage]
        noise = draw_rows(like.shape[1:], run["seed"], samples, range(samples))[0].to(like)
        return plain_sample(
            model,
            make_scheduler(model.config.schedule),
            noise,
            cond,
            model.unconditional(cond),
            steps=run["steps"],
            guidance_scale=GUIDANCE,
            guidance_rescale=rescale,
            callback=_told(run["clock"], stage, run["steps"]),
        )

    def _encode(self, name: str, fitted: Tensor) -> Tensor:
        encoder = self.parts[name]
        return encoder(encoder.pixels(fitted).to(_type_of(encoder)))

    def _latents(self, pixels: Tensor, seed: int) -> Tensor:
        """As published: a draw from the autoencoder's posterior."""
        autoencoder = self.parts["autoencoder"]
        moments = autoencoder.moments(pixels.to(_type_of(autoencoder)))
        mean = autoencoder.latents(moments)
        noise = draw_rows(mean.shape[1:], seed, len(mean))[0].to(mean)
        return autoencoder.latents(moments, "sample", noise)

    def _decode(self, latents: Tensor) -> Tensor:
        autoencoder = self.parts["autoencoder"]
        return autoencoder.decode(latents.to(_type_of(autoencoder))).float().clamp(-1, 1)


def _type_of(module: nn.Module) -> torch.dtype:
    tensors = (*module.parameters(), *module.buffers())
    return next(tensor.dtype for tensor in tensors if tensor.is_floating_point())


def _told(clock: StageClock, stage: str, steps: int) -> Callable[..., None]:
    return lambda index, _: clock(stage, index + 1, steps)
