"""The parts of one preset, from a folder with one file a part."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch

from ..config import Preset
from ..images import FitMode
from ..presets import PRESETS
from ..quoting import one_line
from .files import CheckpointError, PathLike, read_metadata
from .folder import COMPONENTS, check_complete, check_start
from .load import StoredModel, inspect, open_model, shipped_weights
from .lora import SUFFIX, open_with_difference
from .signatures import Component

FITS: tuple[str, ...] = get_args(FitMode)
SIDE_LIMIT = 4096  # pixels, of the pictures that weights were trained on
STUDENT_FOLDER = "student"  # beside the weights that its differences are on
STUDENT_STEPS = "student_steps"  # of the metadata: these weights are a few-step student's


def load_components(
    folder: PathLike | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = torch.float32,
    with_refining: bool = True,
    student: PathLike | bool | None = None,
) -> tuple[Preset, dict[str, Any]]:
    """Load what `PCDMsPipeline` takes.

    Args:
        folder: with `inpainting.safetensors`, `autoencoder.safetensors`,
            `patch_encoder.safetensors` and, where the preset has them, `prior.safetensors`,
            `global_encoder.safetensors` and `refining.safetensors`; None is the folder of the
            weights that ship.
        dtype: of the weights; None keeps each file's.
        with_refining: False leaves the refining model on disk.
        student: a folder of differences on these weights (`<component>.difference.safetensors`, see
            `lora`); True is the one that comes with them, see `find_student`.

    Returns:
        The preset, with the configurations of the files, and the components by name.

    Raises:
        CheckpointError: a file is missing or is not what its name says.
    """
    preset, stored = open_components(folder, with_refining=with_refining, student=student)
    return preset, {name: part.load(device, dtype) for name, part in stored.items()}


def open_components(
    folder: PathLike | None = None,
    *,
    with_refining: bool = True,
    student: PathLike | bool | None = None,
) -> tuple[Preset, dict[str, StoredModel]]:
    """As `load_components`, with the weights left in their files.

    Raises:
        CheckpointError: as `load_components`.
    """
    folder = shipped_weights() if folder is None else folder
    path = os.path.join(folder, "inpainting.safetensors")
    check_start(folder)
    summary = inspect(path, mapped=True)
    if summary.component == "inpainting" and summary.config is not None:
        check_complete(folder, preset_of("inpainting", summary.config, path), with_refining)
    stored = {"inpainting": open_model(path, stage="inpainting")}
    preset = preset_of("inpainting", stored["inpainting"].model.config, path)
    for name in COMPONENTS:
        left_out = getattr(preset, name) is None or (name == "refining" and not with_refining)
        if name != "inpainting" and not left_out:
            stored[name] = open_model(os.path.join(folder, f"{name}.safetensors"), stage=name)
    differences = find_student(folder) if student is True else student
    if differences:
        steps = open_student(stored, Path(differences))
        preset = _for_student(preset, steps, differences)
    return with_configs(preset, {name: part.model for name, part in stored.items()}), stored


def with_configs(preset: Preset, components: Mapping[str, Any]) -> Preset:
    """The preset with the components' own configurations."""
    return replace(preset, **{name: part.config for name, part in components.items()})


def find_student(folder: PathLike | None = None) -> Path | None:
    """The few-step student that comes with weights, as a folder of differences on them.

    Args:
        folder: as `load_components` takes it.

    Returns:
        `<folder>/student`; None where the weights are a student's already.

    Raises:
        CheckpointError: they are not, and have none.
    """
    weights = Path(shipped_weights() if folder is None else folder)
    student = weights / STUDENT_FOLDER
    if student.is_dir():
        return student
    if STUDENT_STEPS in inspect(weights / "inpainting.safetensors").metadata:
        return None
    raise CheckpointError(
        f"{weights}: no few-step student comes with these weights ({student} does not exist). "
        f"Train one with `python run.py distill`, or take fewer steps of these (--fast 4-steps)."
    )


def open_student(stored: dict[str, StoredModel], folder: Path) -> str:
    """Turn components in their files into a student's; what its files say of its steps.

    Raises:
        CheckpointError: the folder holds a difference on none of them, or on other weights.
    """
    paths = {name: folder / f"{name}{SUFFIX}" for name in stored}
    paths = {name: path for name, path in paths.items() if path.is_file()}
    if not paths:
        raise CheckpointError(
            f"{folder}: no difference of a student in it. Its files are named "
            f"inpainting{SUFFIX} and refining{SUFFIX}."
        )
    for name, path in paths.items():
        stored[name] = open_with_difference(stored[name], path)
    return read_metadata(next(iter(paths.values()))).get(STUDENT_STEPS, "")


def _for_student(preset: Preset, steps: str, path: PathLike) -> Preset:
    """The preset with the settings that a student was trained for: so many steps, unguided.

    Raises:
        CheckpointError: its files do not say a number.
    """
    if steps not in map(str, range(1, preset.inpainting.schedule.num_train_timesteps + 1)):
        raise CheckpointError(
            f"{path}: its metadata gives {one_line(steps, 9)!r} as the student's steps. Copy it "
            f"again."
        )
    return replace(preset, steps=int(steps), guidance_scale=1.0)


def preset_of(component: Component, config: Any, path: PathLike) -> Preset:
    """The preset that a loaded component belongs to, with the component's own configuration.

    It is the preset with this configuration, else the one that the file names; size and fit, and a
    student's steps, are those that the file was trained for, where it says so.

    Raises:
        CheckpointError: neither its configuration nor its file tells, or the size is none.
    """
    metadata = read_metadata(path)
    presets = (p for p in PRESETS.values() if getattr(p, component) == config)
    preset = next(presets, PRESETS.get(metadata.get("preset", "")))
    if preset is None:
        raise CheckpointError(
            f"{path}: its configuration is that of no preset ({', '.join(PRESETS)}) and its "
            f"metadata names none, so picture size and fit are unknown. Choose a file of a known "
            f"preset, or build PCDMsPipeline from components with a preset of your own."
        )
    preset = replace(preset, **{component: config})
    if STUDENT_STEPS in metadata:
        preset = _for_student(preset, metadata[STUDENT_STEPS], path)
    if not {"height", "width", "fit"} <= metadata.keys():
        return preset
    height, width, fit = (metadata[name] for name in ("height", "width", "fit"))
    step = preset.autoencoder.downscale
    sides = {str(side): side for side in range(step, SIDE_LIMIT + 1, step)}
    if height not in sides or width not in sides or fit not in FITS:
        raise CheckpointError(
            f"{path}: its metadata gives {height[:9]}x{width[:9]} and {fit[:9]!r} as picture size "
            f"and fit. Sides are multiples of {step} up to {SIDE_LIMIT}, the fit is one of "
            f"{', '.join(FITS)}. The file is damaged; copy or export it again."
        )
    return replace(preset, height=sides[height], width=sides[width], fit=fit)
