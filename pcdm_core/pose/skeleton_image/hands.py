"""Hands in skeleton pictures back to points.

As published, a hand is 20 lines of one pixel, each in a colour of its own, with a blue dot of three
pixels on each of its 21 points. That can be read where the picture is as it was drawn: JPEG and
resizing mix lines so fine with what lies beside them. So every hand that is read is drawn again,
and counts only where the new drawing is what the picture shows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..formats.frame import Findings
from ..keypoints import HAND_POINTS, HAND_SIDES, WRISTS, Joint
from ..render import HAND_BONES, HAND_COLOURS, HAND_DOT_COLOUR, Person, draw_hand, draw_people
from .marks import FOREGROUND, Disc, Marks, colour_distance

Places = NDArray[np.float64]

_DOT = len(HAND_BONES)  # among the bones' numbers, a point's own pixels

_TOLERANCE = 3  # a joint's colour may be 8 away from a bone's, in one channel
_ALIKE = 0.9  # of what is drawn again, and of what the picture shows
_MOST_PIXELS = 20_000
_LEAST_PIXELS = 12
_UNREAD_PIXELS = 24  # that nothing else explains
_FOREARMS = (Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST, Joint.LEFT_ELBOW, Joint.LEFT_WRIST)
_LIKE_HANDS = (Joint.NOSE, Joint.RIGHT_KNEE, Joint.LEFT_KNEE)  # discs in a hand's colours
_REACH = 30  # from them, in radii of the joints
_DOT_REACH = 3.0
_JOINED = 2  # pixels that may lie between two of one hand


@dataclass(frozen=True)
class Hand:
    """A hand in the picture.

    Attributes:
        person: whose it is, by the wrist that is nearest.
        side: 0 for the left hand, 1 for the right one.
        xy: float64 `[21, 2]`, pixels.
        visible: bool `[21]`.
    """

    person: int
    side: int
    xy: Places
    visible: np.ndarray


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
    kind = np.where(_near(rgb, HAND_DOT_COLOUR), _DOT, -1)
    for bone, colour in enumerate(HAND_COLOURS):
        kind[_near(rgb, colour)] = bone
    for person in people:
        for joint, disc in person.items():
            if joint in _LIKE_HANDS:
                kind[_box(disc, radius)] = -1
    rest = _unexplained(rgb, marks, people, radius)
    wrists = [
        (person, side, joints[joint])
        for person, joints in enumerate(people)
        for side, joint in enumerate(WRISTS)
        if joint in joints
    ]
    parts_of: dict[tuple[int, int], list[np.ndarray]] = {}
    pixels = np.argwhere(kind >= 0)
    if wrists and len(pixels) <= _MOST_PIXELS:
        for part in _parts(pixels):
            person, side, _ = min(wrists, key=lambda wrist: _distance(part, wrist[2]))
            parts_of.setdefault((person, side), []).append(part)
    hands: list[Hand] = []
    for (person, side), parts in parts_of.items():
        places = np.concatenate(parts)
        if len(places) < _LEAST_PIXELS:
            continue
        hand = _read(kind, places, person, side, people[person][WRISTS[side]])
        again = np.zeros_like(rgb)
        draw_hand(again, (hand.xy + 0.5) / [rgb.shape[1], rgb.shape[0]], hand.visible)
        if _is_alike(rgb, again, places):
            hands.append(hand)
            rest &= ~again.any(axis=2)
    return hands, int(rest.sum())


def describe_hands(hands: Sequence[Hand], unread: int, people: int, findings: Findings) -> None:
    """What was read, and that the rest was not: `unread` pixels of it."""
    for hand in hands:
        whose = f" of person {hand.person}" if people > 1 else ""
        points = int(hand.visible.sum())
        findings.fact(f"The {HAND_SIDES[hand.side]} hand{whose} was read: {points} points.")
    if unread >= _UNREAD_PIXELS:
        findings.fact(
            "Hands are drawn that could not be read back; they are left out. Hands are read from "
            "pictures that are as they were drawn: neither resized nor saved as JPEG."
        )


def _read(kind: np.ndarray, places: np.ndarray, person: int, side: int, wrist: Disc) -> Hand:
    """The points of one hand from the ends of its lines; `places` is `[N, 2]`, rows and columns."""
    numbers = kind[places[:, 0], places[:, 1]]
    ends = [_ends(places[numbers == bone]) for bone in range(len(HAND_BONES))]
    dots = _dots(kind, places)
    xy, visible = np.zeros((HAND_POINTS, 2)), np.zeros(HAND_POINTS, dtype=bool)

    def place(point: int, end: Places, other: Places) -> None:
        if not visible[point]:
            xy[point], visible[point] = _dot_at(end, other, dots), True

    firsts = [pair for pair in ends[::4] if pair is not None]
    here = root = np.array([wrist.x, wrist.y], dtype=np.float64)
    if firsts:
        # The fingers' first bones meet in the hand's own wrist.
        corners = [corner for pair in firsts for corner in pair]
        spread = [sum(_nearer(pair, corner)[2] for pair in firsts) for corner in corners]
        if len(firsts) > 1:
            root = corners[int(np.argmin(spread))]
        start, end, _ = min((_nearer(pair, root) for pair in firsts), key=lambda near: near[2])
        place(0, start, end)
        root = xy[0]
    for pair, (first, second) in zip(ends, HAND_BONES, strict=True):
        here = root if first == 0 else here
        if pair is not None:
            start, end, _ = _nearer(pair, here)
            place(first, start, end)
            place(second, end, start)
            here = xy[second]
    return Hand(person, side, xy, visible)


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


def _dots(kind: np.ndarray, places: np.ndarray) -> Places:
    """Middles `[N, 2]` (x, y) of dots: blue pixels with blue ones on all four sides."""
    blue = np.pad(kind == _DOT, 1)
    whole = blue[1:-1, 1:-1] & blue[:-2, 1:-1] & blue[2:, 1:-1] & blue[1:-1, :-2] & blue[1:-1, 2:]
    return places[whole[places[:, 0], places[:, 1]]][:, ::-1].astype(np.float64)


def _dot_at(end: Places, other: Places, dots: Places) -> Places:
    """The point that a line ends in: two pixels on, in the middle of a dot."""
    way = end - other
    on = end + 2 * way / max(float(np.abs(way).max()), 1.0)
    if len(dots):
        away = np.linalg.norm(dots - on, axis=1)
        if away.min() <= _DOT_REACH:
            return dots[away.argmin()]
    return np.rint(on)


def _near(rgb: np.ndarray, colour: Sequence[int] | np.ndarray) -> np.ndarray:
    return np.less_equal(colour_distance(rgb, colour), _TOLERANCE)


def _box(disc: Disc, reach: int) -> tuple[slice, slice]:
    """Rows and columns round a disc's centre."""
    rows = slice(max(disc.y - reach, 0), disc.y + reach + 1)
    return rows, slice(max(disc.x - reach, 0), disc.x + reach + 1)


def _unexplained(
    rgb: np.ndarray, marks: Marks, people: Sequence[dict[int, Disc]], radius: int
) -> np.ndarray:
    """bool `[H, W]`: what is drawn round the forearms beside the body itself."""
    height, width = rgb.shape[:2]
    body, near = np.zeros((2, height, width), dtype=bool)
    for person in people:
        xy, visible = np.zeros((18, 2)), np.zeros(18, dtype=bool)
        for joint, disc in person.items():
            xy[joint], visible[joint] = ((disc.x + 0.5) / width, (disc.y + 0.5) / height), True
            if joint in _FOREARMS:
                near[_box(disc, _REACH * radius)] = True
        body |= draw_people([Person(xy, visible)], height, width).any(axis=2)
    foreground = colour_distance(rgb, marks.background) > FOREGROUND
    return foreground & near & ~_grown(body, radius) & ~marks.white


def _grown(mask: np.ndarray, by: int) -> np.ndarray:
    """A mask with a border of `by` pixels round everything in it."""
    grown = torch.from_numpy(mask)[None].float()
    for kernel, padding in (((2 * by + 1, 1), (by, 0)), ((1, 2 * by + 1), (0, by))):
        grown = F.max_pool2d(grown, kernel, stride=1, padding=padding)
    return grown[0].numpy() > 0


def _parts(pixels: np.ndarray) -> list[np.ndarray]:
    """Pixels `[N, 2]` by what hangs together, with small gaps."""
    waiting = set(map(tuple, pixels.tolist()))
    steps = list(itertools.product(range(-_JOINED, _JOINED + 1), repeat=2))
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


def _is_alike(rgb: np.ndarray, again: np.ndarray, places: np.ndarray) -> bool:
    """Whether a hand that was drawn again is what the picture shows, and all of it."""
    mask = np.any(again, axis=2)
    if not mask.any():
        return False
    same = _near(rgb[mask], again[mask])
    covered = mask[places[:, 0], places[:, 1]]
    return bool(same.mean() >= _ALIKE and covered.mean() >= _ALIKE)
