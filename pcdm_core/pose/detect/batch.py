"""One person in each picture of a batch, such as the frames of a video."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from ..formats.frame import Findings
from ..formats.read import Gaps, fill_gaps
from ..keypoints import Keypoints
from .people import (
    DetectionError,
    Detector,
    DetectorMissingError,
    describe_people,
    detect_people,
)


def detect_in_each(
    pictures: Iterable[Tensor],
    *,
    person: int = 0,
    detector: Detector = "auto",
    gaps: Gaps = "refuse",
) -> tuple[Keypoints, str]:
    """The pose of a person in each picture.

    Args:
        pictures: `[1, 3, H, W]` in [-1, 1] each.
        person: which one of a picture, the largest first.
        detector: see `detect_people`.
        gaps: what stands for pictures in which the person is not, see `read_pose`.

    Returns:
        A row for each picture, and who is in it, in the pictures' order.

    Raises:
        DetectionError: the person is in no picture, or, where gaps are refused, not in one. The
            message names its number, from 1.
    """
    rows: list[Keypoints | None] = []
    reports: list[str] = []
    faults: list[DetectionError] = []
    for number, picture in enumerate(pictures, start=1):
        try:
            people = detect_people(picture, detector)
            reports.append(describe_people(people))
            if person >= len(people):
                raise DetectionError(f"person {person} was asked for; there is {reports.pop()}")
            height, width = picture.shape[-2:]
            rows.append(people[person].with_canvas((height, width)))
        except DetectorMissingError:
            raise
        except DetectionError as error:
            rows.append(None)
            reports.append(str(error))
            faults.append(type(error)(f"picture {number}: {error}"))
    if faults and (gaps == "refuse" or len(faults) == len(rows)):
        raise faults[0] if len(rows) > 1 else type(faults[0])(reports[0])
    if len(rows) > 1:
        reports = [f"picture {number}: {line}" for number, line in enumerate(reports, start=1)]
    if faults:
        filler = "holds the pose before" if gaps == "hold" else "moves from pose to pose"
        reports.append(f"{len(faults)} of {len(rows)} pictures lack the person; the clip {filler}.")
    return Keypoints.cat(fill_gaps(rows, gaps, Findings())), "\n".join(reports)
