"""Hands in skeleton pictures back to points.

As published, a hand is 20 lines of one pixel, each in a colour of its own, with a blue dot of three
pixels on each of its 21 points. That can be read where the picture is as it was drawn: JPEG and
resizing mix lines so fine with what lies beside them. So every hand that is read is drawn again,
and counts only where the new drawing is what the picture shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..formats.frame import Findings
from ..keypoints import HAND_POINTS, HAND_SIDES
from ..render import HAND_BONES, HAND_COLOURS, HAND_DOT_COLOUR, Person, draw_hand, draw_people
from .marks import Disc, Marks

Places = NDArray[np.float64]

WRISTS = (7, 4)  # the body's joint that carries each of `HAND_SIDES`
_TOLERANCE = 3  # a joint's colour may be 8 away from a bone's, in one channel
_ALIKE = 0.9  # of what is drawn again, and of what the picture shows
_MOST_PIXELS = 20_000
_LEAST_PIXELS = 12
_DRAWN_PIXELS = 24  # that nothing else explains
_DRAWN = 40  # away from the background's colour
_FOREARMS = (3, 4, 6, 7)
_REACH = 30  # from them, in radii of the joints
_DOT_REACH = 3.0
_JOINED = 2  # pixels that may lie between two of one hand


@dataclass(frozen=True)
class Hand:
    """A hand that was read.

    Attributes:
        person: whose it is, by the wrist that is nearest.
        side: 0 for the left hand, 1 for the right one.
        xy: float64 `[21, 2]`, pixels.
        seen: bool `[21]`.
    """

    person: int
    side: int
    xy: Places
    seen: np.ndarray


def read_hands(
    rgb: np.ndarray, marks: Marks, people: Sequence[dict[int, Disc]], radius: int
) -> tuple[list[Hand], int]:
    """The hands that can be read, and how many pixels of others there are.

    Args:
        rgb: uint8 `[H, W, 3]`.
        marks: of that picture.
        people: their joints.
        radius: of the joints' discs.
    """
    bones = _bones(rgb)
    kind = np.where(bones >= 0, bones, np.where(_near(rgb, HAND_DOT_COLOUR), len(HAND_BONES), -1))
    for person in people:
        for joint, disc in person.items():
            if joint in (0, 9, 12):  # discs in a hand's colours
                _clear(kind, disc, radius)
    rest = _unexplained(rgb, marks, people, radius)
    wrists = [
        (person, side, joints[joint])
        for person, joints in enumerate(people)
        for side, joint in enumerate(WRISTS)
        if joint in joints
    ]
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    pixels = np.argwhere(kind >= 0)
    if wrists and len(pixels) <= _MOST_PIXELS:
        for part in _parts(pixels):
            person, side, _ = min(wrists, key=lambda wrist: _distance(part, wrist[2]))
            found.setdefault((person, side), []).append(part)
    hands: list[Hand] = []
    for (person, side), parts in found.items():
        own = np.concatenate(parts)
        if len(own) < _LEAST_PIXELS:
            continue
        hand = _read(kind, own, person, side, people[person][WRISTS[side]])
        drawn = np.zeros_like(rgb)
        draw_hand(drawn, (hand.xy + 0.5) / [rgb.shape[1], rgb.shape[0]], hand.seen)
        if _is_alike(rgb, drawn, own):
            hands.append(hand)
            rest &= ~drawn.any(axis=2)
    return hands, int(rest.sum())


def describe_hands(hands: Sequence[Hand], left: int, people: int, findings: Findings) -> None:
    """What was read, and that the rest was not: `left` pixels of it."""
    for hand in hands:
        whose = f" of person {hand.person}" if people > 1 else ""
        points = int(hand.seen.sum())
        findings.found(f"The {HAND_SIDES[hand.side]} hand{whose} was read: {points} points.")
    if left >= _DRAWN_PIXELS:
        findings.found(
            "Hands are drawn that could not be read back; they are left out. Hands are read from "
            "pictures that are as they were drawn: neither resized nor saved as JPEG."
        )


def _read(kind: np.ndarray, own: np.ndarray, person: int, side: int, wrist: Disc) -> Hand:
    """The points of one hand from the ends of its lines; `own` is `[N, 2]`, rows and columns."""
    numbers = kind[own[:, 0], own[:, 1]]
    ends = [_ends(own[numbers == bone]) for bone in range(len(HAND_BONES))]
    dots = _dots(kind, own)
    xy, seen = np.zeros((HAND_POINTS, 2)), np.zeros(HAND_POINTS, dtype=bool)

    def place(point: int, end: Places, other: Places) -> None:
        if not seen[point]:
            xy[point], seen[point] = _dot_at(end, other, dots), True

    firsts = [pair for pair in (ends[bone] for bone in range(0, 20, 4)) if pair is not None]
    at = np.array([wrist.x, wrist.y], dtype=np.float64)
    if firsts:
        # The fingers' first bones meet in the hand's own wrist.
        corners = [corner for pair in firsts for corner in pair]
        spread = [sum(_nearer(pair, corner)[2] for pair in firsts) for corner in corners]
        if len(firsts) > 1:
            at = corners[int(np.argmin(spread))]
        pair = min(firsts, key=lambda pair: _nearer(pair, at)[2])
        start, end, _ = _nearer(pair, at)
        place(0, start, end)
        at = xy[0]
    for finger in range(5):
        here = at
        for bone in range(4 * finger, 4 * finger + 4):
            pair = ends[bone]
            if pair is None:
                continue
            start, end, _ = _nearer(pair, here)
            first, second = HAND_BONES[bone]
            place(first, start, end)
            place(second, end, start)
            here = xy[second]
    return Hand(person, side, xy, seen)


def _ends(pixels: np.ndarray) -> tuple[Places, Places] | None:
    """Both ends (x, y) of a line of pixels (rows, columns); None where there is none."""
    if not len(pixels):
        return None
    points = pixels[:, ::-1].astype(np.float64)
    middle = points.mean(axis=0)
    _, _, directions = np.linalg.svd(points - middle, full_matrices=False)
    along = (points - middle) @ directions[0]
    return points[along.argmin()], points[along.argmax()]


def _nearer(pair: tuple[Places, Places], place: Places) -> tuple[Places, Places, float]:
    """A line's ends, the nearer one to a place first, and how far that one is."""
    away = [float(np.linalg.norm(end - place)) for end in pair]
    return (*pair, away[0]) if away[0] <= away[1] else (pair[1], pair[0], away[1])


def _dots(kind: np.ndarray, own: np.ndarray) -> Places:
    """Middles `[N, 2]` (x, y) of dots: blue pixels with blue ones on all four sides."""
    blue = np.pad(kind == len(HAND_BONES), 1)
    whole = blue[1:-1, 1:-1] & blue[:-2, 1:-1] & blue[2:, 1:-1] & blue[1:-1, :-2] & blue[1:-1, 2:]
    return own[whole[own[:, 0], own[:, 1]]][:, ::-1].astype(np.float64)


def _dot_at(end: Places, other: Places, dots: Places) -> Places:
    """The point that a line ends in: two pixels on, in the middle of a dot."""
    way = end - other
    on = end + 2 * way / max(float(np.abs(way).max()), 1.0)
    if len(dots):
        away = np.linalg.norm(dots - on, axis=1)
        if away.min() <= _DOT_REACH:
            return dots[away.argmin()]
    return np.rint(on)


def _bones(rgb: np.ndarray) -> np.ndarray:
    """int64 `[H, W]`: the bone whose colour a pixel has, or -1."""
    found = np.full(rgb.shape[:2], -1, dtype=np.int64)
    for bone, colour in enumerate(HAND_COLOURS):
        found[_near(rgb, colour)] = bone
    return found


def _near(rgb: np.ndarray, colour: Sequence[int]) -> np.ndarray:
    apart = np.abs(rgb.astype(np.int16) - np.array(colour, np.int16)).max(axis=2)
    return np.less_equal(apart, _TOLERANCE)


def _clear(mask: np.ndarray, disc: Disc, radius: int) -> None:
    y0, x0 = max(disc.y - radius, 0), max(disc.x - radius, 0)
    mask[y0 : disc.y + radius + 1, x0 : disc.x + radius + 1] = -1


def _unexplained(
    rgb: np.ndarray, marks: Marks, people: Sequence[dict[int, Disc]], radius: int
) -> np.ndarray:
    """bool `[H, W]`: what is drawn round the forearms beside the body itself."""
    height, width = rgb.shape[:2]
    body, near = np.zeros((height, width), dtype=bool), np.zeros((height, width), dtype=bool)
    reach = _REACH * radius
    for person in people:
        xy, seen = np.zeros((18, 2)), np.zeros(18, dtype=bool)
        for joint, disc in person.items():
            xy[joint], seen[joint] = ((disc.x + 0.5) / width, (disc.y + 0.5) / height), True
            if joint in _FOREARMS:
                y0, x0 = max(disc.y - reach, 0), max(disc.x - reach, 0)
                near[y0 : disc.y + reach + 1, x0 : disc.x + reach + 1] = True
        body |= draw_people([Person(xy, seen)], height, width).any(axis=2)
    away = np.abs(rgb.astype(np.int16) - np.array(marks.background, dtype=np.int16)).max(axis=2)
    return (away > _DRAWN) & near & ~_grown(body, radius) & ~marks.white


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """A mask with a border of `by` pixels round everything in it."""
    for axis in (0, 1):
        edges = np.zeros((2, 2), dtype=np.int64)
        edges[axis] = by
        padded = np.pad(mask, edges)
        mask = np.any([np.roll(padded, step, axis) for step in range(-by, by + 1)], axis=0)
        mask = mask[by:-by] if axis == 0 else mask[:, by:-by]
    return mask


def _parts(pixels: np.ndarray) -> list[np.ndarray]:
    """Pixels `[N, 2]` by what hangs together, with small gaps."""
    waiting = set(map(tuple, pixels.tolist()))
    steps = [
        (dy, dx)
        for dy in range(-_JOINED, _JOINED + 1)
        for dx in range(-_JOINED, _JOINED + 1)
        if (dy, dx) != (0, 0)
    ]
    parts: list[np.ndarray] = []
    while waiting:
        part = [waiting.pop()]
        for y, x in part:  # grows while it is walked through
            near = [(y + dy, x + dx) for dy, dx in steps if (y + dy, x + dx) in waiting]
            waiting.difference_update(near)
            part += near
        parts.append(np.array(part))
    return parts


def _distance(part: np.ndarray, disc: Disc) -> float:
    return float(np.hypot(part[:, 0] - disc.y, part[:, 1] - disc.x).min())


def _is_alike(rgb: np.ndarray, drawn: np.ndarray, own: np.ndarray) -> bool:
    """Whether a hand that was drawn again is what the picture shows, and all of it."""
    again = np.not_equal(drawn.max(axis=2), 0)
    if not again.any():
        return False
    same = np.less_equal(np.abs(rgb.astype(np.int16) - drawn).max(axis=2), _TOLERANCE)
    covered = again[own[:, 0], own[:, 1]]
    return bool(same[again].mean() >= _ALIKE and covered.mean() >= _ALIKE)
