"""People in a picture as key points: BlazePose, which ships, or controlnet_aux where it is
installed.

`blazepose` runs the two networks, `people` turns what they see into OpenPose-18 key points. The
networks' runtime is imported when somebody detects.
"""

from .people import (
    INSTALL,
    DetectionError,
    Detector,
    DetectorMissingError,
    DrawingError,
    NoPersonError,
    describe_people,
    detect_people,
    face_seen,
    has_blazepose,
    has_openpose,
    head_turn,
)

__all__ = [
    "INSTALL", "DetectionError", "Detector", "DetectorMissingError", "DrawingError",
    "NoPersonError", "describe_people", "detect_people", "face_seen", "has_blazepose",
    "has_openpose", "head_turn",
]  # fmt: skip
