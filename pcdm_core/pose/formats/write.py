"""OpenPose JSON and ComfyUI's POSE_KEYPOINT, which is a list of OpenPose documents, written.

A document has `people`, each with flat lists of x, y, confidence: `pose_keypoints_2d` (18 joints
of OpenPose's COCO model) and optionally `hand_left_keypoints_2d` and `hand_right_keypoints_2d` (21
points). ComfyUI adds `canvas_height` and `canvas_width`. Coordinates are pixels, confidences 1 or
0, because the widest spread reader drops every point below 1.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ...files import write_text
from ...ranges import check_settings
from ..keypoints import HAND_POINTS, HAND_SIDES, Keypoints
from .points import is_missing

FACE_POINTS = 70

# Moves a visible point off the codes of missing ones; far below what any drawing shows.
_NUDGE = 1e-6


def to_openpose(
    keypoints: Keypoints, height: int | None = None, width: int | None = None
) -> list[dict[str, Any]]:
    """One document per row, in pixels of a `height` x `width` canvas; None is each row's own.

    Missing joints are 0, 0, 0. A visible joint beyond the left or upper border keeps its negative
    coordinate.
    """
    sizes = keypoints.canvases
    if height is not None and width is not None:
        sizes = [(height, width)] * len(keypoints)
    documents: list[dict[str, Any]] = []
    for row, size in enumerate(sizes):
        if size is None:
            raise ValueError(f"pose {row} has no canvas; give its height and width")
        check_settings(height=size[0], width=size[1])
        person: dict[str, Any] = {
            "pose_keypoints_2d": _flat(keypoints.xy[row], keypoints.visible[row], *size)
        }
        if keypoints.hands_xy is not None and keypoints.hands_visible is not None:
            for hand, side in enumerate(HAND_SIDES):
                person[f"hand_{side}_keypoints_2d"] = _flat(
                    keypoints.hands_xy[row, hand], keypoints.hands_visible[row, hand], *size
                )
        documents.append({"people": [person], "canvas_height": size[0], "canvas_width": size[1]})
    return documents


def to_pose_keypoint(keypoints: Keypoints, height: int, width: int) -> list[dict[str, Any]]:
    """POSE_KEYPOINT for nodes of other packs: `to_openpose` with every list that they look for.

    Absent hands and the face are zeros and not null: ComfyUI's own drawing node reads all lists
    without asking, and controlnet_aux skips points whose confidence is 0.
    """
    documents = to_openpose(keypoints, height, width)
    for document in documents:
        for person in document["people"]:
            person["face_keypoints_2d"] = [0.0] * (FACE_POINTS * 3)
            for side in HAND_SIDES:
                person.setdefault(f"hand_{side}_keypoints_2d", [0.0] * (HAND_POINTS * 3))
    return documents


def write_openpose(
    keypoints: Keypoints,
    path: str | os.PathLike[str],
    height: int | None = None,
    width: int | None = None,
) -> Path:
    """Write OpenPose JSON, whole or not at all: a document, or for several rows a list of them.

    See `to_openpose` for the sizes.
    """
    path = Path(path)
    documents = to_openpose(keypoints, height, width)
    if not documents:
        raise ValueError(f"{path}: there is no pose to write")
    write_text(path, json.dumps(documents[0] if len(documents) == 1 else documents))
    return path


def _flat(xy: Tensor, visible: Tensor, height: int, width: int) -> list[float]:
    """Pixels and confidences of `[N, 2]` points in one list."""
    pixels = xy.detach().cpu().double().numpy() * [width, height]
    points = np.column_stack([pixels, np.ones(len(pixels))])
    points[is_missing(points, 0.0)] += (_NUDGE, 2 * _NUDGE, 0.0)
    points[~visible.cpu().numpy()] = 0.0
    return points.reshape(-1).tolist()
