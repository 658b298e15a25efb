"""Four drawing calls that equal OpenCV's to the pixel, in numpy.

The published skeletons were drawn with OpenCV, and the models see every pixel of them. OpenCV
itself stays out of a user's install, because its wheels overwrite each other. Points are integers
`(x, y)`, pictures are uint8 `[H, W, C]` and are changed in place; whatever lies outside the
picture is cut off. Source of the rules: OpenCV `modules/imgproc/src/drawing.cpp` (line type 8,
no sub-pixel shift).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_ONE = 1 << 16  # one pixel in the fixed-point arithmetic of the polygon filler
_HALF = _ONE >> 1

Colour = Sequence[int]

# OpenCV's sine table has whole degrees, 0 to 450, with seven decimals in single precision.
_SINE = np.round(np.sin(np.deg2rad(np.arange(451.0))), 7).astype(np.float32).astype(np.float64)
_COSINE = _SINE[450 - np.arange(361)]  # for angles of 0 to 360


def ellipse_polygon(centre: tuple[int, int], axes: tuple[int, int], angle: int) -> np.ndarray:
    """A whole ellipse as a polygon, one vertex per degree (`cv2.ellipse2Poly`, delta 1).

    Args:
        centre: `(x, y)` in pixels.
        axes: half-lengths in pixels along and across the direction `angle`.
        angle: whole degrees.

    Returns:
        int64 `[N, 2]`; neighbours differ, the last vertex is the first one again.
    """
    if not 0 <= angle <= 360:
        angle %= 360
    cosine, sine = _COSINE[angle], _SINE[angle]
    along, across = axes[0] * _COSINE, axes[1] * _SINE[:361]
    # np.rint rounds halves to even, as OpenCV does; so the centre is added before rounding.
    x = np.rint(centre[0] + along * cosine - across * sine)
    y = np.rint(centre[1] + along * sine + across * cosine)
    points = np.stack([x, y], axis=1).astype(np.int64)
    points = points[np.append(True, (points[1:] != points[:-1]).any(axis=1))]
    return np.repeat(np.array([centre], dtype=np.int64), 2, axis=0) if len(points) == 1 else points


def draw_line(
    picture: np.ndarray, start: tuple[int, int], end: tuple[int, int], colour: Colour
) -> None:
    """Draw an 8-connected line, one pixel wide (`cv2.line` with thickness 1)."""
    _draw_segments(picture, np.array([[*start, *end]], dtype=np.int64), colour)


def fill_circle(picture: np.ndarray, centre: tuple[int, int], radius: int, colour: Colour) -> None:
    """Draw a filled circle (`cv2.circle` with thickness -1)."""
    places = np.add(_disc(radius), (centre[1], centre[0]))
    inside = ((places >= 0) & (places < picture.shape[:2])).all(axis=1)
    picture[tuple(places[inside].T)] = colour


def fill_convex_polygon(picture: np.ndarray, points: np.ndarray, colour: Colour) -> None:
    """Fill a convex polygon including its outline (`cv2.fillConvexPoly`).

    Args:
        picture: uint8 `[H, W, C]`, changed in place.
        points: int64 `[N, 2]`, `N >= 1`, in order along the outline.
        colour: C values.
    """
    # The scan below leaves out the last row and rounds the flanks: the outline completes it.
    _draw_segments(picture, np.concatenate([np.roll(points, 1, axis=0), points], axis=1), colour)
    height, width = picture.shape[:2]
    (x_min, y_min), (x_max, y_max) = points.min(axis=0), points.max(axis=0)
    if len(points) < 3 or x_max < 0 or y_max < 0 or x_min >= width or y_min >= height:
        return
    top = int(y_min)
    first, last = _scan_convex(points, top, min(int(y_max), height - 1))[:, max(-top, 0) :]
    columns = np.arange(max(int(x_min), 0), min(int(x_max) + 1, width))
    inside = (columns >= first[:, None]) & (columns <= last[:, None])
    rows = slice(max(top, 0), max(top, 0) + len(first))
    picture[rows, columns[0] : columns[-1] + 1][inside] = colour


def _scan_convex(points: np.ndarray, top: int, bottom: int) -> np.ndarray:
    """`[2, N]`: first and last columns of the rows `top, top + 1, ...` (at most to `bottom`).

    Two chains walk from the topmost vertex, one each way round. Both draw from one common store of
    edges, and the scan ends where that is empty, which is how OpenCV treats a polygon that is not
    quite convex.
    """
    xs: list[int] = points[:, 0].tolist()
    ys: list[int] = points[:, 1].tolist()
    count = edges_left = len(xs)
    start = ys.index(min(ys))
    index, until = [start, start], [top, top]
    x, slope, since = [-_ONE, -_ONE], [0, 0], [top, top]
    rows: list[tuple[int, ...]] = []
    y = top
    while y <= bottom:
        for i, step in ((0, 1), (1, count - 1)):
            if y < until[i]:
                continue
            here = index[i]
            there = (here + step) % count
            while True:
                edges_left -= 1
                if edges_left < 0:
                    break
                if ys[there] > y:
                    rise = ys[there] - y
                    run = (xs[there] - xs[here]) * _ONE * 2 + rise
                    slope[i] = run // (2 * rise) if run >= 0 else -(-run // (2 * rise))
                    x[i], since[i] = xs[here] * _ONE, y
                    until[i], index[i] = ys[there], there
                    break
                here, there = there, (there + step) % count
        if edges_left < 0:
            break
        following = min(until[0], until[1], bottom + 1)
        starts = [x[i] + slope[i] * (y - since[i]) for i in (0, 1)]
        rows.append((following - y, *starts, *slope))
        y = following
    if not rows:
        return np.zeros((2, 0), dtype=np.int64)
    table = np.array(rows, dtype=np.int64)
    offset = _count_up(table[:, 0])
    _, x_a, x_b, slope_a, slope_b = np.repeat(table, table[:, 0], axis=0).T
    a, b = x_a + offset * slope_a, x_b + offset * slope_b
    return (np.array([np.minimum(a, b), np.maximum(a, b)]) + _HALF) >> 16


def _count_up(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... of each length, one after another."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1]) - np.repeat(ends - lengths, lengths)


def _draw_segments(picture: np.ndarray, segments: np.ndarray, colour: Colour) -> None:
    """Draw many 8-connected lines at once; `segments` is int64 `[N, 4]`: x1, y1, x2, y2."""
    height, width = picture.shape[:2]
    limits = np.array([width, height, width, height])
    outside = ((segments < 0) | (segments >= limits)).any(axis=1)
    if outside.any():
        clipped = [_clip(segment, width, height) for segment in segments[outside].tolist()]
        inside = np.array([part for part in clipped if part], dtype=np.int64).reshape(-1, 4)
        segments = np.concatenate([segments[~outside], inside])
        if not len(segments):
            return
    backwards = segments[:, 2] < segments[:, 0]
    segments = np.where(backwards[:, None], segments[:, [2, 3, 0, 1]], segments)
    x, y = segments[:, 0], segments[:, 1]
    dx, dy = segments[:, 2] - x, segments[:, 3] - y
    down, steep = np.sign(dy), np.abs(dy) > dx
    major = np.maximum(dx, np.abs(dy))
    minor = np.minimum(dx, np.abs(dy))
    lengths = major + 1
    along = _count_up(lengths)
    # Bresenham's error term in closed form; a tie stays on the nearer side of the start.
    minor, major = np.repeat(minor, lengths), np.repeat(np.maximum(major, 1), lengths)
    across = (2 * minor * along + major - 1) // (2 * major)
    steep, down = np.repeat(steep, lengths), np.repeat(down, lengths)
    columns = np.repeat(x, lengths) + np.where(steep, across, along)
    rows = np.repeat(y, lengths) + down * np.where(steep, along, across)
    picture[rows, columns] = colour


def _clip(segment: list[int], width: int, height: int) -> list[int] | None:
    """The part of a line inside the picture, with OpenCV's truncating divisions; None if none."""
    ends = segment[:2], segment[2:]
    for axis, last in ((1, height - 1), (0, width - 1)):
        if max(end[axis] for end in ends) < 0 or min(end[axis] for end in ends) > last:
            return None
        for end, other in (ends, ends[::-1]):
            edge = min(max(end[axis], 0), last)
            if edge != end[axis]:
                run, rise = other[1 - axis] - end[1 - axis], other[axis] - end[axis]
                end[1 - axis] += _truncated((edge - end[axis]) * run, rise)
                end[axis] = edge
    return [*ends[0], *ends[1]]


def _truncated(numerator: int, denominator: int) -> int:
    quotient = abs(numerator) // abs(denominator)
    return quotient if (numerator < 0) == (denominator < 0) else -quotient


@lru_cache(maxsize=16)
def _disc(radius: int) -> np.ndarray:
    """int64 `[N, 2]`: the pixels of a filled circle, rows and columns from its centre."""
    halves = np.zeros(radius + 1, dtype=np.int64)
    dx, dy, error, plus, minus = radius, 0, 0, 1, 2 * radius - 1
    while dx >= dy:
        halves[dy] = max(halves[dy], dx)
        halves[dx] = max(halves[dx], dy)
        dy += 1
        error += plus
        plus += 2
        if error > 0:
            error -= minus
            dx -= 1
            minus -= 2
    line = np.arange(-radius, radius + 1)
    return np.argwhere(np.abs(line) <= halves[np.abs(line), None]) - radius
