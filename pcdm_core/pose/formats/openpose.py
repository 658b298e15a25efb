"""One person's and one picture's key points as JSON has them.

OpenPose (`people`, `pose_keypoints_2d`), and what others made of it: ComfyUI's POSE_KEYPOINT,
AlphaPose (`bodies`, `joints`), pose editors (`keypoints` with `width` and `height`), mmpose
(`keypoints` beside `keypoint_scores`) and COCO's annotations (`keypoints`, `lefthand_kpts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..keypoints import HAND_POINTS, HAND_SIDES
from .frame import Findings, Frame, Settings
from .joint_maps import BODY_COUNTS
from .limits import LARGEST_NUMBER, MOST_PEOPLE, PoseError, brief
from .people import RawPerson, assemble
from .points import Points, is_list, plain, points_of, with_confidences

BODY_KEYS = ("pose_keypoints_2d", "pose_keypoints", "keypoints", "joints")
_SCORE_KEYS = ("keypoint_scores", "scores")
_HAND_KEYS = tuple(
    (f"hand_{side}_keypoints_2d", f"hand_{side}_keypoints", f"{side}hand_kpts")
    for side in HAND_SIDES
)


def is_person(value: Any) -> bool:
    """Whether a mapping holds one person's points."""
    return isinstance(value, Mapping) and any(key in value for key in BODY_KEYS)


def frame_of_people(
    people: Any,
    document: Mapping[str, Any],
    settings: Settings,
    where: str,
    name: str | None = None,
) -> Frame:
    """One picture's people; `document` is asked for the size of the picture.

    Raises:
        PoseError: nobody in it, no list, a person that is none, or damaged points.
    """
    people = plain(people)
    if isinstance(people, Mapping):
        people = [people]
    if people is None:
        people = []
    if not is_list(people):
        raise PoseError(f'{where}: "people" is no list ({brief(people)})')
    if not people:
        raise PoseError(
            f"{where}: nobody is in it; the detector found no person, try a clearer picture"
        )
    if len(people) > MOST_PEOPLE:
        raise PoseError(
            f"{where}: {len(people)} people in one picture, and at most {MOST_PEOPLE} are read; "
            "give the person alone"
        )
    size = size_of(document, where)
    read = [
        person_of(person, f"{where}, person {number}", settings.findings)
        for number, person in enumerate(people)
    ]
    return assemble(read, size, settings, where, name)


def person_of(person: Any, where: str, findings: Findings) -> RawPerson:
    """One person: a mapping, a bare list of points, or None for one without any.

    Raises:
        PoseError: something else.
    """
    person = plain(person)
    if person is None:
        return RawPerson([])
    if is_list(person):
        return RawPerson(points_of(person, BODY_COUNTS, where, "the body"))
    if not isinstance(person, Mapping):
        raise PoseError(f"{where}: expected an object, found {brief(person)}")
    key = next((key for key in BODY_KEYS if key in person), None)
    if key is None:
        raise PoseError(
            f"{where}: no list of joints among {brief(sorted(map(str, person)))}; "
            f'expected "{BODY_KEYS[0]}"'
        )
    body = points_of(person[key], BODY_COUNTS, where, key)
    scores = next((person[name] for name in _SCORE_KEYS if name in person), None)
    body = with_confidences(body, scores, where)
    left, right = (
        _hand(person, keys, f"{where}, {side} hand")
        for keys, side in zip(_HAND_KEYS, HAND_SIDES, strict=True)
    )
    # ComfyUI's SDPose scores every point, and calls the left hand right: it takes COCO-WholeBody's
    # first hand for the right one.
    from_sdpose = "foot_keypoints_2d" in person
    if from_sdpose:
        findings.found("Producer: ComfyUI's SDPose, by its feet.")
    scored = from_sdpose or key in ("keypoints", "joints") or scores is not None
    return RawPerson(body, (left, right), scored, sure_of_sides=not from_sdpose)


def size_of(document: Mapping[str, Any], where: str) -> tuple[int, int] | None:
    """(height, width) of the picture where the document says it.

    Raises:
        PoseError: it says something that is no size.
    """
    for height_key, width_key in (("canvas_height", "canvas_width"), ("height", "width")):
        height, width = plain(document.get(height_key)), plain(document.get(width_key))
        if height is None and width is None:
            continue
        for side in (height, width):
            if (
                isinstance(side, bool)
                or not isinstance(side, (int, float))
                or not (1 <= side <= LARGEST_NUMBER)
            ):
                raise PoseError(
                    f"{where}: the canvas is {brief(height)} high and {brief(width)} wide; "
                    f"both {height_key} and {width_key} must be positive"
                )
        return int(height), int(width)  # pyright: ignore[reportArgumentType]
    return None


def _hand(person: Mapping[str, Any], keys: Sequence[str], where: str) -> Points:
    given = next((person[key] for key in keys if key in person), None)
    return points_of(given, (HAND_POINTS,), where, "the hand")
