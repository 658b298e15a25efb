"""The pack's own autoencoders behind the interface of ComfyUI's VAE."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..pcdm_core.finite import check_finite
from .convert import image_of, picture_of
from .managed import Resident

if TYPE_CHECKING:
    from ..pcdm_core.vae import PatchAutoencoder


class PatchVAE:
    """What the stock VAE nodes ask of a VAE, over a patch code or one with convolutions.

    LATENTs are unscaled, as all of ComfyUI's are; the model's latent format scales them. Tiles are
    not cut: every patch is coded by itself, or by small layers that large pictures fit in.
    """

    def __init__(self, autoencoder: PatchAutoencoder) -> None:
        self.resident = Resident(autoencoder)
        self.patcher = self.resident.patcher
        self.first_stage_model = autoencoder
        self.config = autoencoder.config
        self.latent_channels = self.config.latent_channels
        self.latent_dim = 2
        self.downscale_ratio = self.upscale_ratio = self.config.downscale
        self.device = self.resident.device
        self.output_device = torch.device("cpu")
        self.vae_dtype = torch.float32

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """IMAGE [B, H, W, C] -> LATENT samples [B, C, H/f, W/f]; the border beyond is cut off."""
        ratio = self.downscale_ratio
        height, width = (side // ratio * ratio for side in pixels.shape[1:3])
        if not height or not width:
            raise ValueError(f"The picture is smaller than {ratio}x{ratio}; give a larger one.")
        y, x = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
        inner = picture_of(pixels)[..., y : y + height, x : x + width]
        latents = self.resident.load().encode(inner.to(self.device))
        return (latents / self.config.scaling_factor).cpu()

    @torch.no_grad()
    def decode(self, samples: Tensor, vae_options: dict[str, Any] | None = None) -> Tensor:
        """LATENT samples -> IMAGE [B, H, W, 3].

        Raises:
            ValueError: latents of another model.
            FloatingPointError: the pictures are not finite.
        """
        if samples.ndim != 4 or samples.shape[1] != self.latent_channels:
            raise ValueError(
                f"This VAE decodes latents [B, {self.latent_channels}, h, w], got "
                f"{list(samples.shape)}. Connect the VAE of the same model."
            )
        latents = samples.to(self.device, torch.float32) * self.config.scaling_factor
        return image_of(check_finite(self.resident.load().decode(latents), "The decoded picture"))

    def encode_tiled(self, pixels: Tensor, **tiles: Any) -> Tensor:
        """As `encode`."""
        return self.encode(pixels)

    def decode_tiled(self, samples: Tensor, **tiles: Any) -> Tensor:
        """As `decode`."""
        return self.decode(samples)

    def spacial_compression_encode(self) -> int:
        """Pixels to a latent, along one side."""
        return self.downscale_ratio

    def spacial_compression_decode(self) -> int:
        """Pixels to a latent, along one side."""
        return self.downscale_ratio

    def temporal_compression_decode(self) -> None:
        """No video."""
        return None

    def throw_exception_if_invalid(self) -> None:
        """The weights are there; otherwise this object would not be."""

    def get_sd(self) -> dict[str, Tensor]:
        """The weights, for VAE Save."""
        return self.first_stage_model.state_dict()
