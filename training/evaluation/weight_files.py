"""Weight files of published judges, which people bring: verified by SHA-256.

A figure by another file of the same shape would bear the same name and mean something else, so a
file that is not one of the published ones is refused.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pcdm_core.files import file_hash


class Published(NamedTuple):
    """A published weight file: its usual name, and the beginnings of its SHA-256."""

    name: str
    digests: tuple[str, ...]


# torchvision's names end in the first eight digits of the file's SHA-256. The earlier files hold
# the same numbers in another container.
INCEPTION = Published("inception_v3_google-0cc3c7bd.pth", ("0cc3c7bd", "1a9a5a14"))
ALEXNET = Published("alexnet-owt-7be5be79.pth", ("7be5be79", "4df8aa71"))
LPIPS_ALEX = Published(
    "lpips/weights/v0.1/alex.pth (in the wheel lpips)",
    ("df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",),
)


def read_weights(path: Path, published: Published) -> dict[str, Tensor]:
    """The tensors of a published file, on the CPU in fp32.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: its content is not the published one, or is no state dictionary.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file. Give {published.name}.")
    digest = file_hash(path)
    if not digest.startswith(published.digests):
        digests = " or ".join(digest[:8] for digest in published.digests)
        raise ValueError(
            f"{path}: not {published.name}: its SHA-256 begins with {digest[:8]}, expected "
            f"{digests}. Figures by another file do not compare; download that one again."
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path}: cannot be read as weights ({error}).") from error
    return {name: tensor.float() for name, tensor in state.items()}


def take(
    state: dict[str, Tensor], names: dict[str, str], path: Path, published: Published
) -> dict[str, Tensor]:
    """Tensors by our names; `wanted` maps them to the file's.

    Raises:
        ValueError: some are missing.
    """
    absent = sorted(theirs for theirs in names.values() if theirs not in state)
    if absent:
        raise ValueError(
            f"{path}: {len(absent)} of {len(names)} tensors are missing, for instance "
            f"{', '.join(absent[:3])}. Give {published.name}."
        )
    return {ours: state[theirs] for ours, theirs in names.items()}
