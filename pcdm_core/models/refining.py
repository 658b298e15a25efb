"""Stage 3: restore texture from the coarse picture and the source's tokens (paper section 3.4)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..conditioning import Conditioning, Step
from ..config import RefiningConfig
from .attention import AttentionContext, attention_context
from .inpainting import check_latents, check_null_tokens, check_tokens
from .layers import ImageProjection
from .unet import build_unet, run_unet


class RefiningModel(nn.Module):
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

    def prepare(self, joint: Conditioning, null_rows: int = 0) -> Step:
        """One run of the loop: the context's keys and values are computed here and never again.

        Args:
            joint: of all rows, those of `unconditional` first.
            null_rows: how many these are.
        """
        context = attention_context(self.unet, joint.tokens, null_rows)
        return lambda x_t, timesteps: self(x_t, timesteps, joint, context)

    def forward(
        self,
        x_t: Tensor,
        timesteps: Tensor,
        cond: Conditioning,
        context: AttentionContext | None = None,
    ) -> Tensor:
        """x_t [B, C, h, w], timesteps [B] -> prediction [B, C, h, w]."""
        x = torch.cat([x_t, cond.concat.to(x_t.dtype)], dim=1)
        return run_unet(self.unet, x, timesteps, cond.tokens, context=context)
