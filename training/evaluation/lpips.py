"""LPIPS v0.1 with AlexNet (Zhang et al. 2018), from torchvision's AlexNet and the package's heads.

The package `lpips` carries the heads alone and imports torchvision, so the network is built here
and both weight files are read.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .weight_files import ALEXNET, LPIPS_ALEX, Published, read_weights, take

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
_LAYERS = (0, 3, 6, 8, 10)  # places of the convolutions in torchvision's `features`


class LPIPS(nn.Module):
    """The distance of pictures [B, 3, H, W] in [-1, 1], both sides at least 32 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(3, 64, 11, stride=4, padding=2),
                nn.Conv2d(64, 192, 5, padding=2),
                nn.Conv2d(192, 384, 3, padding=1),
                nn.Conv2d(384, 256, 3, padding=1),
                nn.Conv2d(256, 256, 3, padding=1),
            ]
        )
        widths = (64, 192, 384, 256, 256)
        self.heads = nn.ModuleList([nn.Conv2d(width, 1, 1, bias=False) for width in widths])

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
        kinds = ("weight", "bias")
        wanted = {
            f"convolutions.{k}.{kind}": f"features.{place}.{kind}"
            for k, place in enumerate(_LAYERS)
            for kind in kinds
        }
        lines = {f"heads.{k}.weight": f"lin{k}.model.1.weight" for k in range(len(_LAYERS))}
        state = take(read_weights(alexnet, published[0]), wanted, alexnet, published[0])
        state |= take(read_weights(heads, published[1]), lines, heads, published[1])
        network.load_state_dict(state)
        return network.requires_grad_(False).eval()

    def features(self, pictures: Tensor) -> list[Tensor]:
        """Five maps of unit vectors."""
        x = (pictures - pictures.new_tensor(_SHIFT)[:, None, None]) / pictures.new_tensor(_SCALE)[
            :, None, None
        ]
        maps: list[Tensor] = []
        for number, convolution in enumerate(self.convolutions):
            if number in (1, 2):
                x = functional.max_pool2d(x, 3, 2)
            x = torch.relu(convolution(x))
            maps.append(x / (x.square().sum(1, keepdim=True).sqrt() + 1e-10))
        return maps

    @torch.no_grad()
    def forward(self, pictures: Tensor, truths: Tensor) -> Tensor:
        """Distances [B]."""
        pairs = zip(self.features(pictures), self.features(truths), self.heads, strict=True)
        layers = [head((a - b).square()).mean((1, 2, 3)) for a, b, head in pairs]
        return torch.stack(layers).sum(0)
