"""The residual convolutions of a learned autoencoder, beside its linear code.

The last layer of each block and of each path starts at zero: untrained, a path adds nothing.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from .config import AutoencoderConfig


class _Residual(nn.Module):
    """Two convolutions beside the identity, which is all of it until training."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = _silent(nn.Conv2d(width, width, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(functional.silu(self.conv1(functional.silu(x))))


def _silent(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with weights of zero."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


class EncoderPath(nn.Module):
    """Pictures [B, 3, H, W] -> what is added to the code [B, C, H/f, W/f]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, layers = config.block_out_channels, config.layers_per_block
        self.conv_in = nn.Conv2d(12, widths[0], 3, padding=1)
        levels: list[nn.Module] = [nn.Sequential(*(_Residual(widths[0]) for _ in range(layers)))]
        for fine, coarse in pairwise(widths):
            down = nn.PixelUnshuffle(2), nn.Conv2d(4 * fine, coarse, 1)
            levels.append(nn.Sequential(*down, *(_Residual(coarse) for _ in range(layers))))
        self.levels = nn.Sequential(*levels)
        self.conv_out = _silent(nn.Conv2d(widths[-1], config.latent_channels, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.conv_in(functional.pixel_unshuffle(pixels, 2))
        return self.conv_out(functional.silu(self.levels(x)))


class DecoderPath(nn.Module):
    """The code [B, C, H/f, W/f] -> what is added to the pictures [B, 3, H, W]."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths, layers = config.block_out_channels[::-1], config.layers_per_block + 1
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        levels: list[nn.Module] = [nn.Sequential(*(_Residual(widths[0]) for _ in range(layers)))]
        for coarse, fine in pairwise(widths):
            up = nn.Conv2d(coarse, 4 * fine, 1), nn.PixelShuffle(2)
            levels.append(nn.Sequential(*up, *(_Residual(fine) for _ in range(layers))))
        self.levels = nn.Sequential(*levels)
        self.conv_out = _silent(nn.Conv2d(widths[-1], 12, 3, padding=1))

    def forward(self, code: Tensor) -> Tensor:
        x = self.levels(self.conv_in(code))
        return functional.pixel_shuffle(self.conv_out(functional.silu(x)), 2)
