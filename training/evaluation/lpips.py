"""LPIPS v0.1 with AlexNet, and ST-LPIPS, the shift-tolerant distance; their figures do not compare.

Zhang et al. 2018; Ghildyal and Liu, arXiv 2207.13686. The networks are built here because the
packages of both import torchvision. Only weight files are read: for LPIPS torchvision's AlexNet and
the package's heads, for ST-LPIPS the AlexNet variant inside stlpips-pytorch 0.0.2 (BSD-2).
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .weight_files import ALEXNET, LPIPS_ALEX, Published, read_weights, take

_LAYERS = (0, 3, 6, 8, 10)  # places of the convolutions in torchvision's `features`
PACKAGE = "stlpips-pytorch"
#: The package's key of each convolution; the numbers are places in its list of layers.
_KEYS = ("slice1.0", "slice2.5", "slice3.9", "slice4.11", "slice5.13")

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
WIDTHS = (64, 192, 384, 256, 256)


class AlexNetMaps(nn.Module, ABC):
    """Pictures [B, 3, H, W] in [-1, 1], at least 32 pixels on each side -> five maps.

    `heads` weigh the channels of each; how maps come to be smaller is the subclasses' affair.
    """

    def __init__(self, stride: int) -> None:
        """`stride` is that of the first convolution."""
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=stride, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        self.heads = nn.ModuleList([nn.Conv2d(width, 1, 1, bias=False) for width in WIDTHS])

    @abstractmethod
    def level(self, number: int, x: Tensor) -> Tensor:
        """The convolution of a level on the map before it, with what makes it smaller."""

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Five maps of unit vectors, from fine to coarse."""
        shift, scale = (pictures.new_tensor(v)[:, None, None] for v in (_SHIFT, _SCALE))
        x = (pictures - shift) / scale
        maps: list[Tensor] = []
        for number in range(len(WIDTHS)):
            x = torch.relu(self.level(number, x))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    def layers(self, pictures: Tensor, truths: Tensor) -> list[Tensor]:
        """Maps of distances [B, 1, h, w], one a level."""
        pairs = zip(self.features(pictures), self.features(truths), self.heads, strict=True)
        return [head((a - b).square()) for a, b, head in pairs]


class LPIPS(AlexNetMaps):
    """The distance of pictures [B, 3, H, W] in [-1, 1], both sides at least 32 pixels."""

    def __init__(self) -> None:
        super().__init__(stride=4)

    @classmethod
    def from_files(
        cls,
        alexnet: Path,
        heads: Path,
        published: tuple[Published, Published] = (ALEXNET, LPIPS_ALEX),
    ) -> LPIPS:
        """With the published weights.

        Raises:
            FileNotFoundError, ValueError: see `read_weights`.
        """
        network = cls()
        convolutions = {
            f"convolutions.{k}.{kind}": f"features.{place}.{kind}"
            for k, place in enumerate(_LAYERS)
            for kind in ("weight", "bias")
        }
        lines = {f"heads.{k}.weight": f"lin{k}.model.1.weight" for k in range(len(_LAYERS))}
        state = take(read_weights(alexnet, published[0]), convolutions, alexnet, published[0])
        state |= take(read_weights(heads, published[1]), lines, heads, published[1])
        network.load_state_dict(state)
        return network.requires_grad_(False).eval()

    def level(self, number: int, x: Tensor) -> Tensor:
        """Maximum pooling before the second and third convolution."""
        return self.convolutions[number](functional.max_pool2d(x, 3, 2) if number in (1, 2) else x)

    @torch.no_grad()
    def forward(self, pictures: Tensor, truths: Tensor) -> Tensor:
        """Distances [B]."""
        layers = self.layers(pictures, truths)
        return torch.stack([layer.mean((1, 2, 3)) for layer in layers]).sum(0)


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
