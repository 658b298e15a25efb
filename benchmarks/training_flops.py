"""What a training step costs by counted operations, at sizes that need no such machine.

    python -m benchmarks.training_flops [--preset published] [--size 512x352] [--batch 1]

Counts one step of each stage with the encoders on line (what the published scripts do per step) and
on cached features, with tensors that have shapes and no values. The ratio is the limit that a
cached step can reach where both are bound by arithmetic; copying, drawing skeletons and the
optimiser are no part of it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import replace

import torch

from pcdm_core.conditioning import PriorConditioning
from pcdm_core.config import Preset
from pcdm_core.encoders import PatchImageEncoder, build_global_encoder
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT
from pcdm_core.vae import build_autoencoder

from .timing import flops

META = torch.device("meta")


def counted(step: Callable[[], object]) -> float:
    """Floating-point operations of a call, in TF."""
    return flops(step) / 1e12


def encoder_costs(preset: Preset, batch: int) -> dict[str, float]:
    """Of one call of each encoder on a batch, without gradient."""
    assert preset.global_encoder is not None
    with META:
        whole = build_global_encoder(preset.global_encoder)
        patch = PatchImageEncoder(preset.patch_encoder)
        autoencoder = build_autoencoder(preset.autoencoder)
    side, small = preset.patch_encoder.picture_size, preset.global_encoder.picture_size
    height, width = preset.height, preset.width

    def pixels(rows: int, columns: int) -> torch.Tensor:
        return torch.empty(batch, 3, rows, columns, device=META)

    with torch.no_grad():
        return {
            "global": counted(lambda: whole.to(META)(pixels(small, small))),
            "patch": counted(lambda: patch.to(META)(pixels(side, side))),
            "canvas": counted(lambda: autoencoder.moments(pixels(height, 2 * width))),
            "picture": counted(lambda: autoencoder.moments(pixels(height, width))),
        }


def step_costs(preset: Preset, batch: int) -> dict[str, float]:
    """Of forward and backward of each stage's trained part."""

    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(batch, *shape, device=META)

    def learn(step: Callable[[], torch.Tensor]) -> float:
        return counted(lambda: step().sum().backward())

    channels, scale = preset.autoencoder.latent_channels, preset.autoencoder.downscale
    height, width = preset.height // scale, preset.width // scale
    patches = (preset.patch_encoder.picture_size // preset.patch_encoder.patch_size) ** 2 + 1
    tokens = empty(patches, preset.patch_encoder.hidden_size)
    times = torch.zeros(batch, dtype=torch.int64, device=META)
    costs: dict[str, float] = {}
    with META:
        inpainting = InpaintingModel(preset.inpainting)
        prior = None if preset.prior is None else PosePrior(preset.prior)
        refining = None if preset.refining is None else RefiningModel(preset.refining)
    if prior is not None:
        wide = prior.config.embedding_dim
        cond = PriorConditioning(empty(wide), empty(1, 36), empty(1, 36))
        costs["prior"] = learn(lambda: prior(empty(wide), times, cond))
    embeds = None if preset.inpainting.embedding_dim is None else preset.inpainting.embedding_dim

    def inpaint() -> torch.Tensor:
        canvas = empty(channels, height, 2 * width)
        target = None if embeds is None else empty(embeds)
        pose = empty(3, preset.height, 2 * preset.width)
        return inpainting(canvas, times, inpainting.condition(tokens, target, canvas, pose))

    costs["inpainting"] = learn(inpaint)
    if refining is not None:
        latents = empty(channels, height, width)
        costs["refining"] = learn(
            lambda: refining(latents, times, refining.condition(tokens, latents))
        )
    return costs


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line a stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="published")
    parser.add_argument("--size", default="512x352", help="height x width")
    parser.add_argument("--batch", type=COUNT.parse, default=1)
    options = parser.parse_args(arguments)
    height, width = map(int, options.size.split("x"))
    preset = replace(find_preset(options.preset), height=height, width=width)
    encode, learn = encoder_costs(preset, options.batch), step_costs(preset, options.batch)
    online = {
        "prior": 2 * encode["global"],  # source and target
        "inpainting": encode["global"] + encode["patch"] + 2 * encode["canvas"],
        "refining": encode["patch"] + 2 * encode["picture"],
    }
    for stage, cached in learn.items():
        row = {
            "stage": stage,
            "preset": preset.name,
            "size": options.size,
            "batch": options.batch,
            "tflop_online": round(online[stage] + cached, 4),
            "tflop_cached": round(cached, 4),
            "limit": round((online[stage] + cached) / cached, 3),
        }
        sys.stdout.write(json.dumps(row) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
