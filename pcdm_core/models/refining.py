"""Stage 3: restore texture from the coarse picture and the source's tokens (paper section 3.4)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..config import RefiningConfig
from .inpainting import check_latents, check_null_tokens, check_tokens
from .layers import ImageProjection
from .unet import DenoisingUNet, build_unet


class RefiningModel(DenoisingUNet):
    """x_t [B, C, h, w] -> the network's prediction of the same shape (see `config.schedule`)."""

    def __init__(self, config: RefiningConfig) -> None:
        super().__init__()
        self.config = config
        self.unet = build_unet(config.unet, config.in_channels, config.latent_channels)
        self.image_projection = ImageProjection(
            config.patch_dim, config.patch_hidden_dim, config.unet.cross_attention_dim
        )

    def condition(self, patch_tokens: Tensor, coarse_latents: Tensor) -> Conditioning:
        """From DINOv2 tokens of the source [B, L, P] and the coarse picture's latents [B, C, h, w].

        Raises:
            ValueError: a shape does not fit the configuration.
        """
        check_tokens(patch_tokens, self.config.patch_dim)
        check_latents("coarse latents", coarse_latents, self.config.latent_channels)
        return Conditioning(tokens=self.image_projection(patch_tokens), concat=coarse_latents)

    def unconditional(self, cond: Conditioning) -> Conditioning:
        """As published: zero tokens and zero coarse latents."""
        check_null_tokens(self.config.null_tokens)
        return replace(
            cond, tokens=torch.zeros_like(cond.tokens), concat=torch.zeros_like(cond.concat)
        )
