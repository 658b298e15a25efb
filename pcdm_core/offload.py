"""Which components lie on the device, and when: memory against the time of copying weights."""

from __future__ import annotations

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the command's options need no library
    import torch
    from torch import Tensor, nn

Keep = Literal["all", "denoisers", "one"]
"""What stays on the device between uses: every component, all but the two image encoders and the
prior, or nothing but the component that computes at the moment."""


class Offload:
    """Brings components to a device for as long as they compute.

    A component that does not stay keeps its weights in the host's memory all the time: leaving the
    device copies nothing.
    """

    def __init__(self, device: torch.device | str, keep: Keep = "all") -> None:
        import torch

        self.device = torch.device(device)
        self.keep = keep

    def stays(self, name: str) -> bool:
        """Whether a component of the pipeline, by its name, is never moved."""
        if self.keep == "all":
            return True
        return self.keep == "denoisers" and name in ("inpainting", "refining", "autoencoder")

    @property
    def loads_to(self) -> torch.device | str:
        """Where components are to be loaded to."""
        return self.device if self.keep == "all" else "cpu"

    def placed(self, components: dict[str, Any]) -> dict[str, Any]:
        """The components, those that stay on the device and the others as they are."""
        return {
            name: part.to(self.device) if self.stays(name) else part
            for name, part in components.items()
        }

    @contextmanager
    def using(self, name: str, module: nn.Module) -> Generator[None, None, None]:
        """The component's weights are on the device within."""
        if self.stays(name):
            yield
            return
        from torch import nn

        # The module's own tables: assigning there changes no object that others hold.
        tables: list[dict[str, Any]] = [
            vars(part)[name] for part in module.modules() for name in ("_parameters", "_buffers")
        ]
        away = [
            (table, key, tensor)
            for table in tables
            for key, tensor in table.items()
            if tensor is not None
        ]
        brought: dict[int, Tensor] = {}  # a tensor that two modules share stays shared
        try:
            for table, key, tensor in away:
                if id(tensor) not in brought:
                    copy = tensor.detach().to(self.device)
                    if isinstance(tensor, nn.Parameter):
                        copy = nn.Parameter(copy, requires_grad=False)
                    brought[id(tensor)] = copy
                table[key] = brought[id(tensor)]
            yield
        finally:
            for table, key, tensor in away:
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
        choices=("all", "denoisers", "one"),
        default="all",
        help="what stays on the device: all (default), UNets and autoencoder, or a part at a time",
    )
    parser.add_argument(
        "--tiled", action="store_true", help="the autoencoder works on tiles of large pictures"
    )
