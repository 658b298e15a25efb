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

# The blocks as the paper has them. A line is a branch: convolutions `name channels kernel`, one
# after another, `&` where a step forks into two. At stride 1 they keep the size; `/2` halves it
# without padding. Beside the branches lies a pooling: see `_BLOCKS`.
_A = """
branch1x1 64 1x1
branch5x5_1 48 1x1, branch5x5_2 64 5x5
branch3x3dbl_1 64 1x1, branch3x3dbl_2 96 3x3, branch3x3dbl_3 96 3x3"""
_B = """
branch3x3 384 3x3/2
branch3x3dbl_1 64 1x1, branch3x3dbl_2 96 3x3, branch3x3dbl_3 96 3x3/2"""
_C = """
branch1x1 192 1x1
branch7x7_1 {0} 1x1, branch7x7_2 {0} 1x7, branch7x7_3 192 7x1
branch7x7dbl_1 {0} 1x1, branch7x7dbl_2 {0} 7x1, branch7x7dbl_3 {0} 1x7, branch7x7dbl_4 {0} 7x1, \
branch7x7dbl_5 192 1x7"""
_D = """
branch3x3_1 192 1x1, branch3x3_2 320 3x3/2
branch7x7x3_1 192 1x1, branch7x7x3_2 192 1x7, branch7x7x3_3 192 7x1, branch7x7x3_4 192 3x3/2"""
_E = """
branch1x1 320 1x1
branch3x3_1 384 1x1, branch3x3_2a 384 1x3 & branch3x3_2b 384 3x1
branch3x3dbl_1 448 1x1, branch3x3dbl_2 384 3x3, branch3x3dbl_3a 384 1x3 & branch3x3dbl_3b 384 3x1"""

# In torchvision's order, with the channels to which the average is projected; None: the maximum.
_BLOCKS: dict[str, tuple[str, int | None]] = {
    "Mixed_5b": (_A, 32), "Mixed_5c": (_A, 64), "Mixed_5d": (_A, 64), "Mixed_6a": (_B, None),
    "Mixed_6b": (_C.format(128), 192), "Mixed_6c": (_C.format(160), 192),
    "Mixed_6d": (_C.format(160), 192), "Mixed_6e": (_C.format(192), 192), "Mixed_7a": (_D, None),
    "Mixed_7b": (_E, 192), "Mixed_7c": (_E, 192),
}  # fmt: skip


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

    def __init__(self, before: int, table: str, pooled: int | None) -> None:
        super().__init__()
        self.branches: list[list[list[str]]] = []  # the names of each step's convolutions
        self.width = pooled or before
        for line in table.split("\n")[1:]:
            channels, branch = before, list[list[str]]()
            for step in line.split(", "):
                parts = [part.split() for part in step.split(" & ")]
                branch.append([self._append(channels, *part) for part in parts])
                channels = sum(int(part[1]) for part in parts)
            self.branches.append(branch)
            self.width += channels
        self.branch_pool = None if pooled is None else _Unit(before, pooled, (1, 1))

    def _append(self, before: int, name: str, channels: str, size: str) -> str:
        rows, columns = (int(side) for side in size.removesuffix("/2").split("x"))
        padding, stride = (rows // 2, columns // 2), 1
        if size.endswith("/2"):
            padding, stride = (0, 0), 2
        self.add_module(name, _Unit(before, int(channels), (rows, columns), stride, padding))
        return name

    def forward(self, x: Tensor) -> Tensor:
        results: list[Tensor] = []
        for branch in self.branches:
            y = x
            for names in branch:
                y = torch.cat([self.get_submodule(name)(y) for name in names], 1)
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
        for name, (table, pooled) in _BLOCKS.items():
            block = _Mixed(width, table, pooled)
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
