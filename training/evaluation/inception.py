"""Inception-v3's pooled features, as the field's FID takes them: torchvision's ImageNet weights.

Szegedy et al. 2015 (arXiv 1512.00567). Names of parts are those of torchvision's file, so that its
tensors load as they are. The published scripts of GFLA, PIDM, PCDMs and CFLD all use this network;
a figure by the TensorFlow weights of pytorch-fid is another one.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .weight_files import INCEPTION, Published, read_weights, take

SIDE = 299
WIDTH = 2048
_SCALE = (0.458, 0.448, 0.45)
_SHIFT = (-0.03, -0.088, -0.188)

# A block: its convolutions (name, channels, kernel, stride) in branches of one step after another,
# and the channels of the projection behind the average pooling; None pools the maximum. A step of
# two convolutions forks. At stride 1 a convolution keeps the size, at stride 2 it has no padding.
Convolution = tuple[str, int, tuple[int, int], int]
Branch = list[list[Convolution]]


def _steps(*steps: tuple[str, int, int, int]) -> Branch:
    """Of `(name, channels, kernel's height, kernel's width)` with stride 1."""
    return [[(name, channels, (rows, columns), 1)] for name, channels, rows, columns in steps]


def _halving(name: str, channels: int) -> Branch:
    return [[(name, channels, (3, 3), 2)]]


def _fork(stem: str) -> Branch:
    return [[(f"{stem}a", 384, (1, 3), 1), (f"{stem}b", 384, (3, 1), 1)]]


_A = [
    _steps(("branch1x1", 64, 1, 1)),
    _steps(("branch5x5_1", 48, 1, 1), ("branch5x5_2", 64, 5, 5)),
    _steps(
        ("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3), ("branch3x3dbl_3", 96, 3, 3)
    ),
]
_B = [
    _halving("branch3x3", 384),
    _steps(("branch3x3dbl_1", 64, 1, 1), ("branch3x3dbl_2", 96, 3, 3))
    + _halving("branch3x3dbl_3", 96),
]
_D = [
    _steps(("branch3x3_1", 192, 1, 1)) + _halving("branch3x3_2", 320),
    _steps(("branch7x7x3_1", 192, 1, 1), ("branch7x7x3_2", 192, 1, 7), ("branch7x7x3_3", 192, 7, 1))
    + _halving("branch7x7x3_4", 192),
]
_E = [
    _steps(("branch1x1", 320, 1, 1)),
    _steps(("branch3x3_1", 384, 1, 1)) + _fork("branch3x3_2"),
    _steps(("branch3x3dbl_1", 448, 1, 1), ("branch3x3dbl_2", 384, 3, 3)) + _fork("branch3x3dbl_3"),
]


def _c(narrow: int) -> list[Branch]:
    long = [(narrow, 1, 1), (narrow, 7, 1), (narrow, 1, 7), (narrow, 7, 1), (192, 1, 7)]
    short = [(narrow, 1, 1), (narrow, 1, 7), (192, 7, 1)]
    return [
        _steps(("branch1x1", 192, 1, 1)),
        _steps(*((f"branch7x7_{k}", *step) for k, step in enumerate(short, 1))),
        _steps(*((f"branch7x7dbl_{k}", *step) for k, step in enumerate(long, 1))),
    ]


_BLOCKS: dict[str, tuple[list[Branch], int | None]] = {
    **{
        f"Mixed_5{letter}": (_A, pooled) for letter, pooled in zip("bcd", (32, 64, 64), strict=True)
    },
    "Mixed_6a": (_B, None),
    **{
        f"Mixed_6{letter}": (_c(narrow), 192)
        for letter, narrow in zip("bcde", (128, 160, 160, 192), strict=True)
    },
    "Mixed_7a": (_D, None),
    **{f"Mixed_7{letter}": (_E, 192) for letter in "bc"},
}


class _Unit(nn.Module):
    """Convolution, batch norm, rectifier."""

    def __init__(
        self,
        before: int,
        channels: int,
        kernel: tuple[int, int],
        stride: int = 1,
        padding: tuple[int, int] = (0, 0),
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _Mixed(nn.Module):
    """Branches side by side; the last is a pooling: averaged and projected, or the maximum."""

    def __init__(self, before: int, branches: list[Branch], pooled: int | None) -> None:
        super().__init__()
        self.branches, self.width = branches, pooled or before
        for branch in branches:
            channels = before
            for step in branch:
                for name, wide, kernel, stride in step:
                    padding = (kernel[0] // 2, kernel[1] // 2) if stride == 1 else (0, 0)
                    self.add_module(name, _Unit(channels, wide, kernel, stride, padding))
                channels = sum(convolution[1] for convolution in step)
            self.width += channels
        self.branch_pool = None if pooled is None else _Unit(before, pooled, (1, 1))

    def forward(self, x: Tensor) -> Tensor:
        results: list[Tensor] = []
        for branch in self.branches:
            y = x
            for step in branch:
                y = torch.cat([self.get_submodule(name)(y) for name, *_ in step], 1)
            results.append(y)
        if self.branch_pool is None:
            results.append(functional.max_pool2d(x, 3, 2))
        else:
            results.append(self.branch_pool(functional.avg_pool2d(x, 3, 1, 1)))
        return torch.cat(results, 1)


class InceptionV3(nn.Module):
    """Pictures [B, 3, H, W] in [0, 1] -> pooled features [B, 2048]."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, (3, 3), 2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, (3, 3))
        self.Conv2d_2b_3x3 = _Unit(32, 64, (3, 3), 1, (1, 1))
        self.Conv2d_3b_1x1 = _Unit(64, 80, (1, 1))
        self.Conv2d_4a_3x3 = _Unit(80, 192, (3, 3))
        width = 192
        for name, (branches, pooled) in _BLOCKS.items():
            block = _Mixed(width, branches, pooled)
            self.add_module(name, block)
            width = block.width

    @classmethod
    def from_file(cls, path: Path, published: Published = INCEPTION) -> InceptionV3:
        """With torchvision's weights.

        Raises:
            FileNotFoundError, ValueError: see `read_weights`.
        """
        network = cls()
        names = {name: name for name in network.state_dict() if "num_batches" not in name}
        state = take(read_weights(path, published), names, path, published)
        network.load_state_dict(state, strict=False)
        return network.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """As published: enlarged bilinearly, then scaled as if they were normalised already."""
        x = functional.interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False)
        scale, shift = (x.new_tensor(values)[:, None, None] for values in (_SCALE, _SHIFT))
        x = x * scale + shift
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for name in _BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))
