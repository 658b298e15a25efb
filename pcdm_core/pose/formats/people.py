"""One person of a document: a body under any producer's key or by joints' names, and its hands.

The tables below are where a producer's keys for a person belong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ..keypoints import HAND_POINTS, HAND_SIDES
from .assemble import RawPerson
from .frame import Context
from .joint_maps import BODY_COUNTS, skeleton_of
from .limits import PoseError, brief
from .points import (
    COCO_POINTS,
    NO_POINTS,
    Points,
    is_list,
    is_number,
    is_point,
    plain,
    points_of,
    with_confidences,
    with_x_first,
)

_OPENPOSE_KEYS = ("pose_keypoints_2d", "pose_keypoints")
_BODY_KEYS = (
    *_OPENPOSE_KEYS, "keypoints", "joints",
    "keypoints_body", "kps_body",  # Wan's metas
    "pose_landmarks", "poseLandmarks", "landmarks", "landmark",  # MediaPipe
    "pred_keypoints_2d",  # SAM 3D Body
    "keypoint_2d",  # ZED
)  # fmt: skip
_KEYS_3D = (
    "pose_keypoints_3d", "keypoints_3d", "keypoints3D", "pred_keypoints_3d", "joints_3d",
    "pose_world_landmarks", "poseWorldLandmarks", "worldLandmarks", "joint_positions",
)  # fmt: skip
_SCORE_KEYS = ("keypoint_scores", "keypoints_scores", "keypoints_score", "scores", "joints_vis")
_HAND_KEYS = tuple(
    (
        f"hand_{side}_keypoints_2d", f"hand_{side}_keypoints", f"{side}hand_kpts",
        f"keypoints_{side}_hand", f"kps_{side[0]}hand",
        f"{side}_hand_landmarks", f"{side}HandLandmarks", f"hand{side[0]}2d",
    )
    for side in HAND_SIDES
)  # fmt: skip

_FACE_KEYS = ("face_keypoints_2d", "keypoints_face", "face_landmarks", "faceLandmarks")

# Of a document or a person: what its points are called; two of them say it one level down.
_NAME_KEYS = ("keypoint_names", "keypoints_names", "joint_names", "joints_names", "categories",
              "meta_info")  # fmt: skip
_NAME_KEYS_WITHIN = ("keypoints", "keypoint_id2name", "keypoint_names")
_MOST_NAMES = 400

# Of a point in a list: what it is called.
_LABEL_KEYS = ("name", "part", "joint", "bodyPart", "class", "class_name", "label", "keypoint")
# Of a record: `nose_x`, `nose_y`, `nose_score`, or `x0`, `y0`, `v0`.
_AXES = {"x": "x", "y": "y", "score": "score", "conf": "score", "confidence": "score",
         "likelihood": "score", "visibility": "score", "v": "score", "c": "score"}  # fmt: skip
_COLUMN = re.compile(rf"(.+?)[ _.-]*(?<![a-zA-Z])({'|'.join(_AXES)})", re.IGNORECASE)
_NUMBERED_COLUMN = re.compile(rf"({'|'.join(_AXES)})_?(\d+)", re.IGNORECASE)

_FLAT_COUNTS = {count * step for count in BODY_COUNTS for step in (2, 3)}
_FOUR_NUMBERS = 33 * 4  # MediaPipe's x, y, z, visibility
_NEVER_OPENPOSES = (14, 16)  # points; a list of 18 was cut
_ANIMALS = re.compile(r"tail|paw|hoof|withers", re.IGNORECASE)


def is_person(value: Any) -> bool:
    """Whether a mapping holds one person's points."""
    if not isinstance(value, Mapping):
        return False
    return any(key in value for key in (*_BODY_KEYS, *_KEYS_3D)) or bool(_joints_by_name(value)[0])


def are_points(document: Sequence[Any]) -> bool:
    """Whether a list holds one person's points and not documents or people."""
    if len(document) not in BODY_COUNTS and not _joints_by_name(document)[0]:
        return False
    return sum(is_point(element) for element in document) * 2 > len(document)


def is_flat(document: Sequence[Any]) -> bool:
    """Whether so many numbers are a body's."""
    return len(document) in _FLAT_COUNTS or len(document) == _FOUR_NUMBERS


def is_body(element: Any) -> bool:
    """Whether a list is one person's points, flat or nested."""
    element = plain(element)
    if not is_list(element):
        return False
    flat = is_flat(element) and all(is_number(number) for number in element)
    return flat or are_points(element)


def people_in_one_list(document: Mapping[str, Any]) -> Sequence[Any] | None:
    """Editors and MediaPipe keep all people's points in one list of lists of points."""
    points = plain(first_of(_BODY_KEYS, document))
    several = is_list(points) and points and all(is_body(element) for element in points)
    return points if several and not is_point(points[0]) else None


def joint_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The points' names where a document says them: by number, in a list or a mapping."""
    for key in _NAME_KEYS:
        names: Any = plain(document.get(key))
        if key in ("categories", "meta_info"):
            part = names[0] if is_list(names) and names else names
            names = first_of(_NAME_KEYS_WITHIN, part) if isinstance(part, Mapping) else None
        if isinstance(names, Mapping):
            numbers = [str(number) for number in range(len(names))]
            by_number = {str(number): name for number, name in names.items()}
            names = [by_number.get(number) for number in numbers]
        if names and is_list(names) and len(names) <= _MOST_NAMES:
            words = tuple(name for name in names if isinstance(name, str))
            return words if len(words) == len(names) else ()
    return ()


def person_of(person: Any, context: Context) -> RawPerson:
    """One person: a mapping, a bare list of points, or None for one without any.

    Raises:
        PoseError: something else.
    """
    person = plain(person)
    names = joint_names(person) if isinstance(person, Mapping) else ()
    names = names or context.joint_names
    if any(map(_ANIMALS.search, names)):
        raise context.error("key points of animals, by the joints' names; this needs a person's")
    counts = BODY_COUNTS
    if names and skeleton_of("", names):
        counts = (len(names),)
    if person is None or (is_list(person) and not _joints_by_name(person)[0]):
        body = points_of(person, counts, context, "the body")
        body = body if names else with_x_first(body, context)
        return RawPerson(body, joint_names=names)
    if not isinstance(person, (Mapping, list, tuple)):
        raise context.error(f"expected an object, found {brief(person)}")
    if not isinstance(person, Mapping):
        person = {"keypoints": person}
    key = next((key for key in _BODY_KEYS if key in person), None)
    labels, points = _joints_by_name(person if key is None else person[key])
    if key is None and not labels:
        _refuse_3d(person, context)
        raise context.error(
            f'no list of joints among {brief(sorted(map(str, person)))}; expected "{_BODY_KEYS[0]}"'
        )
    if labels:
        names, counts = labels, (len(labels),)
    elif key is not None:
        points = person[key]
    scores = first_of(_SCORE_KEYS, person)
    scores = None if is_number(scores) else scores  # PoseFlow's is the person's
    if key in _OPENPOSE_KEYS:
        counts = tuple(count for count in counts if count not in _NEVER_OPENPOSES)
    points, scores = _in_their_places(points, scores, person.get("labels"))
    body = points_of(points, counts, context, key or "the body")
    if not len(body):
        _refuse_3d(person, context)
    body = with_confidences(body, scores, context)
    left_hand, right_hand = (
        _hand_of(first_of(keys, person), side, context)
        for keys, side in zip(_HAND_KEYS, HAND_SIDES, strict=True)
    )
    if not (len(body) or len(left_hand) or len(right_hand)) and first_of(_FACE_KEYS, person):
        raise context.error("only a face's points are in it; export the body's")
    # ComfyUI's SDPose scores every point, and calls the left hand right: it takes COCO-WholeBody's
    # first hand for the right one.
    from_sdpose = "foot_keypoints_2d" in person
    if from_sdpose:
        context.findings.fact("Producer: ComfyUI's SDPose, by its feet.")
    scored = from_sdpose or key not in _OPENPOSE_KEYS or scores is not None
    return RawPerson(body, (left_hand, right_hand), scored, not from_sdpose, names)


def first_of(keys: Sequence[str], person: Mapping[str, Any]) -> Any:
    """What the first of these keys that a person has says; None without any."""
    return next((person[key] for key in keys if key in person), None)


def by_column(record: Mapping[Any, Any]) -> Any:
    """Points of a record's columns: by joints' names, or in a list by their numbers; maybe none."""
    joints: dict[str, dict[str, Any]] = {}
    for title, value in record.items():
        if not isinstance(title, str) or len(title) > 100:
            continue
        if match := _NUMBERED_COLUMN.fullmatch(title):
            axis, joint = match.groups()
        elif match := _COLUMN.fullmatch(title):
            joint, axis = match.groups()
        else:
            continue
        joints.setdefault(joint, {})[_AXES[axis.lower()]] = value
    points = {joint: point for joint, point in joints.items() if {"x", "y"} <= point.keys()}
    numbers = [re.search(r"\d+$", joint) for joint in points]
    if points and all(numbers):
        order = sorted(points, key=lambda joint: int(re.findall(r"\d+$", joint)[0][:9]))
        return [points[joint] for joint in order]
    return points


def _joints_by_name(value: Any) -> tuple[tuple[str, ...], list[Any]]:
    """Names and points of joints that are named one by one; nothing where they are not."""
    value = plain(value)
    labels: list[str] = []
    points: list[Any] = []
    if isinstance(value, Mapping):
        entries = {name: point for name, point in value.items() if isinstance(name, str)}
        points_by_name = {name: p for name, p in entries.items() if p is None or is_point(plain(p))}
        columns = None if any(points_by_name.values()) else by_column(entries)
        if isinstance(columns, Mapping):
            points_by_name = columns
        labels, points = list(points_by_name), list(points_by_name.values())
    elif is_list(value) and value and isinstance(value[0], Mapping):
        rows = [row for row in value if isinstance(row, Mapping) and is_point(row)]
        labels, points = [str(first_of(_LABEL_KEYS, row)) for row in rows], list(rows)
    if len(labels) > _MOST_NAMES or skeleton_of("", labels) is None:
        return (), []
    return tuple(labels), points


def _refuse_3d(person: Mapping[str, Any], context: Context) -> None:
    """Says so where a person has points in space and none in the picture.

    Raises:
        PoseError: of that.
    """
    if any(person.get(key) for key in _KEYS_3D):
        raise context.error(
            "only 3D key points are in it, without their places in the picture; export the 2D "
            "ones (pose_keypoints_2d)"
        )


def _in_their_places(points: Any, scores: Any, labels: Any) -> tuple[Any, Any]:
    """All of COCO's points and scores where only the sure ones are listed: transformers' ViTPose.

    `labels` has their numbers then.
    """
    points, scores, labels = plain(points), plain(scores), plain(labels)
    few = is_list(labels) and is_list(points) and len(points) == len(labels) < COCO_POINTS
    if not few or not all(label in range(COCO_POINTS) for label in labels):
        return points, scores
    place = {label: number for number, label in enumerate(labels)}
    order = [place.get(number) for number in range(COCO_POINTS)]
    full = [None if number is None else points[number] for number in order]
    if is_list(scores) and len(scores) == len(labels):
        scores = [0.0 if number is None else scores[number] for number in order]
    return full, scores


def _hand_of(value: Any, side: str, context: Context) -> Points:
    """The points of a hand; none, and a note, where they are not the 21 of one."""
    try:
        return points_of(value, (HAND_POINTS,), context, f"the {side} hand")
    except PoseError:
        context.findings.guess(
            f"a {side} hand is left out: it is no list of {HAND_POINTS} points, or damaged."
        )
        return NO_POINTS
