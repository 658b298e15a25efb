"""ComfyUI's tensors and the core's: IMAGE, MASK, LATENT and CONDITIONING."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import comfy.model_management
import torch
from torch import Tensor

from ..pcdm_core.conditioning import Conditioning
from ..pcdm_core.finite import check_finite
from ..pcdm_core.images import right_half


def picture_of(image: Tensor) -> Tensor:
    """IMAGE [B, H, W, 1, 3 or 4] in [0, 1] as pictures [B, 3, H, W] in [-1, 1].

    Greyscale becomes RGB; transparency lies on white, as in the core's reader of files.
    """
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(
            f"An IMAGE is [B, H, W, C] with 1, 3 or 4 channels, got {list(image.shape)}."
        )
    pixels = check_finite(image, "The picture that was connected").float().clamp(0, 1)
    if image.shape[-1] == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + (1 - alpha)
    # In place where it can be: of a large picture every copy counts.
    return (pixels.expand(*pixels.shape[:3], 3).movedim(-1, 1) * 2).sub_(1)


def image_of(picture: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] as IMAGE [B, H, W, 3] in [0, 1]."""
    pixels = picture.movedim(1, -1).clone(memory_format=torch.contiguous_format).float()
    pixels = pixels.add_(1).div_(2).clamp_(0, 1)
    return pixels.to(comfy.model_management.intermediate_device())


def mask_of(mask: Tensor) -> Tensor:
    """[B, 1, H, W] in [0, 1] as MASK [B, H, W]."""
    return mask[:, 0].to(comfy.model_management.intermediate_device())


def target_of(canvas: Tensor) -> Tensor:
    """The right half of a canvas IMAGE [B, H, 2W, C], as a picture [B, 3, H, W] in [-1, 1]."""
    return right_half(picture_of(check_finite(canvas, "The inpainting stage's picture")))


# Names of `Conditioning`'s fields in CONDITIONING, whose first element is the tokens.
_KEYS = {"concat": "noise_concat", "embed": "pooled_output", "pose": "pcdm_pose"}


def conditioning_of(cond: Conditioning) -> list[list[Any]]:
    """CONDITIONING of one entry."""
    cond = cond.to(device=comfy.model_management.intermediate_device())
    values = {key: getattr(cond, name) for name, key in _KEYS.items()}
    return [[cond.tokens, {key: value for key, value in values.items() if value is not None}]]


def fields_of(entry: dict[str, Any]) -> dict[str, Any]:
    """The tensors of an entry by `Conditioning`'s fields, without the tokens; None is missing."""
    return {name: entry.get(key) for name, key in _KEYS.items()}


def latent_of(samples: Tensor, noises: Sequence[int]) -> dict[str, Any]:
    """LATENT whose rows draw the seed's noises of these numbers."""
    samples = samples.to(comfy.model_management.intermediate_device())
    return {"samples": samples, "batch_index": list(noises)}
