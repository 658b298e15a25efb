"""Who reads the pose out of a picture: the detector that ships.

A judge is called with uint8 [B, H, W, 3] and gives pixel positions float32 [B, 18, 2] and which
joints it reports, bool [B, 18].
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch.nn import functional

from pcdm_core.images import from_uint8
from pcdm_core.pose.detect import INSTALL, NoPersonError, detect_people, has_blazepose

LARGE = 384
"""Height in pixels to which smaller pictures are enlarged for the detector."""


PoseJudge = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class BlazePoseJudge:
    """The pack's own detector; a picture in which it finds nobody reports no joint."""

    name = "BlazePose, the detector that ships"

    def __init__(self) -> None:
        """Raises ImportError where the detector's runtime is missing."""
        if not has_blazepose():
            raise ImportError(f"The pose detector needs its runtime. {INSTALL}.")

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See the module."""
        height, width = pictures.shape[1:3]
        places = np.zeros((len(pictures), 18, 2), np.float32)
        reported = np.zeros((len(pictures), 18), bool)
        for row, picture in enumerate(from_uint8(pictures)):
            large = picture[None]
            if height < LARGE:
                size = (LARGE, round(width * LARGE / height))
                large = functional.interpolate(large, size, mode="bicubic").clamp(-1, 1)
            try:
                person = detect_people(large, "blazepose")[0]
            except NoPersonError:
                continue
            places[row] = person.xy[0].numpy() * [width, height]
            reported[row] = person.visible[0].numpy()
        return places, reported
