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

_CONFIDENCES = ("confidence", "score", "visibility", "c", "v")
_NULLS = (None, None, None)


def points_of(value: Any, counts: tuple[int, ...], context: Context, name: str) -> Points:
    """Points from a flat list of numbers or a list of points.

    Args:
        value: `[x, y, c, x, y, c, ...]`, `[x, y, x, y, ...]`, `[[x, y, c], ...]`, `[[x, y], ...]`
            or `[{"x": .., "y": .., "score": ..}, ...]`. None, an empty list and a list of nulls
            hold no point. A point without confidence has 1.
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
        value = _indexed(value)
    if value is None:
        return NO_POINTS
    if not is_list(value):
        raise context.error(f"{name} is no list of numbers ({brief(value)})")
    if all(element is None for element in value):
        return NO_POINTS
    if len(value) == 1 and is_list(value[0]):
        return points_of(value[0], counts, context, name)
    either = " or ".join(map(str, counts))
    if any(is_list(element) or isinstance(element, Mapping) for element in value):
        points = _array(_rows(value, context), context, name)
        if len(points) not in counts:
            raise context.error(f"{name} has {len(points)} points; expected {either}")
        return points
    for step in (3, 2):
        if len(value) % step == 0 and len(value) // step in counts:
            starts = range(0, len(value), step)
            rows = ((*value[start : start + step], 1.0)[:3] for start in starts)
            return _array(rows, context, name)
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
    if scores is None or not len(points):
        return points
    if is_list(scores) and len(scores) == 1 and is_list(scores[0]):
        scores = scores[0]
    if not is_list(scores) or len(scores) != len(points):
        raise context.error(
            f"{len(points)} points, but their confidences are {brief(scores)}; give one for each"
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
    """A number, or the null that stands for one."""
    if type(value) is float or type(value) is int:
        return True
    return value is None or (isinstance(value, Real) and value is not True and value is not False)


def is_point(value: Any) -> bool:
    """x and y, perhaps with a confidence, as a list or by name."""
    if isinstance(value, Mapping):
        return "x" in value and "y" in value
    return is_list(value) and len(value) in (2, 3) and all(is_number(number) for number in value)


def _rows(value: Sequence[Any], context: Context) -> Iterator[tuple[Any, ...]]:
    """x, y and confidence of each point in a list of points, not yet checked."""
    for number, element in enumerate(value):
        if element is None or (is_list(element) and not element):
            yield _NULLS
        elif isinstance(element, Mapping) and is_point(element):
            confidence = next((element[key] for key in _CONFIDENCES if key in element), 1.0)
            yield element["x"], element["y"], confidence
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


def _indexed(value: Mapping[Any, Any]) -> Any:
    """Points under the keys "0", "1", ... as a list; any other mapping as it is."""
    keys = [str(number) for number in range(len(value))]
    return [value[key] for key in keys] if all(key in value for key in keys) else value
