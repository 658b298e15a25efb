"""Weights as a low-rank difference (LoRA) on other weights: how a few-step student is kept small.

A file holds, for a matrix `name`, the factors `name.up` [O, R] and `name.down` [R, I], or for small
tensors the whole difference `name.whole`; its metadata names the component and the hash of the
weights that it belongs on. On others it is refused, because it would mean nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..config import config_from_dict
from ..quoting import one_line
from .files import CheckpointError, PathLike, read_state_dict
from .load import StoredModel
from .plain import odd_weight
from .signatures import StateDict
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


def base_hash(state: Mapping[str, Tensor]) -> str:
    """Of a component's weights, in the type that files have, whatever the model's type is."""
    return weights_hash({k: v.half() if v.is_floating_point() else v for k, v in state.items()})


@torch.no_grad()
def apply_lora(model: Any, path: PathLike) -> Any:
    """Add the difference of a file to a loaded component, in place, and give it its configuration.

    Raises:
        CheckpointError: unreadable, no difference, or one on other weights.
    """
    state = model.state_dict()
    config, add = read_difference(path, state, model.config)
    for name, tensor in add(state).items():
        state[name].copy_(tensor)
    model.config = config
    return model


def open_with_difference(stored: StoredModel, path: PathLike) -> StoredModel:
    """As `apply_lora` on a component whose weights are still in their file, and stay there.

    Raises:
        CheckpointError: as `apply_lora`.
    """
    stored.model.config, add = read_difference(path, stored.read(), stored.model.config)
    return replace(stored, ours=lambda tensors: add(stored.ours(tensors)))


def read_difference(
    path: PathLike, state: StateDict, config: Any
) -> tuple[Any, Callable[[StateDict], StateDict]]:
    """A student's configuration, and what adds its difference to some or all of the weights.

    Args:
        state: all weights that it belongs on.
        config: theirs.

    Raises:
        CheckpointError: as `apply_lora`.
    """
    file = read_state_dict(path)
    expected = file.metadata.get("difference_of")
    if expected is None:
        raise CheckpointError(
            f"{file.path} holds no difference on other weights. Give the file that the training of "
            f"a student wrote, named <component>{SUFFIX}."
        )
    digest = base_hash(state)
    if digest != expected:
        raise CheckpointError(
            f"{file.path} is a difference on other weights (theirs hash to "
            f"{one_line(expected, 16)}, these to {digest[:16]}). Load it with the weights "
            f"that it was trained from."
        )
    try:
        config = config_from_dict(type(config), json.loads(file.metadata["config"]))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{file.path}: its metadata holds no usable configuration ({one_line(error, 400)}). "
            f"Copy it again."
        ) from error
    names = {f"{name}.{side}" for name in state for side in (UP, DOWN, WHOLE)}
    unknown = sorted(set(file.tensors) - names)
    if unknown:
        raise CheckpointError(
            f"{file.path}: tensors of no weight here, such as {one_line(unknown[0], 80)}."
        )
    for name, tensor in file.tensors.items():
        if fault := odd_weight(name, tensor):
            raise CheckpointError(f"{file.path}: {fault}. Copy it again.")
    difference = {name: tensor.float() for name, tensor in file.tensors.items()}

    def add(tensors: StateDict) -> StateDict:
        merged = merge({name: tensor.float() for name, tensor in tensors.items()}, difference)
        return {name: tensor.to(tensors[name].dtype) for name, tensor in merged.items()}

    try:
        for name, tensor in state.items():
            add({name: tensor})[name].view(tensor.shape)
    except (RuntimeError, KeyError) as error:  # factors that do not go with each other or the whole
        raise CheckpointError(
            f"{file.path}: its factors do not fit the weights ({one_line(error)}). Copy it again."
        ) from error
    return config, add
