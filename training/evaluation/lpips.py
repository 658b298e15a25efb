"""LPIPS v0.1 with AlexNet (Zhang et al. 2018), and the maps that ST-LPIPS shares with it.

The network is built here because the packages of both import torchvision; only weight files are
read: torchvision's AlexNet and the package's heads.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from .weight_files import ALEXNET, LPIPS_ALEX, Published, read_weights, take

_LAYERS = (0, 3, 6, 8, 10)  # places of the convolutions in torchvision's `features`

_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)
WIDTHS = (64, 192, 384, 256, 256)


class AlexNetMaps(nn.Module):
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

    def level(self, number: int, x: Tensor) -> Tensor:
        """The convolution of a level on the map before it, with what makes it smaller."""
        raise NotImplementedError

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
