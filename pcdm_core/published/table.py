"""The table of the published files, `files.json`: what each is, where it is, where it goes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:  # the library behind it takes seconds to import
    from ..checkpoints.signatures import Component

PresetName = Literal["published", "simplified"]
PRESET_TITLES: dict[PresetName, str] = {
    "published": "three stages",
    "simplified": "one stage",
}
HUB = "https://huggingface.co"
DRIVE = "https://drive.google.com"


@dataclass(frozen=True)
class Source:
    """A public file. It is on the hub (`hub`, `path`) or on Google Drive (`drive_...`).

    Attributes:
        name: what it is saved as.
        revision: the first digits of the commit in which size and hash were read.
        drive_file: empty where only the folder is known.
        bytes: None where no exact size was published; `about_bytes` is then the number of weights
            in half precision.
        sha256: empty where none was published.
    """

    name: str
    licence: str
    hub: str = ""
    path: str = ""
    revision: str = ""
    drive_folder: str = ""
    drive_file: str = ""
    bytes: int | None = None
    about_bytes: int = 0
    sha256: str = ""

    @property
    def address(self) -> str:
        """Of the page where a browser offers the file."""
        if self.hub:
            return f"{HUB}/{self.hub}/blob/main/{self.path}"
        if self.drive_file:
            return f"{DRIVE}/file/d/{self.drive_file}/view"
        return f"{DRIVE}/drive/folders/{self.drive_folder}"

    @property
    def download(self) -> str:
        """Of the file itself; empty for one on Google Drive, where a page comes first."""
        return f"{HUB}/{self.hub}/resolve/main/{self.path}" if self.hub else ""

    @property
    def size(self) -> int:
        """In bytes, exact or about."""
        return self.about_bytes if self.bytes is None else self.bytes


@dataclass(frozen=True)
class ModelFile:
    """A part of a preset. Any of the sources does; the first is what `pcdm models get` takes.

    Attributes:
        python: its name in a folder of weights.
        comfyui: its path in ComfyUI's folder `models`.
        replaces: what need not be downloaded because of it.
        tensors_sha256: of its tensors' names and shapes, see `verify.names_hash`.
    """

    component: Component
    presets: tuple[PresetName, ...]
    title: str
    python: str
    comfyui: str
    replaces: str
    sources: tuple[Source, ...]
    tensors_sha256: str

    @property
    def source(self) -> Source:
        """The first of the sources."""
        return self.sources[0]


@cache
def model_files() -> tuple[ModelFile, ...]:
    """Every row of the table."""
    text = Path(__file__).with_name("files.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)["files"]
    for row in rows:
        row["presets"] = tuple(row["presets"])
        row["sources"] = tuple(Source(**source) for source in row["sources"])
    return tuple(ModelFile(**row) for row in rows)


def files_of(preset: PresetName) -> list[ModelFile]:
    """The files that a preset needs, in the table's order."""
    return [file for file in model_files() if preset in file.presets]


def in_words(size: int) -> str:
    """A size in bytes for people: `4.55 GB`, `335 MB`."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.{2 if unit == 10**9 else 0}f} {name}"
    return f"{size} bytes"


def size_in_words(source: Source) -> str:
    """The size of a source, with `about` where it is not exact."""
    return in_words(source.size) if source.bytes is not None else f"about {in_words(source.size)}"
