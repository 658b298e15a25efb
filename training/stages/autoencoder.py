"""The autoencoder as a stage: reconstruction of rendered people."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.images import from_planes
from pcdm_core.vae import Autoencoder, ConvAutoencoder

from ..config import StageRun
from ..data.in_memory import People
from ..features.protocol import OnlineFeatures
from .base import CROP, NOISE, Batch, Frozen, StageModule
from .closed_form import normalise_code
from .perception import PerceptualLoss

NORMALISE = 64
"""Pictures on which the scale of a learned code's channels is measured."""


class AutoencoderStage(StageModule):
    """Reconstruction of pictures, or of crops: mean absolute plus mean squared error.

    With `gradients` so much of the absolute error of differences between neighbouring pixels is
    added, with `perception` the distance that a network sees. `latent_noise` makes the code one
    that a diffusion model may miss by a little.
    """

    def __init__(
        self,
        model: Autoencoder,
        people: People,
        run: StageRun,
        seed: int,
        perception: PerceptualLoss | None = None,
    ) -> None:
        super().__init__(run, seed, OnlineFeatures(people))
        step, shortest = model.config.downscale, min(people.pictures.shape[-2:])
        if run.crop is not None and (run.crop % step or not 0 < run.crop <= shortest):
            raise ValueError(
                f"crop is a multiple of {step}, the autoencoder's step, and at most {shortest}, "
                f"the shorter side of the pictures; got {run.crop}."
            )
        self.model = model
        self.frozen = Frozen(model, nn.Identity(), perception=perception)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"autoencoder": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        assert isinstance(self.features, OnlineFeatures)
        rows, run = pairs[:, 1], self.run
        pixels = from_planes(self.features.people.pictures[rows])
        weight = self._picture_weight(rows, *pixels.shape[-2:])
        pose = self._pose(rows)
        if run.crop is not None:
            pixels, weight, pose = self._crops(samples, run.crop, pixels, weight, pose)
        batch = {"pixels": pixels, "weight": weight, **pose}
        if run.latent_noise:
            step, channels = self.model.config.downscale, self.model.config.latent_channels
            like = pixels.new_empty(1, channels, *(side // step for side in pixels.shape[-2:]))
            batch["noise"] = self._normal(NOISE, samples, like)
        return batch

    @torch.no_grad()
    def finish(self) -> None:
        """Order and scale the channels of a learned code."""
        if isinstance(self.model, ConvAutoencoder) and self.run.steps:
            assert isinstance(self.features, OnlineFeatures)
            pictures = self.features.people.pictures
            rows = torch.linspace(0, len(pictures) - 1, min(NORMALISE, len(pictures))).long()
            normalise_code(self.model, from_planes(pictures[rows]).contiguous())

    def _crops(
        self, samples: Tensor, side: int, pixels: Tensor, weight: Tensor, pose: Batch
    ) -> tuple[Tensor, Tensor, Batch]:
        """A square out of each picture, its weight, and the joints that lie in it."""
        step = self.model.config.downscale
        size = pixels.new_tensor(pixels.shape[-2:])
        places = torch.div(size - side, step, rounding_mode="floor") + 1
        corners = (self._uniform(CROP, samples, 2) * places).long() * step

        def cut(pictures: Tensor) -> Tensor:
            rows = zip(pictures, corners.tolist(), strict=True)
            return torch.stack([p[..., y : y + side, x : x + side] for p, (y, x) in rows])

        if pose:
            xy = (pose["xy"] * size.flip(0) - corners.flip(1)[:, None]) / side
            inside = ((xy >= 0) & (xy < 1)).all(-1)
            pose = {"xy": xy, "visible": pose["visible"] & inside}
        return cut(pixels), cut(weight), pose

    def forward(self, batch: Batch) -> Tensor:
        run, pixels, weight = self.run, batch["pixels"], batch["weight"]
        latents = self.model.encode(pixels)
        if run.latent_noise:
            # By the spread of the code, so that nothing is gained by making the code larger.
            spread = latents.detach().float().std()
            latents = latents + run.latent_noise * spread * batch["noise"]
        pictures = self.model.decode(latents).float()
        error = pictures - pixels
        loss = _mean(error.abs() + error.square(), weight)
        if run.gradients:
            for axis in (-1, -2):
                size = error.shape[axis] - 1
                loss = loss + run.gradients * _mean(
                    error.diff(dim=axis).abs(), weight.narrow(axis, 0, size)
                )
        perception = self._perception(self.frozen)
        if perception is None:
            return loss
        with torch.autocast(pixels.device.type, enabled=False):
            seen = perception(pictures, pixels, batch["xy"], batch["visible"], weight)
        return loss + run.perception * seen.mean()


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    """The mean of errors [B, 3, H, W], weighted by [B, 1, H, W]."""
    return (error.mean(1, keepdim=True) * weight).mean() / weight.mean()
