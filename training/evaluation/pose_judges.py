"""Who reads the pose out of a picture: the detector that ships, or a regressor trained on renders.

Both are called with uint8 [B, H, W, 3] and give pixel positions float32 [B, 18, 2] and how sure
they are that a joint is seen [B, 18].
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from torch.nn import functional

from pcdm_core.images import from_uint8
from pcdm_core.pose.detect import INSTALL, NoPersonError, detect_people, has_blazepose

from .keypoint_judge import KeypointJudge

Kind = Literal["auto", "blazepose", "regressor"]
LARGE = 384
"""Height in pixels to which smaller pictures are enlarged for the detector."""


class PoseJudge(Protocol):
    """Positions and certainties of the joints in pictures, and a name for the report."""

    name: str

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


class BlazePoseJudge:
    """The pack's own detector; a picture in which it finds nobody reports no joint."""

    name = "BlazePose, the detector that ships"

    def __init__(self) -> None:
        """Raises ImportError where the detector's runtime is missing."""
        if not has_blazepose():
            raise ImportError(f"The pose detector needs its runtime. {INSTALL}.")

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See the module; certainties are 0 or 1, as the detector decides."""
        height, width = pictures.shape[1:3]
        places = np.zeros((len(pictures), 18, 2), np.float32)
        certainties = np.zeros((len(pictures), 18), np.float32)
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
            certainties[row] = person.visible[0].numpy()
        return places, certainties


def load_pose_judge(kind: Kind, regressor: Path) -> PoseJudge:
    """The judge that is asked for; "auto" takes the detector, or the regressor where it is missing.

    Raises:
        ImportError: the detector's runtime is missing; what to install is said.
        FileNotFoundError: there is no regressor; the command that makes it is said.
    """
    if kind == "regressor" or (kind == "auto" and not has_blazepose() and regressor.is_file()):
        return KeypointJudge.load(regressor)
    return BlazePoseJudge()
