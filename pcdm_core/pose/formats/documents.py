"""Any JSON document, or what a program holds in its place, as frames: the keys below tell formats.

OpenPose (`people`, `pose_keypoints_2d`), and what others made of it: ComfyUI's POSE_KEYPOINT,
AlphaPose (`bodies`, `joints`), pose editors (`keypoints` with `width` and `height`), mmpose
(`keypoints` beside `keypoint_scores`) and COCO's annotations. What is a person's is in `people`,
what a single program's is in `producers`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...ranges import SIDE
from .assemble import RawFrame, RawPerson, fault_frame
from .frame import Context
from .joint_maps import BODY_COUNTS
from .limits import LARGEST_NUMBER, MOST_PEOPLE, PoseError, brief, parse_json
from .no_pose import refuse_document
from .people import (
    are_points,
    is_body,
    is_flat,
    is_person,
    joint_names,
    people_in_one_list,
    person_of,
)
from .points import NO_POINTS, is_list, is_number, number_of, plain
from .producers import in_known_shape

# Of a picture: where its people are, and the format that this tells.
_PEOPLE_KEYS = {
    "people": "OpenPose JSON",
    "bodies": "AlphaPose JSON",
    "instances": "mmpose results",
    "annots": "EasyMocap's annotations",
}
_FRAMES_KEYS = ("predictions", "frames", "pose_metas", "pose_metas_original")
_LOOSE_KEYS = ("poses", "persons", "detections", "results", "skeletons", "data", "result",
               "output", "outputs", "pose", "pose_keypoint", "text")  # asked last  # fmt: skip
_META_KEYS = ("keypoints_body", "kps_body")  # Wan's, which are a picture's and not only a person's
_SIZE_KEYS = (("canvas_height", "canvas_width"), ("height", "width"),
              ("image_height", "image_width"), ("imageHeight", "imageWidth"))  # fmt: skip
_SIZES_WITHIN = ("image", "canvas", "image_size", "resolution")
_BOX_KEYS = ("x", "left", "xmin")  # `width` and `height` beside one of them are a box's
_PICTURE_KEYS = ("image_id", "image_name", "file_name", "filename", "frame_id", "frame",
                 "frame_index")  # fmt: skip
# Names of pictures and not of people.
_PICTURE_NAME = re.compile(r"\.(jpe?g|png|webp|bmp|tiff?)$|frame|image|img", re.IGNORECASE)
_PAIR_KEYS = {"source_image", "target_image"}

_DEEPEST = 6  # levels of lists round a pose; more is damage


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
    if isinstance(document, str) and document.lstrip().startswith(("{", "[")):
        document = _document_within(document, context)
    if document is None:
        raise context.error("nothing is in it (null); the detector found no person")
    document = in_known_shape(document, context)
    if isinstance(document, Mapping):
        names = joint_names(document)
        context = replace(context, joint_names=names) if names else context
        frames = _frames_of_mapping(document, context, depth)
        size = _size_of(document, context)
        return [replace(one, size=one.size or size) for one in frames] if size else frames
    if is_list(document):
        return _frames_of_list(document, context, depth)
    raise context.error(f"no pose ({brief(document)}); give OpenPose JSON or a POSE_KEYPOINT")


def _document_within(text: str, context: Context) -> Any:
    """What JSON within a text of JSON holds: a service's answer, a node's output."""
    try:
        return parse_json(text)
    except ValueError as error:
        raise context.error(f"damaged JSON ({error}); export the pose again") from error


def _frames_of_mapping(document: Mapping[str, Any], context: Context, depth: int) -> list[RawFrame]:
    say_format = context.findings.format
    if document.get("animals") and not document.get("people"):
        raise context.error("key points of animals; this needs a person's")
    if "annotations" in document:
        say_format("COCO annotations")
        return _coco_frames(document, context)
    if is_list(document.get("instance_info")):
        say_format("mmpose results")
        return frames_of(document["instance_info"], context, depth + 1)
    for key, name in _PEOPLE_KEYS.items():
        if key in document:
            in_comfyui = key == "people" and "canvas_height" in document
            say_format("POSE_KEYPOINT" if in_comfyui else name)
            return [_frame_of_people(document[key], document, context)]
    for key in _FRAMES_KEYS:
        if key in document:
            return frames_of(document[key], context, depth + 1)
    if is_person(document):
        several = people_in_one_list(document)
        say_format("several people's points" if several else "one person's points")
        return [_frame_of_people(several or [document], document, context)]
    for key in _LOOSE_KEYS:
        if isinstance(plain(document.get(key)), (list, tuple, str, Mapping)):
            return frames_of(document[key], context, depth + 1)
    parts = {str(name): part for name, part in document.items() if _holds_people(part)}
    if len(parts) * 2 > len(document):
        return _frames_by_name(parts, context, depth)
    refuse_document(document, context)
    raise context.error(
        f'no OpenPose document, it has no "people" ({brief(document)}); '
        "give OpenPose JSON, a POSE_KEYPOINT, or 18 lines of x y"
    )


def _holds_people(value: Any) -> bool:
    """Whether a part of a mapping is somebody's points, a list of people or a picture of them."""
    value = plain(value)
    if isinstance(value, Mapping):
        inner = next(iter(value.values()), None)
        has_key = any(key in value for key in (*_PEOPLE_KEYS, *_FRAMES_KEYS))
        return has_key or is_person(value) or is_person(inner) or is_body(inner)
    if not is_list(value):
        return False
    return is_body(value) or (len(value) > 0 and (is_person(value[0]) or is_body(value[0])))


def _frames_by_name(parts: Mapping[str, Any], context: Context, depth: int) -> list[RawFrame]:
    """A mapping from pictures to their people (AlphaPose, PoseFlow), or from people's numbers."""
    one_each = [plain(part) for part in parts.values()]
    if not any(map(_PICTURE_NAME.search, parts)):
        if all(is_person(part) or is_body(part) for part in one_each):
            context.findings.format("people by their numbers")
            return [_frame_of_people(one_each, {}, context)]
        tracks = [person for part in one_each if is_list(part) for person in part]
        of_pictures = [isinstance(one, Mapping) and _picture_of(one) is not None for one in tracks]
        if tracks and all(of_pictures):
            context.findings.format("people by their numbers")
            return _frames_by_picture(tracks, context)
    context.findings.format("people by picture")
    frames: list[RawFrame] = []
    for name, part in zip(parts, one_each, strict=True):
        place = context.at(f"picture {brief(name)}")
        if is_list(part) and not is_body(part):
            frames += _picture_or_fault(part, {}, place, name)
        else:
            inner = _frames_or_fault(
                lambda p=part, c=place: frames_of(p, c, depth + 1), place, name
            )
            frames += [replace(one, name=one.name or name) for one in inner]
    return frames


def _frames_of_list(document: Sequence[Any], context: Context, depth: int) -> list[RawFrame]:
    if not document:
        raise context.error("an empty list; the detector found no person in any frame")
    if isinstance(document[0], Mapping) and document[0].keys() >= _PAIR_KEYS:
        raise context.error("a list of pairs of pictures; give the poses of these pictures")
    numbers = all(is_number(element) for element in document)
    if numbers and not is_flat(document):
        raise context.error(
            f"{len(document)} numbers are no pose; expected x, y or x, y, confidence "
            f"of {' or '.join(str(count) for count in sorted(BODY_COUNTS))} points"
        )
    if numbers or are_points(document):
        context.findings.format("a list of points")
        return [RawFrame([person_of(document, context)], None, context)]
    if len(document) == 1 and not is_person(document[0]):
        return frames_of(document[0], context, depth + 1)
    people = all(element is None or is_person(element) for element in document)
    if people and not any(key in (document[0] or {}) for key in _META_KEYS):
        return _frames_by_picture(document, context)
    if all(element is None or is_body(element) for element in document):
        context.findings.format("lists of points")
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
    """People by the picture that they say, or None."""
    groups: dict[Any, list[Any]] = {}
    for person in people:
        groups.setdefault(None if person is None else _picture_of(person), []).append(person)
    return groups


def _picture_of(person: Mapping[str, Any]) -> int | str | None:
    """Name or number of the picture that a person says to be in."""
    says = (person.get(key) for key in _PICTURE_KEYS)
    named = (picture for picture in says if isinstance(picture, (int, str)) and picture != "")
    return next(named, None)


def _frames_by_picture(people: Sequence[Any], context: Context) -> list[RawFrame]:
    """A list of people: AlphaPose and COCO results say whose picture each is in."""
    groups = _by_picture(people)
    context.findings.format("a list of people")
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
    people = [item for item in annotations if is_person(item)] if is_list(annotations) else []
    if not people:
        raise context.error("no annotation has key points; give COCO's person_keypoints file")
    pictures: dict[Any, Mapping[str, Any]] = {
        image["id"]: image
        for image in (images if is_list(images) else [])
        if isinstance(image, Mapping) and isinstance(image.get("id"), (int, str))
    }
    frames: list[RawFrame] = []
    groups = _by_picture(people)
    if missing := len(pictures.keys() - groups.keys()):
        context.findings.guess(
            f"nobody is annotated in {missing} of {len(pictures)} pictures; these are left out."
        )
    order = {picture: number for number, picture in enumerate(pictures)}
    for picture in sorted(groups, key=lambda picture: order.get(picture, len(order))):
        members, image = groups[picture], pictures.get(picture, {})
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
        by_number = not is_person(people) and all(map(is_person, people.values()))
        people = list(people.values()) if by_number else [people]
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
    if any(key in document for key in _BOX_KEYS):
        return None
    inner = next((document[k] for k in _SIZES_WITHIN if isinstance(document.get(k), Mapping)), {})
    for keys in _SIZE_KEYS:
        said = [plain(document.get(key, inner.get(key))) for key in keys]
        if said == [None, None]:
            continue
        if all(side in (0, None) and side is not False for side in said):
            context.findings.guess("a canvas of 0 says no size.")
            continue
        size: list[Any] = [number_of(side) if isinstance(side, str) else side for side in said]
        if not all(_is_side(side) for side in size):
            raise context.error(
                f"the canvas is {brief(said[0])} high and {brief(said[1])} wide; "
                f"{keys[0]} and {keys[1]} must both be {SIDE}"
            )
        return int(size[0]), int(size[1])
    return None


def _is_side(side: Any) -> bool:
    number = isinstance(side, (int, float)) and not isinstance(side, bool)
    return number and 1 <= side <= LARGEST_NUMBER and int(side) in SIDE


def _person_or_fault(person: Any, context: Context) -> RawPerson:
    try:
        return person_of(person, context)
    except PoseError as error:
        return RawPerson(NO_POINTS, fault=error)
