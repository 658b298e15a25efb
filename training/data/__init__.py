"""Data sets on disk: the core's layouts, and rendered people."""

from collections.abc import Mapping
from pathlib import Path

from pcdm_core import data
from pcdm_core.data import Layout, PictureSet, Problem, has_files

from .content import ContentIndex
from .rendered import read_synthetic

_PLAIN = {name: layout for name, layout in data.LAYOUTS.items() if name != "folder"}
LAYOUTS: Mapping[str, Layout] = {
    **_PLAIN,
    "synthetic": (has_files("{split}/[0-9]*/people.npz"), read_synthetic),
    "folder": data.LAYOUTS["folder"],  # fits most folders, so it is asked last
}

__all__ = ["LAYOUTS", "ContentIndex", "PictureSet", "Problem", "open_pictures"]


def open_pictures(root: Path, layout: str = "auto", split: str = "train") -> PictureSet:
    """`pcdm_core.data.open_pictures` with rendered people among the layouts."""
    return data.open_pictures(root, layout, split, LAYOUTS)
