"""Rendered people as they are read back: by training, by the evaluation and as a data set.

Everything here is numpy and Pillow, so that worker processes start without torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcdm_core.picture_files import open_picture

from .camera import VISIBLE, openpose_visibility


@dataclass(frozen=True)
class Shot:
    """One picture of a person with what is known about it."""

    picture: np.ndarray  # uint8 [H, W, 3]
    mask: np.ndarray  # bool [H, W], the person
    xy: np.ndarray  # float32 [18, 2], pixels
    inside: np.ndarray  # bool [18], joints within the frame
    visible: np.ndarray  # bool [18], joints within the frame that nothing hides
    detectable: np.ndarray  # bool [18], joints that a detector would report

    @classmethod
    def of(
        cls,
        identity: int,
        view: int,
        picture: np.ndarray,
        mask: np.ndarray,
        xy: np.ndarray,
        codes: np.ndarray,
    ) -> Shot:
        """A view of the person of that number; `mask` and `codes` as in `View`."""
        detectable = detectable_joints(identity, view, xy, codes)
        return cls(picture, mask > 127, xy, codes > 0, codes == VISIBLE, detectable)


def detectable_joints(identity: int, view: int, xy: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """bool [18]: what a detector would report; everyone who reads this view misses the same."""
    return openpose_visibility(xy, codes, np.random.default_rng((identity, view)))


def read_joints(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels [N, 18, 2] and codes [N, 18] of all views of the person whose folder it is."""
    with np.load(folder / "people.npz") as table:
        return table["xy"], table["visible"]


def read_shots(folder: Path, views: Iterable[int] | None = None) -> list[Shot]:
    """Views of the person whose folder it is, by default all of them."""
    xy, codes = read_joints(folder)
    shots: list[Shot] = []
    for view in range(len(xy)) if views is None else views:
        with open_picture(folder / f"{view:02d}.png") as image:
            picture = np.asarray(image.convert("RGB"))
        with open_picture(folder / f"{view:02d}_mask.png") as image:
            mask = np.asarray(image.convert("L"))
        shots.append(Shot.of(int(folder.name), view, picture, mask, xy[view], codes[view]))
    return shots
