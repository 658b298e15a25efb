"""The parts of one preset, from a folder with one file a part."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from .checkpoints import CheckpointError, inspect, load_component, shipped_weights
from .config import InpaintingConfig, Preset
from .difference import SUFFIX, apply_difference
from .presets import PRESETS

PathLike = str | os.PathLike[str]


def load_components(
    folder: PathLike | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    with_refining: bool = True,
    student: PathLike | None = None,
) -> tuple[Preset, dict[str, Any]]:
    """Load what `PCDMsPipeline` takes.

    Args:
        folder: with `inpainting.safetensors`, `autoencoder.safetensors`,
            `patch_encoder.safetensors` and, where the preset has them, `prior.safetensors`,
            `global_encoder.safetensors` and `refining.safetensors`; None is the folder of the
            weights that ship.
        dtype: of the weights; None keeps each file's.
        with_refining: False leaves the refining model on disk.
        student: a folder of differences on these weights (`<component>.difference.safetensors`), or
            None; see `pcdm_core.difference`.

    Returns:
        The preset, with the configurations of the files, and the components by name.

    Raises:
        CheckpointError: a file is missing or is not what its name says.
    """
    folder = shipped_weights() if folder is None else folder
    inpainting = load_component(folder, "inpainting")  # in the file's type, as a student needs it
    preset = _preset_of(folder, inpainting.config)
    components: dict[str, Any] = {"inpainting": inpainting}
    for name in ("autoencoder", "patch_encoder", "prior", "global_encoder", "refining"):
        if getattr(preset, name) is None or (name == "refining" and not with_refining):
            continue
        components[name] = load_component(folder, name)
    if student is not None:
        _apply_student(components, Path(student))
    components = {name: part.to(device=device, dtype=dtype) for name, part in components.items()}
    configs = {name: component.config for name, component in components.items()}
    return replace(preset, **configs), components


def _apply_student(components: dict[str, Any], folder: Path) -> None:
    paths = {name: folder / f"{name}{SUFFIX}" for name in components}
    found = {name: path for name, path in paths.items() if path.is_file()}
    if not found:
        raise CheckpointError(
            f"{folder}: no difference of a student in it. Its files are named "
            f"inpainting{SUFFIX} and refining{SUFFIX}."
        )
    for name, path in found.items():
        apply_difference(components[name], path)


def _preset_of(folder: PathLike, config: InpaintingConfig) -> Preset:
    """The preset with this inpainting model, else the one that the file names."""
    for preset in PRESETS.values():
        if preset.inpainting == config:
            return preset
    file = inspect(os.path.join(folder, "inpainting.safetensors"))
    name = file.metadata.get("preset", "")
    if name not in PRESETS:
        raise CheckpointError(
            f"{file.path}: its configuration is that of no preset ({', '.join(PRESETS)}) and its "
            f"metadata names none, so picture size and fit are unknown. Build PCDMsPipeline from "
            f"components with a preset of your own."
        )
    return PRESETS[name]
