"""The source as the stages see it: fitted and encoded once for all nodes that get the same picture.

The prior, inpainting and refining nodes each take the IMAGE of the person. What they see of it is
kept with the encoders, for the picture that was asked for last: a second node, another pose or
another seed encodes nothing again. As ComfyUI's own cache does, this relies on nodes that leave
their inputs as they are.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch import Tensor

from ..pcdm_core.finite import check_finite
from ..pcdm_core.images import fit, source_canvas
from ..pcdm_core.inputs import SEEN_BY_GLOBAL, SEEN_BY_PATCHES
from .convert import image_of, picture_of

if TYPE_CHECKING:
    from ..pcdm_core.config import Preset
    from .types import LoadedEncoders


class Source:
    """S pictures of the source, fitted; each encoding is made when it is first asked for."""

    def __init__(self, encoders: LoadedEncoders, image: Tensor, preset: Preset) -> None:
        """`image` is an IMAGE of any size, S rows."""
        # Not the encoders themselves: they keep this, and neither would be freed in time.
        self.patch_encoder, self.global_encoder = encoders.patch_encoder, encoders.global_encoder
        self.vae = encoders.vae
        self.image = ref(image)
        self.frame = preset.height, preset.width, preset.fit
        picture = picture_of(image)
        self.picture, self.fit = fit(picture, *self.frame)  # [S, 3, h, w] in [-1, 1]

    @cached_property
    def tokens(self) -> Tensor:
        """Patch tokens [S, L, P], for stages 2 and 3."""
        return check_finite(self.patch_encoder(self.picture), SEEN_BY_PATCHES)

    @cached_property
    def embeds(self) -> Tensor:
        """Embeddings [S, E], for the prior.

        Raises:
            ValueError: the encoders have no global encoder.
        """
        if self.global_encoder is None:
            raise ValueError(
                "These encoders have no global encoder, which the prior needs. In PCDM Load "
                "Encoders connect clip_vision or choose global_encoder, or put "
                "global_encoder.safetensors beside the patch encoder."
            )
        return check_finite(self.global_encoder(self.picture), SEEN_BY_GLOBAL)

    @cached_property
    def canvas_latents(self) -> Tensor:
        """The VAE's latents of the canvas source|black [S, C, h, 2w], as the VAE gives them."""
        return latents_of(self.vae, source_canvas(self.picture))


def source_of(encoders: LoadedEncoders, image: Tensor, preset: Preset) -> Source:
    """The source that an IMAGE shows at a preset's size; the last one is kept with the encoders."""
    frame = preset.height, preset.width, preset.fit
    for source in encoders.sources:
        if source.image() is image and source.frame == frame:
            return source
    source = Source(encoders, image, preset)
    encoders.sources[:] = [source]
    return source


def latents_of(vae: Any, picture: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] -> the VAE's latents."""
    return check_finite(vae.encode(image_of(picture)), "The VAE's latent of a picture")
