"""Pose files: OpenPose JSON, ComfyUI's POSE_KEYPOINT, and PCDMs' own text files."""

from .frame import Frame, PoseError
from .openpose import to_openpose, write_openpose
from .reading import read_frames, read_pose

__all__ = ["Frame", "PoseError", "read_frames", "read_pose", "to_openpose", "write_openpose"]
