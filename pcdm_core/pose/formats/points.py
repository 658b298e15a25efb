"""Points of one person as files have them: flat or nested, with or without confidence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .frame import Context
from .limits import LARGEST_NUMBER, brief

Points = NDArray[np.float64]
"""`[N, 3]`: x, y, confidence; a point that the file itself declares missing is NaN."""

NO_POINTS: Points = np.zeros((0, 3))

COCO_POINTS = 17
_HIGH, _LOW = [0, 5, 6], [11, 12, 13, 14]  # nose and shoulders, hips and knees
_FEW = 0.1  # of the numbers; these are damaged

_CONFIDENCES = ("confidence", "score", "visibility", "visible", "c", "v", "likelihood",
                "inFrameLikelihood")  # fmt: skip
_PLACES = ("position", "point", "location", "coordinates")  # x and y one level down
_NULLS = (None, None, None)
_LANDMARKS = 33  # MediaPipe's, whose points have a depth
_DEPTHS = 0.2  # of the points; a confidence below 0 is damage
_LONGEST_NUMBER = 40  # characters
_OTHERS = {21: " (a hand's)", 468: " (a face's)", 478: " (a face's)"}  # landmarks of a part


def points_of(value: Any, counts: tuple[int, ...], context: Context, name: str) -> Points:
    """Points from a flat list of numbers or a list of points.

    Args:
        value: `[x, y, c, x, y, c, ...]`, `[x, y, x, y, ...]`, `[[x, y, c], ...]`, `[[x, y], ...]`
            `[{"x": .., "y": .., "score": ..}, ...]` or `{"x": [..], "y": [..]}`, numbers perhaps as
            texts. None, an empty list and a list of nulls hold no point. A point without
            confidence has 1. Four numbers are MediaPipe's x, y, z, visibility or Dress Code's x, y,
            score, index.
        counts: how many points there may be.
        context: how to read.
        name: of the list in them.

    Returns:
        As many points as the list has, or none at all.

    Raises:
        PoseError: no such list, or another count.
        PointError: a value is no number or out of all bounds.
    """
    value = plain(value)
    if isinstance(value, Mapping):
        value = _listed(value)
    if value is None:
        return NO_POINTS
    if not is_list(value):
        raise context.error(f"{name} is no list of numbers ({brief(value)})")
    if all(element is None for element in value):
        return NO_POINTS
    if len(value) == 1 and is_list(value[0]):
        return points_of(value[0], counts, context, name)
    either = " or ".join(map(str, counts))
    if len(value) == 4 * _LANDMARKS and _LANDMARKS in counts and all(map(is_number, value)):
        value = [value[start : start + 4] for start in range(0, len(value), 4)]
    if _have_numbers(value):
        context.findings.guess("the first number of each point is its own number and no place.")
        sure = all(len(point) == 4 and 0 <= point[3] <= 1 for point in value)
        value = [point[1:] if sure else point[1:3] for point in value]
    if any(is_list(element) or isinstance(element, Mapping) for element in value):
        points = _array(_rows(value, context), context, name)
        if len(points) not in counts:
            whose = _OTHERS.get(len(points), "")
            raise context.error(f"{name} has {len(points)} points{whose}; expected {either}")
        return _without_depths(points, context)
    for step in (3, 2):
        if len(value) % step == 0 and len(value) // step in counts:
            starts = range(0, len(value), step)
            rows = ((*value[start : start + step], 1.0)[:3] for start in starts)
            return _without_depths(_array(rows, context, name), context)
    raise context.error(
        f"{name} has {len(value)} numbers, which are not x, y, confidence (or x, y) of "
        f"{either} points. Export or detect the pose again."
    )


def with_confidences(points: Points, scores: Any, context: Context) -> Points:
    """Points whose confidences stand in a list of their own.

    Raises:
        PoseError: there is another number of confidences.
        PointError: a confidence is no number.
    """
    scores = plain(scores)
    if scores is None or (is_list(scores) and not scores) or not len(points):
        return points
    if is_list(scores) and len(scores) == 1 and is_list(scores[0]):
        scores = scores[0]
    if not is_list(scores) or len(scores) != len(points):
        raise context.error(
            f"{len(points)} points, but their confidences are {brief(scores)}; give one for each"
        )
    third = points[:, 2]
    if ((third < 0) | (third > 1.05)).any() and third.tolist() != scores:
        raise context.error(
            f"{len(points)} points of three numbers, and confidences beside them: these are 3D, "
            "x, y, z. Export the 2D key points"
        )
    pairs = zip(points.tolist(), scores, strict=True)
    rows = (_NULLS if x != x else (x, y, score) for (x, y, _), score in pairs)
    return _array(rows, context, "the list of confidences")


def missing_points(count: int) -> Points:
    """So many points of which the file says nothing."""
    return np.full((count, 3), np.nan)


def is_missing(points: Points, threshold: float) -> NDArray[np.bool_]:
    """Whether a file means that there is no such point: by its confidence, or by a code.

    Codes are 0, 0; a coordinate of -1; and one negative number for both.

    Args:
        points: `[..., 3]`.
        threshold: confidences above it count.
    """
    x, y, confidence = np.moveaxis(points, -1, 0)
    code = ((x == 0) & (y == 0)) | (x == -1) | (y == -1) | ((x == y) & (x < 0))
    return ~(confidence > threshold) | code


def with_x_first(points: Points, context: Context) -> Points:
    """Points `[..., P, 3]` with x before y, which MoveNet's 17 have the other way round."""
    if points.shape[-2:] != (COCO_POINTS, 3) or not _are_y_first(points):
        return points
    context.findings.guess("y stands before x, as MoveNet writes: so the person stands upright.")
    return points[..., [1, 0, 2]]


def _are_y_first(points: Points) -> bool:
    """Whether `[..., 17, 3]` in COCO's order are MoveNet's y, x, score in fractions.

    Read as x, y these people would lie, heads to the left: by most ways from the nose and the
    shoulders to the hips and the knees, of which a single point spoils few.
    """
    places = np.where(is_missing(points, 0.0)[..., None], np.nan, points[..., :2])
    places = places.reshape(-1, COCO_POINTS, 2)
    there = places[~np.isnan(places)]
    if not len(there) or ((there < 0) | (there > 1)).mean() > _FEW:
        return False
    ways = places[:, None, _LOW] - places[:, _HIGH, None]
    ways = ways[~np.isnan(ways[..., 0])]
    along, down = np.median(ways, axis=0) if len(ways) else (0.0, 0.0)
    return bool(along > 2 * abs(down))


def plain(value: Any) -> Any:
    """Arrays and tensors, also those in a list, as lists; everything else as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)) and any(hasattr(element, "tolist") for element in value):
        return [plain(element) for element in value]
    return value


def is_list(value: Any) -> bool:
    """A sequence that is no text."""
    kind = type(value)
    return kind is list or (
        kind is not float  # asked of every number: the check below takes far longer
        and isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
    )


def is_number(value: Any) -> bool:
    """A number, its text, or the null that stands for one."""
    if type(value) is float or type(value) is int:
        return True
    if isinstance(value, str):
        return number_of(value) is not None
    return value is None or (isinstance(value, Real) and value is not True and value is not False)


def number_of(text: str) -> float | None:
    """The number that a text is."""
    try:
        return float(text) if len(text) <= _LONGEST_NUMBER else None
    except ValueError:
        return None


def is_point(value: Any) -> bool:
    """x and y, perhaps with a confidence, as a list or by name."""
    if isinstance(value, Mapping):
        value = _flattened(value)
        return all(axis in value and is_number(value[axis]) for axis in "xy")
    return is_list(value) and len(value) in (2, 3, 4) and all(is_number(number) for number in value)


def is_label(number: Any, place: int) -> bool:
    """Whether a number is the label of Dress Code's point there; some files leave one out."""
    return number in (place, place + 1, -1)


def _have_numbers(value: Sequence[Any]) -> bool:
    """Whether every point begins with its own number: 0, x, y; 1, x, y; and so on."""
    return all(
        is_list(point) and len(point) in (3, 4) and point[0] == number and is_point(point)
        for number, point in enumerate(value)
    )


def _rows(value: Sequence[Any], context: Context) -> Iterator[tuple[Any, ...]]:
    """x, y and confidence of each point in a list of points, not yet checked."""
    confidence = _place_of_confidence(value, context)
    for number, element in enumerate(value):
        if element is None or (is_list(element) and not element):
            yield _NULLS
        elif isinstance(element, Mapping) and {"x", "y"} <= (point := _flattened(element)).keys():
            sure = next((point[k] for k in _CONFIDENCES if k in point), 1.0)
            yield point["x"], point["y"], float(sure) if isinstance(sure, bool) else sure
        elif is_list(element) and len(element) == 4:
            yield element[0], element[1], element[confidence]
        elif is_list(element) and len(element) in (2, 3):
            yield (*element, 1.0)[:3]
        else:
            raise context.point_error(
                f"point {number} is {brief(element)}; expected x, y or x, y, confidence"
            )


def _array(rows: Iterable[tuple[Any, ...]], context: Context, name: str) -> Points:
    """Checked rows; one with a null, NaN or infinity is missing, and the latter two are said."""
    points: list[list[float]] = []
    endless: list[int] = []
    for number, row in enumerate(rows):
        missing = False
        if any(isinstance(value, str) for value in row):
            row = tuple(_unquoted(value) for value in row)
        for value in row:
            if not is_number(value):
                raise context.point_error(
                    f"point {number} has {brief(value)} where a number belongs"
                )
            if value is None or abs(value) <= LARGEST_NUMBER:
                missing |= value is None
            elif value != value or abs(value) == math.inf:
                missing = True
                endless.append(number)
            else:
                raise context.point_error(
                    f"point {number} is {brief(value)}; write 0 0 0 for a missing joint"
                )
        points.append([np.nan] * 3 if missing else [float(value) for value in row])
    for number in dict.fromkeys(endless):
        context.findings.guess(f"point {number} of {name} is NaN or infinite: it is missing.")
    return np.array(points).reshape(-1, 3)


def _place_of_confidence(value: Sequence[Any], context: Context) -> int:
    """Where the confidence stands in points of four numbers.

    Raises:
        PoseError: nowhere: they are 3D.
    """
    fours = [
        (place, point[3]) for place, point in enumerate(value) if is_list(point) and len(point) == 4
    ]
    if not fours or len(value) == _LANDMARKS:
        return 3
    if sum(is_label(last, place) for place, last in fours) * 2 > len(fours):
        return 2
    raise context.error(
        f"{len(value)} points of four numbers are 3D: x, y, z, confidence. Export the 2D key points"
    )


def _without_depths(points: Points, context: Context) -> Points:
    """The same where a landmark's third number is its depth and no confidence.

    Raises:
        PoseError: other points have depths, and are in space.
    """
    below = (points[:, 2] < 0) & ~is_missing(points, -np.inf)
    if len(points) == _LANDMARKS and below.any():
        points[~np.isnan(points[:, 2]), 2] = 1.0
    elif below.sum() > _DEPTHS * len(points):
        raise context.error(f"{len(points)} points are 3D: x, y, z. Export the 2D key points")
    return points


def _listed(value: Mapping[Any, Any]) -> Any:
    """Points under the keys "0", "1", ..., in columns or one level down as a list."""
    if "landmark" in value:
        return plain(value["landmark"])
    columns = [plain(value.get(axis)) for axis in "xy"]
    if all(is_list(column) for column in columns) and len(columns[0]) == len(columns[1]):
        scores = plain(next((value[key] for key in _CONFIDENCES if key in value), None))
        if is_list(scores) and len(scores) == len(columns[0]):
            columns.append(scores)
        return [list(point) for point in zip(*columns, strict=True)]
    keys = [str(number) for number in range(len(value))]
    return [value[key] for key in keys] if all(key in value for key in keys) else value


def _flattened(point: Mapping[str, Any]) -> Mapping[str, Any]:
    """A point whose x and y may stand one level down."""
    inner = next((point[key] for key in _PLACES if isinstance(point.get(key), Mapping)), None)
    return point if inner is None else {**point, **inner}


def _unquoted(value: Any) -> Any:
    """The number that a text is; anything else as it is."""
    number = number_of(value) if isinstance(value, str) else None
    return value if number is None else number
