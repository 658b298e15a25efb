"""Weights files that somebody made to harm, by seed: a kind, and what the dice make of it."""

import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from pcdm_core.checkpoints.signatures import Component, dinov2_published
from pcdm_core.checkpoints.write import write_state_dict
from pcdm_core.config import config_to_dict
from tests.core.foreign_files import meta_dinov2, open_clip, original_vae
from tests.core.weights_files import TEST, tiny_component

NUMBERS = (0, -1, 3, 7, 8192, 65536, 2**31, 2**63, 10**30, 0.5, -0.0, 1e-40, 1e308)
ODD: tuple[Any, ...] = (
    *NUMBERS, float("nan"), float("inf"), None, True, "", "NaN", "9" * 5000, "x" * 5000, [], {},
    [[1]], [1] * 100, {"a": 1}, "\x1b[2J", "../up",
)  # fmt: skip
COMPONENTS: tuple[Component, ...] = ("autoencoder", "prior", "global_encoder", "patch_encoder")


def odd_config(component: Component, rng: random.Random) -> Any:
    """A configuration of a component with one to three values of another kind or size."""
    config = config_to_dict(getattr(TEST, component))
    if rng.random() < 0.1:
        return rng.choice(ODD)
    for _ in range(rng.choice((1, 1, 2, 3))):
        place = config
        nested = [key for key, value in config.items() if isinstance(value, dict)]
        if nested and rng.random() < 0.5:
            place = config[rng.choice(nested)]
        if not isinstance(place, dict) or not place:
            break
        key = rng.choice(list(place))
        value = place[key]
        if isinstance(value, (tuple, list)) and rng.random() < 0.7:
            place[key] = [*value, *value, rng.choice(ODD)][rng.randrange(3) :]
        elif type(value) is int and rng.random() < 0.6:
            place[key] = rng.choice((value * 2, value + 1, 2 ** rng.randrange(20)))
        elif rng.random() < 0.1:
            place[str(rng.choice(ODD))] = place.pop(key)
        else:
            place[key] = rng.choice(ODD)
    return config


def _tensors(component: Component) -> dict[str, Tensor]:
    return dict(tiny_component(component).state_dict())


def _described(component: Component) -> dict[str, str]:
    config = json.dumps(config_to_dict(getattr(TEST, component)))
    return {"pcdm_format": "1", "stage": component, "config": config, "format": "pt"}


def _configured(path: Path, rng: random.Random) -> Path:
    component = rng.choice(COMPONENTS)
    config = json.dumps(odd_config(component, rng))
    text = rng.choice((config, config, config, config[: len(config) // 2], "[" * 50_000, "NaN"))
    return _whole(path, component, {"config": text})


def _versioned(path: Path, rng: random.Random) -> Path:
    odd = ("", "0", "-1", "2", "01", "1.0", "9" * 5000, "٣", " 1", "x" * 5000, "null")
    return _whole(path, rng.choice(COMPONENTS), {"pcdm_format": rng.choice(odd)})


def _whole(path: Path, component: Component, changed: dict[str, str]) -> Path:
    path = path.with_suffix(".safetensors")
    write_state_dict(_tensors(component), path, {**_described(component), **changed})
    return path


def _valued(path: Path, rng: random.Random) -> Path:
    """One tensor with values, or in a type, that are none of a network."""
    component = rng.choice(COMPONENTS)
    tensors, path = _tensors(component), path.with_suffix(".safetensors")
    key = rng.choice(list(tensors))
    types = (
        torch.int8, torch.int64, torch.bool, torch.complex64, torch.uint16, torch.float8_e4m3fn,
    )  # fmt: skip
    if rng.random() < 0.5:
        tensors[key] = tensors[key].to(rng.choice(types))
    else:
        tensors[key] = tensors[key].clone()
        tensors[key].view(-1)[-1] = rng.choice((float("nan"), float("inf"), -float("inf")))
    write_state_dict(tensors, path, _described(component))
    return path


def _headed(path: Path, rng: random.Random) -> Path:
    """A header with thousands of entries, names of any length, types and shapes of all kinds."""
    count = rng.choice((1, 100, 5000))
    start = rng.choice(("", "x" * 300, "module.", "first_stage_model.", "visual.", "\x1b[2J\n"))
    kinds = ("F16", "F4", "F6_E2M3", "F8_E8M0", "U64", "XX")
    entries: dict[str, Any] = {
        f"{start}{number}": {
            "dtype": "F16" if count > 1 else rng.choice(kinds),
            "shape": rng.choice(([1], [1, 1, 1], [1] * 60)),
            "data_offsets": [2 * number, 2 * number + 2],
        }
        for number in range(count)
    }
    if rng.random() < 0.3:
        entries[f"{start}0"]["shape"] = rng.choice(([0, 2**60], [2**62, 2**62], [-1], ["a"], {}))
    if rng.random() < 0.3:
        entries["__metadata__"] = rng.choice(({"a": "b" * 10**6}, {"a": 1}, [], None))
    header = json.dumps(entries).encode()
    path = path.with_suffix(".safetensors")
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * count))
    return path


@cache
def _programs() -> tuple[dict[str, Tensor], ...]:
    """Networks as other programs save them."""
    dinov2 = dinov2_published(dict(tiny_component("patch_encoder").state_dict()))
    dinov2 = {name.removeprefix("model."): tensor for name, tensor in dinov2.items()}
    return original_vae(), open_clip(), dinov2, meta_dinov2(dinov2, TEST.patch_encoder.num_layers)


def _translated(path: Path, rng: random.Random) -> Path:
    """The names of another program, of which one or two have other shapes or numbers."""
    tensors = dict(rng.choice(_programs()))
    for _ in range(rng.choice((1, 2))):
        key = rng.choice(list(tensors))
        tensor = tensors.pop(key)
        values = (tensor.flatten()[0], tensor.flatten()[:1], torch.stack([tensor, tensor]))
        digits = key.replace("0", rng.choice(("9" * 5000, "\u0663", "77")))
        parts = (("in_proj", "q_proj"), ("weights_in", "gate_proj"), ("mlp.fc", "mlp.weights_in"))
        other = next((key.replace(*part) for part in parts if part[0] in key), digits)
        name, value = rng.choice((key, key, digits, other)), rng.choice((tensor, *values))
        if rng.random() < 0.8:
            tensors[name] = value.contiguous()
    start = rng.choice(("", "", "", "module.", "first_stage_model.", "dinov2."))
    path = path.with_suffix(".safetensors")
    save_file({start + name: tensor.clone() for name, tensor in tensors.items()}, path)
    return path


class Malice:
    """Touches a file where somebody unpickles it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _pickled(path: Path, rng: random.Random) -> Path:
    """A tensor that is none, a name that is no text, views of few values, or code."""
    tensors: dict[Any, Any] = dict(_tensors("autoencoder"))
    one = tensors["encoder.bias"].float()
    odd: list[Callable[[], Any]] = [
        lambda: one.to_sparse(),
        lambda: torch.nested.nested_tensor([one, one[:2]]),
        lambda: one.to("meta"),
        lambda: torch.zeros(1).expand(10**5, 10**5),
        lambda: one.to(torch.complex64),
        lambda: torch.nn.Parameter(one),
        lambda: Malice(path.with_name("ran")),
        lambda: {"a": {"b": [one]}},
        lambda: 10**5000,
        lambda: None,
    ]
    key = rng.choice(("encoder.bias", 10**5000, ("a", 1), b"x" * 5000, "y" * 5000, True))
    if rng.random() < 0.2:
        many = torch.zeros(10**6).expand(100, 10**6)
        tensors.update({f"t{number}": many for number in range(rng.choice((1, 1000)))})
    tensors[key] = rng.choice(odd)()
    content = rng.choice((tensors, {"module": tensors}, {"state_dict": {"a": tensors}}, [tensors]))
    path = path.with_suffix(".pt")
    if rng.random() < 0.1:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)
    return path


def _bomb(path: Path, rng: random.Random) -> Path:
    """A small archive of a file that is none."""
    small, path = path.with_suffix(".small.pt"), path.with_suffix(".pt")
    torch.save({"module": {"a": torch.zeros(rng.choice((10, 10**6, 3 * 10**7)))}}, small)
    with (
        zipfile.ZipFile(small) as stored,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed,
    ):
        for entry in stored.infolist():
            with stored.open(entry) as source, packed.open(entry.filename, "w") as target:
                while block := source.read(1 << 20):
                    target.write(block)
    small.unlink()
    return path


def _indexed(path: Path, rng: random.Random) -> Path:
    """An index with odd names, values, nesting or metadata."""
    name = rng.choice(("p.safetensors", "", "x" * 5000, "../p.safetensors", "/etc/passwd", 7, None))
    parts: Any = {f"t{number}": name for number in range(rng.choice((1, 3, 20_000)))}
    if rng.random() < 0.2:
        parts = {f"t{number}": f"p{number}.safetensors" for number in range(20_000)}
    document: Any = {
        "weight_map": rng.choice((parts, parts, parts, {}, [], "x", {"a": {}}, None)),
        "metadata": rng.choice(
            ({}, {}, [], None, "x", {"weights_sha256": [1]}, {"a": "b" * 10**5})
        ),
    }
    text = json.dumps(document)
    text = rng.choice((text, text, text, "[" * 10**5, '{"a":' * 10**5, "9" * 10**5, text[:-2]))
    path = path.with_name("p.safetensors.index.json")
    path.write_text(text, encoding="utf-8")
    return path


KINDS = (
    _configured, _configured, _versioned, _valued, _headed, _translated, _pickled, _bomb, _indexed,
)  # fmt: skip


def hostile_file(folder: Path, seed: int) -> Path:
    """The file of a seed; nothing else is in the folder but what it needs."""
    rng = random.Random(seed)
    return rng.choice(KINDS)(folder / f"file{seed}", rng)
