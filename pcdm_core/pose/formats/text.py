"""PCDMs' own pose files, 18 lines of `x y`, and the data set's that look alike.

PCDMs: normalised; a missing joint is -1 -1. Source: `normalized_pose_txt` of the published
repository, which ships no example and nowhere says how a missing joint is written; -1 is the habit
of its family of data sets.

GFLA, NTED, PIDM: pixels of a 256x256 picture in which the 256x176 one lies between margins of 40;
a missing joint is -1 -1. Source: PIDM `data/fashion_data.py`, `trans_keypoins`.
"""

from __future__ import annotations

from dataclasses import replace

from .frame import Frame, Settings
from .limits import PoseError, brief
from .people import LARGEST_FRACTION, RawPerson, assemble, is_missing
from .points import Points, points_of

GFLA_SIZE = (256, 176)
_GFLA_MARGIN = 40


def frame_of_text(text: str, settings: Settings, where: str) -> Frame:
    """One person from 18 lines of x and y, perhaps with a confidence.

    Raises:
        PoseError: not 18 lines, not two numbers in each, or no finite numbers.
    """
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    if len(lines) != 18:
        raise PoseError(
            f"{where}: {len(lines)} line{'s' * (len(lines) != 1)}; expected 18, one x y for each "
            "OpenPose joint, or OpenPose JSON"
        )
    numbers: list[list[float]] = []
    for number, words in enumerate(lines):
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) not in (2, 3):
            found = brief(" ".join(words))
            raise PoseError(f"{where}: joint {number} is {found}; expected two numbers, x y")
        numbers.append(values)
    points = points_of(numbers, (18,), where, "the file")
    if settings.units == "auto" and _is_gfla(points):
        settings.findings.found("Format: 18 lines of x y, DeepFashion's (GFLA, NTED, PIDM).")
        settings.findings.guess(
            "the pixels are those of a 256x256 picture with margins of 40 left and right."
        )
        seen = [None if p is None or is_missing(p, 0.0) else p for p in points]
        moved = [None if p is None else (p[0] - _GFLA_MARGIN, p[1], p[2]) for p in seen]
        own = replace(settings, size=None, units="pixels")
        return assemble([RawPerson(moved)], GFLA_SIZE, own, where)
    settings.findings.found("Format: 18 lines of x y, PCDMs' own.")
    return assemble([RawPerson(points)], None, settings, where)


def _is_gfla(points: Points) -> bool:
    """Whether these are pixels between the margins, at least five of them."""
    seen = [point for point in points if point is not None and not is_missing(point, 0.0)]
    height, width = GFLA_SIZE
    return len(seen) >= 5 and all(
        _GFLA_MARGIN <= x <= _GFLA_MARGIN + width and 0 <= y <= height and x > LARGEST_FRACTION
        for x, y, _ in seen
    )
