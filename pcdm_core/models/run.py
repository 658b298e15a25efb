"""A UNet as one run of the sampling loop needs it: what no step changes is computed before it.

The twin shares all weights with its UNet and is made of the same library modules. Only where
something is known before the first step does another module stand: the time embedding is a row of
a table, and the first convolution adds what it makes of the constant channels.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn
from torch.nn import functional as F

from .packed import Packing


class GivenEmbedding(nn.Module):
    """In place of the time embedding: hands on the one that came with the call."""

    def forward(self, sample: Tensor, condition: Tensor) -> Tensor:
        """sample unused, condition [B, D] -> [B, D]."""
        return condition


class Columns(nn.Module):
    """In place of a block's projection of the time embedding: its share of the table's row."""

    def __init__(self, start: int, stop: int) -> None:
        super().__init__()
        self.start, self.stop = start, stop

    def forward(self, row: Tensor) -> Tensor:
        """[B, D] -> [B, stop - start]."""
        return row[:, self.start : self.stop]


class FirstConv(nn.Module):
    """In place of the first convolution: of the noisy channels alone, the rest is added."""

    def __init__(self, conv: nn.Module, channels: int) -> None:
        super().__init__()
        self.conv, self.channels = conv, channels

    def forward(self, input: Tensor) -> Tensor:
        """[B, channels + C0, h, w] -> [B, C0, h, w]."""
        return self.conv(input[:, : self.channels]) + input[:, self.channels :]


def blocks_of(unet: nn.Module) -> list[ResnetBlock2D]:
    """The blocks that take a time embedding, in the order of the table's columns."""
    return [m for m in unet.modules() if isinstance(m, ResnetBlock2D) and m.time_emb_proj]


def share(module: Any) -> Any:
    """Another module tree over the same tensors and the same hooks."""
    twin = copy.copy(module)
    twin._modules = {
        name: None if child is None else share(child) for name, child in module._modules.items()
    }
    return twin


def noisy_conv(conv: nn.Conv2d, channels: int) -> nn.Conv2d:
    """A first convolution over its first channels, without bias."""
    part = nn.Conv2d(
        channels,
        conv.out_channels,
        3,
        padding=conv.padding,  # type: ignore[arg-type]
        bias=False,
        device="meta",
    )
    part.weight = nn.Parameter(conv.weight[:, :channels].detach(), requires_grad=False)
    return part


def run_twin(
    unet: UNet2DConditionModel, channels: int, packing: Packing | None = None
) -> UNet2DConditionModel:
    """The twin of a UNet whose sample has so many channels; see `run_inputs` for its call."""
    twin: Any = share(unet)
    twin.time_proj = nn.Identity()
    twin.time_embedding = GivenEmbedding()
    twin.class_embedding = None  # its part is in the table
    column = 0
    for block in blocks_of(twin):
        width = block.time_emb_proj.out_features  # type: ignore[union-attr]
        block.time_emb_proj = Columns(column, column + width)  # type: ignore[assignment]
        block.skip_time_act = True  # the table's entries have been through it
        column += width
    first: Any = noisy_conv(unet.conv_in, channels)  # type: ignore[arg-type]
    if packing is not None:
        pack_layers(twin, packing)
        first = packing.layer("conv_in", first)
    twin.conv_in = FirstConv(first, channels)
    return twin


def pack_layers(twin: nn.Module, packing: Packing) -> None:
    """Put the packed layers in place of all that a run calls."""
    for name, module in list(twin.named_modules()):
        unused = name.endswith((".attn2.to_k", ".attn2.to_v"))  # see `AttentionContext`
        if unused or type(module) not in (nn.Conv2d, nn.Linear):
            continue
        parent, _, child = name.rpartition(".")
        setattr(twin.get_submodule(parent), child, packing.layer(name, module))


def time_table(unet: Any, timesteps: Tensor, embed: Tensor | None) -> Tensor:
    """All blocks' projections of all steps' embeddings: [steps, B, columns], B = 1 without embed.

    Args:
        timesteps: [steps].
        embed: [B, E], the class embedding's input.
    """
    sines = unet.time_proj(timesteps).to(unet.dtype)
    embedding = unet.time_embedding(sines)[:, None]
    if embed is not None:
        embedding = embedding + unet.class_embedding(embed)
    rows: list[Tensor] = []
    for block in blocks_of(unet):
        activated: Tensor = block.nonlinearity(embedding)
        assert block.time_emb_proj is not None
        rows.append(block.time_emb_proj(activated))
    return torch.cat(rows, dim=-1)


def constant_features(conv: nn.Conv2d, concat: Tensor, pose: Tensor | None) -> Tensor:
    """What the first convolution makes of the channels that no step changes: [B, C0, h, w].

    Args:
        concat: [B, C, h, w], the last input channels of the convolution.
        pose: [B, C0, h, w] that is added to its output.
    """
    weight = conv.weight[:, conv.in_channels - concat.shape[1] :]
    features = F.conv2d(concat, weight, conv.bias, padding=conv.padding)  # type: ignore[arg-type]
    return features if pose is None else features + pose
