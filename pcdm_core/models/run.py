"""A UNet as one run of the sampling loop needs it: what no step changes is computed before it.

The twin shares all weights with its UNet and is made of the same library modules. Only where
something is known before the first step does another module stand: the time embedding and its
projections are a row of a table.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn


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


def run_twin(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The twin of a UNet; a row of `time_table` is its `timestep_cond`."""
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
    return twin


def time_table(unet: Any, timesteps: Tensor, rows: int, embed: Tensor | None) -> Tensor:
    """All blocks' projections of all steps' embeddings: [steps, B, columns].

    Step by step and for all rows, because products of other shapes round otherwise, and the
    network makes more of that than 5e-6 of a prediction's deviation.

    Args:
        timesteps: [steps].
        rows: B.
        embed: [B, E], the class embedding's input.
    """
    classes = None if embed is None else unet.class_embedding(embed)
    table: list[Tensor] = []
    for timestep in timesteps:
        embedding = unet.time_embedding(unet.time_proj(timestep.expand(rows)).to(unet.dtype))
        if classes is not None:
            embedding = embedding + classes
        columns: list[Tensor] = []
        for block in blocks_of(unet):
            assert block.time_emb_proj is not None
            columns.append(block.time_emb_proj(block.nonlinearity(embedding)))
        table.append(torch.cat(columns, dim=-1))
    return torch.stack(table)
