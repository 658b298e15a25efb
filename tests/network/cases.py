"""The networks that are compared, with their weights and inputs; host-free."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pcdm_core.conditioning import Conditioning
from pcdm_core.config import InpaintingConfig, RefiningConfig
from pcdm_core.models import InpaintingModel, RefiningModel
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import randomise

Config = InpaintingConfig | RefiningConfig

STAGES = ("inpainting", "refining")
KEYS = {"inpainting": 690, "refining": 686}  # of the published UNets


@dataclass(frozen=True)
class Case:
    """One pass of a stage of a preset at a size of the latents."""

    preset: str
    stage: str
    height: int
    width: int
    with_embedding: bool = True

    @property
    def name(self) -> str:
        embedding = "" if self.with_embedding else "-without-embedding"
        return f"{self.preset}-{self.stage}{embedding}-{self.height}x{self.width}"

    @property
    def config(self) -> Config:
        config = getattr(PRESETS[self.preset], self.stage)
        return config if self.with_embedding else replace(config, embedding_dim=None)


# Even and odd sizes, and for mini those that its pictures have.
CASES = (
    *(Case("mini", stage, *size) for stage in STAGES for size in ((8, 12), (7, 13))),
    Case("mini", "inpainting", 24, 32),
    Case("mini", "refining", 24, 16),
    *(Case("test", stage, *size) for stage in STAGES for size in ((8, 12), (7, 13))),
    Case("test", "inpainting", 8, 12, with_embedding=False),
)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def build_core(config: Config, seed: int = 7) -> Any:
    """The core's model; every weight differs from its neighbours, also biases and norms."""
    kind = InpaintingModel if isinstance(config, InpaintingConfig) else RefiningModel
    model = randomise(kind(config), seed).eval()
    for number, parameter in enumerate(model.parameters()):
        if parameter.ndim == 1:
            parameter += 0.1 * draw(*parameter.shape, seed=number)
    return model


def random_inputs(config: Config, height: int, width: int) -> tuple[Tensor, Tensor, Conditioning]:
    """x_t and timesteps of a batch of 2, and what `condition` would give."""
    pose = embed = None
    if isinstance(config, InpaintingConfig):
        pose = draw(2, config.unet.block_out_channels[0], height, width, seed=4)
        embed = None if config.embedding_dim is None else draw(2, config.embedding_dim, seed=5)
    cond = Conditioning(
        tokens=draw(2, 6, config.unet.cross_attention_dim, seed=2),
        concat=draw(2, config.in_channels - config.latent_channels, height, width, seed=3),
        pose=pose,
        embed=embed,
    )
    return draw(2, config.latent_channels, height, width, seed=1), torch.tensor([999, 3]), cond


def difference(a: Tensor, b: Tensor) -> float:
    """Largest, in units of the deviation of `b`."""
    return float((a - b).abs().max() / b.std())
