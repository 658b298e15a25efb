"""Where a model starts: fresh, from another stage's weights, or from published base models.

As published: stages 2 and 3 start from Stable Diffusion 2.1's UNet, whose first convolution is
given up because it has other input channels; stage 1 from the prior of Kandinsky 2.2, of which all
tensors fit but those that belong to its text tokens and its larger embeddings.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from pcdm_core.config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    Preset,
    UNetConfig,
    config_from_dict,
    config_to_dict,
)
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel

from ..config import TrainConfig

BASE_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
# What the published start gives up, by the beginning of its name; `pose` and `image_projection`
# are no part of the base models at all.
FRESH_PARTS = ("pose_encoder.", "image_projection.", "source_pose", "target_pose")
FRESH_UNET = ("unet.conv_in.", "unet.class_embedding.")
# The last layer of a UNet's attention block, which is added to the block's input.
ATTENTION_OUTPUT = re.compile(r"^unet\..*\.attentions\.\d+\.proj_out\.")
FRESH_PRIOR = tuple(
    f"transformer.{name}"
    for name in ("positional_embedding", "proj_in.", "embedding_proj.", "proj_to_clip_embeddings.")
)


@torch.no_grad()
def warm_start(model: nn.Module, state: dict[str, Tensor], shared_channels: int = 0) -> list[str]:
    """Copy every tensor whose name and shape match; returns the names that were left alone.

    `conv_in` differs between stages in its input channels; its first `shared_channels` (the noisy
    latents) are copied, the rest keeps its fresh initialisation. Attention that the start does not
    have begins as nothing, so that the model answers as the start did.
    """
    fresh: list[str] = []
    for name, tensor in model.state_dict().items():
        start = state.get(name)
        if start is not None and start.shape == tensor.shape:
            tensor.copy_(start)
        elif start is not None and name.endswith("unet.conv_in.weight") and shared_channels:
            tensor[:, :shared_channels] = start[:, :shared_channels]
        else:
            fresh.append(name)
            if start is None and ATTENTION_OUTPUT.search(name):
                tensor.zero_()
    return fresh


def build_denoiser(preset: Preset, stage: str) -> nn.Module:
    """A fresh model of a stage that the preset has."""
    if stage == "prior" and preset.prior is not None:
        return PosePrior(preset.prior)
    if stage == "inpainting":
        return InpaintingModel(preset.inpainting)
    if stage == "refining" and preset.refining is not None:
        return RefiningModel(preset.refining)
    raise ValueError(f"The preset {preset.name!r} has no stage {stage!r}.")


@dataclass(frozen=True)
class Start:
    """How many tensors came from a base model, and which keep their fresh values."""

    copied: int
    fresh: tuple[str, ...]


def start_from_base(model: nn.Module, folder: Path) -> Start:
    """Start a stage from a diffusers folder: SD-2.1's `unet/`, or Kandinsky-2.2's `prior/`.

    Args:
        folder: with `diffusion_pytorch_model.safetensors`, or its parent.

    Raises:
        FileNotFoundError: no such file; safetensors are read, pickles are not.
        ValueError: the weights are of another network; the tensors that do not fit are named.
    """
    is_prior = isinstance(model, PosePrior)
    path = find_base(folder, "prior" if is_prior else "unet")
    try:
        base = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: damaged or incomplete ({error}). Download the file again."
        ) from error
    prefix = "transformer." if is_prior else "unet."
    ours = {prefix + name: tensor for name, tensor in base.items()}
    expected = FRESH_PARTS + (FRESH_PRIOR if is_prior else FRESH_UNET)
    # As published: the first convolution starts afresh even where some of its channels would fit.
    ours = {name: tensor for name, tensor in ours.items() if not name.startswith(expected)}
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    unfit = [
        name
        for name, shape in shapes.items()
        if not name.startswith(expected) and (name not in ours or tuple(ours[name].shape) != shape)
    ]
    if unfit:
        what = "Kandinsky 2.2's prior" if is_prior else "Stable Diffusion 2.1's UNet"
        raise ValueError(
            f"{path}: {len(unfit)} of {len(shapes)} tensors do not fit this model, for instance "
            f"{', '.join(unfit[:3])}. Give the folder of {what}, or start without it."
        )
    fresh = warm_start(model, ours)
    return Start(len(shapes) - len(fresh), tuple(fresh))


def find_base(folder: Path, part: str) -> Path:
    """The weights file of a diffusers folder or of its sub-folder `part`."""
    places = [base / name for base in (folder, folder / part) for name in BASE_FILES]
    for path in places:
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{folder}: no {BASE_FILES[0]} in it or in its folder {part}/. Download the {part} folder "
        f"of the base model in the diffusers layout, as safetensors."
    )


def with_autoencoder(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """The preset with other values of its autoencoder, and stages that fit its latents.

    The pose encoder gets levels, or loses some, until poses have the size of latents.

    Raises:
        ValueError: an unknown field, or a value that it cannot have.
    """
    stated = {**config_to_dict(preset.autoencoder), **values}
    autoencoder = config_from_dict(AutoencoderConfig, stated)
    levels = autoencoder.downscale.bit_length()
    pose = preset.inpainting.pose_channels[:levels]
    pose += tuple(pose[-1] * 2 ** (n + 1) for n in range(levels - len(pose)))
    channels = autoencoder.latent_channels
    inpainting = replace(preset.inpainting, latent_channels=channels, pose_channels=pose)
    refining = preset.refining and replace(preset.refining, latent_channels=channels)
    return replace(preset, autoencoder=autoencoder, inpainting=inpainting, refining=refining)


def with_global_encoder(preset: Preset, values: Mapping[str, Any]) -> Preset:
    """The preset with other values of its global encoder, and stages that fit its embeddings.

    Stage 2's context is as wide as an embedding, which is a token of it.

    Raises:
        ValueError: an unknown field, a value that it cannot have, or a preset without stage 1.
    """
    if preset.global_encoder is None or preset.prior is None:
        raise ValueError(f"The preset {preset.name!r} has no global encoder.")
    stated = {**config_to_dict(preset.global_encoder), **values}
    encoder = config_from_dict(GlobalEncoderConfig, stated)
    width = encoder.embedding_dim
    unet = replace(preset.inpainting.unet, cross_attention_dim=width)
    return replace(
        preset,
        global_encoder=encoder,
        prior=replace(preset.prior, embedding_dim=width),
        inpainting=replace(preset.inpainting, unet=unet, embedding_dim=width),
    )


def sized_preset(preset: Preset, config: TrainConfig) -> Preset:
    """The preset with the size, fit, skeletons and predictions that a configuration asks for.

    Raises:
        ValueError: a size that the autoencoder cannot take, or another setting out of its range.
    """
    height, width = config.height or preset.height, config.width or preset.width
    if config.autoencoder:
        preset = with_autoencoder(preset, config.autoencoder)
    if config.global_encoder:
        preset = with_global_encoder(preset, config.global_encoder)
    if (side := config.patch_picture_size) is not None:
        patch = preset.patch_encoder.patch_size
        if side < patch or side % patch:
            raise ValueError(
                f"patch_picture_size is a multiple of {patch}, the side of the encoder's patches; "
                f"got {side}."
            )
        encoder = replace(preset.patch_encoder, picture_size=side, table_size=side)
        preset = replace(preset, patch_encoder=encoder)
    step = preset.autoencoder.downscale
    if height % step or width % step:
        raise ValueError(
            f"Pictures of {height}x{width}: both sides must be multiples of {step}, the "
            f"autoencoder's step."
        )
    fit = preset.fit if config.fit is None else config.fit
    if fit not in ("squash", "pad"):
        raise ValueError(f"fit is squash or pad, got {config.fit!r}.")
    preset = replace(preset, height=height, width=width, fit=fit)
    inpainting = preset.inpainting
    if config.unet:
        stated = {**config_to_dict(inpainting.unet), **config.unet}
        inpainting = replace(inpainting, unet=config_from_dict(UNetConfig, stated))
    if config.skeleton_reduction is not None:
        inpainting = replace(inpainting, skeleton_reduction=config.skeleton_reduction)
    preset = replace(preset, inpainting=inpainting)
    changed = {
        name: replace(part, schedule=replace(part.schedule, prediction_type=kind))
        for name in ("prior", "inpainting", "refining")
        if (kind := config.stage(name).prediction_type) is not None
        and (part := getattr(preset, name)) is not None
    }
    for name, part in changed.items():
        if part.schedule.sampler == "unclip" and part.schedule.prediction_type != "sample":
            raise ValueError(f"stages.{name}: its sampler takes predictions of the sample alone.")
    return replace(preset, **changed)


def enable_checkpointing(model: nn.Module) -> None:
    """Recompute activations in the backward pass: less memory, about a third more time."""
    if isinstance(model, PosePrior):
        # The library's prior has no switch for it.
        for block in model.transformer.transformer_blocks:
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)
    elif isinstance(model, (InpaintingModel, RefiningModel)):
        model.unet.enable_gradient_checkpointing()
    else:
        raise TypeError(f"{type(model).__name__} has no gradient checkpointing.")
