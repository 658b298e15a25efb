"""People of one picture, from the points that a file has to key points."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch

from ..keypoints import FARTHEST, HAND_POINTS, HAND_SIDES, Keypoints
from .frame import Frame, Settings
from .joint_maps import SCORED_COUNTS, to_body_18
from .limits import PointError, PoseError
from .points import Point, Points

# Above this a coordinate cannot be a fraction of the picture: people reach a little way out of the
# frame, but not a whole picture's width.
LARGEST_FRACTION = 2.0

# As published: detectors that score every point count one as seen from here (DWPose, mmpose).
SCORE_THRESHOLD = 0.3

# Coordinates from -1 to 1 put half of a body below 0. A body in fractions with so many points out
# of the picture would hardly show.
_SIGNED_SHARE = 0.4

_SCALES = (100.0, 255.0, 1000.0)  # of confidences beyond 0 to 10
_WRISTS = (7, 4)  # left and right, as HAND_SIDES


@dataclass(frozen=True)
class RawPerson:
    """One person's points as a file has them.

    Attributes:
        body: 17, 18, 25, 133 or 134 points, or none.
        hands: left and right, 21 points or none each; they go before hands in the body's list.
        scored: whether every point has a score, also those that are not seen.
        sure_of_sides: False where the producer is known to swap the hands.
    """

    body: Points
    hands: tuple[Points, Points] = field(default_factory=lambda: ([], []))
    scored: bool = False
    sure_of_sides: bool = True


def assemble(
    people: Sequence[RawPerson],
    size: tuple[int, int] | None,
    settings: Settings,
    where: str,
    name: str | None = None,
) -> Frame:
    """The people of a picture as key points, whether the file has fractions or pixels.

    Args:
        people: at least one.
        size: (height, width) that the file says; `settings.size` counts where this is None.
        settings: units, threshold, and where findings go.
        where: begins the error messages.
        name: of the picture.

    Raises:
        PoseError: pixels, and nobody knows the picture's size.
        PointError: points that fit neither pixels nor fractions, or lie pictures away.
    """
    if size is None and settings.size is not None:
        size = settings.size
        settings.findings.found(f"Picture: {size[0]} high, {size[1]} wide, as given.")
    elif size is not None:
        settings.findings.found(f"Picture: {size[0]} high, {size[1]} wide, as the file says.")
    certainty = _certainty(people, settings)
    rows = [_row(person, _threshold(person, certainty, settings), settings) for person in people]
    scale, shift = _units(list(_seen(rows)), size, settings, where)
    places, seen = [], []
    for row in rows:
        xy = [(0.0, 0.0) if p is None else (p[0], p[1]) for p in row]
        places.append(xy)
        seen.append([point is not None for point in row])
    xy = torch.tensor(places, dtype=torch.float64)
    visible = torch.tensor(seen)
    xy = xy / torch.tensor(scale, dtype=torch.float64) + shift
    farthest = torch.where(visible, xy.abs().amax(dim=-1), 0.0)
    if bool((farthest > FARTHEST).any()):
        row, point = (farthest == farthest.max()).nonzero()[0].tolist()
        asked = "" if size is None else f" (its picture is taken to be {size[0]}x{size[1]})"
        raise PointError(
            f"{where}, person {row}: point {point} lies {farthest.max():.3g} pictures away{asked}; "
            "give the size of the picture that the pose belongs to, or mend the point"
        )
    hands, hands_visible = xy[:, 18:], visible[:, 18:]
    if not bool(hands_visible.any()):
        return Frame(Keypoints(xy[:, :18], visible[:, :18]), size, name)
    shape = (len(rows), 2, HAND_POINTS)
    keypoints = Keypoints(
        xy[:, :18], visible[:, :18], hands.reshape(*shape, 2), hands_visible.reshape(shape)
    )
    return Frame(keypoints, size, name)


def _row(person: RawPerson, threshold: float, settings: Settings) -> Points:
    """18 joints, 21 points of the left hand, 21 of the right one."""
    counted = [
        None if point is None or is_missing(point, threshold) else point for point in person.body
    ]
    body, *own_hands = to_body_18(counted, settings.findings)
    hands = [
        [None if point is None or is_missing(point, threshold) else point for point in given]
        if given
        else own or [None] * HAND_POINTS
        for given, own in zip(person.hands, own_hands, strict=True)
    ]
    if not person.sure_of_sides and _are_swapped(body, hands):
        hands.reverse()
        settings.findings.guess(
            "the hands' names are swapped: each lies at the other side's wrist, so it was moved."
        )
    return [*body, *hands[0], *hands[1]]


def is_missing(point: Point, threshold: float) -> bool:
    """Whether a file means that there is no such point: by its confidence, or by a code.

    Codes are 0, 0; a coordinate of -1; and one negative number for both.
    """
    x, y, confidence = point
    return (
        not confidence > threshold
        or (x == 0 and y == 0)
        or x == -1
        or y == -1
        or (x == y and x < 0)
    )


def _threshold(person: RawPerson, certainty: float, settings: Settings) -> float:
    """Above which a confidence counts, where `certainty` is the highest one."""
    if settings.threshold is not None:
        return settings.threshold * certainty
    if not person.scored and len(person.body) not in SCORED_COUNTS:
        return 0.0
    settings.findings.found(f"Seen: points that score more than {SCORE_THRESHOLD:g}.")
    return SCORE_THRESHOLD * certainty


def _certainty(people: Sequence[RawPerson], settings: Settings) -> float:
    """1, or what stands for certainty; judged by most points, because one may be damaged."""
    known = [
        point[2]
        for person in people
        for part in (person.body, *person.hands)
        for point in part
        if point is not None and point[2] > 0
    ]
    middle = statistics.median(known) if known else 1.0
    if middle <= 10:
        return 1.0
    scale = next((s for s in _SCALES if middle <= s), middle)
    settings.findings.guess(f"confidences run from 0 to {scale:g}.")
    return scale


def _seen(rows: Sequence[Points]) -> Iterator[tuple[int, int, Point]]:
    for row, points in enumerate(rows):
        for number, point in enumerate(points):
            if point is not None:
                yield row, number, point


def _units(
    seen: Sequence[tuple[int, int, Point]],
    size: tuple[int, int] | None,
    settings: Settings,
    where: str,
) -> tuple[tuple[float, float], float]:
    """What coordinates are divided by, x and y, and what is added then."""
    beyond = [item for item in seen if max(abs(item[2][0]), abs(item[2][1])) > LARGEST_FRACTION]
    units = settings.units
    if units == "auto" and beyond:
        if len(beyond) * 2 <= len(seen):
            # Most points decide: pixels would throw them all into the picture's corner.
            row, number, point = beyond[0]
            raise PointError(
                f"{where}, person {row}: point {number} lies at {point[0]:g}, {point[1]:g}, but "
                "the others are fractions of the picture (0 to 1). Mend the point, or say "
                "units='pixels'."
            )
        units = "pixels"
    elif units == "auto" and _look_signed(seen):
        settings.findings.guess("coordinates run from -1 to 1; say units='fractions' if not.")
        units = "signed"
    if units == "pixels":
        if size is None:
            raise PoseError(
                f"{where}: the coordinates are pixels (up to "
                f"{max((max(point[:2]) for *_, point in seen), default=0):g}), but the size of "
                "their picture is not given; pass size=(height, width)"
            )
        settings.findings.found("Coordinates: pixels.")
        return (float(size[1]), float(size[0])), 0.0
    if units == "signed":
        return (2.0, 2.0), 0.5
    if seen:
        settings.findings.found("Coordinates: fractions of the picture.")
    return (1.0, 1.0), 0.0


def _look_signed(seen: Sequence[tuple[int, int, Point]]) -> bool:
    negative = [item for item in seen if min(item[2][:2]) < 0]
    within = all(max(abs(point[0]), abs(point[1])) <= 1 for *_, point in seen)
    return within and len(seen) >= 5 and len(negative) >= _SIGNED_SHARE * len(seen)


def _are_swapped(body: Points, hands: Sequence[Points]) -> bool:
    """Whether every hand that can be judged lies far nearer to the other side's wrist."""
    votes: list[bool] = []
    for side, _ in enumerate(HAND_SIDES):
        root, own, other = hands[side][0], body[_WRISTS[side]], body[_WRISTS[1 - side]]
        if root is not None and own is not None and other is not None:
            votes.append(_distance(root, other) * 2 < _distance(root, own))
    return bool(votes) and all(votes)


def _distance(a: Point, b: Point) -> float:
    return ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) ** 0.5
