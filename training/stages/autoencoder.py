"""The autoencoder: reconstruction of pictures."""

from __future__ import annotations

from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.images import from_planes
from pcdm_core.vae import Autoencoder

from ..config import StageRun
from ..data.in_memory import People
from ..features.protocol import OnlineFeatures
from .base import (
    Batch,
    StageModule,
)


class AutoencoderStage(StageModule):
    """Reconstruction of whole pictures (mean absolute plus mean squared error)."""

    def __init__(self, model: Autoencoder, people: People, run: StageRun, seed: int) -> None:
        super().__init__(run, seed, OnlineFeatures(people))
        self.model = model

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"autoencoder": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        assert isinstance(self.features, OnlineFeatures)
        return {"pixels": from_planes(self.features.people.pictures[pairs[:, 1]])}

    def forward(self, batch: Batch) -> Tensor:
        error = self.model.decode(self.model.encode(batch["pixels"])) - batch["pixels"]
        return error.abs().mean() + error.square().mean()
