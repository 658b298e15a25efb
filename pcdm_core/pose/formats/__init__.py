"""Pose files: what detectors, editors and data sets write; OpenPose JSON and POSE_KEYPOINT out."""

from .frame import Frame, Report, Units
from .limits import PointError, PoseError
from .read import Order, Reading, choose_person, read_frames, read_pose, read_pose_with_report
from .write import to_openpose, to_pose_keypoint, write_openpose

__all__ = [
    "Frame",
    "Order",
    "PointError",
    "PoseError",
    "Reading",
    "Report",
    "Units",
    "choose_person",
    "read_frames",
    "read_pose",
    "read_pose_with_report",
    "to_openpose",
    "to_pose_keypoint",
    "write_openpose",
]
