"""The step of the sampling loop compiled: one graph for all poses, seeds and steps of one size."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Network = Callable[..., Any]
Backend = str | Callable[..., Any]
"""What `torch.compile` takes as its `backend`."""


class CompiledNetwork:
    """A network compiled at its first call; where that fails it is the network itself, for good.

    `torch.compile` needs a compiler for C++ on a CPU and Triton on a GPU, and does not work with
    every version of Python. A failure is one line in the log, once. On CUDA the graph's kernels are
    launched as one (CUDA graphs); every shape of inputs has a graph of its own.

    Args:
        backend: of `torch.compile`.
    """

    def __init__(self, network: Network, backend: Backend = "inductor") -> None:
        self.network = network
        self.backend = backend
        self.compiled: Network | None = None
        self.failed = False

    def __call__(self, x_t: Tensor, *args: Any, **kwargs: Any) -> Any:
        """What the network gives."""
        if not self.failed:
            try:
                return self._compile(x_t.device)(x_t, *args, **kwargs)
            except Exception as error:  # whatever it is, the network itself tells its own errors
                _tell(" ".join(str(error).split("\n")[:2]).strip() or type(error).__name__)
                self.failed, self.compiled = True, None
        return self.network(x_t, *args, **kwargs)

    def _compile(self, device: torch.device) -> Network:
        if self.compiled is None:
            graphs = device.type == "cuda" and self.backend == "inductor"
            mode = "reduce-overhead" if graphs else None
            # As in training: sizes are constants of the graph.
            self.compiled = torch.compile(
                self.network, dynamic=False, backend=self.backend, mode=mode
            )
        return self.compiled


@lru_cache(maxsize=8)
def _tell(reason: str) -> None:
    """Once, also where three networks cannot be compiled for the same reason."""
    logger.warning("Not compiled, which is slower and no different: %s", reason)


class CompiledDenoiser:
    """A denoiser whose passes share one compiled network.

    It holds the network, and the model knows nothing of it: copies of a model are never compiled
    over the weights of another.
    """

    def __init__(self, model: Any, backend: Backend = "inductor") -> None:
        def network(x_t: Tensor, timesteps: Tensor, kind: type[Any], *values: Any) -> Tensor:
            return model(x_t, timesteps, kind(*values))

        self.network = CompiledNetwork(network, backend)

    def __call__(self, x_t: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        """As the model's."""
        values = [getattr(cond, field.name) for field in fields(cond)]
        return self.network(x_t, timesteps, type(cond), *values)


def compiled_denoisers(
    compile: bool | Backend, models: Mapping[str, Any]
) -> dict[str, CompiledDenoiser]:
    """Of the models that there are, by name; none without `compile`.

    They are compiled at the first step of each size of inputs, which takes minutes. Where that
    cannot be, one line in the log says so and the steps are taken plainly.

    Args:
        compile: True, or a backend of `torch.compile` in place of its own choice.
    """
    if not compile:
        return {}
    backend = "inductor" if compile is True else compile
    return {name: CompiledDenoiser(m, backend) for name, m in models.items() if m is not None}
