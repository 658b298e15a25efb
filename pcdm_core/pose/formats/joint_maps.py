"""Skeletons of other programs as the 18 joints of OpenPose's COCO model: one table, by count.

Sources: OpenPose `doc/02_output.md` (BODY_25, COCO) and `poseParameters.cpp` (BODY_25B, BODY_19),
COCO's person key points, Halpe-FullBody's README (26 and 136), MediaPipe's pose landmarks, CMU
Panoptic's toolbox, Wan-Animate's metas (20), SAM 3D Body's `mhr70.py`, COCO-WholeBody, Human3.6M as
SemGCN and mmpose have it, MPI-INF-3DHP as mmpose has it, NVIDIA trt_pose `human_pose.json`, Kinect
for Windows v2 `JointType`, easy_ViTPose's `coco_25`, mmpose's `crowdpose.py`, `aic.py`, `mpii.py`
and `posetrack18.py`, LSP's README, OpenPose's MPI.
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
_NECKS = ("spine shoulder", "thorax", "shoulder center", "mid shoulder", "neck")
_OTHER_ENDS = {"ankle": "foot", "wrist": "hand"}  # of limbs, where the usual ones have no name
# Within `leftShoulder`, `LShoulder` and `lshoulder`.
_WORD_ENDS = re.compile(
    r"(?<=[a-z])(?=[A-Z])|(?<=^[LR])(?=[A-Z][a-z])"
    r"|(?<=^[lr])(?=(?:shoulder|elbow|wrist|hip|knee|ankle|eye|ear)$)"
)
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
    for end, other in _OTHER_ENDS.items():
        for side in ("left", "right"):
            if f"{side} {other}" in place:
                place.setdefault(f"{side} {end}", place[f"{side} {other}"])
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
    parts = _WORD_ENDS.sub(" ", name).lower()
    words = [_SIDES.get(word, word) for word in re.split(r"[^a-z]+", parts) if word]
    sides = [word for word in words if word in ("left", "right")]
    return " ".join([*sides, *(word for word in words if word not in ("left", "right"))])


def _skeleton(name: str, points: str) -> Skeleton:
    skeleton = skeleton_of(name, [point.replace("-", " ") for point in points.split()])
    assert skeleton is not None
    return skeleton


_LIMBS_18 = (
    "right-shoulder right-elbow right-wrist left-shoulder left-elbow left-wrist "
    "right-hip right-knee right-ankle left-hip left-knee left-ankle "
)
_LIMBS_COCO = (
    "left-shoulder right-shoulder left-elbow right-elbow left-wrist right-wrist left-hip right-hip "
    "left-knee right-knee left-ankle right-ankle "
)
_LEGS_UP = "right-ankle right-knee right-hip left-hip left-knee left-ankle "
_ARMS_UP = "right-wrist right-elbow right-shoulder left-shoulder left-elbow left-wrist "
_BODY_18 = f"nose neck {_LIMBS_18} right-eye left-eye right-ear left-ear "
_COCO_17 = f"nose left-eye right-eye left-ear right-ear {_LIMBS_COCO} "
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
_JHMDB = (
    "neck belly face right-shoulder left-shoulder right-hip left-hip right-elbow left-elbow "
    "right-knee left-knee right-wrist left-wrist right-ankle left-ankle"
)
_COCO_25 = (
    "nose left-eye right-eye left-ear right-ear neck left-shoulder right-shoulder left-elbow "
    "right-elbow left-wrist right-wrist left-hip right-hip pelvis left-knee right-knee left-ankle "
    "right-ankle"
)

_MEDIAPIPE_33 = (
    "nose left-eye-inner left-eye left-eye-outer right-eye-inner right-eye right-eye-outer "
    "left-ear right-ear mouth-left mouth-right left-shoulder right-shoulder left-elbow right-elbow "
    "left-wrist right-wrist left-pinky right-pinky left-index right-index left-thumb right-thumb "
    "left-hip right-hip left-knee right-knee left-ankle right-ankle"
)
_HALPE_26 = _COCO_17 + "head neck"
_PANOPTIC_19 = (
    "neck nose pelvis left-shoulder left-elbow left-wrist left-hip left-knee left-ankle "
    "right-shoulder right-elbow right-wrist right-hip right-knee right-ankle left-eye left-ear "
    "right-eye right-ear"
)
_MHR_70 = (
    "nose left-eye right-eye left-ear right-ear left-shoulder right-shoulder left-elbow "
    "right-elbow left-hip right-hip left-knee right-knee left-ankle right-ankle "
    + "toe " * 6 + "finger " * 20 + "right-wrist " + "finger " * 20 + "left-wrist "
    + "other " * 6 + "neck"
)  # fmt: skip

# The skeletons of so many points; the first is what such a file nearly always has.
SKELETONS = {
    18: (
        _skeleton("OpenPose BODY_18", _BODY_18),
        _skeleton("COCO-17 with the neck after the 17 (trt_pose)", _COCO_17 + "neck"),
    ),
    25: (
        _skeleton("OpenPose BODY_25", _BODY_25),
        _skeleton("OpenPose BODY_25B", _COCO_17 + "upper-neck head-top"),
        _skeleton("Kinect's 25 joints", _KINECT_25),
        _skeleton("easy_ViTPose's coco_25", _COCO_25),
    ),
    17: (
        _skeleton("COCO-17", _COCO_17),
        _skeleton("Human3.6M's 17 joints", _HUMAN36M),
        _skeleton("MPI-INF-3DHP's 17 joints", _MPI_3DHP),
    ),
    14: (
        _skeleton("CrowdPose's 14 joints", _LIMBS_COCO + "head neck"),
        _skeleton("AI Challenger's 14 joints", _LIMBS_18 + "head neck"),
        _skeleton("LSP's 14 joints", _LEGS_UP + _ARMS_UP + "neck head"),
    ),
    15: (
        _skeleton("OpenPose MPI's 15 joints", "head neck " + _LIMBS_18),
        _skeleton("PoseTrack 2017's 15 joints", _LEGS_UP + _ARMS_UP + "head-bottom nose head-top"),
        _skeleton("JHMDB's 15 joints", _JHMDB),
    ),
    16: (_skeleton("MPII's 16 joints", _LEGS_UP + "pelvis thorax upper-neck head " + _ARMS_UP),),
    133: (_skeleton("COCO-WholeBody (133 points)", _COCO_17),),
    134: (
        _skeleton("COCO-WholeBody with neck (134 points)", _BODY_18),
        _skeleton("COCO-WholeBody with the neck after the 17 (134 points)", _COCO_17 + "neck"),
    ),
    19: (
        _skeleton("OpenPose BODY_18 and the background", _BODY_18),
        _skeleton("OpenPose BODY_19", _BODY_25),
        _skeleton("Panoptic's 19 joints", _PANOPTIC_19),
    ),
    20: (_skeleton("OpenPose BODY_18 and two toes", _BODY_18),),
    26: (_skeleton("Halpe-26", _HALPE_26),),
    33: (_skeleton("MediaPipe's 33 landmarks", _MEDIAPIPE_33),),
    70: (_skeleton("SAM 3D Body's 70 points", _MHR_70),),
    135: (_skeleton("OpenPose BODY_135", _COCO_17 + "upper-neck head-top"),),
    136: (_skeleton("Halpe-136", _HALPE_26),),
    308: (_skeleton("Sapiens' 308 points", _MHR_70),),
}
BODY_COUNTS = tuple(SKELETONS)
# 17 as well, of which two stand where COCO has the eyes and two are never labelled.
POSE_TRACK = _skeleton("PoseTrack's 17 joints", f"nose head-bottom head-top ear ear {_LIMBS_COCO}")
# Their detectors score every point, seen or not.
SCORED_COUNTS = (17, 26, 33, 133, 134, 136)

# Where the left hand begins, which the right one follows. COCO-WholeBody has 17 (or 18) points of
# the body, 6 of the feet and 68 of the face before them, Halpe 26 and 68.
_WHOLE_BODY_HANDS = {133: 91, 134: 92, 136: 94}


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
