"""Skeletons of other programs as the 18 joints of OpenPose's COCO model.

Sources: OpenPose `doc/02_output.md` (BODY_25, COCO), COCO's person key points, COCO-WholeBody.
"""

from __future__ import annotations

from ..keypoints import HAND_POINTS
from .frame import Findings
from .points import Points

# Where BODY_25 keeps the 18 joints: it has the middle of the hips at 8, and the feet after 18.
BODY_25_TO_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)

# Where COCO's 17 points keep the joints; it has no neck, which is made from the shoulders.
COCO_TO_18 = (0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3)
COCO_SHOULDERS = (5, 6)
NECK, SHOULDERS = 1, (2, 5)

BODY_COUNTS = (18, 25, 17, 133, 134)
SCORED_COUNTS = (17, 133, 134)  # their detectors score every point, seen or not

_NAMES = {
    17: "COCO-17",
    18: "OpenPose BODY_18",
    25: "OpenPose BODY_25",
    133: "COCO-WholeBody (133 points)",
    134: "COCO-WholeBody with neck (134 points)",
}

# COCO-WholeBody: 17 body, 6 feet, 68 face, then the left and the right hand.
_WHOLE_BODY_HANDS = 91


def to_body_18(points: Points, findings: Findings) -> tuple[Points, Points, Points]:
    """Body of 18, left hand, right hand; an empty list is a part that the skeleton lacks.

    Args:
        points: as many as one of `BODY_COUNTS`, or none; what is too unsure is None already.
        findings: gets the skeleton's name.
    """
    count = len(points)
    if not count:
        return [None] * 18, [], []
    findings.found(f"Skeleton: {_NAMES[count]}.")
    if count == 18:
        return points, [], []
    if count == 25:
        return [points[joint] for joint in BODY_25_TO_18], [], []
    if count == 134:
        first = _WHOLE_BODY_HANDS + 1
        left, right = points[first : first + HAND_POINTS], points[first + HAND_POINTS :]
        if _has_neck_last(points):
            findings.guess("the 134 points are in COCO's order, with the neck after the 17.")
            return _from_coco(points[:17], neck=points[17]), left, right
        return points[:18], left, right
    hands = points[_WHOLE_BODY_HANDS:]
    findings.found("Neck: the middle of the shoulders, where both are seen.")
    return _from_coco(points[:17]), hands[:HAND_POINTS], hands[HAND_POINTS:]


def _from_coco(points: Points, neck: tuple[float, float, float] | None = None) -> Points:
    left, right = (points[joint] for joint in COCO_SHOULDERS)
    if neck is None and left is not None and right is not None:
        x, y, confidence = ((a + b) / 2 for a, b in zip(left, right, strict=True))
        neck = (x, y, confidence)
    return [neck if joint < 0 else points[joint] for joint in COCO_TO_18]


def _has_neck_last(points: Points) -> bool:
    """Whether point 17 and not point 1 is the middle of the shoulders."""
    return _is_middle(points, 17, COCO_SHOULDERS) and not _is_middle(points, NECK, SHOULDERS)


def _is_middle(points: Points, middle: int, ends: tuple[int, int]) -> bool:
    found, a, b = points[middle], points[ends[0]], points[ends[1]]
    if found is None or a is None or b is None:
        return False
    width = abs(a[0] - b[0]) + abs(a[1] - b[1])
    off = abs(found[0] - (a[0] + b[0]) / 2) + abs(found[1] - (a[1] + b[1]) / 2)
    return off <= 0.01 * width
