"""People in a picture, as OpenPose-18 key points.

Two detectors: BlazePose, whose networks ship and whose runtime is the extra `pose`, and
controlnet_aux's OpenPose where that package and its weights are there. Both give what the models
were trained on: joints that are out of the picture are missing, and so are the points of a face
that is turned away.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ...images import as_picture, resize, to_uint8
from ..describe import describe_person
from ..keypoints import FACE, HAND_POINTS, Keypoints
from ..skeleton_image.conventions import is_drawing
from .blazepose import BlazePose, Crop, Floats, Landmarks

Detector = Literal["auto", "blazepose", "openpose"]

INSTALL = "Install ai-edge-litert, which requirements.txt names: see Installing in the README"
OPENPOSE_WEIGHTS = "lllyasviel/Annotators"
OPENPOSE_FILES = ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")
# The shorter and the longer side at which it looks. The first is that of controlnet_aux's own call;
# its maps have 57 float64 channels at the picture's size.
OPENPOSE_SIDE, OPENPOSE_LONGEST = 512, 2048

# Of BlazePose's 33 points, in OpenPose's order; the neck is the middle of the shoulders.
FROM_BLAZEPOSE = (
    (0,), (11, 12), (12,), (14,), (16,), (11,), (13,), (15,), (24,), (26,), (28,), (23,), (25,),
    (27,), (5,), (2,), (8,), (7,),
)  # fmt: skip

SURE_BOX, MAYBE_BOX = 0.5, 0.3
SURE_PERSON = 0.5
# Of the first look, where no box says that a person is there, or one of a part of the picture does;
# the second look alone is no proof, because it stands where the first one made a body of something.
SURE_WHOLE, SURE_PART = 0.6, 0.8
SURE_POINT = 0.3  # of being seen; As published: the threshold of the DWPose annotator
IN_FRAME = 0.5
LOOKS = 2  # the second one has the body in the middle of its crop
FROM_BEHIND = 0.2  # of the trunk: shoulders and hips whose sides are so far the other way round
_SAME = 0.3  # two people whose trunks are nearer than this, in trunks, are one

# Up to which turn of the head, in degrees, a point of the face is seen; 0 faces the viewer, and a
# turn is positive where the point's own side comes nearer. Fitted to renders whose truth is known.
NOSE_SEEN = 125.0
EYE_SEEN = (-72.0, 125.0)
EAR_SEEN = (-8.0, 180.0)
BACK = 165.0  # from here on both ears are seen again
# How far the nose lies before the ears in a front view, and beside them in profile; any one unit.
_NOSE_DEPTH, _NOSE_ASIDE = 0.9, 0.16

_lock = threading.Lock()


class DetectionError(ValueError):
    """No key points could be made of a picture; the message says why and what to do."""


class NoPersonError(DetectionError):
    """Nobody was found in the picture."""


class DrawingError(NoPersonError):
    """The picture is a flat drawing and no photograph."""


class DetectorMissingError(DetectionError):
    """What the detector needs is not installed."""


def detect_people(
    picture: Tensor, detector: Detector = "auto", *, check: Callable[[], None] | None = None
) -> list[Keypoints]:
    """Everybody in a picture, the largest first.

    Args:
        picture: float `[3, H, W]` or `[1, 3, H, W]` in [-1, 1].
        detector: "blazepose" ships; "openpose" needs controlnet_aux with its weights; "auto" takes
            the first that can run, in this order.
        check: called before every look of BlazePose; what it raises ends the search.

    Returns:
        One row each, normalised to the picture. Only "openpose" gives hands.

    Raises:
        NoPersonError: nobody was found.
        DrawingError: a flat drawing, in which a detector would see somebody else.
        DetectorMissingError: no runtime, or no controlnet_aux or weights; says what to do.
        ValueError: not a picture.
    """
    if detector not in get_args(Detector):
        raise ValueError(f"detector {detector!r}: choose one of {', '.join(get_args(Detector))}")
    picture = as_picture(picture)
    if len(picture) != 1:
        raise ValueError(f"people are looked for in one picture at a time, got {len(picture)}")
    if is_drawing(to_uint8(picture)[0]):
        raise DrawingError(
            "This is a flat drawing, and the detector finds people in photographs. Of a drawn "
            "person set the joints by hand, in PCDM Pose Editor with the picture as underlay. Give "
            "a skeleton to PCDM Pose from Skeleton Picture, or use the key points that it was "
            "drawn from."
        )
    if detector == "auto":
        detector = "blazepose" if has_blazepose() or not has_openpose() else "openpose"
    look = partial(_look, check=check or (lambda: None))
    people = _by_blazepose(picture, look) if detector == "blazepose" else _by_openpose(picture)
    if not people:
        height, width = picture.shape[-2:]
        raise NoPersonError(
            f"No person was found in the picture ({height}x{width}, detector {detector}). Take one "
            "in which a person is larger, better lit or less covered, or draw the pose by hand."
        )
    return sorted(people, key=_extent, reverse=True)


def describe_people(people: Sequence[Keypoints]) -> str:
    """What was found, one line a person: which part of the body, from where, what is missing."""
    count = "1 person" if len(people) == 1 else f"{len(people)} people, the largest first"
    lines = [f"{number}: {describe_person(person)}" for number, person in enumerate(people)]
    return "\n".join([f"{count}:", *lines])


def has_blazepose() -> bool:
    """Whether LiteRT is installed."""
    return find_spec("ai_edge_litert") is not None


def has_openpose() -> bool:
    """Whether controlnet_aux is installed and its weights lie in the Hugging Face cache."""
    return find_spec("controlnet_aux") is not None and _openpose_folder() is not None


# --- BlazePose -----------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _blazepose() -> BlazePose:
    try:
        return BlazePose()
    except ImportError as error:
        raise DetectorMissingError(
            "The pose detector needs LiteRT, which is not installed or does not load "
            f"({error}). {INSTALL}."
        ) from error


def _by_blazepose(picture: Tensor, look: Callable[..., Landmarks]) -> list[Keypoints]:
    pixels = (picture[0].detach().cpu() + 1) / 2
    with _lock:  # a LiteRT interpreter serves one caller at a time
        networks = _blazepose()
        crops = networks.crops(pixels, SURE_BOX) or networks.crops(pixels, MAYBE_BOX)
        people = _distinct(look(networks, pixels, crop) for crop in crops)
        if not crops:
            people = _distinct([look(networks, pixels, Crop.whole(pixels), SURE_WHOLE)])
        parts = networks.crops(pixels, SURE_BOX, in_parts=True)
        others = _distinct(look(networks, pixels, crop, SURE_PART) for crop in parts)
    # A square may cut a person in two, and half a person looks like somebody else.
    people += [part for part in others if not any(_within(part, person) for person in people)]
    poses = [_keypoints(person, *pixels.shape[-2:]) for person in people]
    return [pose for pose in poses if int(pose.visible.sum()) >= 3]


def _look(
    networks: BlazePose,
    picture: Tensor,
    crop: Crop,
    least: float = 0.0,
    *,
    check: Callable[[], None],
) -> Landmarks:
    """What the last of some looks finds; nobody where the first is less sure than `least`."""
    check()
    person, following = networks.landmarks(picture, crop)
    if person.score < least:
        return replace(person, score=0.0)
    for _ in range(LOOKS - 1):
        check()
        if following.size < 1:
            break
        again, after = networks.landmarks(picture, following)
        if again.score < SURE_PERSON <= person.score:
            break  # the second crop lost the person
        person, crop, following = again, following, after
    if person.score < SURE_PERSON or _from_behind(person.xyz):
        return person
    # It takes a back for a front now and then, in one crop and not in the next, and hardly ever a
    # front for a back (docs/log/pose-detector.md): one of two looks that sees a back is believed.
    mirrored, _ = networks.landmarks(picture, crop, mirrored=True)
    return mirrored if mirrored.score >= SURE_PERSON and _from_behind(mirrored.xyz) else person


def _from_behind(xyz: Floats) -> bool:
    """Whether shoulders and hips have their sides the other way round than in a front view."""
    across, trunk = _across(xyz)
    return float((xyz[[12, 24], :2] - xyz[[11, 23], :2]).sum(axis=0) @ across) > FROM_BEHIND * trunk


def _across(xyz: Floats) -> tuple[Floats, float]:
    """The direction [2] to the right of the trunk, seen with the head up, and the trunk's length.

    Relative to the body, so that it also holds for people who lie or bend.
    """
    upward = xyz[[11, 12], :2].mean(axis=0) - xyz[[23, 24], :2].mean(axis=0)
    length = max(float(np.linalg.norm(upward)), 1e-6)
    return np.array([-upward[1], upward[0]]) / length, length


def _keypoints(person: Landmarks, height: int, width: int) -> Keypoints:
    rows = [list(points) for points in FROM_BLAZEPOSE]
    xy = np.stack([person.xyz[row, :2].mean(axis=0) for row in rows])
    in_view = np.stack([person.visible[row].min() for row in rows])
    present = np.stack([person.present[row].min() for row in rows])
    inside = ((xy >= 0) & (xy < [width, height])).all(axis=1)
    visible = inside & (in_view >= SURE_POINT) & (present >= IN_FRAME)
    visible[list(FACE)] &= face_seen(head_turn(person.xyz))
    return Keypoints.from_pixels(torch.from_numpy(xy), torch.from_numpy(visible), height, width)


def head_turn(xyz: Floats) -> float:
    """Degrees by which the head is turned from the viewer, in (-180, 180].

    Positive shows the person's own right side: the nose points to the right of the picture.

    Args:
        xyz: BlazePose's points `[33, 3]` in pixels.
    """
    nose = xyz[0] - xyz[[7, 8]].mean(axis=0)
    aside = float(nose[:2] @ _across(xyz)[0])
    return math.degrees(math.atan2(aside / _NOSE_ASIDE, -float(nose[2]) / _NOSE_DEPTH))


def face_seen(turn: float) -> np.ndarray:
    """bool `[5]`: nose, right eye, left eye, right ear, left ear that OpenPose would report.

    BlazePose itself calls the face of a back view seen.
    """
    back = abs(turn) >= BACK
    eyes = [EYE_SEEN[0] <= side * turn <= EYE_SEEN[1] for side in (1, -1)]
    ears = [back or EAR_SEEN[0] <= side * turn <= EAR_SEEN[1] for side in (1, -1)]
    return np.array([abs(turn) <= NOSE_SEEN, *eyes, *ears])


def _same(one: Landmarks, other: Landmarks) -> bool:
    """Whether two finds are one person. The sides do not count: one find may mix them up."""
    # The middles of shoulders and hips.
    a, b = (person.xyz[[[11, 12], [23, 24]], :2].mean(axis=1) for person in (one, other))
    lengths = [float(np.linalg.norm(ends[0] - ends[1])) for ends in (a, b)]
    return bool(np.linalg.norm(a - b, axis=1).mean() < _SAME * max(lengths))


def _distinct(looks: Iterable[Landmarks]) -> list[Landmarks]:
    """Those who are sure, each once, the surest first."""
    people: list[Landmarks] = []
    for look in sorted(looks, key=lambda look: -look.score):
        if look.score >= SURE_PERSON and not any(_same(look, other) for other in people):
            people.append(look)
    return people


def _within(part: Landmarks, whole: Landmarks) -> bool:
    """Whether half of the trunk of one lies in the box round another."""
    trunk = part.xyz[[11, 12, 23, 24], :2]
    low, high = whole.xyz[:, :2].min(axis=0), whole.xyz[:, :2].max(axis=0)
    return bool(((trunk >= low) & (trunk <= high)).all(axis=1).mean() >= 0.5)


def _extent(person: Keypoints) -> float:
    """Area of the box round the visible joints."""
    xy = person.xy[person.visible]
    return float((xy.amax(0) - xy.amin(0)).clamp(min=1e-3).prod())


# --- OpenPose by controlnet_aux ------------------------------------------------------------------


def _openpose_folder() -> str | None:
    """The folder of the three weight files in the local cache; nothing is downloaded."""
    from huggingface_hub import try_to_load_from_cache

    files = [try_to_load_from_cache(OPENPOSE_WEIGHTS, name) for name in OPENPOSE_FILES]
    if not all(isinstance(file, str) for file in files):
        return None
    return str(files[0])[: -len(OPENPOSE_FILES[0]) - 1]


@lru_cache(maxsize=1)
def _openpose(folder: str) -> Any:
    from controlnet_aux.open_pose import (  # pyright: ignore[reportMissingImports]
        OpenposeDetector,
    )

    return OpenposeDetector.from_pretrained(folder)


def _by_openpose(picture: Tensor) -> list[Keypoints]:
    try:
        folder = _openpose_folder() if has_openpose() else None
        detector = None if folder is None else _openpose(folder)
    except Exception as error:  # it imports torchvision, timm and more, which may fail anyhow
        raise DetectorMissingError(
            f"controlnet_aux is installed but does not load ({type(error).__name__}: {error}). "
            f"Choose the detector blazepose. {INSTALL}."
        ) from error
    if detector is None:
        raise DetectorMissingError(
            "The OpenPose detector needs the package controlnet_aux and its weights "
            f"({', '.join(OPENPOSE_FILES)} of {OPENPOSE_WEIGHTS}) in the Hugging Face cache. "
            f"Choose the detector blazepose instead; it ships. {INSTALL}."
        )
    height, width = picture.shape[-2:]
    short, long = sorted((height, width))
    scale = min(OPENPOSE_SIDE / short, OPENPOSE_LONGEST / long)
    pixels = resize(picture, max(round(height * scale), 1), max(round(width * scale), 1))
    with _lock:
        people = detector.detect_poses(to_uint8(pixels)[0], include_hand=True)
    return [_from_openpose(person) for person in people]


def _from_openpose(person: Any) -> Keypoints:
    """A `PoseResult` of controlnet_aux; its points are fractions of the picture.

    A missing joint is None; a missing point of a hand has a coordinate below 0.
    """
    xy, visible = _points(person.body.keypoints)
    hands = [
        _points([None] * HAND_POINTS if hand is None else hand)
        for hand in (person.left_hand, person.right_hand)
    ]
    pose = Keypoints(
        xy[None], visible[None], *(torch.stack(part)[None] for part in zip(*hands, strict=True))
    )
    return pose if pose.has_hands else pose.without_hands()


def _points(points: Sequence[Any]) -> tuple[Tensor, Tensor]:
    places = [(-1.0, -1.0) if p is None else (float(p.x), float(p.y)) for p in points]
    xy = torch.tensor(places, dtype=torch.float64)
    visible = (xy >= 0).all(dim=-1)
    return torch.where(visible[:, None], xy, 0.0), visible
