"""Weights of every component: recognise, load, save, convert.

Files are recognised by their keys and shapes (see `signatures`), never by their name and never
by a channel count alone. A configuration comes from the caller, else from the file's
metadata, else from the preset whose dimensions the file shows.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..config import config_from_dict, config_to_dict
from ..files import file_hash
from ..presets import PRESETS
from ..quoting import one_line, short
from .detect import detect, facts_of, preset_config, recognise, some
from .files import CheckpointError, PathLike, WeightsFile, each_tensor, find_weights
from .layouts import read_weights, tensors_in_turn
from .plain import odd_weight
from .signatures import (
    CONFIGS,
    TITLES,
    Component,
    Facts,
    Signature,
    StateDict,
    dinov2_current,
    dinov2_published,
)
from .sizes import other_size
from .write import write_state_dict

Device = torch.device | str
DType = torch.dtype | None

FORMAT = 1  # of our metadata; a larger number is a newer pack's
SHARD_BYTES = 24_000_000
WEIGHTS_FOLDER = Path(__file__).resolve().parents[1] / "weights"


@dataclass(frozen=True)
class Summary:
    """What a weights file is."""

    path: Path
    component: Component
    layout: str  # whose names the file uses
    container: str
    config: Any | None  # None: neither in the file nor that of a preset
    preset: str | None  # the preset that has this configuration
    parameters: int
    dtypes: tuple[str, ...]
    metadata: dict[str, str]
    note: str = ""  # what to do, where no preset can use the file


# --- recognition ---------------------------------------------------------------------------------


def _config_of(file: WeightsFile, component: Component, facts: Facts) -> Any | None:
    """From the metadata, else from the preset with the file's facts."""
    version = file.metadata.get("pcdm_format", str(FORMAT))
    if version != str(FORMAT):
        newer = version.isascii() and version.isdigit() and not version.startswith("0")
        what = "was written by a newer version" if newer else "is of no version of this pack"
        raise CheckpointError(
            f"{file.path} {what} (its format is {short(version)}, this pack writes {FORMAT}). "
            f"Update the pack, or convert the original file again."
        )
    if "config" in file.metadata and "pcdm_format" in file.metadata:
        try:
            return config_from_dict(CONFIGS[component], json.loads(file.metadata["config"]))
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{file.path}: its metadata holds no usable configuration "
                f"({one_line(error, 400)}). Convert the original file again, or update the pack."
            ) from error
    return preset_config(component, facts)


def inspect(path: PathLike, *, mapped: bool = False) -> Summary:
    """Say what a weights file is, without building a model; `mapped` as in `read_state_dict`.

    Raises:
        CheckpointError: unreadable, or not one of ours.
    """
    file = read_weights(path, mapped=mapped)
    signature, facts = recognise(file.tensors, file.name)
    component = signature.component
    config = _config_of(file, component, facts)
    presets = (p.name for p in PRESETS.values() if getattr(p, component) == config)
    return Summary(
        path=file.path,
        component=component,
        layout=signature.layout,
        container=file.container,
        config=config,
        preset=None if config is None else next(presets, None),
        parameters=sum(tensor.numel() for tensor in file.tensors.values()),
        dtypes=tuple(sorted({str(t.dtype).removeprefix("torch.") for t in file.tensors.values()})),
        metadata=file.metadata,
        note="" if config is not None else other_size(component, facts),
    )


# --- loading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StoredModel:
    """A component whose file has been checked, and whose weights are still there.

    Attributes:
        name: the file, for a message.
        model: without storage, on the device "meta".
        path: of the file, or of the index of its parts.
        ours: puts tensors of the file under the names of the model.
        one_by_one: `ours` takes each tensor alone.
        dtypes: the floating types in the file.
    """

    name: str
    model: Any
    path: Path
    ours: Callable[[StateDict], StateDict]
    one_by_one: bool
    dtypes: frozenset[torch.dtype]

    @property
    def parameters(self) -> int:
        """How many numbers the weights are."""
        return sum(tensor.numel() for tensor in self.model.state_dict().values())

    def read(self, device: Device = "cpu", dtype: DType = None) -> StateDict:
        """The weights by the model's names.

        What is neither moved nor converted stays mapped. Of the rest one tensor at a time passes
        through the host's memory.
        """
        moves = torch.device(device).type != "cpu"
        converts = dtype is not None and not self.dtypes <= {dtype}
        if self.one_by_one and (moves or converts):
            parts = (self.ours({name: tensor}) for name, tensor in each_tensor(self.path))
        else:
            parts = iter([self.ours(read_weights(self.path, mapped=True).tensors)])
        return {
            name: tensor.to(device, dtype if tensor.is_floating_point() else None)
            for part in parts
            for name, tensor in part.items()
        }

    def load(self, device: Device = "cpu", dtype: DType = None) -> Any:
        """The model with its weights, in evaluation mode."""
        self.model.load_state_dict(self.read(device, dtype), strict=True, assign=True)
        return self.model.to(device=device, dtype=dtype).eval()


def load_model(
    path: PathLike,
    *,
    stage: Component | None = None,
    config: Any = None,
    device: Device = "cpu",
    dtype: DType = None,
) -> Any:
    """Load a component in evaluation mode; every tensor of the file must have its place.

    Args:
        path: see `find_weights`; upstream's layouts are read too.
        stage: what it should be, or None for whatever it is.
        config: its configuration; None takes that of the file, or of the preset it belongs to.
        dtype: of the weights; None keeps the file's.

    Raises:
        CheckpointError: the file cannot be read, is something else, or does not fit `config`.
    """
    return open_model(path, stage=stage, config=config).load(device, dtype)


def open_model(
    path: PathLike, *, stage: Component | None = None, config: Any = None
) -> StoredModel:
    """As `load_model`, with the weights left in the file.

    Raises:
        CheckpointError: as `load_model`.
    """
    file = read_weights(path, mapped=True)
    name = str(file.path)
    signature, facts = recognise(file.tensors, file.name)
    component = signature.component
    if stage is None and config is not None:
        stage = next((c for c, kind in CONFIGS.items() if isinstance(config, kind)), None)
    if stage is not None and stage != component:
        raise CheckpointError(_wrong_stage(name, component, stage))
    if config is None:
        config = _config_of(file, component, facts)
    if config is None:
        raise CheckpointError(
            f"{name} is {signature.title}, with the dimensions of no preset. "
            f"{other_size(component, facts)}"
        )
    expected = facts_of(config, facts)
    wrong = [word for word in facts if expected[word] != facts[word]]
    if wrong:
        raise CheckpointError(
            f"{name} is {signature.title} that does not fit the configuration: "
            f"{_words(facts, wrong)}; expected {_words(expected, wrong)}. "
            f"Choose a file of this preset, or the preset of this file."
        )
    try:
        model = build(component, config, "meta")
    except ImportError:  # a library is absent or too old, and says so itself
        raise
    except Exception as error:  # numbers that do not go together fail wherever they meet
        raise CheckpointError(
            f"{name}: no network can be built with its configuration ({type(error).__name__}: "
            f"{one_line(error)}). Convert the original file again, or give another configuration."
        ) from error
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    current = any(".q_proj." in key for key in shapes)

    def ours(tensors: StateDict) -> StateDict:
        tensors = signature.to_ours(tensors)
        if component != "patch_encoder":
            return tensors
        tensors = dinov2_published(tensors)
        return dinov2_current(tensors) if current else tensors

    _check_fit(f"{name} ({signature.title})", ours(file.tensors), shapes)
    if fault := value_fault(file, signature):
        raise CheckpointError(fault)
    return StoredModel(
        f"{name} ({signature.title})",
        model,
        file.path,
        ours,
        _one_by_one(file, ours, shapes),
        frozenset(t.dtype for t in file.tensors.values() if t.is_floating_point()),
    )


def value_fault(file: WeightsFile, signature: Signature) -> str:
    """What is wrong with a value of a file that is mapped, in little memory; else nothing."""
    for name, tensor in tensors_in_turn(file):
        if not name.startswith(signature.dropped) and (fault := odd_weight(name, tensor)):
            return f"{file.path} ({signature.title}): {fault}. Copy or download the file again."
        del tensor  # and with it the part of the file that it lies in
    return ""


def _one_by_one(
    file: WeightsFile, ours: Callable[[StateDict], StateDict], keys: Iterable[str]
) -> bool:
    """Whether a file's tensors can be renamed each alone: another program's layout cannot."""
    if file.container != "safetensors" and not file.container.startswith("safetensors in "):
        return False
    names = {key for name, tensor in file.tensors.items() for key in ours({name: tensor})}
    return names == set(keys)  # else two tensors become one


def build(component: Component, config: Any, device: Device | None = None) -> Any:
    """A component with random weights; on the device "meta", without storage for them."""
    # Not at the top: the libraries of the networks take seconds to load. And before the device is
    # chosen, because that would be the device of their own constants too.
    from ..encoders import PatchImageEncoder, build_global_encoder
    from ..models import InpaintingModel, PosePrior, RefiningModel
    from ..vae import build_autoencoder

    builders: Mapping[Component, Callable[[Any], nn.Module]] = {
        "prior": PosePrior,
        "inpainting": InpaintingModel,
        "refining": RefiningModel,
        "autoencoder": build_autoencoder,
        "patch_encoder": PatchImageEncoder,
        "global_encoder": build_global_encoder,
    }
    with nullcontext() if device is None else torch.device(device):
        return builders[component](config)


def _words(facts: Facts, only: list[str] | None = None) -> str:
    return ", ".join(f"{word} {facts[word]}" for word in sorted(only or facts))


def _wrong_stage(name: str, component: Component, expected: Component) -> str:
    hint = f"Choose a file with {TITLES[expected]}."
    if (component, expected) == ("prior", "inpainting"):
        hint = (
            "Upstream's own s2_256.pt holds a stage-1 model by mistake, and no other 256 file of "
            "stage 2 was published: use s2_512.pt, or the single-stage release."
        )
    return f"{name} is {TITLES[component]}, but {TITLES[expected]} was asked for. {hint}"


def _check_fit(
    name: str, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    faults = {
        "missing": sorted(set(shapes) - set(tensors)),
        "unexpected": sorted(set(tensors) - set(shapes)),
        "misshapen": [
            f"{key} {short(list(tensors[key].shape))} instead of {list(shape)}"
            for key, shape in shapes.items()
            if key in tensors and tuple(tensors[key].shape) != shape
        ],
    }
    text = "; ".join(f"{len(keys)} {what}: {some(keys)}" for what, keys in faults.items() if keys)
    if text:
        raise CheckpointError(
            f"{name} does not fit its configuration. {text}. "
            f"The file is incomplete, or of another size than its configuration says."
        )


def shipped_weights(preset: str = "mini") -> Path:
    """The folder of the weights that come with the pack.

    Raises:
        CheckpointError: none ship for this preset, or the installation lacks them.
    """
    folder = WEIGHTS_FOLDER / preset
    if folder.is_dir():
        return folder
    names = sorted(p.name for p in WEIGHTS_FOLDER.glob("*") if p.name in PRESETS)
    raise CheckpointError(
        f"{folder} does not exist: no weights ship for the preset {preset!r}. "
        f"With the pack come: {', '.join(names) or 'none; install it again'}."
    )


def load_component(
    folder: PathLike, name: Component, *, device: Device = "cpu", dtype: DType = None
) -> Any:
    """Load `<folder>/<name>.safetensors` (or its parts) as that component.

    Raises:
        CheckpointError: as `load_model`; a missing file lists what the folder has.
    """
    path = Path(folder) / f"{name}.safetensors"
    return load_model(path, stage=name, device=device, dtype=dtype)


# --- saving --------------------------------------------------------------------------------------


def save_model(
    model: nn.Module,
    path: PathLike,
    *,
    stage: Component,
    config: Any = None,
    dtype: DType = None,
    metadata: Mapping[str, str] | None = None,
    max_shard_bytes: int | None = SHARD_BYTES,
) -> Path:
    """Write a component as safetensors that `load_model` reads without further help.

    Args:
        config: None takes `model.config`.
        dtype: floating tensors are stored in it; None keeps the model's.
        metadata: said about the file besides its stage, configuration and hash.
        max_shard_bytes: a larger model comes in parts with an index; None always writes one file.

    Returns:
        The file, or the index of the parts.
    """
    tensors = model.state_dict()
    if stage == "patch_encoder":
        tensors = dinov2_published(dict(tensors))
    if dtype is not None:
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    described = {
        **(metadata or {}),
        "format": "pt",
        "pcdm_format": str(FORMAT),
        "stage": stage,
        "config": json.dumps(config_to_dict(model.config if config is None else config)),
    }
    return write_state_dict(tensors, path, described, max_shard_bytes)


def convert(
    path_in: PathLike,
    path_out: PathLike,
    *,
    config: Any = None,
    max_shard_bytes: int | None = None,
    dtype: DType = None,
) -> Summary:
    """Turn upstream's file into safetensors with our names.

    Args:
        dtype: of the weights; None keeps them as they are.

    Raises:
        CheckpointError: unreadable, not one of ours, or of no preset's size and no `config` given;
            or a weight is not finite in `dtype`.
    """
    source = find_weights(path_in)
    model = load_model(source, config=config, dtype=dtype)
    if dtype is not None:
        check_weights(model.state_dict(), f"{source} in {str(dtype).removeprefix('torch.')}")
    file = read_weights(source, mapped=True)
    component = detect(file.tensors, file.name).component
    origin = {"source": source.name, "source_sha256": file_hash(*file.files)}
    return inspect(
        save_model(
            model, path_out, stage=component, metadata=origin, max_shard_bytes=max_shard_bytes
        )
    )


def check_weights(tensors: StateDict, name: str) -> None:
    """Refuse weights that are no numbers, such as those that half precision has no room for.

    Raises:
        CheckpointError: the first of them is named.
    """
    for key, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise CheckpointError(
                f"{name}: {key} has values that are infinite or no numbers. If half precision has "
                f"no room for them, --keep-dtype keeps their type; else the file is damaged."
            )
