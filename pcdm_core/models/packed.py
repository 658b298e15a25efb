"""Weights in the order that a processor's kernels read them, for layers that are called often.

oneDNN brings a layer's weights into an order of its own in every call. At the sizes of the mini
preset that costs as much as the product itself; done once it is free from then on. The functions
are those that torch's own compiler uses; where this torch has none, layers stay as they are.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

LARGE = 200_000_000
"""Parameters from which on weights are not doubled for this."""


class PackedConv2d(nn.Module):
    """What an `nn.Conv2d` computes, without a gradient; pictures come out channels last."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.bias, self.weight = conv.bias, conv.weight.detach()
        pads = (conv.padding, conv.padding) if isinstance(conv.padding, int) else conv.padding
        self.geometry = (list(pads), list(conv.stride), list(conv.dilation), conv.groups)
        self.packed: tuple[torch.Size, Tensor] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C', h', w']."""
        packed = self.packed
        if packed is None or packed[0] != input.shape:  # the best order depends on the size
            reorder = torch.ops.mkldnn._reorder_convolution_weight
            packed = (input.shape, reorder(self.weight, *self.geometry, list(input.shape)))
            self.packed = packed
        x = input.contiguous(memory_format=torch.channels_last)
        return torch.ops.mkldnn._convolution_pointwise(
            x, packed[1], self.bias, *self.geometry, "none", [], ""
        )


class PackedLinear(nn.Module):
    """What an `nn.Linear` computes, without a gradient."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.bias = linear.bias
        self.packed = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), None)

    def forward(self, input: Tensor) -> Tensor:
        """[..., C] -> [..., C']."""
        return torch.ops.mkldnn._linear_pointwise(
            input.contiguous(), self.packed, self.bias, "none", [], ""
        )


def packed_layer(layer: nn.Module) -> nn.Module | None:
    """A packed twin of a layer of exactly these kinds, on the CPU; None for any other."""
    if type(layer) is nn.Conv2d and layer.padding_mode == "zeros":
        return PackedConv2d(layer)
    return PackedLinear(layer) if type(layer) is nn.Linear else None


@lru_cache(maxsize=8)
def can_pack(dtype: torch.dtype) -> bool:
    """Whether this torch packs layers of a type for this processor, found out on a small one."""
    conv, linear = nn.Conv2d(16, 16, 3, padding=1), nn.Linear(16, 16)
    draw = torch.Generator().manual_seed(0)
    x = torch.rand(1, 16, 16, 16, generator=draw)
    try:
        with torch.no_grad():
            for layer in (conv, linear):
                for weights in layer.parameters():
                    weights.copy_(torch.rand(weights.shape, generator=draw))
                layer.to(dtype)
                found: Any = packed_layer(layer)
                expected = layer(x.to(dtype)).float()
                error = (found(x.to(dtype)).float() - expected).abs().max() / expected.std()
                if not error < 0.05:
                    return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False
    return True


class Packing:
    """The packed layers of one model, made when they are first asked for.

    A layer's weights may change between two runs, in place or by others: it is packed again then.
    """

    def __init__(self) -> None:
        self._layers: dict[str, tuple[Any, nn.Module]] = {}

    def __reduce__(self) -> tuple[type[Packing], tuple[()]]:
        return Packing, ()  # a copy of the model packs for itself

    def layer(self, name: str, layer: nn.Module) -> nn.Module:
        """The packed twin of the layer of this name, or the layer itself."""
        weight, bias = layer.weight.detach(), layer.bias  # type: ignore[operator]
        state: Any = (weight.data_ptr(), weight._version, weight.dtype, weight.shape)
        known = self._layers.get(name)
        if known is not None and known[0][0] == state and known[0][1] is bias:
            return known[1]
        packed = packed_layer(layer)
        if packed is None:
            return layer
        # The weight is kept so that no other can come to lie at its address.
        self._layers[name] = ((state, bias, weight), packed)
        return packed

    def clear(self) -> None:
        """Forget all."""
        self._layers.clear()
