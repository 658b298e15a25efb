"""Cross-attention whose keys and values are computed once for a whole run of the sampling loop.

The context of a picture does not change from step to step, so neither do its keys and values. Rows
whose context is zero (the null tokens of classifier-free guidance) have zero values where the
projections have no bias; attention over them is zero, and the layer gives its output bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class AttentionContext:
    """What the cross-attention layers of one UNet know of the context before the first step.

    Attributes:
        null_rows: so many rows at the start of the batch have a context of zeros.
        keys_values: key and value of the other rows, [B - null_rows, heads, L, D / heads] each, by
            the number of the layer.
    """

    null_rows: int
    keys_values: tuple[tuple[Tensor, Tensor], ...]


class ContextAttention(AttnProcessor2_0):
    """The library's attention, which takes its keys and values from a context where one is given.

    Args:
        layer: number of the cross-attention layer; None for self-attention.
    """

    def __init__(self, layer: int | None) -> None:
        super().__init__()
        self.layer = layer

    def __call__(
        self,
        attn: Any,  # diffusers' Attention; its annotations allow for parts that ours always have
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        *args: Any,
        context: AttentionContext | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """hidden_states [B, N, C], encoder_hidden_states [B, L, D] -> [B, N, C]."""
        if context is None or self.layer is None:
            return super().__call__(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb, *args, **kwargs
            )
        key, value = context.keys_values[self.layer]
        project, dropout = attn.to_out[0], attn.to_out[1]
        query = split_heads(attn.to_q(hidden_states[context.null_rows :]), attn.heads)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        out = dropout(project(attended))
        if not context.null_rows:
            return out
        return torch.cat([project.bias.to(out).expand(context.null_rows, *out.shape[1:]), out])


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, L, heads * C] -> [B, heads, L, C]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)


def install(unet: UNet2DConditionModel) -> None:
    """Give every attention module of a UNet its `ContextAttention`; its weights stay as they are.

    Self-attention gets one too: the library hands the context to all of them.
    """
    processors: dict[str, ContextAttention] = {}
    layers = 0
    for name in unet.attn_processors:
        crosses = name.endswith("attn2.processor")
        processors[name] = ContextAttention(layers if crosses else None)
        layers += crosses
    unet.set_attn_processor(processors)


def attention_context(
    unet: UNet2DConditionModel, tokens: Tensor, null_rows: int
) -> AttentionContext:
    """Project the tokens of one run once for every cross-attention layer.

    Args:
        tokens: [B, L, D], null rows first.
        null_rows: rows of classifier-free guidance at the start. They are left out only where their
            tokens are exactly zero and no key or value projection has a bias.
    """
    layers: dict[int, Any] = {}
    for module in unet.modules():
        processor = getattr(module, "processor", None)
        if isinstance(processor, ContextAttention) and processor.layer is not None:
            layers[processor.layer] = module
    attentions = [layers[number] for number in range(len(layers))]
    biased = any(a.to_k.bias is not None or a.to_v.bias is not None for a in attentions)
    if biased or tokens.is_meta or tokens[:null_rows].count_nonzero() > 0:
        null_rows = 0
    rest = tokens[null_rows:]
    shared = shared_tokens(rest)

    def project(layer: Any, projection: Any) -> Tensor:
        heads: int = layer.heads
        if not shared:
            return split_heads(projection(rest), heads)
        once = split_heads(projection(rest[:1, :shared]), heads).expand(len(rest), -1, -1, -1)
        if shared == rest.shape[1]:
            return once
        return torch.cat([once, split_heads(projection(rest[:, shared:]), heads)], dim=2)

    return AttentionContext(
        null_rows, tuple((project(a, a.to_k), project(a, a.to_v)) for a in attentions)
    )


def shared_tokens(tokens: Tensor) -> int:
    """How many tokens [B, L, D] at the start are the same in every row: target poses of one source.

    One row shares nothing, and of tensors without values (meta) nothing is known.
    """
    if len(tokens) < 2 or tokens.is_meta:
        return 0
    same = (tokens == tokens[:1]).all(2).all(0)
    return int(same.long().cumprod(0).sum())
