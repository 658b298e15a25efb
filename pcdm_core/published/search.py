"""Weights files in folders, recognised by what is in them, and which rows of the table they fill.

Only headers are read: a whole set takes a few seconds and little memory.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..checkpoints.files import INDEX, SUFFIXES, CheckpointError, archive_members, find_weights
from ..checkpoints.load import Summary, inspect
from ..config import STAGES
from ..presets import PRESETS
from ..quoting import one_line
from .table import PRESET_TITLES, ModelFile, PresetName, files_of

COMFYUI_FOLDERS = ("pcdm", "clip_vision", "vae")  # of `models`
ARCHIVE = ".zip"
EXTRA_PATHS = "extra_model_paths.yaml"


@dataclass(frozen=True)
class Weights:
    """A weights file, or why it is none."""

    path: Path
    summary: Summary | None
    fault: str = ""

    @property
    def bytes(self) -> int:
        """Its size, with its parts."""
        return sum(file.stat().st_size for file in (self.path, *parts_of(self.path)))

    def fills(self, file: ModelFile, preset: PresetName) -> bool:
        """Whether it is this part of this preset."""
        return (
            self.summary is not None
            and self.summary.component == file.component
            and self.summary.config == getattr(PRESETS[preset], file.component)
        )

    def rank(self, file: ModelFile) -> tuple[object, ...]:
        """What to sort by where several files are the same part: the likeliest comes first."""
        names = {source.name for source in file.sources} | {file.python, Path(file.comfyui).name}
        sizes = {source.bytes for source in file.sources}
        pickle = self.path.suffix != ".safetensors"
        return self.path.name not in names, self.bytes not in sizes, pickle, self.path


def parts_of(path: Path) -> list[Path]:
    """The parts of a model whose index this is, as far as they are there."""
    if not path.name.endswith(INDEX):
        return []
    return sorted(path.parent.glob(f"{path.name.removesuffix(INDEX).rpartition('.')[0]}-*"))


def weights_paths(folder: Path) -> Iterator[Path]:
    """Every weights file below a folder, but hidden ones; a model in parts is its index."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        indices = {name for name in names if name.endswith(f".safetensors{INDEX}")}
        stems = tuple(name.removesuffix(f".safetensors{INDEX}") + "-" for name in indices)
        for name in sorted(names):
            file = name.endswith(SUFFIXES) and not (stems and name.startswith(stems))
            if not name.startswith(".") and (file or name in indices):
                yield Path(place) / name


def archives(folder: Path) -> list[Path]:
    """Every zip archive below a folder that holds weights files."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (*SUFFIXES, ARCHIVE))
    return [path for path in paths if path.is_file() and weights_members(path)]


def weights_members(path: Path) -> list[str]:
    """The weights files in a zip archive."""
    return [name for name in archive_members(path) if name.endswith((*SUFFIXES, ".json"))]


def read_header(path: Path) -> Weights:
    """What a file is, or its fault in a sentence."""
    try:
        summary = inspect(find_weights(path), mapped=True)
    except (CheckpointError, OSError) as error:
        return Weights(path, None, str(error))
    return Weights(path, summary, summary.note and f"{path}: {summary.note}")


def search(folders: Iterable[Path]) -> list[Weights]:
    """Every weights file below these folders."""
    return [read_header(path) for folder in folders for path in weights_paths(folder)]


def best(weights: Iterable[Weights], file: ModelFile, preset: PresetName) -> Weights | None:
    """The likeliest file for a part of a preset."""
    fitting = [entry for entry in weights if entry.fills(file, preset)]
    return min(fitting, key=lambda entry: entry.rank(file), default=None)


def likely_preset(weights: Iterable[Weights]) -> PresetName:
    """The preset whose stage 2 is there.

    Raises:
        ValueError: both are, or neither.
    """
    weights = list(weights)
    presets: list[PresetName] = [
        preset
        for preset in PRESET_TITLES
        if any(best(weights, file, preset) for file in stages_of(preset))
    ]
    if len(presets) != 1:
        which = "the models of both presets are" if presets else "no model of a published preset is"
        raise ValueError(
            f"--preset published (three stages) or --preset simplified (one stage)? Among the "
            f"{len(weights)} weights files {which} there."
        )
    return presets[0]


def stages_of(preset: PresetName) -> list[ModelFile]:
    """The files of a preset that no other preset shares."""
    return [file for file in files_of(preset) if file.component in STAGES]


def comfyui_models(folder: Path) -> Path:
    """The folder `models` of a ComfyUI, from its own folder or from `models` itself.

    Raises:
        ValueError: it is neither.
    """
    for models in (folder / "models", folder):
        if models.is_dir() and models.name == "models":
            return models
    raise ValueError(
        f"{folder}: not a ComfyUI, there is no folder `models` in it. Give ComfyUI's own folder."
    )


def comfyui_folders(folder: Path) -> list[Path]:
    """Where a ComfyUI looks for the published files, `extra_model_paths.yaml` included.

    Raises:
        ValueError: the folder is no ComfyUI, or that file is no list of folders.
    """
    models = comfyui_models(folder)
    extra = models.parent / EXTRA_PATHS
    folders = [models / name for name in COMFYUI_FOLDERS]
    folders += _extra_folders(extra) if extra.is_file() else []
    return [path for path in dict.fromkeys(folders) if path.is_dir()]


def _extra_folders(file: Path) -> list[Path]:
    """The folders of a host's own list, as the host reads it but for `~` and variables."""
    import yaml

    folders: list[Path] = []
    try:
        sections: dict[str, dict[str, Any] | None] = yaml.safe_load(file.read_text("utf-8")) or {}
        for section in sections.values():
            base = (section or {}).get("base_path", "")
            for name in COMFYUI_FOLDERS:
                lines = (section or {}).get(name, "").split("\n")
                folders += [file.parent / base / line for line in lines if line]
    except (yaml.YAMLError, UnicodeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{file} is no list of folders ({one_line(error)}). ComfyUI's own "
            f"extra_model_paths.yaml.example shows its form."
        ) from error
    return folders
