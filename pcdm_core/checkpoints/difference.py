"""Weights as a difference on other weights: how a few-step student is kept small.

A file holds, for a matrix `name`, the factors `name.up` [O, R] and `name.down` [R, I], or for small
tensors the whole difference `name.whole`; its metadata names the component and the hash of the
weights that it belongs on. On others it is refused, because it would mean nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import config_from_dict, config_to_dict
from .files import CheckpointError, read_state_dict, weights_hash, write_state_dict

UP, DOWN, WHOLE = "up", "down", "whole"
SUFFIX = ".difference.safetensors"


def factored(tensor: Tensor, rank: int) -> bool:
    """Whether two factors of that rank are smaller than the tensor."""
    if tensor.ndim < 2:
        return False
    rows, columns = len(tensor), tensor.numel() // len(tensor)
    return rank * (rows + columns) < tensor.numel()


def merge(base: Mapping[str, Tensor], difference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with their difference, by the names of `base`; untouched ones stay themselves."""
    merged: dict[str, Tensor] = {}
    for name, tensor in base.items():
        if f"{name}.{WHOLE}" in difference:
            merged[name] = tensor + difference[f"{name}.{WHOLE}"].to(tensor)
        elif f"{name}.{UP}" in difference:
            up, down = (difference[f"{name}.{side}"] for side in (UP, DOWN))
            merged[name] = tensor + (up @ down).view(tensor.shape).to(tensor)
        else:
            merged[name] = tensor
    return merged


def base_hash(model: nn.Module) -> str:
    """Of a component's weights, in the type that files have, whatever the model's type is."""
    state = model.state_dict()
    return weights_hash({k: v.half() if v.is_floating_point() else v for k, v in state.items()})


def save_difference(
    difference: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    stage: str,
    base: nn.Module,
    config: Any,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Write a difference on `base` in fp16, without the tensors that it leaves as they are.

    Args:
        config: of the model with the difference; it may have another schedule than the base's.
    """
    described = {
        **(metadata or {}),
        "format": "pt",
        "stage": stage,
        "difference_of": base_hash(base),
        "config": json.dumps(config_to_dict(config)),
    }
    halves = {name: tensor.half() for name, tensor in telling(difference).items()}
    return write_state_dict(halves, path, described)


def telling(difference: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The entries that change a weight; none are left of a student that differs in its sampler."""
    changed = {
        name.rpartition(".")[0]
        for name, tensor in difference.items()
        if not name.endswith(f".{DOWN}") and bool(tensor.any())
    }
    return {n: t for n, t in difference.items() if n.rpartition(".")[0] in changed}


@torch.no_grad()
def apply_difference(model: Any, path: str | os.PathLike[str]) -> Any:
    """Add the difference of a file to a loaded component, in place, and give it its configuration.

    Raises:
        CheckpointError: unreadable, no difference, or one on other weights.
    """
    file = read_state_dict(path)
    expected = file.metadata.get("difference_of")
    if expected is None:
        raise CheckpointError(
            f"{file.path} holds no difference on other weights. Give the file that the training of "
            f"a student wrote, named <component>{SUFFIX}."
        )
    found = base_hash(model)
    if found != expected:
        raise CheckpointError(
            f"{file.path} is a difference on other weights (theirs hash to {expected[:16]}, these "
            f"to {found[:16]}). Load it with the weights that it was trained from."
        )
    try:
        config = config_from_dict(type(model.config), json.loads(file.metadata["config"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{file.path}: its metadata holds no usable configuration ({error}). Copy it again."
        ) from error
    state = model.state_dict()
    known = {f"{name}.{side}" for name in state for side in (UP, DOWN, WHOLE)}
    unknown = sorted(set(file.tensors) - known)
    if unknown:
        raise CheckpointError(f"{file.path}: tensors of no weight here, such as {unknown[0]}.")
    tensors = {name: tensor.float() for name, tensor in file.tensors.items()}
    for name, tensor in merge({k: v.float() for k, v in state.items()}, tensors).items():
        state[name].copy_(tensor)
    model.config = config
    return model
