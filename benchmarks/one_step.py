"""One step of each stage at its real size: what a CPU can measure of the published models.

Each stage is built alone with random weights and given away again, so that the largest of them
sets the memory. A step is what the loop does between two noise levels without the sampler's sum:
the network on the null and the conditional rows, and guidance. The prior has none, as published.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.sampling import guide

from .inputs import noise_case, random_component
from .measuring import flops, interleaved, peak_bytes, seconds, spread
from .plain import GUIDANCE

TIMESTEP = 500


def draw(*shape: int) -> Tensor:
    """Noise from a fixed seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def condition(preset: Preset, stage: str, model: Any) -> tuple[Any, Tensor]:
    """The conditioning of one pose and x_t, of noise in the shapes that the encoders give."""
    channels, scale = preset.autoencoder.latent_channels, preset.autoencoder.downscale
    height, width = preset.height // scale, preset.width // scale
    patches = (preset.patch_encoder.picture_size // preset.patch_encoder.patch_size) ** 2 + 1
    tokens = draw(1, patches, preset.patch_encoder.hidden_size)
    if stage == "prior":
        case, embeds = noise_case(preset, 1), draw(1, model.config.embedding_dim)
        return model.condition(embeds, case.source_pose, case.targets), embeds
    if stage == "refining":
        latents = draw(1, channels, height, width)
        return model.condition(tokens, latents), latents
    canvas = draw(1, channels, height, 2 * width)
    dim = model.config.embedding_dim
    pose_map = draw(1, 3, preset.height, 2 * preset.width)
    return model.condition(tokens, None if dim is None else draw(1, dim), canvas, pose_map), canvas


def step_of(model: Any, cond: Any, x_t: Tensor, guided: bool, prepared: bool) -> Callable[[], Any]:
    """The step as a function; `prepared` has what does not change between steps ready."""
    joint = model.unconditional(cond).cat(cond) if guided else cond
    network = model.prepare(joint, int(guided)) if prepared else None
    x_in = torch.cat([x_t, x_t]) if guided else x_t
    timesteps = torch.full((len(x_in),), TIMESTEP, dtype=torch.int64, device=x_t.device)

    @torch.no_grad()
    def step() -> Tensor:
        out = model(x_in, timesteps, joint) if network is None else network(x_in, timesteps)
        if not guided:
            return out
        null, conditional = out.chunk(2)
        return guide(null, conditional, GUIDANCE)

    return step


@torch.no_grad()
def measure_stage(preset: Preset, stage: str, rounds: int) -> dict[str, Any]:
    """Both paths' step in turn, in fp32 on the CPU."""
    model = random_component(preset, stage, "cpu")
    cond, x_t = condition(preset, stage, model)
    guided = stage != "prior"
    steps = {
        "plain": step_of(model, cond, x_t, guided, prepared=False),
        "pack": step_of(model, cond, x_t, guided, prepared=True),
    }
    peak = {name: peak_bytes(step, "cpu") for name, step in steps.items()}  # warms up as well
    times = interleaved(steps, rounds, "cpu")
    rows = zip(times["pack"], times["plain"], strict=True)
    joint = model.unconditional(cond).cat(cond) if guided else cond
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return {
        "stage": stage,
        "seconds": {name: spread(values) for name, values in times.items()},
        "seconds_to_prepare": seconds(lambda: model.prepare(joint, int(guided)), "cpu"),
        "ratio": spread([mine / theirs for mine, theirs in rows]),
        "tflop": {name: flops(step) / 1e12 for name, step in steps.items()},
        "peak_bytes": {name: weights + value for name, value in peak.items()},
        "weight_bytes": weights,
    }


def measure_steps(preset: Preset, rounds: int) -> list[dict[str, Any]]:
    """Stage after stage; only one of them is in memory."""
    rows: list[dict[str, Any]] = []
    for stage in ("prior", "inpainting", "refining"):
        if getattr(preset, stage) is not None:
            rows.append(measure_stage(preset, stage, rounds))
            gc.collect()
    return rows
