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

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core import images, stages
from pcdm_core.config import Preset
from pcdm_core.inputs import draw_rows, draw_step_noise, fitted_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.run_stages import Progress, report
from pcdm_core.sampling import guide
from pcdm_core.schedules import make_scheduler

GUIDANCE = 2.0
AS_PUBLISHED: Mapping[str, torch.dtype] = {
    "prior": torch.float32,
    "inpainting": torch.float16,
    "refining": torch.float32,
    "autoencoder": torch.float16,
    "patch_encoder": torch.float32,
    "global_encoder": torch.float32,
}
"""The floating type of each component in the scripts, which run on GPUs."""


@torch.no_grad()
def plain_sample(
    model: Any,
    scheduler: Any,
    noise: Tensor,
    cond: Any,
    uncond: Any | None = None,
    *,
    steps: int,
    guidance_scale: float = 1.0,
    guidance_rescale: float = 0.0,
    step_noise: Tensor | None = None,
    callback: Callable[[int, Tensor], None] | None = None,
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
        if hasattr(scheduler, "ancestral_step"):
            last = index == steps - 1
            if step_noise is None and not last:
                raise ValueError("An ancestral sampler needs step_noise [steps - 1, B, ...].")
            extra = None if last or step_noise is None else step_noise[index]
            x = scheduler.ancestral_step(prediction, index, x, extra)
        else:
            x = scheduler.step(prediction, t, x, return_dict=False)[0]
        if callback is not None:
            callback(index, x)
    return x


class PlainPath:
    """One pair at a time through three scripts in a row."""

    def __init__(self, preset: Preset, components: Mapping[str, Any]) -> None:
        """Components in the types that they shall have, on one device."""
        self.preset = preset
        self.parts = components

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
        callback: Progress,
    ) -> Tensor:
        """`samples` pictures [samples, 3, H, W] of one target pose.

        As published: stage 2 makes the samples, one of them is kept, and stage 3 makes as many of
        that one.
        """
        preset, parts = self.preset, self.parts
        device = next(parts["inpainting"].parameters()).device
        fitted, fit = images.fit(images.as_picture(source), preset.height, preset.width, preset.fit)
        fitted = fitted.to(device)
        poses = fitted_pose(source_pose, fit), fitted_pose(target_pose, fit)
        embeds = None
        if (prior := parts.get("prior")) is not None:
            embeds = stages.predict_embedding(
                prior,
                self._encode("global_encoder", fitted).to(_type_of(prior)),
                *poses,
                seed=seed,
                steps=steps,
                callback=report(callback, "prior", steps),
            )
        model = parts["inpainting"]
        dtype = _type_of(model)
        canvas = self._latents(images.source_canvas(fitted), seed).to(dtype)
        cond = stages.condition_inpainting(
            model,
            self._encode("patch_encoder", fitted).to(dtype),
            canvas,
            *poses,
            None if embeds is None else embeds.to(dtype),
        )
        run: dict[str, Any] = {"samples": samples, "steps": steps, "seed": seed}
        run["callback"] = callback
        coarse = images.right_half(self._draw("inpainting", cond, canvas, 0.0, **run))
        if (model := parts.get("refining")) is None:
            return coarse
        dtype = _type_of(model)
        pixels = images.from_uint8(images.to_uint8(coarse[:1])).to(device)
        latents = self._latents(pixels, seed).to(dtype)
        cond = model.condition(self._encode("patch_encoder", fitted).to(dtype), latents)
        # As published: stage 3 rescales by the guidance itself.
        return self._draw("refining", cond, latents, GUIDANCE, **run)

    def _draw(
        self,
        stage: str,
        cond: Any,
        like: Tensor,
        rescale: float,
        *,
        samples: int,
        steps: int,
        seed: int,
        callback: Progress,
    ) -> Tensor:
        """The loop of stage 2 or 3, and its decoded pictures."""
        model, autoencoder = self.parts[stage], self.parts["autoencoder"]
        rows, step_noise = (like.shape[1:], seed, samples, range(samples)), None
        if model.config.schedule.ancestral:
            step_noise = draw_step_noise(*rows, steps=steps).to(like)
        latents = plain_sample(
            model,
            make_scheduler(model.config.schedule),
            draw_rows(*rows)[0].to(like),
            cond,
            model.unconditional(cond),
            step_noise=step_noise,
            steps=steps,
            guidance_scale=GUIDANCE,
            guidance_rescale=rescale,
            callback=report(callback, stage, steps),
        )
        return autoencoder.decode(latents.to(_type_of(autoencoder))).float().clamp(-1, 1)

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


def _type_of(module: nn.Module) -> torch.dtype:
    tensors = (*module.parameters(), *module.buffers())
    return next(tensor.dtype for tensor in tensors if tensor.is_floating_point())
