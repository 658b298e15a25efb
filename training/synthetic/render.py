"""A small software renderer: visibility buffer, per-pixel cuts, deferred shading.

Every triangle's candidate pixels are tested at once with numpy: barycentric coordinates, the cut
field, then the nearest fragment of each pixel. Only the pixels that are hit are shaded. A gather by
``take`` costs a fraction of one by an index in brackets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body import Floats, Ints


@dataclass
class Hits:
    """Drawn pixels of a frame of H x W samples.

    Args:
        pixel: [n] flat index of each drawn sample.
        face: [n] triangle that is seen. corners: [n, 3] weights of its vertices.
        depth: [H, W] distance along the view axis, inf where nothing is.
    """

    pixel: Ints
    face: Ints
    corners: Floats
    depth: Floats


#: A triangle whose corners are all above this value of the cut field [dm] loses no fragment: the
#: weights of a fragment add up to 1 and are above -1e-6, and the field is below 100.
WHOLE = 1e-3


@dataclass
class _Fragments:
    """Samples inside of triangles, in the order of the triangles.

    Args:
        pixel: [k] flat index of the sample. owner: [k] which of the chosen triangles.
        weights: three times [k], barycentric in the picture; they sum to 1.
    """

    pixel: Ints
    owner: Ints
    weights: tuple[Floats, Floats, Floats]

    def take(self, numbers: Ints) -> _Fragments:
        b0, b1, b2 = (weight.take(numbers) for weight in self.weights)
        return _Fragments(self.pixel.take(numbers), self.owner.take(numbers), (b0, b1, b2))


def _cover(
    screen: Floats, corners: Ints, behind: np.ndarray, height: int, width: int
) -> tuple[Ints, _Fragments]:
    """The triangles that may be seen, and the samples inside of them.

    Triangles are spread into the lines of their bounding boxes, and the lines into samples:
    what is the same along a line is computed once for it.
    """
    (x0, x1, x2), (y0, y1, y2) = (np.ascontiguousarray(axis).take(corners) for axis in screen.T)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    left = np.maximum(np.ceil(np.minimum(np.minimum(x0, x1), x2) - 0.5), 0)
    right = np.minimum(np.floor(np.maximum(np.maximum(x0, x1), x2) - 0.5), width - 1)
    top = np.maximum(np.ceil(np.minimum(np.minimum(y0, y1), y2) - 0.5), 0)
    bottom = np.minimum(np.floor(np.maximum(np.maximum(y0, y1), y2) - 0.5), height - 1)
    # Screen y points down, so faces that look at the camera have negative area.
    visible = (right >= left) & (bottom >= top) & ((area < -1e-6) | (behind & (area > 1e-6)))
    triangles = np.flatnonzero(visible)
    x0, x1, x2, y0, y1, y2, area = (a.take(triangles) for a in (x0, x1, x2, y0, y1, y2, area))
    left, right, top, bottom = (
        a.take(triangles).astype(np.int64) for a in (left, right, top, bottom)
    )
    scale = 1 / area
    # Barycentric weights of the second and third corner as planes over the screen.
    b1x, b1y = (y2 - y0) * scale, (x0 - x2) * scale
    b2x, b2y = (y0 - y1) * scale, (x1 - x0) * scale
    b1c = -(b1x * (x0 - 0.5) + b1y * (y0 - 0.5))
    b2c = -(b2x * (x0 - 0.5) + b2y * (y0 - 0.5))
    owner, row = _spread(top, bottom - top + 1)
    line, column = _spread(left.take(owner), (right - left + 1).take(owner))
    fx, fy = column.astype(np.float32), row.astype(np.float32)
    b1, b2 = (
        (bx.take(owner).take(line) * fx + (by.take(owner) * fy).take(line))
        + bc.take(owner).take(line)
        for bx, by, bc in ((b1x, b1y, b1c), (b2x, b2y, b2c))
    )
    inside = np.flatnonzero((b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1))
    line, b1, b2 = line.take(inside), b1.take(inside), b2.take(inside)
    pixel = (row * width).take(line) + column.take(inside)
    return triangles, _Fragments(pixel, owner.take(line), (1 - b1 - b2, b1, b2))


def _spread(first: Ints, count: Ints) -> tuple[Ints, Ints]:
    """For ``count`` [n] numbers from ``first`` [n] on: whose each is, and the numbers."""
    owner = np.repeat(np.arange(len(count)), count)
    number = (first - (np.cumsum(count) - count)).take(owner)
    number += np.arange(len(owner))
    return owner, number


def _uncut(fragments: _Fragments, cut: Floats) -> _Fragments:
    """Drop the fragments where the field of the triangles' corners, ``cut`` [3, m], is negative."""
    c0, c1, c2 = cut
    doubtful = np.minimum(np.minimum(c0, c1), c2) < WHOLE
    part = fragments.take(np.flatnonzero(doubtful.take(fragments.owner)))
    b0, b1, b2 = part.weights
    inside = c0.take(part.owner) * b0 + c1.take(part.owner) * b1 + c2.take(part.owner) * b2 >= 0
    if inside.all():
        return fragments
    every = ~doubtful.take(fragments.owner)
    every[~every] = inside
    return fragments.take(np.flatnonzero(every))


def rasterise(
    screen: Floats, depth: Floats, faces: Ints, cut: Floats, behind: np.ndarray,
    height: int, width: int,
) -> Hits:  # fmt: skip
    """Find the nearest uncut triangle of each sample; of two at one depth, the later.

    Args:
        screen: [n, 2] x and y of the vertices in samples. depth: [n] view distance, positive.
        faces: [m, 3]. cut: [n]; fragments with an interpolated value below 0 are dropped.
        behind: [m] whether a face is also drawn when it is turned away.
    """
    corners = np.ascontiguousarray(faces.T)
    triangles, fragments = _cover(screen, corners, behind, height, width)
    corners = corners.take(triangles, axis=1)
    fragments = _uncut(fragments, cut.take(corners))
    inverse = (1 / depth).take(corners)
    w0, w1, w2 = (
        b * i.take(fragments.owner) for b, i in zip(fragments.weights, inverse, strict=True)
    )
    total = w0 + w1 + w2
    far = (1 / total).astype(np.float32)
    buffer = np.full(height * width, np.inf, np.float32)
    np.minimum.at(buffer, fragments.pixel, far)
    nearest = np.flatnonzero(far == buffer.take(fragments.pixel))
    winner = np.full(height * width, -1, np.int64)
    winner[fragments.pixel.take(nearest)] = nearest
    hit = np.flatnonzero(winner >= 0)
    source = winner.take(hit)
    weights = np.stack([w0.take(source), w1.take(source), w2.take(source)], axis=1)
    return Hits(
        pixel=hit,
        face=triangles.take(fragments.owner.take(source)),
        corners=(weights / total.take(source)[:, None]).astype(np.float32),
        depth=buffer.reshape(height, width),
    )


def interpolate(values: Floats, faces: Ints, hits: Hits) -> Floats:
    """Vertex values [n, c] at the drawn samples [k, c]."""
    index = faces.take(hits.face, axis=0)
    out = values.take(index[:, 0], axis=0)
    out *= hits.corners[:, :1]
    for corner in (1, 2):
        part = values.take(index[:, corner], axis=0)
        part *= hits.corners[:, corner : corner + 1]
        out += part
    return out


def _box(image: Floats, radius: int) -> Floats:
    """Mean over a (2 radius + 1) square, borders repeated."""
    size = 2 * radius + 1
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float64)
        if axis == 0:
            image = ((total[size:] - total[:-size]) / size).astype(np.float32)
        else:
            image = ((total[:, size:] - total[:, :-size]) / size).astype(np.float32)
    return image


def _extent(solid: np.ndarray, margin: int) -> tuple[slice, slice]:
    """Rows and columns of the set samples of ``solid`` [H, W], widened by ``margin``."""
    rows, columns = (np.flatnonzero(solid.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + margin + 1),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + margin + 1),
    )


def occlusion(depth: Floats, radius: int, reach: float) -> Floats:
    """Cheap ambient shadow [H, W] in [0, 1]: how far a sample lies behind its surroundings.

    Depth is unsharp-masked (Luft, Colditz and Deussen 2006); the empty background is ignored.
    """
    out = np.zeros(depth.shape, np.float32)
    solid = np.isfinite(depth)
    # One empty row or column on each side, where there is one, makes the borders what they are.
    part = _extent(solid, 1)
    solid, depth = solid[part], depth[part]
    if not solid.size:
        return out
    covered = _box(solid.astype(np.float32), radius)
    near = np.where(solid, depth, 0).astype(np.float32)
    mean = _box(near, radius) / np.maximum(covered, 1e-6)
    out[part] = np.where(solid, np.clip((depth - mean) / reach, 0, 1), 0)
    return out


def shade(colour: Floats, normal: Floats, gloss: Floats, ambient: Floats, light: Floats) -> Floats:
    """Light the samples.

    Args:
        colour: [k, 3] in [0, 1]. normal: [k, 3] unit, in view space (x right, y up, z to camera).
        gloss: [k, 2] strength and exponent of the highlight. ambient: [k] darkening in [0, 1].
        light: [3] unit direction to the key light in view space.
    """
    facing = normal @ light
    key = np.clip((facing + 0.35) / 1.35, 0, 1)
    sky = 0.5 + 0.5 * normal[:, 1]
    fill = np.clip(normal[:, 2], 0, 1)
    # Mostly ambient: a garment keeps its colour from view to view, some shape remains.
    amount = (0.50 + 0.12 * sky + 0.14 * fill + 0.26 * key) * (1 - 0.38 * ambient)
    half = light + np.array([0, 0, 1], np.float32)
    half /= np.linalg.norm(half)
    shine = gloss[:, 0] * np.clip(normal @ half, 0, 1) ** gloss[:, 1]
    return np.clip(colour * amount[:, None] + (shine * (1 - 0.6 * ambient))[:, None], 0, 1)
