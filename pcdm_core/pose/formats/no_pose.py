"""What holds no pose that can be read, by its own name: each row says what it is and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .frame import Context

_IN_SPACE = "give key points in a picture"
_WORKFLOW = "a workflow of ComfyUI and no pose; give the key points that it saves"

# How a text begins.
_TEXTS = (
    (r"<", "XML and no pose; export JSON (of CVAT: COCO Keypoints)"),
    (r"%YAML", "OpenCV's YAML; write JSON (OpenPose: --write_json, and no keypoint format)"),
    (r"HIERARCHY\b", f"motion capture (BVH), joints' turns in space; {_IN_SPACE}"),
    (r"(?:pose_landmarks|landmark)\s*\{", "MediaPipe's landmarks as they are printed; write "
     "google.protobuf.json_format.MessageToJson(results.pose_landmarks)"),
    (r"scorer[,;\t]", "DeepLabCut's table, whose header has three rows; give it one: nose_x, "
     "nose_y, nose_likelihood, ..."),
    (r"\d+\s+(?:0\s+)*\d+\s*\n\d+(?:[ \t]+[-\d.e]+){9}\s*\n25\b", "NTU RGB+D's skeletons, of "
     f"which most numbers are places in space; {_IN_SPACE}"),
)  # fmt: skip
_BEGINNINGS = [(re.compile(rf"\s*{begin}"), what) for begin, what in _TEXTS]
_LONGEST_BEGINNING = 2000

# Which keys a mapping has.
_KEYS = (
    ({"nodes", "links"}, _WORKFLOW),
    ({"multi_hand_landmarks"}, "a hand's landmarks; give the body's"),
    ({"hand_landmarks"}, "a hand's landmarks; give the body's"),
    ({"handLandmarks"}, "a hand's landmarks; give the body's"),
    ({"multi_face_landmarks"}, "a face's landmarks; give the body's"),
    ({"face_landmarks"}, "a face's landmarks; give the body's"),
    ({"faceLandmarks"}, "a face's landmarks; give the body's"),
    ({"betas"}, f"a body model's parameters (SMPL) and no key points; {_IN_SPACE}"),
    ({"body_pose"}, f"a body model's parameters (SMPL) and no key points; {_IN_SPACE}"),
)


def refuse_text(text: str, context: Context) -> None:
    """Says what a text is, if it is known to be no pose.

    Raises:
        PoseError: of that.
    """
    begin = text[:_LONGEST_BEGINNING]
    what = next((what for pattern, what in _BEGINNINGS if pattern.match(begin)), None)
    if what is not None:
        raise context.error(what)


def refuse_document(document: Mapping[Any, Any], context: Context) -> None:
    """The same of a mapping, or of a file's arrays by their names.

    Raises:
        PoseError: of that.
    """
    keys = {str(key) for key in document}
    what = next((what for needed, what in _KEYS if needed <= keys), None)
    parts = list(document.values())
    if parts and all(isinstance(part, Mapping) and "class_type" in part for part in parts):
        what = _WORKFLOW
    if what is not None:
        raise context.error(what)
