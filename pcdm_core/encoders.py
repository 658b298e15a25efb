"""Pictures to embeddings: patch tokens for the UNets' context, one vector for the prior.

Every encoder takes normalised pixels and says with `pixels` how to make them. The networks are
transformers' own; ours is what differs from them, and the two small global encoders, of which one
has a closed form and one is trained on rendered people.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from .config import NORM_GROUPS, GlobalEncoderConfig, PatchEncoderConfig
from .encoder_inputs import check_pixels, resample_positions, square_pixels


class _PublishedEmbeddings(Dinov2Embeddings):
    """DINOv2's embeddings with the position table resampled as when the weights were trained."""

    def __init__(self, config: Dinov2Config) -> None:
        super().__init__(config)
        # Only masked pre-training uses it; here it would be a parameter without a gradient.
        self.mask_token = None

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """[1, 1 + h w, P] for a picture of height x width pixels; `embeddings` is [B, 1 + h w, P].

        See `resample_positions`.
        """
        patch = self.config.patch_size
        return resample_positions(self.position_embeddings, height // patch, width // patch)


class PatchImageEncoder(nn.Module):
    """DINOv2: normalised pixels [B, 3, S, S] -> tokens [B, 1 + (S / patch)^2, P], CLS first.

    The tokens are the last hidden state after the final layer norm, as published.
    """

    def __init__(self, config: PatchEncoderConfig) -> None:
        super().__init__()
        self.config = config
        library = Dinov2Config(
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            patch_size=config.patch_size,
            image_size=config.table_size,
            use_swiglu_ffn=config.swiglu,
            layer_norm_eps=config.layer_norm_eps,
        )
        self.model = Dinov2Model(library)
        embeddings = _PublishedEmbeddings(library)
        initial = self.model.embeddings.state_dict()
        initial.pop("mask_token", None)
        embeddings.load_state_dict(initial, assign=True)
        self.model.embeddings = embeddings

    def pixels(self, picture: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> what `forward` takes at the preset's `picture_size`."""
        return square_pixels(picture, self.config.picture_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S], S a multiple of the patch size -> [B, L, P]."""
        patch = self.config.patch_size
        if pixels.ndim != 4 or any((pixels.shape[1] - 3, *(n % patch for n in pixels.shape[2:]))):
            raise ValueError(
                f"Expected normalised pixels [B, 3, S, S] with S a multiple of {patch}, got "
                f"{list(pixels.shape)}. Make them from a picture with the encoder's `pixels`."
            )
        return self.model(pixels).last_hidden_state


class GlobalImageEncoder(nn.Module):
    """CLIP's vision tower: normalised pixels [B, 3, S, S] -> embeddings [B, E].

    As published: projected, not normalised to unit length.
    """

    def __init__(self, config: GlobalEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.model = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                projection_dim=config.embedding_dim,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                image_size=config.picture_size,
                patch_size=config.patch_size,
                hidden_act=config.hidden_act,
            )
        )
        # A constant that no file holds: it needs its values also where the weights are built
        # without storage and come from a file later.
        table = self.model.vision_model.embeddings
        positions = torch.arange(table.num_positions, device="cpu")[None]
        table.register_buffer("position_ids", positions, persistent=False)

    def pixels(self, picture: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> what `forward` takes."""
        return square_pixels(picture, self.config.picture_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, E]."""
        check_pixels(pixels, self.config.picture_size)
        return self.model(pixels).image_embeds


class LinearImageEncoder(nn.Module):
    """The closed-form encoder of the mini preset: whitened principal components of small pictures.

    `training.stages.closed_form` computes the two tensors from pictures; a file brings them.
    """

    mean: Tensor  # [3 S S]
    projection: Tensor  # [E, 3 S S]

    def __init__(self, config: GlobalEncoderConfig) -> None:
        super().__init__()
        self.config = config
        inputs = 3 * config.picture_size**2
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("projection", torch.zeros(config.embedding_dim, inputs))

    def pixels(self, picture: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> what `forward` takes."""
        return square_pixels(picture, self.config.picture_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, E]."""
        check_pixels(pixels, self.config.picture_size)
        return (pixels.flatten(1).to(self.mean) - self.mean) @ self.projection.T


class _Level(nn.Module):
    """Half the side, another width, and a convolution beside the identity."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(width_in, width_out, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(NORM_GROUPS, width_out)
        self.conv = nn.Conv2d(width_out, width_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, S, S] -> [B, D, S / 2, S / 2]."""
        half = nn.functional.silu(self.norm(self.down(x)))
        return half + self.conv(half)


class ConvImageEncoder(nn.Module):
    """A small convolutional network that is trained on what is known of rendered people.

    `training.stages.global_encoder` trains it, and ends with embeddings of zero mean whose numbers
    are uncorrelated and of unit variance together, as those of the linear encoder are.
    """

    def __init__(self, config: GlobalEncoderConfig) -> None:
        super().__init__()
        self.config = config
        levels, width = config.num_layers, config.hidden_size
        widths = [3, *(width >> (levels - 1 - level) for level in range(levels))]
        self.levels = nn.Sequential(*(_Level(*pair) for pair in pairwise(widths)))
        self.norm = nn.GroupNorm(NORM_GROUPS, width)
        side = config.picture_size >> levels
        self.projection = nn.Linear(width * side * side, config.embedding_dim)

    def pixels(self, picture: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1] -> what `forward` takes."""
        return square_pixels(picture, self.config.picture_size)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, E]."""
        check_pixels(pixels, self.config.picture_size)
        x = nn.functional.silu(self.norm(self.levels(pixels)))
        return self.projection(x.flatten(1))


GlobalEncoder = GlobalImageEncoder | LinearImageEncoder | ConvImageEncoder


def build_global_encoder(config: GlobalEncoderConfig) -> GlobalEncoder:
    """The global encoder of a preset, not yet fitted, trained or loaded."""
    kinds = {"clip": GlobalImageEncoder, "linear": LinearImageEncoder, "conv": ConvImageEncoder}
    return kinds[config.kind](config)
