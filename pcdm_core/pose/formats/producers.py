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
from .joint_maps import BODY_COUNTS
from .points import is_label, is_list, plain

_DRESS_CODE_SIZE = {"height": 512, "width": 384}
_HUMANS = "keypoint_annotations"
# VNHumanBodyPoseObservation's names.
_APPLE_VISION = {
    "head_joint": "nose", "neck_1_joint": "neck",
    **{f"{side}_{part}_joint": f"{side}_{joint}" for side in HAND_SIDES for part, joint in (
        ("eye", "eye"), ("ear", "ear"), ("shoulder_1", "shoulder"), ("forearm", "elbow"),
        ("hand", "wrist"), ("upLeg", "hip"), ("leg", "knee"), ("foot", "ankle"))},
}  # fmt: skip
_LEAST_NAMED = 8  # points of a person with names
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


def _read_detectron2(document: Any) -> Any:
    """Points of all instances in one array; (height, width) beside them, perhaps."""
    height, width = _part(document, "image_size") or (None, None)
    people = [{"keypoints": points} for points in plain(document["pred_keypoints"])]
    return {"people": people, "height": height, "width": width}


def _read_ai_challenger(document: Any) -> Any:
    """A mapping of people a picture; 1 is a seen joint, 2 a hidden one, 3 none."""
    people: list[Any] = []
    for picture in document:
        for numbers in picture[_HUMANS].values():
            rows = zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)
            points = [[x, y, 0.0 if seen == 3 else 1.0] for x, y, seen in rows]
            people.append({"keypoints": points, "image_id": picture.get("image_id")})
    return people


def _read_zed(document: Any) -> Any:
    """People with their points in the picture and in space."""
    return {"people": document["body_list"]}


def _read_apple_vision(document: Any) -> Any:
    """Shares of the picture whose y runs upwards."""
    points: dict[str, Any] = {}
    for theirs, ours in _APPLE_VISION.items():
        if (point := document.get(theirs)) is not None:
            x, y = (point["x"], point["y"]) if isinstance(point, Mapping) else point[:2]
            sure = point.get("confidence", 1.0) if isinstance(point, Mapping) else 1.0
            points[ours] = [x, 1 - y, sure]
    return {"people": [{"keypoints": points}]}


def _is_labelme(document: Any) -> bool:
    shapes = document.get("shapes")
    points = [s for s in shapes if _part(s, "shape_type") == "point"] if is_list(shapes) else []
    return _all_have(points, "points") and len(points) >= _LEAST_NAMED


def _read_labelme(document: Any) -> Any:
    """Points with labels; a group's are one person's."""
    people: dict[Any, dict[str, Any]] = {}
    for shape in document["shapes"]:
        if shape["shape_type"] == "point":
            people.setdefault(shape.get("group_id"), {})[shape["label"]] = shape["points"][0]
    bodies = [{"keypoints": points} for points in people.values()]
    return {**document, "people": bodies}


def _via_pictures(document: Any) -> list[Any]:
    pictures = document.get("_via_img_metadata", document)
    return list(pictures.values()) if isinstance(pictures, Mapping) else []


def _read_via(document: Any) -> Any:
    """Points of a picture's regions, each with the joint as an attribute."""
    people: list[Any] = []
    for picture in _via_pictures(document):
        points: dict[str, Any] = {}
        for region in picture["regions"]:
            place, says = region["shape_attributes"], region["region_attributes"]
            if place["name"] == "point":
                points[str(next(iter(says.values()), None))] = [place["cx"], place["cy"]]
        people.append({"keypoints": points, "image_id": picture.get("filename")})
    return people


def _label_studio_points(task: Any) -> list[Mapping[str, Any]]:
    """A task's points: of the full export results of annotations, of the short one a list."""
    points: list[Mapping[str, Any]] = []
    for part in task.values() if isinstance(task, Mapping) else ():
        if _elements(part, Mapping):
            results = [_part(one, "result") for one in part]
            items = [one for some in (*results, part) if _elements(some, Mapping) for one in some]
            points += [item for item in items if _part(item, "value", "keypointlabels")
                      or _part(item, "keypointlabels")]  # fmt: skip
    return points


def _read_label_studio(document: Any) -> Any:
    """Points in percent of the picture; a task is a picture with one person."""
    frames: list[Any] = []
    for task in document:
        points: dict[str, Any] = {}
        frame: dict[str, Any] = {"people": [{"keypoints": points}]}
        for item in _label_studio_points(task):
            value = item.get("value", item)
            (label,) = value["keypointlabels"]
            if label in points:
                raise ValueError("two people in one picture")
            points[label] = (value["x"] / 100, value["y"] / 100)
            frame |= {"height": item.get("original_height"), "width": item.get("original_width")}
        frames.append(frame)
    return frames


def _are_columns(document: Any) -> bool:
    xs, ys = _part(document, "x"), _part(document, "y")
    return is_list(xs) and is_list(ys) and len(xs) == len(ys) in BODY_COUNTS


def _read_columns(document: Any) -> Any:
    """A list of x, one of y and perhaps one of scores."""
    rest = {key: value for key, value in document.items() if key not in ("x", "y")}
    return {**rest, "keypoints": document}


def _all_have(parts: Sequence[Any], key: str) -> bool:
    return bool(parts) and all(isinstance(part, Mapping) and key in part for part in parts)


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
    Producer(
        "Detectron2's instances",
        _is_mapping(lambda d: is_list(_part(d, "pred_keypoints"))),
        _read_detectron2,
    ),
    Producer(
        "AI Challenger's annotations",
        lambda document: is_list(document) and _all_have(document, _HUMANS),
        _read_ai_challenger,
    ),
    Producer("ZED's bodies", _is_mapping(lambda d: is_list(_part(d, "body_list"))), _read_zed),
    Producer(
        "Apple Vision's joints",
        _is_mapping(lambda d: len(_APPLE_VISION.keys() & d.keys()) >= _LEAST_NAMED),
        _read_apple_vision,
    ),
    Producer("labelme's points", _is_mapping(_is_labelme), _read_labelme),
    Producer(
        "VGG Image Annotator's points",
        _is_mapping(lambda d: _all_have(_via_pictures(d), "regions")),
        _read_via,
    ),
    Producer(
        "Label Studio's export",
        lambda d: is_list(d) and len(d) > 0 and bool(_label_studio_points(d[0])),
        _read_label_studio,
    ),
    Producer("columns of points", _is_mapping(_are_columns), _read_columns),
    Producer("Dress Code's key points", _is_mapping(_is_dress_code), _read_dress_code),
)
