"""Pose files: what detectors, editors and data sets write; OpenPose JSON and POSE_KEYPOINT out.

A new format is one entry in the table of what is new about it: the keys of a person in `people.py`,
of pictures in `documents.py`; a document that has to be rearranged is a row of `PRODUCERS` in
`producers.py`; other text is for `tables.py`, another container for `sources.py`; a skeleton that
counts joints differently is a row of `SKELETONS` in `joint_maps.py`; what holds no pose is named in
`no_pose.py`. All of them end in
`assemble.py`, where coordinates become fractions of the picture; `read.py` is the way in,
`write.py` the way out. docs/pose-formats.md lists them.
"""

from .frame import Frame, Report, Units
from .limits import PointError, PoseError
from .read import Gaps, Order, Reading, read_frames, read_pose, read_pose_with_report
from .write import to_openpose, to_pose_keypoint, write_openpose

__all__ = [
    "Frame", "Gaps", "Order", "PointError", "PoseError", "Reading", "Report", "Units",
    "read_frames", "read_pose", "read_pose_with_report", "to_openpose", "to_pose_keypoint",
    "write_openpose",
]  # fmt: skip
