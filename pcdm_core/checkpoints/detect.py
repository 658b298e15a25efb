"""Which component in which layout a dictionary of tensors is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ..config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    InpaintingConfig,
    PatchEncoderConfig,
    PriorConfig,
    RefiningConfig,
)
from .files import CheckpointError
from .signatures import SIGNATURES, Facts, Signature

# Files that people mix up with ours: the start of some key, and what such a file is.
FOREIGN: tuple[tuple[str, str], ...] = (
    ("model.diffusion_model.", "a Stable Diffusion checkpoint in its original layout"),
    ("lora_", "a LoRA"),
    ("control_model.", "a ControlNet"),
    ("down_blocks.", "a diffusers UNet or ControlNet alone"),
    ("text_model.", "a text encoder"),
    ("first_stage_model.", "an autoencoder in its original layout"),
)


def detect(state_dict: Mapping[str, Tensor], name: str = "This state dict") -> Signature:
    """Which component in which layout these tensors are.

    Args:
        name: the file, for the error.

    Raises:
        CheckpointError: none that is known; the nearest one and what it lacks are named.
    """
    return recognise(state_dict, name)[0]


def recognise(state_dict: Mapping[str, Tensor], name: str) -> tuple[Signature, Facts]:
    """As `detect`, with the facts that the shapes tell."""
    shapes = {key: tuple(tensor.shape) for key, tensor in state_dict.items()}
    near: list[tuple[int, Signature, str]] = []
    for signature in SIGNATURES:
        facts = signature.match(shapes)
        if not isinstance(facts, str):
            return signature, facts
        near.append((sum(key in shapes for key in signature.shapes), signature, facts))
    matches, nearest, why = max(near, key=lambda entry: entry[0])
    foreign = next(
        (what for start, what in FOREIGN if any(key.startswith(start) for key in shapes)), None
    )
    if foreign is not None:
        looks = f"It looks like {foreign}."
    elif matches:
        looks = f"Nearest is {nearest.title}, but {why}."
    else:
        looks = "Its keys are those of another model."
    raise CheckpointError(
        f"{name} holds {len(shapes)} tensors of no known layout ({some(sorted(shapes))}). {looks} "
        f"Choose a PCDMs file: a prior, inpainting or refining model, or an encoder or autoencoder."
    )


def some(names: list[str], count: int = 5) -> str:
    """The first few of many names, and how many more there are."""
    rest = len(names) - count
    return ", ".join(names[:count]) + (f", and {rest} more" if rest > 0 else "")


def _unet_facts(config: InpaintingConfig | RefiningConfig) -> Facts:
    unet = config.unet
    return {
        "width": unet.block_out_channels[0],
        "in": config.in_channels,
        "latent": config.latent_channels,
        "context": unet.cross_attention_dim,
        "patch": config.patch_dim,
        "patch_hidden": config.patch_hidden_dim,
    }


def facts_of(config: Any) -> Facts:
    """What `Signature.bind` finds in a file of this configuration."""
    if isinstance(config, PriorConfig):
        return {
            "width": config.num_heads * config.head_dim,
            "embedding": config.embedding_dim,
            "pose": config.pose_dim,
            "pose_hidden": config.pose_hidden_dim,
        }
    if isinstance(config, InpaintingConfig):
        facts = _unet_facts(config) | {"pose": config.pose_channels[0]}
        if config.embedding_dim is None:
            return facts
        time = 4 * config.unet.block_out_channels[0]
        return facts | {"embedding": config.embedding_dim, "time": time}
    if isinstance(config, RefiningConfig):
        return _unet_facts(config)
    if isinstance(config, AutoencoderConfig):
        facts = {"kind": config.kind, "latent": config.latent_channels}
        if config.kind != "kl":
            facts |= {"downscale": config.downscale}
        if config.kind == "patch":
            return facts
        widths = config.block_out_channels
        return facts | {"width": widths[0], "top": widths[-1]}
    if isinstance(config, PatchEncoderConfig):
        side = config.table_size // config.patch_size
        return {
            "hidden": config.hidden_size,
            "positions": 1 + side**2,
            "patch": config.patch_size,
        }
    if isinstance(config, GlobalEncoderConfig):
        facts = {"kind": config.kind, "embedding": config.embedding_dim}
        if config.kind == "linear":
            return facts | {"inputs": 3 * config.picture_size**2}
        positions = 1 + (config.picture_size // config.patch_size) ** 2
        return facts | {
            "positions": positions,
            "hidden": config.hidden_size,
            "patch": config.patch_size,
        }
    raise TypeError(f"{type(config).__name__} is not the configuration of a component.")
