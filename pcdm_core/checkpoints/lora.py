"""Weights as a low-rank difference (LoRA) on other weights: how a few-step student is kept small.

A file holds, for a matrix `name`, the factors `name.up` [O, R] and `name.down` [R, I], or for small
tensors the whole difference `name.whole`; its metadata names the component and the hash of the
weights that it belongs on. On others it is refused, because it would mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..config import config_from_dict
from ..quoting import one_line
from .files import CheckpointError, PathLike, read_state_dict
from .plain import odd_weight
from .write import weights_hash

UP, DOWN, WHOLE = "up", "down", "whole"
SUFFIX = ".difference.safetensors"


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


@torch.no_grad()
def apply_lora(model: Any, path: PathLike) -> Any:
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
    digest = base_hash(model)
    if digest != expected:
        raise CheckpointError(
            f"{file.path} is a difference on other weights (theirs hash to "
            f"{one_line(expected, 16)}, these to {digest[:16]}). Load it with the weights "
            f"that it was trained from."
        )
    try:
        config = config_from_dict(type(model.config), json.loads(file.metadata["config"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{file.path}: its metadata holds no usable configuration ({one_line(error, 400)}). "
            f"Copy it again."
        ) from error
    state = model.state_dict()
    names = {f"{name}.{side}" for name in state for side in (UP, DOWN, WHOLE)}
    unknown = sorted(set(file.tensors) - names)
    if unknown:
        raise CheckpointError(
            f"{file.path}: tensors of no weight here, such as {one_line(unknown[0], 80)}."
        )
    for name, tensor in file.tensors.items():
        if fault := odd_weight(name, tensor):
            raise CheckpointError(f"{file.path}: {fault}. Copy it again.")
    tensors = {name: tensor.float() for name, tensor in file.tensors.items()}
    try:
        merged = merge({k: v.float() for k, v in state.items()}, tensors)
    except (RuntimeError, KeyError) as error:  # factors that do not go with each other or the whole
        raise CheckpointError(
            f"{file.path}: its factors do not fit the weights ({one_line(error)}). Copy it again."
        ) from error
    for name, tensor in merged.items():
        state[name].copy_(tensor)
    model.config = config
    return model
