"""What the image encoders see, here and in any host: their pixels, and DINOv2's positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .images import encoder_pixels, resize


def square_pixels(picture: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] in [-1, 1] -> [B, 3, size, size], squashed and normalised for an encoder.

    As published: bicubic in 8 bits, and CLIP's mean and deviation for DINOv2 too.
    """
    return encoder_pixels(resize(picture, size, size), size)


def check_pixels(pixels: Tensor, size: int) -> None:
    """Refuse pixels of another size than the encoder's."""
    if pixels.ndim != 4 or pixels.shape[1:] != (3, size, size):
        raise ValueError(
            f"Expected normalised pixels [B, 3, {size}, {size}], got {list(pixels.shape)}. "
            f"Make them from a picture with the encoder's `pixels`."
        )


def resample_positions(table: Tensor, rows: int, columns: int) -> Tensor:
    """DINOv2's position table [1, 1 + n n, P] -> [1, 1 + rows columns, P], CLS first.

    As published: transformers 4.32 resamples by the factor (n + 0.1) / table instead of to the
    size n, which moves every sample a little; later versions changed it.
    """
    side = math.isqrt(table.shape[1] - 1)
    if (rows, columns) == (side, side):
        return table
    grid = table[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)  # [1, P, side, side]
    resampled = nn.functional.interpolate(
        grid.float(),  # bicubic in half precision shifts the embeddings
        scale_factor=((rows + 0.1) / side, (columns + 0.1) / side),
        mode="bicubic",
        align_corners=False,
    ).to(grid.dtype)
    return torch.cat([table[:, :1], resampled.flatten(2).transpose(1, 2)], dim=1)
