"""The three denoisers. Each owns its trainable parts and its `condition`."""

from .inpainting import InpaintingModel
from .prior import PosePrior
from .refining import RefiningModel

__all__ = ["InpaintingModel", "PosePrior", "RefiningModel"]
