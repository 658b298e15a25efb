"""Which weights there are: files of `models/pcdm`, and the set that ships with the pack."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import folder_paths

from ..pcdm_core.checkpoints import CheckpointError, Component, shipped_weights
from ..pcdm_core.checkpoints.components import find_student
from ..pcdm_core.checkpoints.files import PART_NAME
from ..pcdm_core.checkpoints.lora import SUFFIX, apply_lora
from ..pcdm_core.config import Preset
from ..pcdm_core.quoting import one_line, short
from ..pcdm_core.speed import FAST_PRESETS, STUDENT
from .requirements import unmet

FOLDER = "pcdm"
SHIPPED = "mini (shipped)"
SHIPPED_STUDENT = "mini, for 4 steps (shipped)"
SAME_SET = "of the same set"
INPUTS: Mapping[Component, str] = {"global_encoder": "global_encoder"}  # elsewhere `weights`
_BESIDE_FILES: Mapping[Component, tuple[str, ...]] = {
    "inpainting": (SHIPPED, SHIPPED_STUDENT),
    "refining": (SHIPPED, SHIPPED_STUDENT),
    "global_encoder": (SAME_SET,),
}


def register_folder() -> None:
    """Let ComfyUI know `models/pcdm`, beside what the user's own configuration says of it."""
    folders = folder_paths.folder_names_and_paths
    default = os.path.join(folder_paths.models_dir, FOLDER)
    paths, extensions = folders.get(FOLDER, ([default], set()))
    folders[FOLDER] = (paths, set(extensions) | folder_paths.supported_pt_extensions)


def choices(component: Component) -> list[str]:
    """What a loader's drop-down offers; the parts of a split file count as one."""
    register_folder()
    names = {name: PART_NAME.fullmatch(name) for name in folder_paths.get_filename_list(FOLDER)}
    files = {f"{match['stem']}.safetensors" if match else name for name, match in names.items()}
    return [*_BESIDE_FILES.get(component, (SHIPPED,)), *sorted(files)]


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
    if choice in (SHIPPED, SHIPPED_STUDENT) and choice in offered:
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
    if choice != SHIPPED_STUDENT:
        return model
    folder = find_student()
    return model if folder is None else apply_lora(model, folder / f"{component}{SUFFIX}")


def settings_as_chosen(preset: Preset, choice: str) -> Preset:
    """The preset with the steps and the guidance of the student, where that is the choice."""
    if choice != SHIPPED_STUDENT:
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
