"""Stage 2: fill the right half of a source|target canvas (paper section 3.3)."""

from __future__ import annotations

from dataclasses import replace

import torch
from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding
from torch import Tensor

from ..conditioning import Conditioning
from ..config import InpaintingConfig, NullConditioning
from ..images import known_mask
from .layers import ImageProjection
from .unet import DenoisingUNet, build_unet


def check_tokens(tokens: Tensor, expected: int) -> None:
    """Refuse patch tokens of another encoder, naming both widths."""
    if tokens.ndim != 3 or tokens.shape[2] != expected:
        raise ValueError(
            f"Expected patch tokens [B, L, {expected}], got {list(tokens.shape)}. "
            f"Load the image encoder of the same preset."
        )


def check_latents(name: str, latents: Tensor, channels: int) -> None:
    """Refuse latents of another autoencoder, naming both channel counts."""
    if latents.ndim != 4 or latents.shape[1] != channels:
        raise ValueError(
            f"Expected {name} [B, {channels}, h, w], got {list(latents.shape)}. "
            f"Load the autoencoder of the same preset."
        )


def check_null_tokens(kind: NullConditioning) -> None:
    """Refuse null conditioning that a model cannot make by itself."""
    if kind != "zeros":
        raise ValueError(f"This model cannot make null tokens of the kind {kind!r}; use 'zeros'.")


class InpaintingModel(DenoisingUNet):
    """x_t [B, C, h, 2w] -> the network's prediction of the same shape (see `config.schedule`)."""

    def __init__(self, config: InpaintingConfig) -> None:
        super().__init__()
        self.config = config
        unet = config.unet
        self.unet = build_unet(
            unet, config.in_channels, config.latent_channels, class_dim=config.embedding_dim
        )
        self.pose_encoder = ControlNetConditioningEmbedding(
            unet.block_out_channels[0], 3, config.pose_channels
        )
        self.image_projection = ImageProjection(
            config.patch_dim, config.patch_hidden_dim, unet.cross_attention_dim
        )

    def condition(
        self,
        patch_tokens: Tensor,
        target_embeds: Tensor | None,
        source_latents: Tensor,
        pose_map: Tensor,
    ) -> Conditioning:
        """Assemble what the UNet sees; one source (B = 1) goes with any number of targets.

        Args:
            patch_tokens: [B, L, P] DINOv2 tokens of the source, CLS first.
            target_embeds: [B, E] embedding of the target picture (predicted by the prior, or the
                true one in training); None for the simplified release.
            source_latents: [B, C, h, 2w] latents of the canvas source|black.
            pose_map: [B, 3, H, 2W] skeletons source|target in [-1, 1].

        Raises:
            ValueError: a shape does not fit the configuration, or the target embedding is missing
                or superfluous.
        """
        config = self.config
        check_tokens(patch_tokens, config.patch_dim)
        check_latents("source latents", source_latents, config.latent_channels)
        if config.embedding_dim is None and target_embeds is not None:
            raise ValueError(
                "This inpainting model is the single-stage release: it takes no target embedding. "
                "Leave the prior out."
            )
        if config.embedding_dim is not None and target_embeds is None:
            raise ValueError(
                "This inpainting model needs the target picture's embedding. Run the prior first."
            )
        tokens = self.image_projection(patch_tokens)  # [B, L, D]
        if target_embeds is not None:
            if target_embeds.shape[-1] != tokens.shape[-1]:
                raise ValueError(
                    f"Expected target embeddings [B, {config.embedding_dim}] as wide as the "
                    f"context ({tokens.shape[-1]}), got {list(target_embeds.shape)}. "
                    f"Load the prior of the same preset."
                )
            # As published: the embedding joins the context unprojected.
            rows = max(len(tokens), len(target_embeds))
            tokens = torch.cat(
                [
                    tokens.expand(rows, -1, -1),
                    target_embeds[:, None].to(tokens).expand(rows, -1, -1),
                ],
                dim=1,
            )
        batch, _, height, width = source_latents.shape
        mask = known_mask(batch, height, width).to(source_latents)  # [B, 1, h, 2w], 1 = known
        pose = self.pose_encoder(pose_map)  # [B, C0, h, 2w]
        if pose.shape[-2:] != source_latents.shape[-2:]:
            raise ValueError(
                f"The pose map gives features of {list(pose.shape[-2:])}, the canvas has latents "
                f"of {list(source_latents.shape[-2:])}: draw the skeletons at the canvas's size."
            )
        return Conditioning(
            tokens=tokens,
            concat=torch.cat([mask, source_latents], dim=1),
            pose=pose,
            embed=target_embeds,
        )

    def unconditional(self, cond: Conditioning) -> Conditioning:
        """The null conditioning of classifier-free guidance.

        As published: three-stage models take zeros in the projected space for tokens and class
        embedding, the simplified release projects zero features; concat and pose stay.
        """
        if self.config.null_tokens == "projected_zeros":
            batch, length, _ = cond.tokens.shape
            zeros = cond.tokens.new_zeros(batch, length, self.config.patch_dim)
            return replace(cond, tokens=self.image_projection(zeros))
        check_null_tokens(self.config.null_tokens)
        embed = None if cond.embed is None else torch.zeros_like(cond.embed)
        return replace(cond, tokens=torch.zeros_like(cond.tokens), embed=embed)
