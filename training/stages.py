"""The stages as modules: prepared batch in, scalar out.

`prepare` turns rows of people into tensors without gradient (latents, embeddings, noise); `forward`
is the part that learns. The models' own `condition` and the one `denoising_loss` are used
throughout: what training sees is what sampling sees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from pcdm_core.checkpoint_keys import Component
from pcdm_core.conditioning import Conditioning, PriorConditioning
from pcdm_core.config import Preset
from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.images import from_planes, pose_canvas, source_canvas
from pcdm_core.losses import denoising_loss, draw_timesteps
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from pcdm_core.schedules import alphas_cumprod
from pcdm_core.vae import Autoencoder

from . import counter
from .config import StageRun
from .people import CoarsePictures, People

Batch = dict[str, Tensor]

# Streams of `counter`: one a use, so that no two draws of a sample share numbers.
TIMESTEP, NOISE, DROP, EMBEDS_NOISE, PICTURE = range(5)


@dataclass(frozen=True)
class Frozen:
    """What a stage uses and does not train."""

    autoencoder: Autoencoder
    global_encoder: nn.Module
    patch_encoder: PatchImageEncoder | None = None


class StageModule(nn.Module):
    """A trainable stage. `components` are the parts that are saved, by file name."""

    def __init__(self, run: StageRun, seed: int) -> None:
        super().__init__()
        self.run = run
        self.seed = seed

    @property
    def components(self) -> dict[Component, nn.Module]:
        raise TypeError(f"{type(self).__name__} names no components.")

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        """Sample numbers [B] and rows [B, k] -> what `forward` takes; called without gradient."""
        raise TypeError(f"{type(self).__name__} prepares nothing.")

    def _uniform(self, stream: int, samples: Tensor, count: int) -> Tensor:
        return counter.uniform(self.seed, stream, samples, count)

    def _normal(self, stream: int, samples: Tensor, like: Tensor) -> Tensor:
        return counter.normal(self.seed, stream, samples, tuple(like.shape[1:]))


class AutoencoderStage(StageModule):
    """Reconstruction of whole pictures (mean absolute plus mean squared error)."""

    def __init__(self, model: Autoencoder, people: People, run: StageRun, seed: int) -> None:
        super().__init__(run, seed)
        self.model = model
        self.people = people

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"autoencoder": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        return {"pixels": from_planes(self.people.pictures[pairs[:, 1]])}

    def forward(self, batch: Batch) -> Tensor:
        error = self.model.decode(self.model.encode(batch["pixels"])) - batch["pixels"]
        return error.abs().mean() + error.square().mean()


class PriorStage(StageModule):
    """Stage 1: x0-prediction of the target picture's embedding."""

    table: Tensor

    def __init__(self, model: PosePrior, people: People, run: StageRun, seed: int) -> None:
        super().__init__(run, seed)
        self.model = model
        self.people = people
        self.schedule = model.config.schedule
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"prior": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        source, target = pairs.unbind(1)
        embeds, poses = self.people.embeds, self.people.pose_vectors
        x0 = self.model.normalise(embeds[target])
        return {
            "x0": x0,
            "image_embeds": embeds[source],
            "source_pose": poses[source],
            "target_pose": poses[target],
            "noise": self._normal(NOISE, samples, x0),
            "timesteps": draw_timesteps(self._uniform(TIMESTEP, samples, 1)[:, 0], self.schedule),
            "keep": self._uniform(DROP, samples, 1)[:, 0] >= self.run.drop_embeds,
        }

    def forward(self, batch: Batch) -> Tensor:
        cond = PriorConditioning(batch["image_embeds"], batch["source_pose"], batch["target_pose"])
        null = self.model.unconditional(cond)
        kept = torch.where(batch["keep"][:, None], cond.image_embeds, null.image_embeds)
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            replace(cond, image_embeds=kept),
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            max_snr_weight=self.run.max_snr_weight,
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


class InpaintingStage(StageModule):
    """Stage 2, together with the patch encoder that it shares with stage 3."""

    table: Tensor

    def __init__(
        self,
        model: InpaintingModel,
        patch_encoder: PatchImageEncoder,
        frozen: Frozen,
        people: People,
        run: StageRun,
        seed: int,
    ) -> None:
        super().__init__(run, seed)
        self.model = model
        self.patch_encoder = patch_encoder
        self.frozen = frozen
        self.people = people
        self.schedule = model.config.schedule
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"inpainting": self.model, "patch_encoder": self.patch_encoder}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        people, encode = self.people, self.frozen.autoencoder.encode
        source_rows, target_rows = pairs.unbind(1)
        source = from_planes(people.pictures[source_rows])
        target = from_planes(people.pictures[target_rows])
        x0 = encode(torch.cat([source, target], dim=-1))
        skeletons = [from_planes(people.skeletons[rows]) for rows in (source_rows, target_rows)]
        embeds = people.embeds[target_rows]
        # The prior's predictions miss the truth; noise on the embedding makes stage 2 bear it.
        strength = self.run.embeds_noise * self._uniform(EMBEDS_NOISE, samples, 1)
        drops = self._uniform(DROP, samples, 2)
        tokens_kept = drops[:, 0] >= self.run.drop_tokens
        return {
            "x0": x0,
            "source_latents": encode(source_canvas(source)),
            "pose_map": pose_canvas(*skeletons),
            "patch_pixels": people.patch_pixels(source_rows),
            "target_embeds": embeds + strength * self._normal(EMBEDS_NOISE, samples, embeds),
            "noise": self._normal(NOISE, samples, x0),
            "timesteps": draw_timesteps(self._uniform(TIMESTEP, samples, 1)[:, 0], self.schedule),
            "tokens_kept": tokens_kept,
            # Guidance drops both together, so a sample without tokens often loses both.
            "embeds_kept": (drops[:, 1] >= self.run.drop_embeds)
            & (tokens_kept | (drops[:, 0] >= self.run.drop_tokens / 2)),
            "weight": self._weight(target_rows, x0),
        }

    def _weight(self, target_rows: Tensor, x0: Tensor) -> Tensor:
        """[B, 1, h, 2w]: the source half's weight, then 1 on background and more on the person."""
        height, width = x0.shape[-2], x0.shape[-1] // 2
        person = self.people.person_shares(target_rows, height, width)
        target = 1 + (self.run.person_weight - 1) * person
        return torch.cat([torch.full_like(target, self.run.source_weight), target], dim=-1)

    def forward(self, batch: Batch) -> Tensor:
        tokens = self.patch_encoder(batch["patch_pixels"])
        cond = self.model.condition(
            tokens, batch["target_embeds"], batch["source_latents"], batch["pose_map"]
        )
        null = self.model.unconditional(cond)
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            keep_rows(cond, null, batch["tokens_kept"], batch["embeds_kept"]),
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            weight=batch["weight"],
            max_snr_weight=self.run.max_snr_weight,
        )


class RefiningStage(StageModule):
    """Stage 3, on stage 2's own results."""

    table: Tensor

    def __init__(
        self,
        model: RefiningModel,
        frozen: Frozen,
        people: People,
        coarse: CoarsePictures,
        run: StageRun,
        seed: int,
    ) -> None:
        super().__init__(run, seed)
        if frozen.patch_encoder is None:
            raise ValueError("Stage 3 needs the patch encoder that stage 2 trained.")
        self.model = model
        self.frozen = frozen
        self.patch_encoder = frozen.patch_encoder.requires_grad_(False)
        self.people = people
        self.coarse = coarse
        self.schedule = model.config.schedule
        self.register_buffer("table", alphas_cumprod(self.schedule), persistent=False)

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {"refining": self.model}

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        encode = self.frozen.autoencoder.encode
        source_rows, target_rows, coarse_rows = pairs.unbind(1)
        x0 = encode(from_planes(self.people.pictures[target_rows]))
        drops = self._uniform(DROP, samples, 2)
        person = self.people.person_shares(target_rows, x0.shape[-2], x0.shape[-1])
        return {
            "x0": x0,
            "coarse_latents": encode(from_planes(self.coarse.pictures[coarse_rows])),
            "patch_pixels": self.people.patch_pixels(source_rows),
            "noise": self._normal(NOISE, samples, x0),
            "timesteps": draw_timesteps(self._uniform(TIMESTEP, samples, 1)[:, 0], self.schedule),
            "tokens_kept": drops[:, 0] >= self.run.drop_tokens,
            "coarse_kept": drops[:, 1] >= self.run.drop_coarse,
            "weight": 1 + (self.run.person_weight - 1) * person,
        }

    def forward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            tokens = self.patch_encoder(batch["patch_pixels"])
        cond = self.model.condition(tokens, batch["coarse_latents"])
        null = self.model.unconditional(cond)
        kept = keep_rows(cond, null, batch["tokens_kept"], batch["tokens_kept"])
        concat = torch.where(batch["coarse_kept"][:, None, None, None], cond.concat, null.concat)
        return denoising_loss(
            self.model,
            self.schedule,
            self.table,
            batch["x0"],
            replace(kept, concat=concat),
            noise=batch["noise"],
            timesteps=batch["timesteps"],
            weight=batch["weight"],
            max_snr_weight=self.run.max_snr_weight,
        )


@torch.no_grad()
def warm_start(model: nn.Module, state: dict[str, Tensor], shared_channels: int = 0) -> list[str]:
    """Copy every tensor whose name and shape match; returns the names that were left alone.

    `conv_in` differs between stages in its input channels; its first `shared_channels` (the noisy
    latents) are copied, the rest keeps its fresh initialisation.
    """
    left: list[str] = []
    for name, tensor in model.state_dict().items():
        given = state.get(name)
        if given is not None and given.shape == tensor.shape:
            tensor.copy_(given)
        elif given is not None and name.endswith("unet.conv_in.weight") and shared_channels:
            tensor[:, :shared_channels] = given[:, :shared_channels]
        else:
            left.append(name)
    return left


def build_denoiser(preset: Preset, stage: str) -> nn.Module:
    """A fresh model of a stage that the preset has."""
    if stage == "prior" and preset.prior is not None:
        return PosePrior(preset.prior)
    if stage == "inpainting":
        return InpaintingModel(preset.inpainting)
    if stage == "refining" and preset.refining is not None:
        return RefiningModel(preset.refining)
    raise ValueError(f"The preset {preset.name!r} has no stage {stage!r}.")
