"""Which weights there are: files of `models/pcdm`, and the set that ships with the pack."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import folder_paths

from ..pcdm_core.checkpoints import CheckpointError, Component, shipped_weights
from ..pcdm_core.checkpoints.components import find_student
from ..pcdm_core.checkpoints.files import PART_NAME, read_metadata
from ..pcdm_core.checkpoints.lora import SUFFIX, apply_lora
from ..pcdm_core.config import Preset
from ..pcdm_core.presets import PRESETS
from ..pcdm_core.quoting import one_line, short
from ..pcdm_core.speed import FAST_PRESETS, STUDENT
from .requirements import unmet

FOLDER = "pcdm"
# Texts of the shipped weights. Saved workflows hold older ones, without the size, or with another.
_SHIPPED = re.compile(
    r"mini(?:, \d{1,4}x\d{1,4}, rendered people)?(?P<student>, for 4 steps)? \(shipped\)"
)
SAME_SET = "of the same set"
INPUTS: Mapping[Component, str] = {"global_encoder": "global_encoder"}  # elsewhere `weights`
_WITH_STUDENT: tuple[Component, ...] = ("inpainting", "refining")


def register_folder() -> None:
    """Let ComfyUI know `models/pcdm`, beside what the user's own configuration says of it."""
    folders = folder_paths.folder_names_and_paths
    default = os.path.join(folder_paths.models_dir, FOLDER)
    paths, extensions = folders.get(FOLDER, ([default], set()))
    folders[FOLDER] = (paths, set(extensions) | folder_paths.supported_pt_extensions)


@lru_cache(maxsize=1)
def _about_shipped() -> str:
    """Name, size and subject of the shipped weights, as their file says."""
    try:
        metadata = read_metadata(shipped_weights() / "inpainting.safetensors")
    except CheckpointError:
        return "mini"  # a clone without them
    preset = PRESETS[metadata["preset"]]
    height, width = (metadata.get(name, getattr(preset, name)) for name in ("height", "width"))
    return f"{preset.name}, {height}x{width}, rendered people"


def shipped_choice() -> str:
    """The choice of the weights that come with the pack."""
    return f"{_about_shipped()} (shipped)"


def student_choice() -> str:
    """The choice of their few-step student."""
    return f"{_about_shipped()}, for 4 steps (shipped)"


def _is_shipped(choice: Any) -> bool:
    return isinstance(choice, str) and _SHIPPED.fullmatch(choice) is not None


def is_student(choice: Any) -> bool:
    """Whether a choice is the shipped few-step student, in any version's words."""
    match = _SHIPPED.fullmatch(choice) if isinstance(choice, str) else None
    return match is not None and match["student"] is not None


def choices(component: Component) -> list[str]:
    """What a loader's drop-down offers; the parts of a split file count as one."""
    register_folder()
    names = {name: PART_NAME.fullmatch(name) for name in folder_paths.get_filename_list(FOLDER)}
    files = {f"{match['stem']}.safetensors" if match else name for name, match in names.items()}
    own = [SAME_SET] if component == "global_encoder" else [shipped_choice()]
    own += [student_choice()] if component in _WITH_STUDENT else []
    return [*own, *sorted(files)]


def path_of(choice: str, component: Component) -> Path:
    """The file behind a choice; for the shipped set and its student, that of the component.

    What the drop-down does not offer is refused before it becomes a path.

    Raises:
        CheckpointError: it is not offered or gone, and the folders that were searched are named; or
            no model can be loaded in this Python.
    """
    if (lack := unmet()) is not None:
        raise CheckpointError(lack)
    offered = choices(component)
    fits = component in _WITH_STUDENT if is_student(choice) else component != "global_encoder"
    if _is_shipped(choice) and fits:
        return shipped_weights() / f"{component}.safetensors"
    folders = folder_paths.get_folder_paths(FOLDER)
    for folder in folders if choice in offered else ():
        path = Path(folder) / choice
        if exists(path):
            return path
    name = choice if isinstance(choice, str) else short(choice)
    raise CheckpointError(
        f"{INPUTS.get(component, 'weights')}: {one_line(name, 120)} is not in "
        f"{', '.join(folders)}. Put the file there and press R, or choose another one."
    )


def as_chosen(model: Any, choice: str, component: Component) -> Any:
    """A component of `path_of` as the choice wants it: with a student's difference, or as it is.

    Raises:
        CheckpointError: the student is not there.
    """
    if not is_student(choice):
        return model
    folder = find_student()
    return model if folder is None else apply_lora(model, folder / f"{component}{SUFFIX}")


def settings_as_chosen(preset: Preset, choice: str) -> Preset:
    """The preset with the steps and the guidance of the student, where that is the choice."""
    if not is_student(choice):
        return preset
    settings = FAST_PRESETS[STUDENT].loop(preset)
    return replace(preset, **{name: settings[name] for name in ("steps", "guidance_scale")})


def check_choices(selection: Mapping[Component, str | None]) -> str | bool:
    """For `validate_inputs`: True, or the sentence that says which file is missing.

    None is a choice that comes by a link, which is not there yet.
    """
    try:
        for component, choice in selection.items():
            own_set = component == "global_encoder" and choice == SAME_SET
            if choice is not None and not own_set:
                path_of(choice, component)
    except CheckpointError as error:
        return str(error)
    return True


def exists(path: Path) -> bool:
    """Whether a weights file is there, whole or in parts."""
    return path.is_file() or path.with_name(f"{path.name}.index.json").is_file()


def sibling(path: Path, component: Component) -> Path | None:
    """The component's file in the same folder, if it is there."""
    file = path.with_name(f"{component}.safetensors")
    return file if exists(file) else None
