"""Documents of single programs, brought into the shapes that `documents` reads: one table.

A reader returns OpenPose-like documents (`people`, each with `keypoints` or `pose_keypoints_2d`)
or a list of such frames. It may take for granted what its row's `fits` has seen; whatever else is
missing or of another type is told to the user as damage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..keypoints import HAND_SIDES
from .frame import Context
from .points import is_label, is_list, plain

_DRESS_CODE_SIZE = {"height": 512, "width": 384}
_MOST = 0.75  # of a person's points; the others are damaged
_DAMAGE = (TypeError, KeyError, IndexError, ValueError, AttributeError, OverflowError)


class Producer(NamedTuple):
    """A program's document: its name in reports, whether one is such, and its reader."""

    name: str
    fits: Callable[[Any], bool]
    read: Callable[[Any], Any]


def in_known_shape(document: Any, context: Context) -> Any:
    """A document of a program in the table in a shape that others have too; any other as it is.

    Raises:
        PoseError: it is such a program's, and damaged.
    """
    for producer in PRODUCERS:
        if producer.fits(document):
            context.findings.format(producer.name)
            try:
                return producer.read(document)
            except _DAMAGE as error:
                raise context.error(
                    f"looks like {producer.name}, but is damaged; export the pose again"
                ) from error
    return document


def _part(document: Any, *keys: str) -> Any:
    """What lies below these keys, as lists; None where one is missing."""
    for key in keys:
        document = document.get(key) if isinstance(document, Mapping) else None
    return plain(document)


def _elements(value: Any, kind: type | None = None) -> bool:
    """Whether a list has elements, all of them of a kind (None: lists)."""
    if not is_list(value) or not value:
        return False
    return all(is_list(one) if kind is None else isinstance(one, kind) for one in value)


def _read_dwpose(document: Any) -> Any:
    """DWPose (MimicMotion, UniAnimate, EchoMimic) and OpenPose's Python ports, as they return it.

    `subset` says for each person which candidates the joints are, -1 for none, or how sure each of
    18 in a row is. Left hands of all people come before the right ones.
    """
    bodies, hands = document["bodies"], _part(document, "hands") or []
    rows, scores = _part(bodies, "subset"), _part(bodies, "score")
    hand_scores = _part(document, "hands_score")
    candidates = _part(bodies, "candidate")
    if _elements(candidates[0]):
        candidates = [point for person in candidates for point in person]
    people: list[dict[str, Any]] = []
    for number, row in enumerate(rows):
        row = row[:18]
        sure = sum(score != int(score) for score in row) * 2 > len(row)
        places = range(18 * number, 18 * (number + 1)) if sure else [int(place) for place in row]
        body = [[*candidates[place][:2], 1.0] if place >= 0 else None for place in places]
        person: dict[str, Any] = {"keypoints": body}
        if sure or scores:
            person["keypoint_scores"] = row if sure else scores[number][:18]
        if len(hands) == 2 * len(rows):
            for side, name in enumerate(HAND_SIDES):
                hand = hands[side * len(rows) + number]
                if hand_scores:
                    pairs = zip(hand, hand_scores[side * len(rows) + number], strict=True)
                    hand = [[*point[:2], 1.0 if score > 0.3 else 0.0] for point, score in pairs]
                person[f"hand_{name}_keypoints_2d"] = hand
        people.append(person)
    return {**document, "people": people}


def _read_easy_vitpose(document: Any) -> Any:
    """y before x; a mapping of people by their number for each frame."""
    frames: list[Any] = []
    for people in document["keypoints"]:
        points = [[[x, y, *rest] for y, x, *rest in person] for person in people.values()]
        names = document.get("skeleton")
        frames.append({"people": [{"keypoints": one, "keypoint_names": names} for one in points]})
    return frames


def _read_kinetics(document: Any) -> Any:
    """ST-GCN's Kinetics-skeleton: OpenPose's points and their scores apart."""
    frames: list[Any] = []
    for frame in document["data"]:
        people: list[Any] = []
        for person in frame["skeleton"]:
            xs, ys = person["pose"][::2], person["pose"][1::2]
            points = [list(point) for point in zip(xs, ys, person["score"], strict=True)]
            people.append({"pose_keypoints_2d": points})
        frames.append({"people": people})
    return frames


def _read_dress_code(document: Any) -> Any:
    """x, y, score, index in pixels of 384x512, whatever the size of the picture that ships."""
    width, height = _DRESS_CODE_SIZE["width"], _DRESS_CODE_SIZE["height"]
    inside = [x <= width and y <= height for x, y, *_ in document["keypoints"]]
    return {**document, **_DRESS_CODE_SIZE} if sum(inside) > _MOST * len(inside) else document


def _is_dress_code(document: Any) -> bool:
    points = _part(document, "keypoints")
    if not _elements(points) or len(points) != 18 or "width" in document:
        return False
    labelled = [len(point) == 4 and is_label(point[3], place) for place, point in enumerate(points)]
    return sum(labelled) > _MOST * len(labelled)


def _read_sam_3d_body(document: Any) -> Any:
    """ComfyUI's SAM3DBody_Predict: (height, width) beside the frames."""
    height, width = document["image_size"]
    return {**document, "height": height, "width": width, "image_size": None}


def _is_easy_vitpose(document: Any) -> bool:
    frames = _part(document, "keypoints")
    return "skeleton" in document and _elements(frames, Mapping)


def _is_mapping(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda document: isinstance(document, Mapping) and fits(document)


PRODUCERS: Sequence[Producer] = (
    Producer(
        "DWPose's own result",
        _is_mapping(lambda d: _elements(_part(d, "bodies", "candidate"))),
        _read_dwpose,
    ),
    Producer("easy_ViTPose JSON", _is_mapping(_is_easy_vitpose), _read_easy_vitpose),
    Producer(
        "Kinetics-skeleton JSON",
        _is_mapping(
            lambda d: _elements(frames := _part(d, "data"), Mapping) and "skeleton" in frames[0]
        ),
        _read_kinetics,
    ),
    Producer(
        "SAM 3D Body's pose data",
        _is_mapping(lambda d: is_list(d.get("frames")) and is_list(_part(d, "image_size"))),
        _read_sam_3d_body,
    ),
    Producer("Dress Code's key points", _is_mapping(_is_dress_code), _read_dress_code),
)
