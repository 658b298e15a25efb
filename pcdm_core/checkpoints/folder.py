"""Whether a folder holds every part of its preset, before any of them is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

from ..config import Preset
from .files import INDEX, SUFFIXES, CheckpointError
from .signatures import Component

COMPONENTS: tuple[Component, ...] = get_args(Component)
DOWNLOADS = (*SUFFIXES, ".zip")


def has_component(folder: Path, component: str) -> bool:
    """Whether the component's file is there, whole or in parts."""
    path = folder / f"{component}.safetensors"
    return path.is_file() or path.with_name(path.name + INDEX).is_file()


def check_start(folder: str | os.PathLike[str]) -> None:
    """Refuse a folder that cannot be one of weights: without stage 2, which tells the preset.

    Raises:
        CheckpointError: with what the folder is, and what to do.
    """
    folder = Path(folder)
    if has_component(folder, "inpainting"):
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder. --weights names a folder of weights.")
    lack = f"{folder} lacks inpainting.safetensors, which every preset needs"
    names = downloads(folder)
    if not names:
        raise CheckpointError(f"{lack}, and has no weights files. `pcdm models list` says more.")
    raise CheckpointError(
        f"{lack}. It has files under other names: {', '.join(names[:12])}. `pcdm models place "
        f"{folder} --weights NEW_FOLDER` recognises files by what is in them and puts them where "
        f"they are looked for."
    )


def check_complete(folder: str | os.PathLike[str], preset: Preset, with_refining: bool) -> None:
    """Refuse a folder without all parts of the preset.

    Raises:
        CheckpointError: all that are missing are named.
    """
    folder = Path(folder)
    parts = [name for name in COMPONENTS if getattr(preset, name) is not None]
    if not with_refining:
        parts = [name for name in parts if name != "refining"]
    missing = [f"{name}.safetensors" for name in parts if not has_component(folder, name)]
    if not missing:
        return
    names = downloads(folder)
    hint = (
        f"`pcdm models list --preset {preset.name} --weights {folder}` says where the files are to "
        f"be had"
    )
    if names:
        hint += (
            f", `pcdm models place {folder} --weights {folder}` gives these the names that are "
            f"looked for: {', '.join(names[:12])}"
        )
    raise CheckpointError(
        f"{folder} lacks {len(missing)} of the {len(parts)} files of the preset {preset.name}: "
        f"{', '.join(missing)}. {hint}."
    )


def downloads(folder: Path) -> list[str]:
    """Weights files in a folder, and archives, that no component is named after."""
    names = sorted(path.name for path in folder.iterdir() if path.suffix in DOWNLOADS)
    return [name for name in names if not name.startswith(COMPONENTS) and name[0] != "."]
