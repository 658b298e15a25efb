"""The trainable stages: prepared batch in, loss out.

`prepare` turns rows of people into tensors without gradient (latents, embeddings, noise); `forward`
is the part that learns. The models' own `condition` and the one denoising loss in `losses` are used
throughout: what training sees is what sampling sees. `base` is what all stages share, `perception`
a further loss, `initialise` says where a model starts, `closed_form` computes the linear parts.
"""

from .autoencoder import AutoencoderStage
from .base import TIMESTEP, Batch, Frozen, StageModule, features_of, keep_rows
from .inpainting import InpaintingStage
from .prior import PriorStage
from .refining import RefiningStage, sharpened

__all__ = [
    "TIMESTEP", "AutoencoderStage", "Batch", "Frozen", "InpaintingStage", "PriorStage",
    "RefiningStage", "StageModule", "features_of", "keep_rows", "sharpened",
]  # fmt: skip
