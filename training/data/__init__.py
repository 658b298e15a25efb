"""People with poses, on disk and in memory, and the pairs that a run learns from.

`layouts` reads the data sets that people have, `rendered` those of `training.synthetic`; `pictures`
is what both become, `content` has the files' digests, `pairs` orders samples, `in_memory` holds
people, `prefetch` reads ahead.
"""

from .content import ContentIndex
from .layouts import LAYOUTS, Layout, has_files, open_pairs, open_pictures
from .pictures import Collector, PictureSet, Problem, flat_stem, pair_file

__all__ = [
    "LAYOUTS", "Collector", "ContentIndex", "Layout", "PictureSet", "Problem", "flat_stem",
    "has_files", "open_pairs", "open_pictures", "pair_file",
]  # fmt: skip
