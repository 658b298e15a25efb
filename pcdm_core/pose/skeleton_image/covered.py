"""Joints of the face under the white points of a face that is drawn over them.

Whole-body annotators draw 68 white points over nose, eyes and ears. What shows between the points
still says where the discs are: a disc holds all pixels of its colour and no visible one of another,
and the limbs that hang on it end there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..bones import LIMBS
from ..keypoints import FACE, SHOULDERS, Joint
from ..raster import ellipse_polygon, fill_convex_polygon
from .marks import Disc, Marks, disc_sums

_LEAST_PIXELS = 3  # of a joint's colour; fewer may be an edge
_MOST_MISFITS = 0.3  # of its pixels
_ROUNDS = 2  # the eyes depend on the nose, which then depends on them


def find_under_face(marks: Marks, person: dict[int, Disc], radius: int) -> list[int]:
    """Puts the face's joints of one person into `person`; returns the ones that were not there."""
    absent = [joint for joint in FACE if joint not in person]
    # Limbs that are not dimmed have the discs' colours: what is there already is not moved.
    joints = FACE if marks.dimming < 1 else absent
    for _ in range(_ROUNDS):
        for joint in joints:
            places = _possible_places(marks, joint, radius)
            if places:
                x, y = min(places, key=lambda place: _misfit(marks, person, joint, place, radius))
                score = person[joint].score if joint in person else 0.0
                person[joint] = Disc(joint, x, y, score, radius)
    return [joint for joint in absent if joint in person]


def _possible_places(marks: Marks, joint: int, radius: int) -> list[tuple[int, int]]:
    """Where a disc can lie, (x, y), by the pixels that show; all that are equally good."""
    whites = np.argwhere(marks.white)  # hands have the face's colours, too
    top, start = (whites.min(axis=0) - 2 * radius).clip(0).tolist()
    bottom, end = (whites.max(axis=0) + 2 * radius).tolist()
    ys, xs = np.nonzero(marks.joints[top:bottom, start:end] == joint)
    ys, xs = ys + top, xs + start
    if len(ys) < _LEAST_PIXELS or max(np.ptp(ys), np.ptp(xs)) > 2 * radius + 1:
        return []
    rows = slice(max(int(ys.min()) - 2 * radius, 0), int(ys.max()) + 2 * radius + 1)
    columns = slice(max(int(xs.min()) - 2 * radius, 0), int(xs.max()) + 2 * radius + 1)
    joints = marks.joints[rows, columns]
    covers = marks.white[rows, columns] | (joints > joint)
    wrong = ~covers & (joints != joint)
    misfits = disc_sums(wrong.astype(np.int32), radius) + len(ys)
    misfits -= disc_sums((joints == joint).astype(np.int32), radius)
    if misfits.min() > _MOST_MISFITS * len(ys):
        return []
    best = np.argwhere(misfits == misfits.min())
    return [(int(x) + columns.start, int(y) + rows.start) for y, x in best]


def _misfit(
    marks: Marks, person: dict[int, Disc], joint: int, place: tuple[int, int], radius: int
) -> tuple[int, float]:
    """How many pixels the joint's limbs would have otherwise, then how far the joint would move."""
    pixels = sum(_limb_misfit(marks, *ends, radius) for ends in _limbs_at(person, joint, place))
    near = person.get(joint)
    away = 0.0 if near is None else math.hypot(near.x - place[0], near.y - place[1])
    return pixels, away


def _limbs_at(
    person: dict[int, Disc], joint: int, place: tuple[int, int]
) -> Iterator[tuple[int, tuple[int, int], tuple[int, int]]]:
    """The limbs from a place to the joint's neighbours that are known: number, start, end."""
    for limb, (a, b) in enumerate(LIMBS):
        other = b if a == joint else a if b == joint else None
        if other in person:
            end = (person[other].x, person[other].y)
            yield (limb, place, end) if a == joint else (limb, end, place)


def _limb_misfit(
    marks: Marks, limb: int, start: tuple[int, int], end: tuple[int, int], radius: int
) -> int:
    (x0, y0), (x1, y1) = start, end
    length = int(math.hypot(x0 - x1, y0 - y1) / 2)
    angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
    centre = (int((x0 + x1 + 1) / 2), int((y0 + y1 + 1) / 2))
    polygon = ellipse_polygon(centre, (length, radius), angle)
    canvas = np.zeros((*marks.limbs.shape, 1), dtype=np.uint8)
    fill_convex_polygon(canvas, polygon, (1,))
    inside = canvas[..., 0] > 0
    pixels = marks.limbs == limb
    hidden = marks.bright | (marks.limbs > limb)
    return int((inside & ~pixels & ~hidden).sum() + (pixels & ~inside).sum())


def says_headless(person: dict[int, Disc]) -> bool:
    """Whether a figure faces the viewer without nose and eyes; a back view may lack them."""
    head = (Joint.NOSE, Joint.RIGHT_EYE, Joint.LEFT_EYE)
    first, second = (person.get(joint) for joint in SHOULDERS)
    return not any(joint in person for joint in head) and (
        first is not None and second is not None and first.x < second.x
    )
