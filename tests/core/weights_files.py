"""Weights of the test preset in the pack's own and in the published layouts."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pcdm_core.checkpoints import CheckpointError, build
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import AutoencoderConfig, GlobalEncoderConfig
from tests.core.tiny_pipeline import TEST, randomise
from tests.parity.fixtures import drawn_state

SINGLE_STAGE = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")
KL = AutoencoderConfig(
    block_out_channels=(8, 8), downscale=2, layers_per_block=1, norm_num_groups=4
)
CLIP = GlobalEncoderConfig(
    embedding_dim=20, picture_size=28, hidden_size=16, num_layers=1, num_heads=2,
    intermediate_size=32,
)  # fmt: skip

# Component, layout upstream, configuration, and the published top-level modules ("" for none).
UPSTREAM: dict[str, tuple[Component, str, Any, tuple[str, ...]]] = {
    "stage 1": ("prior", "upstream", TEST.prior, ("",)),
    "stage 2": (
        "inpainting",
        "upstream three-stage",
        TEST.inpainting,
        ("unet", "pose_proj", "image_proj_model_p"),
    ),
    "single stage": (
        "inpainting",
        "upstream single-stage",
        SINGLE_STAGE,
        ("unet", "pose_proj", "image_proj_model"),
    ),
    "stage 3": ("refining", "upstream", TEST.refining, ("unet", "image_proj_model_p")),
    "autoencoder": ("autoencoder", "diffusers AutoencoderKL", KL, ("",)),
    "DINOv2": ("patch_encoder", "transformers", TEST.patch_encoder, ("",)),
    "CLIP": ("global_encoder", "transformers CLIP", CLIP, ("",)),
}


def upstream_state(kind: str) -> dict[str, Tensor]:
    """fp16 weights in a published layout."""
    component, layout, config, modules = UPSTREAM[kind]
    blank = build(component, config, "meta")
    return drawn_state(blank, component, layout, dict.fromkeys(modules, 1))


def tiny_component(component: Component) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return randomise(build(component, getattr(TEST, component)), 3)


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def message(action: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        action(*arguments, **options)
    return str(caught.value)
