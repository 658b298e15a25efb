"""Poses as the pose editor keeps them, and the library of poses that it starts from.

The editor's state is one OpenPose document, or a list of them, one a frame: a canvas and people in
its pixels. A hidden joint keeps its place and has confidence 0, so that it comes back where it was;
every other reader takes it as missing. Which of several people the pose is, the first document says
under `PERSON`. So a pose travels from the editor to other tools and back as text.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .bones import LIMBS
from .canvas import in_frame
from .formats import PoseError, read_pose, read_pose_with_report, to_openpose
from .formats.limits import LONGEST_TEXT, check_length, parse_json
from .formats.read import Person
from .keypoints import BODY_JOINTS, FARTHEST, MIRROR, Keypoints
from .render import COLOURS, HAND_BONES, HAND_COLOURS, JOINT_RADIUS, LIMB_HALF_WIDTH

PERSON = "pcdm_person"  # of a document: the number of a person in it, from 0
LIBRARY_FILE = Path(__file__).with_name("library.json")


@dataclass(frozen=True)
class LibraryPose:
    """A pose of the library: its name, the group it is listed in, and one row of key points."""

    name: str
    group: str
    keypoints: Keypoints


@lru_cache(maxsize=1)
def library() -> tuple[LibraryPose, ...]:
    """The poses that ship; the first is the one a new editor shows."""
    document = _library_document()
    canvas = {key: document[key] for key in ("canvas_height", "canvas_width")}
    return tuple(
        LibraryPose(pose["name"], pose["group"], read_pose({"people": [pose], **canvas}))
        for pose in document["poses"]
    )


def find_poses(words: Sequence[str]) -> list[LibraryPose]:
    """The library's poses in whose group or name every word occurs, in any letter case.

    Raises:
        ValueError: there is none.
    """
    poses = [
        pose
        for pose in library()
        if all(word.lower() in f"{pose.group} {pose.name}".lower() for word in words)
    ]
    if not poses:
        raise ValueError(f"No pose of the library has {' '.join(words)!r} in its name.")
    return poses


def editor_tables() -> dict[str, Any]:
    """What the editor's script must know, as JSON: `web/pose_editor.json` holds it.

    Joints, limbs and colours are those of the published renderer, the poses those of the library,
    and the bounds those of the readers.
    """
    return {
        "joints": BODY_JOINTS,
        "mirror": MIRROR,
        "limbs": LIMBS,
        "colours": COLOURS,
        "hand_bones": HAND_BONES,
        "hand_colours": HAND_COLOURS,
        "limb_half_width": LIMB_HALF_WIDTH,
        "joint_radius": JOINT_RADIUS,
        "longest_text": LONGEST_TEXT,
        "farthest": FARTHEST,
        **_library_document(),
    }


def read_edited(text: str, height: int, width: int) -> Keypoints:
    """The pose of an editor's text on a frame of `height` x `width` pixels.

    Reads what the editor writes and every other pose document in JSON. A document with a canvas
    of another size is fitted into the frame whole, never squashed; one without a canvas is taken
    to be drawn for the frame, and the pose's canvas stays unknown. Joints outside the frame count
    as missing, as they are for a detector that sees the picture.

    Returns:
        A row for each frame of the text: the person that it names, or else the largest. An empty
        text is the library's first pose.

    Raises:
        PoseError: too long, no JSON, no pose, pixels that cannot be the frame's, or nothing of a
            row is inside the frame.
    """
    check_length(text, "The pose editor's text")
    if not text.strip():
        return inside(in_frame(library()[0].keypoints, (height, width)))
    try:
        document = parse_json(text)
    except ValueError as error:
        raise PoseError(
            f"The pose editor's text is no JSON ({error}). Empty it to start afresh, or paste an "
            "OpenPose document."
        ) from error
    person = _person_of(document)
    reading = read_pose_with_report(document, assumed=(height, width), person=person)
    pose = inside(in_frame(reading.keypoints, (height, width)))
    empty = (~pose.visible.any(1)).nonzero().flatten().tolist()
    if empty:
        which = f" number {empty[0] + 1} of {len(pose)}" if len(pose) > 1 else ""
        raise PoseError(
            f"No joint of the pose{which} is inside the frame of {height}x{width}. Move the figure "
            "into it, or empty the editor's text to start afresh."
        )
    return pose


def _person_of(document: Any) -> Person:
    first = document[0] if isinstance(document, list) and document else document
    person = first.get(PERSON) if isinstance(first, dict) else None
    return person if isinstance(person, int) and person >= 0 else "largest"


def inside(pose: Keypoints) -> Keypoints:
    """Joints and hand points beyond the borders of the picture become missing."""
    visible = pose.visible & ((pose.xy >= 0) & (pose.xy <= 1)).all(-1)
    hands = pose.hands_visible
    if pose.hands_xy is not None and hands is not None:
        hands = hands & ((pose.hands_xy >= 0) & (pose.hands_xy <= 1)).all(-1)
    return replace(pose, visible=visible, hands_visible=hands)


def to_edited(pose: Keypoints, height: int, width: int) -> dict[str, Any]:
    """The first row as the editor's document."""
    return to_openpose(pose.select(0), height, width)[0]


@lru_cache(maxsize=1)
def _library_document() -> dict[str, Any]:
    return json.loads(LIBRARY_FILE.read_text(encoding="utf-8"))
