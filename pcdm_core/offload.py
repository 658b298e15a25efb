"""Which components lie on the device, and when: memory against the time of copying weights."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .placement import KEEPS, Keep, stays

if TYPE_CHECKING:  # the command's options need no library
    import torch
    from torch import Tensor, nn

    from .checkpoints.load import StoredModel

Progress = Callable[[str, int, int], None]
"""Called with the stage's name or what else is done, the steps done and the steps there are."""


class Offload:
    """Brings components to a device for as long as they compute.

    A component that does not stay is read from its file for every use. One that came without a
    file keeps its weights in the host's memory all the time: leaving the device copies nothing.

    Attributes:
        progress: told of loading, encoding and decoding.
    """

    def __init__(
        self, device: torch.device | str, keep: Keep = "all", progress: Progress | None = None
    ) -> None:
        import torch

        self.device = torch.device(device)
        self.keep: Keep = keep
        self.progress = progress
        self._stored: dict[str, tuple[StoredModel, torch.dtype]] = {}

    def stays(self, name: str) -> bool:
        """Whether a component of the pipeline, by its name, is never moved."""
        return stays(name, self.keep)

    def load(self, stored: Mapping[str, StoredModel], dtype: torch.dtype) -> dict[str, Any]:
        """Components from their files: those that stay, and the others without their weights."""
        components: dict[str, Any] = {}
        for name, part in stored.items():
            if self.stays(name):
                with self.reported(f"loading {name}"):
                    components[name] = part.load(self.device, dtype)
            else:
                components[name] = part.model.to(dtype=dtype).eval()
                self._stored[name] = part, dtype
        return components

    @contextmanager
    def reported(self, what: str | None) -> Generator[None, None, None]:
        """One step of progress; of nothing, none."""
        tell = (lambda *_: None) if what is None or self.progress is None else self.progress
        tell(what or "", 0, 1)
        yield
        tell(what or "", 1, 1)

    @contextmanager
    def using(
        self, name: str, module: nn.Module, what: str | None = None
    ) -> Generator[None, None, None]:
        """The component's weights are on the device within; `what` it does is one step."""
        if self.stays(name):
            with self.reported(what):
                yield
            return
        from torch import nn

        weights: dict[str, Tensor] = {}
        if name in self._stored:
            with self.reported(f"loading {name}"):
                part, dtype = self._stored[name]
                weights = part.read(self.device, dtype)
        # The module's own tables: assigning there changes no object that others hold.
        away = [
            (table, key, f"{prefix}.{key}".lstrip("."), tensor)
            for prefix, part in module.named_modules()
            for table in (vars(part)["_parameters"], vars(part)["_buffers"])
            for key, tensor in table.items()
            if tensor is not None
        ]
        brought: dict[int, Tensor] = {}  # a tensor that two modules share stays shared
        try:
            for table, key, path, tensor in away:
                if id(tensor) not in brought:
                    copy = weights.pop(path, tensor).detach().to(self.device)
                    if isinstance(tensor, nn.Parameter):
                        copy = nn.Parameter(copy, requires_grad=False)
                    brought[id(tensor)] = copy
                table[key] = brought[id(tensor)]
            with self.reported(what):
                yield
        finally:
            for table, key, _, tensor in away:
                table[key] = tensor


Residence = Offload  # the old name, for one release


def pick_device(name: str | None) -> str:
    """A device that exists; None takes a GPU if there is one.

    Raises:
        ValueError: torch does not know the device or cannot use it.
    """
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--device {name}: not usable here ({reason}). Try cpu.") from error
    return name


def add_memory_options(parser: argparse.ArgumentParser) -> None:
    """`--keep` and `--tiled`."""
    parser.add_argument(
        "--keep",
        choices=("auto", *KEEPS),
        default="auto",
        help="what stays on the device: all, UNets and autoencoder, or a part at a time (default: "
        "by the memory that is free)",
    )
    parser.add_argument(
        "--tiled", action="store_true", help="the autoencoder works on tiles of large pictures"
    )
