"""What every stage shares: prepared batch in, scalar out, draws by the number of a sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import ScheduleConfig
from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.schedules import alphas_cumprod
from pcdm_core.vae import Autoencoder

from ..config import StageRun
from ..data.in_memory import CoarsePictures, People
from ..features.protocol import Features, OnlineFeatures
from ..loop import sample_rng
from .losses import denoising_loss, draw_timesteps
from .perception import PerceptualLoss

Batch = dict[str, Tensor]

# Streams of `sample_rng`: one a use, so that no two draws of a sample share numbers.
TIMESTEP, NOISE, DROP, EMBEDS_NOISE, NOISE_OFFSET, CANVAS, CONDITION, START, CROP = range(9)


@dataclass(frozen=True)
class Frozen:
    """What a stage uses and does not train."""

    autoencoder: Autoencoder
    global_encoder: nn.Module
    patch_encoder: PatchImageEncoder | None = None
    perception: PerceptualLoss | None = None


class StageModule(nn.Module):
    """A trainable stage. `components` are the parts that are saved, by file name."""

    def __init__(self, run: StageRun, seed: int, features: Features) -> None:
        super().__init__()
        self.run = run
        self.seed = seed
        self.features = features

    @property
    def components(self) -> dict[Component, nn.Module]:
        raise TypeError(f"{type(self).__name__} names no components.")

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        """Sample numbers [B] and rows [B, k] -> what `forward` takes; called without gradient."""
        raise TypeError(f"{type(self).__name__} prepares nothing.")

    def finish(self) -> None:
        """What is done once, after the last step and before parts are written."""

    def use_people(self, people: People) -> None:
        """Go on with other people, whose features are computed on line."""
        if not isinstance(self.features, OnlineFeatures):
            raise TypeError("A run on cached features keeps its people.")
        self.features.people = people

    def _uniform(self, stream: int, samples: Tensor, count: int) -> Tensor:
        return sample_rng.uniform(self.seed, stream, samples, count)

    def _normal(self, stream: int, samples: Tensor, like: Tensor) -> Tensor:
        return sample_rng.normal(self.seed, stream, samples, tuple(like.shape[1:]))

    def _timesteps(self, samples: Tensor, schedule: ScheduleConfig) -> Tensor:
        share = self._uniform(TIMESTEP, samples, 1)[:, 0] ** self.run.timestep_power
        return draw_timesteps(share, schedule)

    def _noise(self, samples: Tensor, like: Tensor) -> Tensor:
        """Gaussian noise, with an offset a channel of a picture, or one of a whole vector."""
        noise = self._normal(NOISE, samples, like)
        if not self.run.noise_offset:
            return noise
        channels = (like.shape[1], 1, 1) if like.ndim == 4 else (1,)
        offset = sample_rng.normal(self.seed, NOISE_OFFSET, samples, channels)
        return noise + self.run.noise_offset * offset

    def _latents(self, autoencoder: Autoencoder, stream: int, samples: Tensor, m: Tensor) -> Tensor:
        """Moments -> latents: the mean, or a draw where the run samples the posterior."""
        mean = autoencoder.latents(m)
        if self.run.posterior == "mean":
            return mean
        return autoencoder.latents(m, "sample", self._normal(stream, samples, mean))

    def _picture_weight(self, rows: Tensor, height: int, width: int) -> Tensor:
        """[B, 1, h, w]: 1 on background, `person_weight` on the person, and more on the head."""
        run = self.run
        weight = 1 + (run.person_weight - 1) * self.features.person_shares(rows, height, width)
        if not run.head_weight:
            return weight
        return weight + run.head_weight * self.features.head_shares(rows, height, width)

    def _pose(self, rows: Tensor) -> Batch:
        """The pose that perception is asked for, where it takes part."""
        if not self.run.perception:
            return {}
        return dict(zip(("xy", "visible"), self.features.joints(rows), strict=True))

    def _perception(self, frozen: Frozen) -> PerceptualLoss | None:
        """The network whose view is a part of the loss, where the run asks for it."""
        if not self.run.perception:
            return None
        if frozen.perception is None:
            raise ValueError(
                "perception is asked for, and this run has no network for it; only the recipe of "
                "rendered people trains one. Set perception to 0."
            )
        return frozen.perception

    def _of_target(self, canvas: Tensor) -> Tensor:
        """What of latents or weights is the target's; all, but on stage 2's canvas."""
        return canvas

    def _perceived(self, frozen: Frozen, batch: Batch) -> Callable[[Tensor], Tensor] | None:
        """The further loss of predicted latents."""
        perception, strength = self._perception(frozen), self.run.perception
        if perception is None:
            return None
        decode, half = frozen.autoencoder.decode, self._of_target
        pose = batch["xy"], batch["visible"]

        def loss(x0: Tensor) -> Tensor:
            # In full precision: a Laplacian is a small difference of large numbers.
            with torch.autocast(x0.device.type, enabled=False):
                with torch.no_grad():
                    truths = decode(half(batch["x0"]))
                inputs = decode(half(x0).float()), truths, *pose, half(batch["weight"])
                return strength * perception(*inputs)

        return loss

    @property
    def _null_is_encoded(self) -> bool:
        return self.run.null_conditioning == "encoded_zeros"


class DenoisingStage(StageModule):
    """A stage that learns to take noise away: its network, noise table and loss."""

    table: Tensor

    def __init__(self, model: Any, run: StageRun, seed: int, features: Features) -> None:
        super().__init__(run, seed, features)
        self.model = model
        self.schedule: ScheduleConfig = model.config.schedule
        check_snr_weight(run, self.schedule)
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

    def condition(self, batch: Batch, model: Any = None) -> Any:
        """The conditioning of a batch, before anything is dropped from it.

        `model` takes the place of the stage's own: a student's.
        """
        raise TypeError(f"{type(self).__name__} conditions nothing.")

    def _loss(
        self,
        batch: Batch,
        cond: Any,
        perceived: Callable[[Tensor], Tensor] | None = None,
        model: Any = None,
    ) -> Tensor:
        return denoising_loss(
            model or self.model,
            self.schedule,
            self.table,
            batch["x0"],
            cond,
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            weight=batch.get("weight"),
            max_snr_weight=self.run.max_snr_weight,
            start=batch.get("start"),
            perceived=perceived,
        )


def check_snr_weight(run: StageRun, schedule: ScheduleConfig) -> None:
    """Refuse a weighting that `denoising_loss` has for predictions of the sample alone."""
    if run.max_snr_weight is not None and schedule.prediction_type != "sample":
        raise ValueError(
            f"max_snr_weight is a weighting of predictions of the sample; this model predicts "
            f"{schedule.prediction_type!r}. Set max_snr_weight: null."
        )


def keep_rows(
    cond: Conditioning, null: Conditioning, tokens: Tensor, embeds: Tensor
) -> Conditioning:
    """Replace dropped conditions by the null conditioning that sampling uses.

    Args:
        tokens: [B] bool, False where the image tokens are dropped.
        embeds: [B] bool, False where the target embedding (token and class embedding) is dropped.
    """
    length = cond.tokens.shape[1] - (cond.embed is not None)
    keep = torch.cat(
        [
            tokens[:, None].expand(-1, length),
            embeds[:, None].expand(-1, cond.tokens.shape[1] - length),
        ],
        dim=1,
    )
    embed = cond.embed
    if embed is not None and null.embed is not None:
        embed = torch.where(embeds[:, None], embed, null.embed)
    tokens_left = torch.where(keep[:, :, None], cond.tokens, null.tokens)
    return replace(cond, tokens=tokens_left, embed=embed)


def features_of(
    people: People | Features, frozen: Frozen, coarse: CoarsePictures | None = None
) -> Features:
    """Features of people in memory, computed on line, or features as they are."""
    if not isinstance(people, People):
        return people
    # Embeddings of people in memory were computed once, and are rows already.
    return OnlineFeatures(people, frozen.autoencoder, frozen.patch_encoder, coarse=coarse)
