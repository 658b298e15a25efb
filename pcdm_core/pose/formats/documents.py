"""Any JSON document, or what a program holds in its place, as frames: the keys below tell formats.

OpenPose (`people`, `pose_keypoints_2d`), and what others made of it: ComfyUI's POSE_KEYPOINT,
AlphaPose (`bodies`, `joints`), pose editors (`keypoints` with `width` and `height`), mmpose
(`keypoints` beside `keypoint_scores`) and COCO's annotations (`keypoints`, `lefthand_kpts`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..keypoints import HAND_POINTS, HAND_SIDES
from .assemble import RawPerson, assemble
from .frame import Context, Frame
from .joint_maps import BODY_COUNTS
from .limits import LARGEST_NUMBER, MOST_PEOPLE, brief
from .points import is_list, is_number, is_point, plain, points_of, with_confidences

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

_DEEPEST = 6  # levels of lists round a pose; more is damage
_FLAT_COUNTS = {count * step for count in BODY_COUNTS for step in (2, 3)}


def frames_of(document: Any, context: Context, depth: int = 0) -> list[Frame]:
    """All frames of a document; at least one, each with at least one person.

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
        return _frames_of_mapping(document, context, depth)
    if is_list(document):
        return _frames_of_list(document, context, depth)
    raise context.error(f"no pose ({brief(document)}); give OpenPose JSON or a POSE_KEYPOINT")


def _frames_of_mapping(document: Mapping[str, Any], context: Context, depth: int) -> list[Frame]:
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


def _frames_of_list(document: Sequence[Any], context: Context, depth: int) -> list[Frame]:
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
        return [assemble([_person_of(document, context)], None, context)]
    if len(document) == 1 and not _is_person(document[0]):
        return frames_of(document[0], context, depth + 1)
    if all(element is None or _is_person(element) for element in document):
        return _frames_by_picture(document, context)
    if all(element is None or _is_body(element) for element in document):
        context.findings.fact("Format: lists of points.")
        context.findings.guess(f"the {len(document)} lists are people of one picture.")
        return [_frame_of_people(document, {}, context)]
    frames: list[Frame] = []
    for number, element in enumerate(document):
        frames += frames_of(element, context.at(f"frame {number}"), depth + 1)
    return frames


# --- several pictures in one document ------------------------------------------------------------


def _by_picture(people: Sequence[Any]) -> dict[Any, list[Any]]:
    """People by the `image_id` that they say, or None."""
    groups: dict[Any, list[Any]] = {}
    for person in people:
        picture = None if person is None else person.get("image_id")
        groups.setdefault(picture if isinstance(picture, (int, str)) else None, []).append(person)
    return groups


def _frames_by_picture(people: Sequence[Any], context: Context) -> list[Frame]:
    """A list of people: AlphaPose and COCO results say whose picture each is in."""
    groups = _by_picture(people)
    context.findings.fact("Format: a list of people.")
    if len(groups) == 1 and None in groups and len(people) > 1:
        context.findings.guess(f"the {len(people)} people belong to one picture.")
    frames: list[Frame] = []
    for picture, members in groups.items():
        place = context if len(groups) == 1 else context.at(f"picture {brief(picture)}")
        name = None if picture is None else str(picture)
        frames.append(_frame_of_people(members, members[0] or {}, place, name))
    return frames


def _coco_frames(document: Mapping[str, Any], context: Context) -> list[Frame]:
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
    frames: list[Frame] = []
    for picture, members in _by_picture(people).items():
        image = pictures.get(picture, {})
        name = image.get("file_name")
        name = name if isinstance(name, str) else str(picture)
        place = context.at(f"picture {brief(name)}")
        frames.append(_frame_of_people(members, image, place, name))
    return frames


# --- one picture ---------------------------------------------------------------------------------


def _frame_of_people(
    people: Any, document: Mapping[str, Any], context: Context, name: str | None = None
) -> Frame:
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
        _person_of(person, context.at(f"person {number}")) for number, person in enumerate(people)
    ]
    return assemble(raw, size, context, name)


def _size_of(document: Mapping[str, Any], context: Context) -> tuple[int, int] | None:
    """(height, width) of the picture where the document says it.

    Raises:
        PoseError: it says something that is no size.
    """
    for keys in _SIZE_KEYS:
        size = [plain(document.get(key)) for key in keys]
        if size == [None, None]:
            continue
        if not all(_is_side(side) for side in size):
            raise context.error(
                f"the canvas is {brief(size[0])} high and {brief(size[1])} wide; "
                f"both {keys[0]} and {keys[1]} must be positive"
            )
        return int(size[0]), int(size[1])
    return None


def _is_side(side: Any) -> bool:
    number = isinstance(side, (int, float)) and not isinstance(side, bool)
    return number and 1 <= side <= LARGEST_NUMBER


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


def _person_of(person: Any, context: Context) -> RawPerson:
    """One person: a mapping, a bare list of points, or None for one without any.

    Raises:
        PoseError: something else.
    """
    person = plain(person)
    if person is None or is_list(person):
        return RawPerson(points_of(person, BODY_COUNTS, context, "the body"))
    if not isinstance(person, Mapping):
        raise context.error(f"expected an object, found {brief(person)}")
    key = next((key for key in _BODY_KEYS if key in person), None)
    if key is None:
        raise context.error(
            f'no list of joints among {brief(sorted(map(str, person)))}; expected "{_BODY_KEYS[0]}"'
        )
    body = points_of(person[key], BODY_COUNTS, context, key)
    scores = _first_of(_SCORE_KEYS, person)
    body = with_confidences(body, scores, context)
    left_hand, right_hand = (
        points_of(_first_of(keys, person), (HAND_POINTS,), context.at(f"{side} hand"), "the hand")
        for keys, side in zip(_HAND_KEYS, HAND_SIDES, strict=True)
    )
    # ComfyUI's SDPose scores every point, and calls the left hand right: it takes COCO-WholeBody's
    # first hand for the right one.
    from_sdpose = "foot_keypoints_2d" in person
    if from_sdpose:
        context.findings.fact("Producer: ComfyUI's SDPose, by its feet.")
    scored = from_sdpose or key in ("keypoints", "joints") or scores is not None
    return RawPerson(body, (left_hand, right_hand), scored, sure_of_sides=not from_sdpose)


def _first_of(keys: Sequence[str], person: Mapping[str, Any]) -> Any:
    """What the first of these keys that a person has says; None without any."""
    return next((person[key] for key in keys if key in person), None)
