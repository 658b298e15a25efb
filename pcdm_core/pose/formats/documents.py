"""Any JSON document, or what a program holds in its place, as frames: the keys below tell formats.

OpenPose (`people`, `pose_keypoints_2d`), and what others made of it: ComfyUI's POSE_KEYPOINT,
AlphaPose (`bodies`, `joints`), pose editors (`keypoints` with `width` and `height`), mmpose
(`keypoints` beside `keypoint_scores`) and COCO's annotations (`keypoints`, `lefthand_kpts`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...ranges import SIDE
from ..keypoints import HAND_POINTS, HAND_SIDES
from .assemble import RawFrame, RawPerson, fault_frame
from .frame import Context
from .joint_maps import BODY_COUNTS
from .limits import LARGEST_NUMBER, MOST_PEOPLE, PoseError, brief
from .points import (
    NO_POINTS,
    Points,
    is_list,
    is_number,
    is_point,
    plain,
    points_of,
    with_confidences,
)

# Of a picture: where its people are, and the format that this tells.
_PEOPLE_KEYS = {
    "people": "OpenPose JSON",
    "bodies": "AlphaPose JSON",
    "instances": "mmpose results",
}
_FRAMES_KEYS = ("predictions", "frames")
_SIZE_KEYS = (("canvas_height", "canvas_width"), ("height", "width"))

# Of a person.
_BODY_KEYS = ("pose_keypoints_2d", "pose_keypoints", "keypoints", "joints")
_SCORE_KEYS = ("keypoint_scores", "scores")
_HAND_KEYS = tuple(
    (f"hand_{side}_keypoints_2d", f"hand_{side}_keypoints", f"{side}hand_kpts")
    for side in HAND_SIDES
)

# Of a document or a person: what its points are called; two of them say it one level down.
_NAME_KEYS = ("keypoint_names", "keypoints_names", "joint_names", "joints_names", "categories",
              "meta_info")  # fmt: skip
_NAME_KEYS_WITHIN = ("keypoints", "keypoint_id2name", "keypoint_names")
_MOST_NAMES = 400

_DEEPEST = 6  # levels of lists round a pose; more is damage
_FLAT_COUNTS = {count * step for count in BODY_COUNTS for step in (2, 3)}


def frames_of(document: Any, context: Context, depth: int = 0) -> list[RawFrame]:
    """All frames of a document, at least one; a frame that cannot be used says why.

    Args:
        document: mappings, lists and numbers, arrays or tensors.
        context: how to read.
        depth: of lists that are already open.

    Raises:
        PoseError: nothing in it is understood as a pose, or a pose cannot be used.
    """
    document = plain(document)
    if depth > _DEEPEST:
        raise context.error(f"no pose within {_DEEPEST} levels of lists; export it again")
    if document is None:
        raise context.error("nothing is in it (null); the detector found no person")
    if isinstance(document, Mapping):
        names = _joint_names(document)
        context = replace(context, joint_names=names) if names else context
        return _frames_of_mapping(document, context, depth)
    if is_list(document):
        return _frames_of_list(document, context, depth)
    raise context.error(f"no pose ({brief(document)}); give OpenPose JSON or a POSE_KEYPOINT")


def _frames_of_mapping(document: Mapping[str, Any], context: Context, depth: int) -> list[RawFrame]:
    fact = context.findings.fact
    if document.get("animals") and not document.get("people"):
        raise context.error("key points of animals; this needs a person's")
    if "annotations" in document:
        fact("Format: COCO annotations.")
        return _coco_frames(document, context)
    if is_list(document.get("instance_info")):
        fact("Format: mmpose results.")
        return frames_of(document["instance_info"], context, depth + 1)
    for key, name in _PEOPLE_KEYS.items():
        if key in document:
            in_comfyui = key == "people" and "canvas_height" in document
            fact(f"Format: {'POSE_KEYPOINT' if in_comfyui else name}.")
            return [_frame_of_people(document[key], document, context)]
    for key in _FRAMES_KEYS:
        if key in document:
            return frames_of(document[key], context, depth + 1)
    if _is_person(document):
        several = _people_in_one_list(document)
        fact("Format: several people's points." if several else "Format: one person's points.")
        return [_frame_of_people(several or [document], document, context)]
    raise context.error(
        f'no OpenPose document, it has no "people" ({brief(document)}); '
        "give OpenPose JSON, a POSE_KEYPOINT, or 18 lines of x y"
    )


def _frames_of_list(document: Sequence[Any], context: Context, depth: int) -> list[RawFrame]:
    if not document:
        raise context.error("an empty list; the detector found no person in any frame")
    numbers = all(is_number(element) for element in document)
    if numbers and len(document) not in _FLAT_COUNTS:
        raise context.error(
            f"{len(document)} numbers are no pose; expected x, y or x, y, confidence "
            f"of {' or '.join(str(count) for count in sorted(BODY_COUNTS))} points"
        )
    if numbers or _are_points(document):
        context.findings.fact("Format: a list of points.")
        return [RawFrame([_person_of(document, context)], None, context)]
    if len(document) == 1 and not _is_person(document[0]):
        return frames_of(document[0], context, depth + 1)
    if all(element is None or _is_person(element) for element in document):
        return _frames_by_picture(document, context)
    if all(element is None or _is_body(element) for element in document):
        context.findings.fact("Format: lists of points.")
        context.findings.guess(f"the {len(document)} lists are people of one picture.")
        return [_frame_of_people(document, {}, context)]
    frames: list[RawFrame] = []
    for number, element in enumerate(document):
        place = context.at(f"frame {number}")
        frames += _frames_or_fault(lambda e=element, p=place: frames_of(e, p, depth + 1), place)
    return frames


def _frames_or_fault(
    frames: Callable[[], list[RawFrame]], context: Context, name: str | None = None
) -> list[RawFrame]:
    """The frames, or one that says why they cannot be used: one of many does not cost the rest."""
    try:
        return frames()
    except PoseError as error:
        return [fault_frame(error, context, name)]


# --- several pictures in one document ------------------------------------------------------------


def _by_picture(people: Sequence[Any]) -> dict[Any, list[Any]]:
    """People by the `image_id` that they say, or None."""
    groups: dict[Any, list[Any]] = {}
    for person in people:
        picture = None if person is None else person.get("image_id")
        groups.setdefault(picture if isinstance(picture, (int, str)) else None, []).append(person)
    return groups


def _frames_by_picture(people: Sequence[Any], context: Context) -> list[RawFrame]:
    """A list of people: AlphaPose and COCO results say whose picture each is in."""
    groups = _by_picture(people)
    context.findings.fact("Format: a list of people.")
    if len(groups) == 1 and None in groups and len(people) > 1:
        context.findings.guess(f"the {len(people)} people belong to one picture.")
    frames: list[RawFrame] = []
    for picture, members in groups.items():
        place = context if len(groups) == 1 else context.at(f"picture {brief(picture)}")
        name = None if picture is None else str(picture)
        frames += _picture_or_fault(members, members[0] or {}, place, name)
    return frames


def _picture_or_fault(
    people: Any, document: Mapping[str, Any], context: Context, name: str | None
) -> list[RawFrame]:
    return _frames_or_fault(
        lambda: [_frame_of_people(people, document, context, name)], context, name
    )


def _coco_frames(document: Mapping[str, Any], context: Context) -> list[RawFrame]:
    annotations, images = plain(document["annotations"]), plain(document.get("images"))
    if isinstance(annotations, Mapping):
        annotations = [annotations]
    people = [item for item in annotations if _is_person(item)] if is_list(annotations) else []
    if not people:
        raise context.error("no annotation has key points; give COCO's person_keypoints file")
    pictures: dict[Any, Mapping[str, Any]] = {
        image["id"]: image
        for image in (images if is_list(images) else [])
        if isinstance(image, Mapping) and isinstance(image.get("id"), (int, str))
    }
    frames: list[RawFrame] = []
    for picture, members in _by_picture(people).items():
        image = pictures.get(picture, {})
        name = image.get("file_name")
        name = name if isinstance(name, str) else str(picture)
        place = context.at(f"picture {brief(name)}")
        frames += _picture_or_fault(members, image, place, name)
    return frames


# --- one picture ---------------------------------------------------------------------------------


def _frame_of_people(
    people: Any, document: Mapping[str, Any], context: Context, name: str | None = None
) -> RawFrame:
    """One picture's people; `document` is asked for the size of the picture.

    Raises:
        PoseError: nobody in it, no list, a person that is none, or damaged points.
    """
    people = plain(people)
    if isinstance(people, Mapping):
        people = [people]
    if people is not None and not is_list(people):
        raise context.error(f'"people" is no list ({brief(people)})')
    if not people:
        raise context.error("nobody is in it; the detector found no person, try a clearer picture")
    if len(people) > MOST_PEOPLE:
        raise context.error(
            f"{len(people)} people in one picture, and at most {MOST_PEOPLE} are read; "
            "give the person alone"
        )
    size = _size_of(document, context)
    raw = [
        _person_or_fault(person, context.at(f"person {number}"))
        for number, person in enumerate(people)
    ]
    faults = [person.fault for person in raw if person.fault is not None]
    if len(faults) == len(raw):
        raise faults[0]
    if faults:
        context.findings.guess(
            "a person who cannot be read is left out, and keeps the number; ask for the number to "
            "see why."
        )
    return RawFrame(raw, size, context, name)


def _size_of(document: Mapping[str, Any], context: Context) -> tuple[int, int] | None:
    """(height, width) of the picture where the document says it.

    Raises:
        PoseError: it says something that is no size.
    """
    for keys in _SIZE_KEYS:
        size = [plain(document.get(key)) for key in keys]
        if size == [None, None]:
            continue
        if all(side in (0, None) and side is not False for side in size):
            context.findings.guess("a canvas of 0 says no size.")
            continue
        if not all(_is_side(side) for side in size):
            raise context.error(
                f"the canvas is {brief(size[0])} high and {brief(size[1])} wide; "
                f"{keys[0]} and {keys[1]} must both be {SIDE}"
            )
        return int(size[0]), int(size[1])
    return None


def _is_side(side: Any) -> bool:
    number = isinstance(side, (int, float)) and not isinstance(side, bool)
    return number and 1 <= side <= LARGEST_NUMBER and int(side) in SIDE


# --- one person ----------------------------------------------------------------------------------


def _is_person(value: Any) -> bool:
    """Whether a mapping holds one person's points."""
    return isinstance(value, Mapping) and any(key in value for key in _BODY_KEYS)


def _are_points(document: Sequence[Any]) -> bool:
    """Whether a list holds one person's points and not documents or people."""
    points = sum(is_point(element) for element in document)
    return len(document) in BODY_COUNTS and points * 2 > len(document)


def _is_body(element: Any) -> bool:
    element = plain(element)
    if not is_list(element):
        return False
    flat = len(element) in _FLAT_COUNTS and all(is_number(number) for number in element)
    return flat or _are_points(element)


def _people_in_one_list(document: Mapping[str, Any]) -> Sequence[Any] | None:
    """Editors keep all people's points in one `keypoints`: a list of lists of points."""
    points = plain(document.get("keypoints"))
    several = is_list(points) and points and all(_is_body(element) for element in points)
    return points if several else None


def _joint_names(document: Mapping[str, Any]) -> tuple[str, ...]:
    """The points' names where a document says them: by number, in a list or a mapping."""
    for key in _NAME_KEYS:
        names: Any = plain(document.get(key))
        if key in ("categories", "meta_info"):
            part = names[0] if is_list(names) and names else names
            names = _first_of(_NAME_KEYS_WITHIN, part) if isinstance(part, Mapping) else None
        if isinstance(names, Mapping):
            numbers = [str(number) for number in range(len(names))]
            by_number = {str(number): name for number, name in names.items()}
            names = [by_number.get(number) for number in numbers]
        if names and is_list(names) and len(names) <= _MOST_NAMES:
            words = tuple(name for name in names if isinstance(name, str))
            return words if len(words) == len(names) else ()
    return ()


def _person_or_fault(person: Any, context: Context) -> RawPerson:
    try:
        return _person_of(person, context)
    except PoseError as error:
        return RawPerson(NO_POINTS, fault=error)


def _person_of(person: Any, context: Context) -> RawPerson:
    """One person: a mapping, a bare list of points, or None for one without any.

    Raises:
        PoseError: something else.
    """
    person = plain(person)
    names = _joint_names(person) if isinstance(person, Mapping) else ()
    names = names or context.joint_names
    counts = (len(names),) if names else BODY_COUNTS
    if person is None or is_list(person):
        body = points_of(person, counts, context, "the body")
        return RawPerson(body, joint_names=names)
    if not isinstance(person, Mapping):
        raise context.error(f"expected an object, found {brief(person)}")
    key = next((key for key in _BODY_KEYS if key in person), None)
    if key is None:
        raise context.error(
            f'no list of joints among {brief(sorted(map(str, person)))}; expected "{_BODY_KEYS[0]}"'
        )
    body = points_of(person[key], counts, context, key)
    scores = _first_of(_SCORE_KEYS, person)
    body = with_confidences(body, scores, context)
    left_hand, right_hand = (
        _hand_of(_first_of(keys, person), side, context)
        for keys, side in zip(_HAND_KEYS, HAND_SIDES, strict=True)
    )
    # ComfyUI's SDPose scores every point, and calls the left hand right: it takes COCO-WholeBody's
    # first hand for the right one.
    from_sdpose = "foot_keypoints_2d" in person
    if from_sdpose:
        context.findings.fact("Producer: ComfyUI's SDPose, by its feet.")
    scored = from_sdpose or key in ("keypoints", "joints") or scores is not None
    return RawPerson(body, (left_hand, right_hand), scored, not from_sdpose, names)


def _hand_of(value: Any, side: str, context: Context) -> Points:
    """The points of a hand; none, and a note, where they are not the 21 of one."""
    try:
        return points_of(value, (HAND_POINTS,), context, f"the {side} hand")
    except PoseError:
        context.findings.guess(
            f"a {side} hand is left out: it is no list of {HAND_POINTS} points, or damaged."
        )
        return NO_POINTS


def _first_of(keys: Sequence[str], person: Mapping[str, Any]) -> Any:
    """What the first of these keys that a person has says; None without any."""
    return next((person[key] for key in keys if key in person), None)
