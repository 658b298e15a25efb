"""Stage 1: prediction of the target picture's embedding."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import PriorConditioning
from pcdm_core.models import PosePrior

from ..config import StageRun
from ..data.in_memory import People
from ..features.protocol import Features, OnlineFeatures
from .base import DROP, Batch, DenoisingStage


class PriorStage(DenoisingStage):
    """Stage 1: prediction of the target picture's embedding."""

    def __init__(
        self, model: PosePrior, people: People | Features, run: StageRun, seed: int
    ) -> None:
        features = OnlineFeatures(people) if isinstance(people, People) else people
        super().__init__(model, run, seed, features)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"prior": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        source, target = pairs.unbind(1)
        features, run = self.features, self.run
        x0 = self.model.normalise(features.embeds(target))
        embeds = features.embeds(source)
        null = features.null_embed() if self._null_is_encoded else torch.zeros_like(embeds[:1])
        drops = self._uniform(DROP, samples, 3)
        shares = run.drop_embeds, run.drop_source_pose, run.drop_target_pose
        dropped = torch.stack([drops[:, n] < share for n, share in enumerate(shares)], dim=1)
        poses = [features.pose_vectors(rows) for rows in (source, target)]
        # As published: a dropped pose is 18 joints at the origin.
        source_pose, target_pose = (
            torch.where(dropped[:, n, None, None], torch.zeros_like(pose), pose)
            for n, pose in enumerate(poses, start=1)
        )
        return {
            "x0": x0,
            "image_embeds": torch.where(dropped[:, :1], null, embeds),
            "source_pose": source_pose,
            "target_pose": target_pose,
            "noise": self._noise(samples, x0),
            "timesteps": self._timesteps(samples, self.schedule),
        }

    def condition(self, batch: Batch, model: Any = None) -> PriorConditioning:
        return PriorConditioning(batch["image_embeds"], batch["source_pose"], batch["target_pose"])

    def forward(self, batch: Batch) -> Tensor:
        return self._loss(batch, self.condition(batch))
