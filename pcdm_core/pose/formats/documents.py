"""Any JSON document, or what a program holds in its place, as frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .frame import Frame, Settings
from .joint_maps import BODY_COUNTS
from .limits import PoseError, brief
from .openpose import frame_of_people, is_person, person_of
from .people import assemble
from .points import is_list, is_number, is_point, plain

_DEEPEST = 6  # levels of lists round a pose; more is damage
_FLAT_COUNTS = {count * step for count in BODY_COUNTS for step in (2, 3)}


def frames_of(document: Any, settings: Settings, where: str, depth: int = 0) -> list[Frame]:
    """All frames of a document; at least one, each with at least one person.

    Args:
        document: mappings, lists and numbers, arrays or tensors.
        settings: how to read.
        where: begins error messages.
        depth: of lists that are already open.

    Raises:
        PoseError: nothing in it is understood as a pose, or a pose cannot be used.
    """
    document = plain(document)
    if depth > _DEEPEST:
        raise PoseError(f"{where}: no pose within {_DEEPEST} levels of lists; export it again")
    if document is None:
        raise PoseError(f"{where}: nothing is in it (null); the detector found no person")
    if isinstance(document, Mapping):
        return _frames_of_mapping(document, settings, where, depth)
    if is_list(document):
        return _frames_of_list(document, settings, where, depth)
    raise PoseError(f"{where}: no pose ({brief(document)}); give OpenPose JSON or a POSE_KEYPOINT")


def _frames_of_mapping(
    document: Mapping[str, Any], settings: Settings, where: str, depth: int
) -> list[Frame]:
    found = settings.findings.found
    if document.get("animals") and not document.get("people"):
        raise PoseError(f"{where}: key points of animals; this needs a person's")
    if "annotations" in document:
        found("Format: COCO annotations.")
        return _coco_frames(document, settings, where)
    if is_list(document.get("instance_info")):
        found("Format: mmpose results.")
        return frames_of(document["instance_info"], settings, where, depth + 1)
    for key, name in (
        ("people", "OpenPose JSON" if "canvas_height" not in document else "POSE_KEYPOINT"),
        ("bodies", "AlphaPose JSON"),
        ("instances", "mmpose results"),
    ):
        if key in document:
            found(f"Format: {name}.")
            return [frame_of_people(document[key], document, settings, where)]
    for key in ("predictions", "frames"):
        if key in document:
            return frames_of(document[key], settings, where, depth + 1)
    if is_person(document):
        several = _people_in_one_list(document)
        found("Format: several people's points." if several else "Format: one person's points.")
        return [frame_of_people(several or [document], document, settings, where)]
    raise PoseError(
        f'{where}: no OpenPose document, it has no "people" ({brief(document)}); '
        "give OpenPose JSON, a POSE_KEYPOINT, or 18 lines of x y"
    )


def _frames_of_list(
    document: Sequence[Any], settings: Settings, where: str, depth: int
) -> list[Frame]:
    if not document:
        raise PoseError(f"{where}: an empty list; the detector found no person in any frame")
    if all(is_number(element) for element in document):
        if len(document) not in _FLAT_COUNTS:
            raise PoseError(
                f"{where}: {len(document)} numbers are no pose; expected x, y or x, y, confidence "
                f"of {' or '.join(str(count) for count in sorted(BODY_COUNTS))} points"
            )
        return [_bare(document, settings, where)]
    if _are_points(document):
        return [_bare(document, settings, where)]
    if len(document) == 1 and not is_person(document[0]):
        return frames_of(document[0], settings, where, depth + 1)
    if all(element is None or is_person(element) for element in document):
        return _group_by_picture(document, settings, where)
    if all(element is None or _is_body(element) for element in document):
        settings.findings.found("Format: lists of points.")
        settings.findings.guess(f"the {len(document)} lists are people of one picture.")
        return [frame_of_people(document, {}, settings, where)]
    frames: list[Frame] = []
    for number, element in enumerate(document):
        frames += frames_of(element, settings, f"{where}, frame {number}", depth + 1)
    return frames


def _bare(points: Sequence[Any], settings: Settings, where: str) -> Frame:
    settings.findings.found("Format: a list of points.")
    return assemble([person_of(points, where, settings.findings)], None, settings, where)


def _are_points(document: Sequence[Any]) -> bool:
    """Whether a list holds one person's points and not documents or people."""
    known = sum(is_point(element) for element in document)
    return len(document) in BODY_COUNTS and known * 2 > len(document)


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


def _group_by_picture(people: Sequence[Any], settings: Settings, where: str) -> list[Frame]:
    """A list of people: AlphaPose and COCO results say whose picture each is in."""
    groups: dict[Any, list[Any]] = {}
    for person in people:
        picture = None if person is None else person.get("image_id")
        groups.setdefault(picture if isinstance(picture, (int, str)) else None, []).append(person)
    settings.findings.found("Format: a list of people.")
    if len(groups) == 1 and None in groups and len(people) > 1:
        settings.findings.guess(f"the {len(people)} people belong to one picture.")
    frames: list[Frame] = []
    for picture, members in groups.items():
        place = where if len(groups) == 1 else f"{where}, picture {brief(picture)}"
        first = members[0] if isinstance(members[0], Mapping) else {}
        name = None if picture is None else str(picture)
        frames.append(frame_of_people(members, first, settings, place, name))
    return frames


def _coco_frames(document: Mapping[str, Any], settings: Settings, where: str) -> list[Frame]:
    annotations, images = plain(document["annotations"]), plain(document.get("images"))
    if isinstance(annotations, Mapping):
        annotations = [annotations]
    people = [item for item in annotations if is_person(item)] if is_list(annotations) else []
    if not people:
        raise PoseError(f"{where}: no annotation has key points; give COCO's person_keypoints file")
    pictures: dict[Any, Mapping[str, Any]] = {}
    for image in images if is_list(images) else []:
        if isinstance(image, Mapping) and isinstance(image.get("id"), (int, str)):
            pictures[image["id"]] = image
    groups: dict[Any, list[Any]] = {}
    for person in people:
        picture = person.get("image_id")
        groups.setdefault(picture if isinstance(picture, (int, str)) else None, []).append(person)
    frames: list[Frame] = []
    for picture, members in groups.items():
        image = pictures.get(picture, {})
        given = image.get("file_name")
        name = given if isinstance(given, str) else str(picture)
        place = f"{where}, picture {brief(name)}"
        frames.append(frame_of_people(members, image, settings, place, name))
    return frames
