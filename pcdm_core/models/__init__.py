"""The three denoisers, one file a stage, as networks of the library with what differs from them.

Each owns its trainable parts, its `condition` (what the network sees) and its `unconditional` (what
stands for "nothing" in classifier-free guidance). Sampling is not here.
"""

from .inpainting import InpaintingModel
from .prior import PosePrior
from .refining import RefiningModel

__all__ = ["InpaintingModel", "PosePrior", "RefiningModel"]
