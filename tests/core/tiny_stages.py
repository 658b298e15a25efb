"""Inputs of each stage at the sizes of the test preset."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from tests.core.tiny_pipeline import TEST, poses

# Sizes of the canvas and of one picture, in latents and in pixels.
HEIGHT, WIDTH, FACTOR = 8, 6, TEST.autoencoder.downscale


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def prior_inputs(batch: int) -> dict[str, Any]:
    embeds = draw(batch, TEST.global_encoder.embedding_dim)  # type: ignore[union-attr]
    return {"image_embeds": embeds, "source_pose": poses(batch), "target_pose": poses(batch, 9)}


def inpainting_inputs(batch: int) -> dict[str, Any]:
    config = TEST.inpainting
    return {
        "patch_tokens": draw(batch, 5, config.patch_dim, seed=1),
        "target_embeds": draw(batch, config.embedding_dim or 0, seed=2),
        "source_latents": draw(batch, config.latent_channels, HEIGHT, 2 * WIDTH, seed=3),
        "pose_map": draw(batch, 3, HEIGHT * FACTOR, 2 * WIDTH * FACTOR, seed=4).clamp(-1, 1),
    }


def refining_inputs(batch: int) -> dict[str, Any]:
    config = TEST.refining
    assert config is not None
    return {
        "patch_tokens": draw(batch, 5, config.patch_dim, seed=1),
        "coarse_latents": draw(batch, config.latent_channels, HEIGHT, WIDTH, seed=3),
    }


def x_t(model: nn.Module, batch: int) -> Tensor:
    if isinstance(model, PosePrior):
        return draw(batch, model.config.embedding_dim, seed=5)
    width = 2 * WIDTH if isinstance(model, InpaintingModel) else WIDTH
    config: Any = model.config
    return draw(batch, config.latent_channels, HEIGHT, width, seed=5)


CASES: dict[str, tuple[Callable[[], Any], Callable[[int], dict[str, Any]]]] = {
    "prior": (lambda: PosePrior(TEST.prior), prior_inputs),  # type: ignore[arg-type]
    "inpainting": (lambda: InpaintingModel(TEST.inpainting), inpainting_inputs),
    "refining": (lambda: RefiningModel(TEST.refining), refining_inputs),  # type: ignore[arg-type]
}
