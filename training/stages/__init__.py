"""The trainable stages, a file each: where a training batch is made, and its loss.

`prepare` turns rows of people into the batch, tensors without gradient (latents, embeddings,
noise); `forward` is the part that learns, from batch to loss. The models' own `condition` and the
one denoising loss in `losses` are used throughout: what training sees is what sampling sees. `base`
is what all stages share, `perception` a further loss, `initialise` says where a model starts,
`closed_form` computes the linear parts.
"""

from typing import Any

from torch import nn

from pcdm_core.vae import Autoencoder

from ..config import StageRun
from ..features.protocol import Features
from .autoencoder import AutoencoderStage
from .base import TIMESTEP, Batch, DenoisingStage, Frozen, StageModule, features_of, keep_rows
from .inpainting import InpaintingStage
from .prior import PriorStage
from .refining import RefiningStage, sharpened

__all__ = [
    "TIMESTEP", "AutoencoderStage", "Batch", "DenoisingStage", "Frozen", "InpaintingStage",
    "PriorStage", "RefiningStage", "StageModule", "build_stage", "features_of", "keep_rows",
    "sharpened",
]  # fmt: skip


def build_stage(
    name: str, model: Any, features: Features, autoencoder: Autoencoder | None, run: StageRun,
    seed: int,
) -> StageModule:  # fmt: skip
    """Stage 1, 2 or 3 around a model, on features that are computed or read outside of it."""
    if name == "prior":
        return PriorStage(model, features, run, seed)
    assert autoencoder is not None
    frozen = Frozen(autoencoder, nn.Identity())
    if name == "inpainting":
        return InpaintingStage(model, None, frozen, features, run, seed)
    return RefiningStage(model, frozen, features, None, run, seed)
