"""Data sets on disk, in the layouts that people have them in."""

from .layouts import LAYOUTS, Layout, has_files, open_pairs, open_pictures
from .pictures import Collector, PictureSet, Problem, flat_stem, pair_file

__all__ = [
    "LAYOUTS",
    "Collector",
    "Layout",
    "PictureSet",
    "Problem",
    "flat_stem",
    "has_files",
    "open_pairs",
    "open_pictures",
    "pair_file",
]
