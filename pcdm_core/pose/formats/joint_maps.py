"""Skeletons of other programs as the 18 joints of OpenPose's COCO model: one table, by count.

Sources: OpenPose `doc/02_output.md` (BODY_25, COCO), COCO's person key points, COCO-WholeBody.
"""

from __future__ import annotations

import numpy as np

from ..keypoints import HAND_POINTS, SHOULDERS, Joint
from .frame import Findings
from .points import NO_POINTS, Points, missing_points

BODY_18 = tuple(range(18))

# Where BODY_25 keeps the 18 joints: it has the middle of the hips at 8, and the feet after 18.
BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)

# Where COCO's 17 points keep the joints; it has no neck, which then follows as point 17.
COCO = (0, 17, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
COCO_NECK, COCO_SHOULDERS = 17, (5, 6)

# The name of a skeleton of so many points, and which of them are the 18 joints.
SKELETONS = {
    18: ("OpenPose BODY_18", BODY_18),
    25: ("OpenPose BODY_25", BODY_25),
    17: ("COCO-17", COCO),
    133: ("COCO-WholeBody (133 points)", COCO),
    134: ("COCO-WholeBody with neck (134 points)", BODY_18),
}
BODY_COUNTS = tuple(SKELETONS)
SCORED_COUNTS = (17, 133, 134)  # their detectors score every point, seen or not

# COCO-WholeBody with a neck: 18 body, 6 feet, 68 face, then the left and the right hand.
_WHOLE_BODY_HANDS = 92


def to_body_18(points: Points, findings: Findings) -> tuple[Points, Points, Points]:
    """Body of 18, left hand, right hand; an empty array is a part that the skeleton lacks.

    Args:
        points: as many as one of `BODY_COUNTS`, or none; what is too unsure is NaN already.
        findings: gets the skeleton's name.
    """
    if not len(points):
        return missing_points(18), NO_POINTS, NO_POINTS
    name, joints = SKELETONS[len(points)]
    findings.fact(f"Skeleton: {name}.")
    if joints is COCO:
        findings.fact("Neck: the middle of the shoulders, where both are seen.")
        neck = points[list(COCO_SHOULDERS)].mean(axis=0)
        points = np.insert(points, COCO_NECK, neck, axis=0)
    elif len(points) == 134 and _has_neck_last(points):
        findings.guess("the 134 points are in COCO's order, with the neck after the 17.")
        joints = COCO
    hands = points[_WHOLE_BODY_HANDS:]
    return points[list(joints)], hands[:HAND_POINTS], hands[HAND_POINTS:]


def _has_neck_last(points: Points) -> bool:
    """Whether point 17 and not point 1 is the middle of the shoulders."""
    in_coco = _is_middle(points, COCO_NECK, COCO_SHOULDERS)
    return in_coco and not _is_middle(points, Joint.NECK, SHOULDERS)


def _is_middle(points: Points, middle: int, ends: tuple[int, int]) -> bool:
    place, a, b = (points[point, :2] for point in (middle, *ends))
    return bool(np.abs(place - (a + b) / 2).sum() <= 0.01 * np.abs(a - b).sum())
