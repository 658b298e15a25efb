"""A trainable difference of low rank on a frozen model.

Every matrix W [O, I] (a convolution's kernel counts as [O, I k k]) gets W + up @ down, every vector
a difference of its own. The model's code stays as it is: it is called with the sums in place of its
weights. A matrix of which the factors would be larger than itself gets a whole difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from pcdm_core.checkpoints.lora import DOWN, UP, WHOLE, base_hash, merge
from pcdm_core.checkpoints.write import write_state_dict
from pcdm_core.config import config_to_dict


class _Methods(nn.Module):
    """`functional_call` knows `forward` alone; this one calls any method of the model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, method: str, arguments: tuple[Any, ...]) -> Any:
        return getattr(self.model, method)(*arguments)


class LowRank(nn.Module):
    """A model with a trainable difference; `base` is the model as it was, and stays so.

    The difference starts at zero: at first both are the same.
    """

    def __init__(self, base: nn.Module, rank: int) -> None:
        """`base` is frozen here, in place."""
        if rank < 1:
            raise ValueError(f"The rank of a difference is at least 1, got {rank}.")
        super().__init__()
        self.base = base.requires_grad_(False).eval()
        self.methods = _Methods(base)
        generator = torch.Generator().manual_seed(0)
        self.factors = nn.ParameterDict()
        for name, tensor in base.named_parameters():
            key = name.replace(".", "/")  # a module's name holds no point
            rows, columns = len(tensor), tensor.numel() // len(tensor)
            if tensor.ndim > 1 and rank * (rows + columns) < tensor.numel():
                down = torch.randn(rank, columns, generator=generator) / columns**0.5
                self.factors[f"{key}/{DOWN}"] = nn.Parameter(down)
                self.factors[f"{key}/{UP}"] = nn.Parameter(torch.zeros(rows, rank))
            else:
                self.factors[f"{key}/{WHOLE}"] = nn.Parameter(torch.zeros(tensor.shape))

    def difference(self) -> dict[str, Tensor]:
        """The factors by the names that `pcdm_core.checkpoints.lora` reads."""
        return {name.replace("/", "."): tensor for name, tensor in self.factors.items()}

    def merged(self) -> dict[str, Tensor]:
        """The model's weights with the difference, with gradient."""
        return merge(dict(self.base.named_parameters()), self.difference())

    def bound(self, weights: Mapping[str, Tensor]) -> Bound:
        """The model with weights of `merged`, for several calls of one step."""
        return Bound(self.methods, {f"model.{name}": w for name, w in weights.items()})


class Bound:
    """A model's methods on given weights."""

    def __init__(self, methods: _Methods, weights: Mapping[str, Tensor]) -> None:
        self._methods, self._weights = methods, dict(weights)

    def condition(self, *inputs: Any) -> Any:
        """See the model's `condition`."""
        return functional_call(self._methods, self._weights, ("condition", inputs))

    def __call__(self, x_t: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        inputs = (x_t, timesteps, cond)
        return functional_call(self._methods, self._weights, ("__call__", inputs))


def save_lora(
    difference: Mapping[str, Tensor],
    path: Path,
    *,
    stage: str,
    base: nn.Module,
    config: Any,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a difference on `base` in fp16, without the tensors that it leaves as they are.

    None are left of a student that differs in its sampler alone.

    Args:
        config: of the model with the difference; it may have another schedule than the base's.
    """
    described = {
        **(metadata or {}),
        "format": "pt",
        "stage": stage,
        "difference_of": base_hash(base.state_dict()),
        "config": json.dumps(config_to_dict(config)),
    }
    changes = {
        name.rpartition(".")[0]
        for name, tensor in difference.items()
        if not name.endswith(f".{DOWN}") and bool(tensor.any())
    }
    halves = {n: t.half() for n, t in difference.items() if n.rpartition(".")[0] in changes}
    return write_state_dict(halves, path, described)
