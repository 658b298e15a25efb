"""Data sets on disk, in the layouts that people have them in."""

from .layouts import LAYOUTS, open_pictures
from .pictures import ContentIndex, PictureSet, Problem

__all__ = ["LAYOUTS", "ContentIndex", "PictureSet", "Problem", "open_pictures"]
