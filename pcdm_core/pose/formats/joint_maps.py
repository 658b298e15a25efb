"""Skeletons of other programs as the 18 joints of OpenPose's COCO model: one table, by count.

Sources: OpenPose `doc/02_output.md` (BODY_25, COCO) and `poseParameters.cpp` (BODY_25B), COCO's
person key points, COCO-WholeBody, Human3.6M as SemGCN and mmpose have it, MPI-INF-3DHP as mmpose
has it, NVIDIA trt_pose `human_pose.json`, Kinect for Windows v2 `JointType`, easy_ViTPose's
`coco_25`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..keypoints import HAND_POINTS, SHOULDERS, Joint
from .points import NO_POINTS, Points

_SIDES = {"l": "left", "left": "left", "r": "right", "right": "right"}
# Other names of the neck, which lies between the shoulders. The first that a skeleton has counts.
_NECKS = ("spine shoulder", "thorax", "shoulder center", "mid shoulder", "neck", "head bottom")
_LEAST_NAMES = 8  # of 18 joints; fewer are somebody else's words


@dataclass(frozen=True)
class Skeleton:
    """How a program counts joints.

    Attributes:
        name: as reports say it.
        joints: for each of the 18 joints the points whose middle it is: one, two for a neck that
            is not among the points, or none.
    """

    name: str
    joints: tuple[tuple[int, ...], ...]

    @property
    def has_neck(self) -> bool:
        """Whether the neck is a point of its own."""
        return len(self.joints[Joint.NECK]) == 1


def skeleton_of(name: str, points: Sequence[str]) -> Skeleton | None:
    """The skeleton whose points have these names; None where they are no body's."""
    words = [_words(point) for point in points]
    place = {word: words.index(word) for word in words if word}
    joints: list[tuple[int, ...]] = [
        (place[joint.words],) if joint.words in place else () for joint in Joint
    ]
    neck = next((place[word] for word in _NECKS if word in place), None)
    shoulders = [joints[shoulder] for shoulder in SHOULDERS]
    if neck is not None:
        joints[Joint.NECK] = (neck,)
    elif all(shoulders):
        joints[Joint.NECK] = (*shoulders[0], *shoulders[1])
    enough = sum(map(bool, joints)) >= _LEAST_NAMES
    return Skeleton(name, tuple(joints)) if enough else None


def _words(name: str) -> str:
    """A joint's name as `Joint.words` has it: `LShoulder`, `left_shoulder`, `Shoulder Left`."""
    parts = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=^[LR])(?=[A-Z])", " ", name).lower()
    words = [_SIDES.get(word, word) for word in re.split(r"[^a-z]+", parts) if word]
    sides = [word for word in words if word in ("left", "right")]
    return " ".join([*sides, *(word for word in words if word not in ("left", "right"))])


def _skeleton(name: str, points: str) -> Skeleton:
    skeleton = skeleton_of(name, [point.replace("-", " ") for point in points.split()])
    assert skeleton is not None
    return skeleton


_BODY_18 = (
    "nose neck right-shoulder right-elbow right-wrist left-shoulder left-elbow left-wrist "
    "right-hip right-knee right-ankle left-hip left-knee left-ankle right-eye left-eye right-ear "
    "left-ear "
)
_COCO_17 = (
    "nose left-eye right-eye left-ear right-ear left-shoulder right-shoulder left-elbow "
    "right-elbow left-wrist right-wrist left-hip right-hip left-knee right-knee left-ankle "
    "right-ankle "
)
_BODY_25 = (
    "nose neck right-shoulder right-elbow right-wrist left-shoulder left-elbow left-wrist pelvis "
    "right-hip right-knee right-ankle left-hip left-knee left-ankle right-eye left-eye right-ear "
    "left-ear "
)
_HUMAN36M = (
    "pelvis right-hip right-knee right-ankle left-hip left-knee left-ankle spine thorax nose head "
    "left-shoulder left-elbow left-wrist right-shoulder right-elbow right-wrist"
)
_MPI_3DHP = (
    "head-top neck right-shoulder right-elbow right-wrist left-shoulder left-elbow left-wrist "
    "right-hip right-knee right-ankle left-hip left-knee left-ankle pelvis spine head"
)
_KINECT_25 = (
    "spine-base spine-mid neck head left-shoulder left-elbow left-wrist left-hand right-shoulder "
    "right-elbow right-wrist right-hand left-hip left-knee left-ankle left-foot right-hip "
    "right-knee right-ankle right-foot spine-shoulder"
)
_COCO_25 = (
    "nose left-eye right-eye left-ear right-ear neck left-shoulder right-shoulder left-elbow "
    "right-elbow left-wrist right-wrist left-hip right-hip pelvis left-knee right-knee left-ankle "
    "right-ankle"
)

# The skeletons of so many points; the first is what such a file nearly always has.
SKELETONS = {
    18: (
        _skeleton("OpenPose BODY_18", _BODY_18),
        _skeleton("COCO-17 with the neck after the 17 (trt_pose)", _COCO_17 + "neck"),
    ),
    25: (
        _skeleton("OpenPose BODY_25", _BODY_25),
        _skeleton("OpenPose BODY_25B", _COCO_17 + "neck head-top"),
        _skeleton("Kinect's 25 joints", _KINECT_25),
        _skeleton("easy_ViTPose's coco_25", _COCO_25),
    ),
    17: (
        _skeleton("COCO-17", _COCO_17),
        _skeleton("Human3.6M's 17 joints", _HUMAN36M),
        _skeleton("MPI-INF-3DHP's 17 joints", _MPI_3DHP),
    ),
    133: (_skeleton("COCO-WholeBody (133 points)", _COCO_17),),
    134: (
        _skeleton("COCO-WholeBody with neck (134 points)", _BODY_18),
        _skeleton("COCO-WholeBody with the neck after the 17 (134 points)", _COCO_17 + "neck"),
    ),
}
BODY_COUNTS = tuple(SKELETONS)
SCORED_COUNTS = (17, 133, 134)  # their detectors score every point, seen or not

# COCO-WholeBody with a neck: 18 body, 6 feet, 68 face, then the left and the right hand.
_WHOLE_BODY_HANDS = {133: 91, 134: 92}


def to_body_18(points: Points, skeleton: Skeleton) -> Points:
    """`[..., 18, 3]` of `[..., N, 3]`; NaN where the skeleton has no such joint, or lacks a part.

    Args:
        points: as many as the skeleton has; what is too unsure is NaN already.
        skeleton: whose they are.
    """
    body = points[..., [places[0] if places else 0 for places in skeleton.joints], :]
    for joint, places in enumerate(skeleton.joints):
        if len(places) != 1:
            body[..., joint, :] = points[..., list(places), :].mean(axis=-2) if places else np.nan
    return body


def hands_of(points: Points) -> tuple[Points, Points]:
    """Left and right hand of a whole body's points; empty arrays where it has none."""
    start = _WHOLE_BODY_HANDS.get(len(points))
    if start is None:
        return NO_POINTS, NO_POINTS
    return points[start : start + HAND_POINTS], points[start + HAND_POINTS :]
