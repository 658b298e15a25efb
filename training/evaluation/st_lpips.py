"""ST-LPIPS: the shift-tolerant learned perceptual distance (Ghildyal and Liu, arXiv 2207.13686).

Weights: the AlexNet variant inside the package stlpips-pytorch 0.0.2 (BSD-2). Not comparable with
LPIPS: name it ST-LPIPS.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from .lpips import WIDTHS, AlexNetMaps

PACKAGE = "stlpips-pytorch"
#: The package's key of each convolution; the numbers are places in its list of layers.
_KEYS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")


def weights_file() -> Path:
    """The weights inside the installed package; nothing of it is imported.

    Raises:
        ImportError: the package is missing.
    """
    spec = importlib.util.find_spec("stlpips_pytorch")
    folders = list(spec.submodule_search_locations or []) if spec is not None else []
    if not folders:
        raise ImportError(
            f"ST-LPIPS needs the weights inside {PACKAGE}. Install it with: "
            f"pip install {PACKAGE}==0.0.2"
        )
    return Path(folders[0]) / "weights" / "vST0.0" / "alex_shift_tolerant.pth"


def _blur_half(x: Tensor) -> Tensor:
    """Anti-aliased halving: [1 2 1] twice, every second pixel, on a border of two by reflection."""
    line = torch.tensor([1.0, 2.0, 1.0], device=x.device, dtype=x.dtype)
    kernel = (line[:, None] * line / 16).expand(x.shape[1], 1, 3, 3)
    padded = functional.pad(x, (2, 2, 2, 2), mode="reflect")
    return functional.conv2d(padded, kernel, stride=2, groups=x.shape[1])


class STLPIPS(AlexNetMaps):
    """The distance of pictures [B, 3, H, W] in [-1, 1], at least 32 pixels on each side."""

    name = "st-lpips-alex"

    def __init__(self) -> None:
        super().__init__(stride=1)

    @classmethod
    def from_package(cls) -> STLPIPS:
        """The published weights.

        Raises:
            ImportError: the package is missing; what to install is said.
        """
        state = torch.load(weights_file(), map_location="cpu", weights_only=True)
        network = cls()
        names = {f"convolutions.{k}": f"net.{key}" for k, key in enumerate(_KEYS)}
        names |= {f"heads.{k}": f"lin{k}.model.1" for k in range(len(WIDTHS))}
        network.load_state_dict(
            {
                name: state[f"{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}"]
                for name in network.state_dict()
            }
        )
        return network.requires_grad_(False).eval()

    def level(self, number: int, x: Tensor) -> Tensor:
        """A blur before every halving, so that a shift of a pixel changes little."""
        if number in (1, 2):
            x = _blur_half(functional.max_pool2d(x, 3, 1))
        x = self.convolutions[number](x)
        return _blur_half(x) if number == 0 else x

    @torch.no_grad()
    def forward(self, pictures: Tensor, truths: Tensor) -> tuple[Tensor, Tensor]:
        """The distances [B], and their maps [B, H, W], layers enlarged bilinearly.

        The distance averages each layer at its own size, as published; the mean of a map differs
        from it a little.
        """
        total = pictures.new_zeros(len(pictures))
        local = pictures.new_zeros(len(pictures), 1, *pictures.shape[-2:])
        for layer in self.layers(pictures, truths):
            total = total + layer.mean((1, 2, 3))
            local = local + functional.interpolate(layer, local.shape[-2:], mode="bilinear")
        return total, local[:, 0]
