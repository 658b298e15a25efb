"""Which weights there are: files of `models/pcdm`, and the set that ships with the pack."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import folder_paths

from ..pcdm_core.checkpoints import CheckpointError, Component, shipped_weights
from ..pcdm_core.components import apply_student, find_student

FOLDER = "pcdm"
SHIPPED = "mini (shipped)"
SHIPPED_STUDENT = "mini, for 4 steps (shipped)"
_PART = re.compile(r"-\d{5}-of-\d{5}(?=\.safetensors$)")


def register_folder() -> None:
    """Let ComfyUI know `models/pcdm`, beside what the user's own configuration says of it."""
    known = folder_paths.folder_names_and_paths
    own = os.path.join(folder_paths.models_dir, FOLDER)
    paths, extensions = known.get(FOLDER, ([own], set()))
    known[FOLDER] = (paths, set(extensions) | folder_paths.supported_pt_extensions)


def choices(*, students: bool = False) -> list[str]:
    """What the drop-downs of the loaders offer; the parts of a split file count as one.

    Args:
        students: of a model that there is a few-step student of.
    """
    register_folder()
    files = {_PART.sub("", name) for name in folder_paths.get_filename_list(FOLDER)}
    shipped = [SHIPPED, SHIPPED_STUDENT] if students else [SHIPPED]
    return [*shipped, *sorted(files)]


def path_of(choice: str, component: Component) -> Path:
    """The file behind a choice; for the shipped set and its student, that of the component.

    Raises:
        CheckpointError: it is gone; the folders that were searched are named.
    """
    if choice in (SHIPPED, SHIPPED_STUDENT):
        return shipped_weights() / f"{component}.safetensors"
    register_folder()
    folders = folder_paths.get_folder_paths(FOLDER)
    for folder in folders:
        path = Path(folder) / choice
        if exists(path):
            return path
    raise CheckpointError(
        f"{choice} is not in {', '.join(folders)}. Put the file there and press R, or choose "
        f"another one."
    )


def as_chosen(model: Any, choice: str, component: Component) -> Any:
    """A component of `path_of` as the choice wants it: with a student's difference, or as it is.

    Raises:
        CheckpointError: the student is not there.
    """
    if choice != SHIPPED_STUDENT:
        return model
    folder = find_student()
    return model if folder is None else apply_student({component: model}, folder)[component]


def check_choices(*choices: str) -> str | bool:
    """For `validate_inputs`: True, or the sentence that says which file is missing."""
    try:
        for choice in choices:
            path_of(choice, "inpainting")
    except CheckpointError as error:
        return str(error)
    return True


def exists(path: Path) -> bool:
    """Whether a weights file is there, whole or in parts."""
    return path.is_file() or path.with_name(f"{path.name}.index.json").is_file()


def sibling(path: Path, component: Component) -> Path | None:
    """The component's file in the same folder, if it is there."""
    found = path.with_name(f"{component}.safetensors")
    return found if exists(found) else None
