"""The pack's own sockets and what travels through them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.config import Preset
from .managed import Resident
from .source import Source
from .vision import Encoder

PoseSocket = io.Custom("PCDM_POSE")  # carries the core's `Keypoints`
PriorSocket = io.Custom("PCDM_PRIOR")
EncodersSocket = io.Custom("PCDM_ENCODERS")
EmbeddingSocket = io.Custom("PCDM_EMBEDDING")
KeypointSocket = io.Custom("POSE_KEYPOINT")  # as the pose detectors of other packs give it


@dataclass(frozen=True)
class LoadedPrior:
    """A prior and the preset that it belongs to."""

    preset: Preset
    resident: Resident


@dataclass(frozen=True)
class LoadedEncoders:
    """The image encoders and the autoencoder (a VAE of ComfyUI's kind) of a preset."""

    preset: Preset
    patch_encoder: Encoder
    global_encoder: Encoder | None
    vae: Any
    sources: list[Source] = field(default_factory=list, compare=False)  # see `source_of`


@dataclass(frozen=True)
class TargetEmbedding:
    """Predicted embeddings [B, E] of the target pictures, and the preset of their prior.

    B is the number of poses times that of `pictures` of each pose, pose after pose.
    """

    preset: Preset
    embeds: Tensor
    pictures: int = 1
