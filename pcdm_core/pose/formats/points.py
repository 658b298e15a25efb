"""Points of one person as files have them: flat or nested, with or without confidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from .limits import LARGEST_NUMBER, PointError, PoseError, brief

Point = tuple[float, float, float]
"""x, y, confidence."""

Points = list[Point | None]
"""None is a point that the file itself declares missing."""

_CONFIDENCES = ("confidence", "score", "visibility", "c", "v")


def points_of(value: Any, counts: tuple[int, ...], where: str, what: str) -> Points:
    """Points from a flat list of numbers or a list of points.

    Args:
        value: `[x, y, c, x, y, c, ...]`, `[x, y, x, y, ...]`, `[[x, y, c], ...]`, `[[x, y], ...]`
            or `[{"x": .., "y": .., "score": ..}, ...]`. None, an empty list and a list of nulls
            hold no point. A point without confidence has 1.
        counts: how many points there may be.
        where: begins error messages.
        what: the list's name in them.

    Returns:
        As many points as the list has, or none at all.

    Raises:
        PoseError: no such list, or another count.
        PointError: a value is no number, NaN or out of all bounds.
    """
    value = plain(value)
    if value is None:
        return []
    if isinstance(value, Mapping):
        value = _indexed(value)
    if not is_list(value):
        raise PoseError(f"{where}: {what} is no list of numbers ({brief(value)})")
    if all(element is None for element in value):
        return []
    if len(value) == 1 and is_list(value[0]):
        return points_of(value[0], counts, where, what)
    points = _nested(value, where) if _is_nested(value) else _flat(value, counts, where, what)
    if len(points) not in counts:
        raise PoseError(f"{where}: {what} has {len(points)} points; expected {_either(counts)}")
    return points


def with_confidences(points: Points, scores: Any, where: str) -> Points:
    """Points whose confidences stand in a list of their own.

    Raises:
        PoseError: there is another number of confidences.
        PointError: a confidence is no number.
    """
    scores = plain(scores)
    if scores is None or not points:
        return points
    if is_list(scores) and len(scores) == 1 and is_list(scores[0]):
        scores = scores[0]
    if not is_list(scores) or len(scores) != len(points):
        raise PoseError(
            f"{where}: {len(points)} points, but their confidences are {brief(scores)}; "
            "give one for each"
        )
    merged: Points = []
    for number, (point, score) in enumerate(zip(points, scores, strict=True)):
        known = _point((None, None, None) if point is None else (*point[:2], score), number, where)
        merged.append(known)
    return merged


def plain(value: Any) -> Any:
    """Arrays and tensors, also those in a list, as lists; everything else as it is."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, (list, tuple)) and any(hasattr(element, "tolist") for element in value):
        return [plain(element) for element in value]
    return value


def is_list(value: Any) -> bool:
    """A sequence that is no text."""
    return type(value) is list or (
        isinstance(value, Sequence) and not isinstance(value, (str, bytes))
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


def _is_nested(value: Sequence[Any]) -> bool:
    return any(is_list(element) or isinstance(element, Mapping) for element in value)


def _nested(value: Sequence[Any], where: str) -> Points:
    points: Points = []
    for number, element in enumerate(value):
        if element is None or (is_list(element) and not element):
            points.append(None)
        elif isinstance(element, Mapping) and is_point(element):
            confidence = next((element[key] for key in _CONFIDENCES if key in element), 1.0)
            points.append(_point((element["x"], element["y"], confidence), number, where))
        elif is_list(element) and len(element) in (2, 3):
            points.append(_point((*element, 1.0)[:3], number, where))
        else:
            raise PointError(
                f"{where}: point {number} is {brief(element)}; expected x, y or x, y, confidence"
            )
    return points


def _flat(value: Sequence[Any], counts: tuple[int, ...], where: str, what: str) -> Points:
    for step in (3, 2):
        if len(value) % step == 0 and len(value) // step in counts:
            return [
                _point((*value[start : start + step], 1.0)[:3], start // step, where)
                for start in range(0, len(value), step)
            ]
    raise PoseError(
        f"{where}: {what} has {len(value)} numbers, which are not x, y, confidence (or x, y) of "
        f"{_either(counts)} points. Export or detect the pose again."
    )


def _point(values: tuple[Any, ...], number: int, where: str) -> Point | None:
    numbers: list[float] = []
    missing = False
    for value in values:
        if value is None:
            missing = True
            continue
        if not is_number(value):
            raise PointError(f"{where}: point {number} has {brief(value)} where a number belongs")
        if not abs(value) <= LARGEST_NUMBER:  # also false for NaN
            raise PointError(
                f"{where}: point {number} is {brief(value)}; write 0 0 0 for a missing joint"
            )
        numbers.append(float(value))
    return None if missing else (numbers[0], numbers[1], numbers[2])


def _indexed(value: Mapping[Any, Any]) -> Any:
    """Points under the keys "0", "1", ... as a list; any other mapping as it is."""
    keys = [str(number) for number in range(len(value))]
    return [value[key] for key in keys] if all(key in value for key in keys) else value


def _either(counts: tuple[int, ...]) -> str:
    return " or ".join(str(count) for count in counts)
