"""Pixels to latents and back; nothing else multiplies by the scaling factor."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from .config import AutoencoderConfig
from .vae_paths import DecoderPath, EncoderPath

TILE = 512
"""Height and width of the tiles of a large picture, in pixels."""
FLAT_FIELD = 9
"""Height and width of the fields of latents that tell a channel's colour; its middle is read."""


class Autoencoder(nn.Module, ABC):
    """What all kinds share: pictures [B, 3, H, W] in [-1, 1] <-> latents [B, C, H/f, W/f]."""

    config: AutoencoderConfig

    def set_tiling(self, tiled: bool) -> None:
        """Work on overlapping tiles of large pictures, or on whole ones; results differ a little.

        Codes of patches are always whole: their widest layer has half the picture's size.
        """

    def encode(
        self,
        pixels: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> scaled latents [B, C, H/f, W/f].

        As published: the scripts sample the posterior; `posterior="sample"` with `noise` like the
        latents does so. The mean is the default everywhere else. Codes of patches have no spread.
        """
        return self.latents(self.moments(pixels), posterior, noise)

    @abstractmethod
    def moments(self, pixels: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> means and log variances [B, 2 C, H/f, W/f], not scaled.

        All of the encoder's work: what can be kept of a picture that is used again. Of a code of
        patches it is the code alone, [B, C, H/f, W/f].
        """

    def latents(
        self,
        moments: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """What `encode` makes of the `moments` of its pictures."""
        return moments * self.config.scaling_factor

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """Scaled latents -> [B, 3, H, W], about [-1, 1], not clamped."""


class KLAutoencoder(Autoencoder):
    """diffusers' `AutoencoderKL` (the SD autoencoder) behind the interface of this module."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        levels = len(config.block_out_channels)
        self.vae = AutoencoderKL(
            in_channels=3,
            out_channels=3,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels,
            block_out_channels=config.block_out_channels,
            layers_per_block=config.layers_per_block,
            latent_channels=config.latent_channels,
            norm_num_groups=config.norm_num_groups,
            scaling_factor=config.scaling_factor,
        )
        # One picture at a time: the last layers of a decoder need more than a UNet.
        self.vae.enable_slicing()
        self.vae.tile_sample_min_size = TILE  # the library's value is that of its training pictures
        self.vae.tile_latent_min_size = TILE // config.downscale

    def set_tiling(self, tiled: bool) -> None:
        """See `Autoencoder`; a picture of at most a tile's size stays whole."""
        if tiled:
            self.vae.enable_tiling()
        else:
            self.vae.disable_tiling()

    def moments(self, pixels: Tensor) -> Tensor:
        """See `Autoencoder`."""
        return self.vae.encode(pixels).latent_dist.parameters

    def latents(
        self,
        moments: Tensor,
        posterior: Literal["mean", "sample"] = "mean",
        noise: Tensor | None = None,
    ) -> Tensor:
        """See `Autoencoder`."""
        distribution = DiagonalGaussianDistribution(moments)
        latents = distribution.mean
        if posterior == "sample":
            if noise is None:
                raise ValueError("posterior='sample' needs noise of the latents' shape.")
            latents = latents + distribution.std * noise
        return super().latents(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder`."""
        return self.vae.decode(latents / self.config.scaling_factor, return_dict=False)[0]


class PatchAutoencoder(Autoencoder):
    """A linear code of square patches: the closed-form autoencoder of the mini preset.

    Two convolutions with stride = kernel = `downscale`, set to the principal components of patches
    (`training.stages.closed_form`); training may move them on.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        size, channels = config.downscale, config.latent_channels
        self.encoder = nn.Conv2d(3, channels, size, stride=size)
        self.decoder = nn.ConvTranspose2d(channels, 3, size, stride=size)

    def moments(self, pixels: Tensor) -> Tensor:
        """The code [B, C, H/f, W/f], see `Autoencoder`."""
        return self.encoder(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder`."""
        return self.decoder(latents / self.config.scaling_factor)

    @torch.no_grad()
    def patch_colours(self) -> tuple[Tensor, Tensor]:
        """What latents say of the mean colour of their patches: [C, 3] and [3], in [-1, 1].

        `latents * factors`, summed over channels, plus the second tensor. They are the answers of
        the decoder to flat fields: exact for a linear code, and within a level of 255 or so for a
        learned one.
        """
        channels, side = self.config.latent_channels, FLAT_FIELD * self.config.downscale
        like = self.decoder.weight
        fields = torch.eye(channels).to(like)[:, :, None, None] * self.config.scaling_factor / 2
        fields = fields.expand(-1, -1, FLAT_FIELD, FLAT_FIELD)
        middle = slice(side // 2 - side // 6, side // 2 + side // 6)
        plus, minus, none = (
            self.decode(field)[..., middle, middle].mean((2, 3))
            for field in (fields, -fields, torch.zeros_like(fields[:1]))
        )
        return (plus - minus) / self.config.scaling_factor, none[0]


class ConvAutoencoder(PatchAutoencoder):
    """A patch code with residual convolutions beside it, in the encoder and in the decoder.

    Their last layers start at zero: before training it is the linear code.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__(config)
        self.encoder_path = EncoderPath(config)
        self.decoder_path = DecoderPath(config)

    def moments(self, pixels: Tensor) -> Tensor:
        """The code [B, C, H/f, W/f], see `Autoencoder`."""
        return self.encoder(pixels) + self.encoder_path(pixels)

    def decode(self, latents: Tensor) -> Tensor:
        """See `Autoencoder`."""
        code = latents / self.config.scaling_factor
        return self.decoder(code) + self.decoder_path(code)


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """The autoencoder of a preset, with random weights."""
    kinds = {"kl": KLAutoencoder, "patch": PatchAutoencoder, "conv": ConvAutoencoder}
    return kinds[config.kind](config)
