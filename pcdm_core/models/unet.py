"""The stock diffusers UNet, plus one addition after its first convolution."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..config import UNetConfig


class PoseConv2d(nn.Conv2d):
    """A first convolution that takes its own bias map along as further input channels.

    Channels beyond `in_channels` are added to the output: `conv(x) + pose`. Handing the pose in
    with the input keeps the module free of state (threads, compilation) and its keys unchanged.
    """

    def forward(self, input: Tensor) -> Tensor:
        """[B, in_channels (+ out_channels), h, w] -> [B, out_channels, h, w]."""
        features = super().forward(input[:, : self.in_channels])
        if input.shape[1] > self.in_channels:
            features = features + input[:, self.in_channels :]
        return features


def build_unet(
    config: UNetConfig, in_channels: int, out_channels: int, class_dim: int | None = None
) -> UNet2DConditionModel:
    """A `UNet2DConditionModel` of these widths with a `PoseConv2d`.

    Args:
        in_channels: channels of the noisy sample and everything concatenated to it.
        class_dim: width of the class embedding's input, or None for a UNet without one.
    """
    levels = config.attention_levels
    widths = config.block_out_channels
    options: dict[str, Any] = {}
    if class_dim is not None:
        options = {
            "class_embed_type": "projection",
            "projection_class_embeddings_input_dim": class_dim,
        }
    unet = UNet2DConditionModel(
        sample_size=config.sample_size,
        in_channels=in_channels,
        out_channels=out_channels,
        block_out_channels=widths,
        down_block_types=tuple("CrossAttnDownBlock2D" if a else "DownBlock2D" for a in levels),
        up_block_types=tuple("CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(levels)),
        layers_per_block=config.layers_per_block,
        cross_attention_dim=config.cross_attention_dim,
        # diffusers names it head_dim; for this class it is the number of heads.
        attention_head_dim=config.num_heads,
        norm_num_groups=config.norm_num_groups,
        use_linear_projection=True,
        **options,
    )
    conv = unet.conv_in
    replacement = PoseConv2d(conv.in_channels, conv.out_channels, kernel_size=3, padding=1)
    replacement.load_state_dict(conv.state_dict(), assign=True)
    unet.conv_in = replacement
    return unet


class DenoisingUNet(nn.Module):
    """What stages 2 and 3 share: one pass under a `Conditioning`."""

    unet: UNet2DConditionModel

    def forward(self, x_t: Tensor, timesteps: Tensor, cond: Conditioning) -> Tensor:
        """x_t [B, C, h, w], timesteps [B] -> prediction [B, C, h, w]; canvases are 2w wide."""
        x = torch.cat([x_t, cond.concat.to(x_t.dtype)], dim=1)
        if cond.pose is not None:
            x = torch.cat([x, cond.pose], dim=1)
        return self.unet(x, timesteps, cond.tokens, class_labels=cond.embed, return_dict=False)[0]
