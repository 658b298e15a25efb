"""OpenPose JSON and ComfyUI's POSE_KEYPOINT, which is a list of OpenPose documents.

A document has `people`, each with flat lists of x, y, confidence: `pose_keypoints_2d` (18 joints
of OpenPose's COCO model, or 25 of BODY_25) and optionally `hand_left_keypoints_2d` and
`hand_right_keypoints_2d` (21 points). ComfyUI adds `canvas_height` and `canvas_width`. Coordinates
are pixels, or fractions of the canvas (some detector nodes write those).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..keypoints import HAND_POINTS, HAND_SIDES, Keypoints
from .frame import LARGEST_NUMBER, Frame, PoseError, RawPoints, assemble, brief

# Where BODY_25 keeps the 18 joints: it has the middle of the hips at 8, and the feet after 18.
BODY_25_TO_18 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18)


def frame_of(document: Any, size: tuple[int, int] | None, where: str) -> Frame:
    """One OpenPose document as a frame; `size` counts where the document has no canvas size.

    Raises:
        PoseError: not an OpenPose document, nobody in it, wrong numbers of joints, no numbers.
    """
    if not isinstance(document, Mapping) or "people" not in document:
        raise PoseError(
            f'{where}: no OpenPose document, it has no "people" ({brief(document)}); '
            "give OpenPose JSON, a POSE_KEYPOINT, or 18 lines of x y"
        )
    people = document["people"]
    if not isinstance(people, Sequence) or isinstance(people, str):
        raise PoseError(f'{where}: "people" is no list ({brief(people)})')
    if not people:
        raise PoseError(
            f"{where}: nobody is in it; the detector found no person, try a clearer picture"
        )
    size = _canvas_size(document, where) or size
    bodies, hands = [], []
    for number, person in enumerate(people):
        who = f"{where}, person {number}"
        if not isinstance(person, Mapping):
            raise PoseError(f"{who}: expected an object, found {brief(person)}")
        bodies.append(_body(person.get("pose_keypoints_2d"), who))
        left, right = (
            _hand(person.get(f"hand_{side}_keypoints_2d"), f"{who}, {side} hand")
            for side in HAND_SIDES
        )
        hands.append((left, right))
    return Frame(assemble(bodies, hands, size, where), size)


def to_openpose(keypoints: Keypoints, height: int, width: int) -> list[dict[str, Any]]:
    """One document per row, in pixels of a `height` x `width` canvas: ComfyUI's POSE_KEYPOINT.

    Missing joints are 0, 0, 0. A visible joint beyond the left or upper border keeps its negative
    coordinate, which readers (ours too) take as missing.
    """
    if height <= 0 or width <= 0:
        raise ValueError(f"the canvas's size must be positive, got {height}x{width}")
    documents = []
    for row in range(len(keypoints)):
        person: dict[str, Any] = {
            "pose_keypoints_2d": _flat(keypoints.xy[row], keypoints.visible[row], height, width)
        }
        if keypoints.hands_xy is not None and keypoints.hands_visible is not None:
            for hand, side in enumerate(HAND_SIDES):
                person[f"hand_{side}_keypoints_2d"] = _flat(
                    keypoints.hands_xy[row, hand], keypoints.hands_visible[row, hand], height, width
                )
        documents.append({"people": [person], "canvas_height": height, "canvas_width": width})
    return documents


def write_openpose(
    keypoints: Keypoints, path: str | os.PathLike[str], height: int, width: int
) -> Path:
    """Write OpenPose JSON, whole or not at all: a document, or for several rows a list of them."""
    path = Path(path)
    documents = to_openpose(keypoints, height, width)
    if not documents:
        raise ValueError(f"{path}: there is no pose to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".json", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(documents[0] if len(documents) == 1 else documents, file)
        os.chmod(name, 0o644)  # mkstemp's files are for their owner alone
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def _canvas_size(document: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    height, width = document.get("canvas_height"), document.get("canvas_width")
    if height is None and width is None:
        return None
    for side in (height, width):
        if (
            isinstance(side, bool)
            or not isinstance(side, (int, float))
            or not (1 <= side <= LARGEST_NUMBER)
        ):
            raise PoseError(
                f"{where}: the canvas is {brief(height)} high and {brief(width)} wide; "
                "both canvas_height and canvas_width must be positive"
            )
    return int(height), int(width)  # pyright: ignore[reportArgumentType]


def _body(values: Any, where: str) -> RawPoints:
    triples = _triples(values, where, "pose_keypoints_2d")
    if len(triples) == 25:
        triples = [triples[joint] for joint in BODY_25_TO_18]
    if len(triples) != 18:
        raise PoseError(
            f"{where}: pose_keypoints_2d has {len(triples)} joints; expected 18 (OpenPose COCO) or "
            "25 (BODY_25), each as x, y, confidence. Detect the pose with OpenPose or DWPose."
        )
    return RawPoints.parse(triples, where)


def _hand(values: Any, where: str) -> RawPoints:
    if values is None or (isinstance(values, Sequence) and not values):
        return RawPoints.missing(HAND_POINTS)
    triples = _triples(values, where, "the hand")
    if len(triples) != HAND_POINTS:
        raise PoseError(f"{where}: {len(triples)} points; expected {HAND_POINTS}, or no hand")
    return RawPoints.parse(triples, where)


def _triples(values: Any, where: str, what: str) -> list[tuple[Any, Any, Any]]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise PoseError(f"{where}: {what} is no list of numbers ({brief(values)})")
    if len(values) % 3:
        raise PoseError(
            f"{where}: {what} has {len(values)} numbers, which are not x, y, confidence of whole "
            "joints; expected 54 or 75 for a body, 63 for a hand"
        )
    return [tuple(values[start : start + 3]) for start in range(0, len(values), 3)]


def _flat(xy: Tensor, visible: Tensor, height: int, width: int) -> list[float]:
    numbers: list[float] = []
    for (x, y), seen in zip(xy.tolist(), visible.tolist(), strict=True):
        numbers += [x * width, y * height, 1.0] if seen else [0.0, 0.0, 0.0]
    return numbers
