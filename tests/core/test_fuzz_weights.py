"""Damaged weights and pictures, of fixed seeds: what they hold or an error in words, in bounds."""

import io
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from pcdm_core.checkpoints import inspect, load_component, save_model
from pcdm_core.checkpoints.files import CheckpointError, read_state_dict
from pcdm_core.checkpoints.signatures import CONFIGS, Component
from pcdm_core.config import config_from_dict, config_to_dict
from pcdm_core.presets import PRESETS
from tests.bounds import USED, bounded
from tests.core.weights_files import tiny_component

Cases = Callable[[int, int], int]

NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**64, -(2**63), 10**30, 0.5, 1e308)
WEIRD: tuple[Any, ...] = (*NUMBERS, None, True, "", "x" * 5000, [], {}, [[]], "F64", "../up")


# --- damage ---------------------------------------------------------------------------------------


def flip_bytes(content: bytes, rng: random.Random, reach: int) -> bytes:
    """A few bytes of the first `reach` changed."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(min(reach, len(changed)))] = rng.randrange(256)
    return bytes(changed)


def cut_or_grow(content: bytes, rng: random.Random) -> bytes:
    """Less than the file, or more, or a part of it twice."""
    place = rng.randrange(len(content))
    return rng.choice(
        (content[:place], content + rng.randbytes(40), content[:place] + content[place // 2 :])
    )


def damaged_json(document: Any, rng: random.Random) -> Any:
    """A value somewhere in a document changed, removed, or under another name."""
    node, key = None, None
    below = document
    while isinstance(below, (dict, list)) and below:
        node = below
        keys = list(below) if isinstance(below, dict) else range(len(below))
        key = rng.choice(list(keys))
        below = node[key]
        if rng.random() < 0.15:
            break
    if node is None:
        return rng.choice(WEIRD)
    if rng.random() < 0.2 and isinstance(node, dict):
        node[str(rng.choice(WEIRD))[:50]] = node.pop(key)
    elif rng.random() < 0.1:
        del node[key]
    else:
        node[key] = rng.choice(WEIRD)
    return document


# --- weights --------------------------------------------------------------------------------------


def weights_bytes(component: Component, folder: Path) -> bytes:
    """A component of the test preset, as the pack writes it."""
    path = folder / f"{component}.safetensors"
    return save_model(tiny_component(component), path, stage=component).read_bytes()


def with_header(content: bytes, header: bytes, length: int | None = None) -> bytes:
    """A safetensors file with another header in front of its tensors."""
    (before,) = struct.unpack("<Q", content[:8])
    length = len(header) if length is None else length
    return struct.pack("<Q", length % 2**64) + header + content[8 + before :]


def damaged_safetensors(content: bytes, rng: random.Random) -> bytes:
    (length,) = struct.unpack("<Q", content[:8])
    header = content[8 : 8 + length]
    kind = rng.random()
    if kind < 0.35:
        return with_header(content, json.dumps(damaged_json(json.loads(header), rng)).encode())
    if kind < 0.65:  # the configuration, from which the network is built
        document = json.loads(header)
        config = damaged_json(json.loads(document["__metadata__"]["config"]), rng)
        document["__metadata__"]["config"] = json.dumps(config)
        return with_header(content, json.dumps(document).encode())
    if kind < 0.75:
        return with_header(content, header, int(rng.choice(NUMBERS[:10])))
    if kind < 0.9:
        return flip_bytes(content, rng, 8 + length)
    return cut_or_grow(content, rng)


def attempt(
    action: Callable[[], Any], errors: tuple[type[Exception], ...], mebibytes: int = USED
) -> Exception | None:
    """Run it in bounds; the error if it is one of `errors`, and any other is the test's."""
    with bounded(mebibytes):
        try:
            action()
        except errors as error:
            return error
    return None


def use_weights(path: Path, component: Component) -> nn.Module:
    inspect(path)
    return load_component(path.parent, component)


@pytest.mark.slow
@pytest.mark.parametrize("component", ["autoencoder", "prior", "inpainting", "global_encoder"])
def test_damaged_safetensors_are_refused_in_words_or_used(
    component: Component, tmp_path: Path, cases: Cases
) -> None:
    content, path = weights_bytes(component, tmp_path), tmp_path / f"{component}.safetensors"
    assert attempt(lambda: use_weights(path, component), (CheckpointError,)) is None
    count = cases(300, 4000)
    refused = 0
    for seed in range(count):
        path.write_bytes(damaged_safetensors(content, random.Random(seed)))
        error = attempt(lambda: use_weights(path, component), (CheckpointError,))
        refused += error is not None
        assert error is None or path.name in str(error), seed
    assert count / 2 < refused < count


@pytest.mark.slow
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_damaged_pickles_are_refused_in_words_or_used(
    form: str, tmp_path: Path, cases: Cases
) -> None:
    tensors = {f"layer.{n}": torch.full((3, 4), float(n)) for n in range(6)}
    buffer = io.BytesIO()
    torch.save({"module": tensors}, buffer, _use_new_zipfile_serialization=form == "zip")
    content, path = buffer.getvalue(), tmp_path / "model.pt"
    path.write_bytes(content)
    assert read_state_dict(path).tensors.keys() == tensors.keys()
    count = cases(500, 5000)
    refused = 0
    for seed in range(count):
        rng = random.Random(seed)
        whole = rng.random() < 0.8
        changed = flip_bytes(content, rng, len(content)) if whole else cut_or_grow(content, rng)
        path.write_bytes(changed)
        error = attempt(lambda: read_state_dict(path), (CheckpointError,))
        refused += error is not None
    assert count / 20 < refused < count


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_layers", 2**31), ("num_heads", [1]), ("head_dim", 10**30), ("embedding_mean", "x")],
)
def test_a_configuration_of_no_network_is_refused_before_one_is_built(
    field: str, value: Any, tmp_path: Path
) -> None:
    content, path = weights_bytes("prior", tmp_path), tmp_path / "prior.safetensors"
    (length,) = struct.unpack("<Q", content[:8])
    document = json.loads(content[8 : 8 + length])
    config = {**json.loads(document["__metadata__"]["config"]), field: value}
    document["__metadata__"]["config"] = json.dumps(config)
    path.write_bytes(with_header(content, json.dumps(document).encode()))
    error = attempt(lambda: use_weights(path, "prior"), (CheckpointError,))
    assert error is not None
    assert field in str(error)
    assert path.name in str(error)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_configurations_of_all_presets_are_read_back(preset: str) -> None:
    for component, kind in CONFIGS.items():
        config = getattr(PRESETS[preset], component)
        if config is not None:
            values = config_to_dict(config)
            assert config_from_dict(kind, values) == config
            assert config_from_dict(kind, json.loads(json.dumps(values))) == config
