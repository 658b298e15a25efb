"""A small software renderer: visibility buffer, per-pixel cuts, deferred shading.

Every triangle's candidate pixels are tested at once with numpy: barycentric coordinates, the cut
field, then the nearest fragment of each pixel. Only the pixels that are hit are shaded.
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


def _bounds(values: Floats) -> tuple[Floats, Floats]:
    """Least and greatest of three columns (quicker than a reduction over a short axis)."""
    a, b, c = values[:, 0], values[:, 1], values[:, 2]
    return np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)


def rasterise(
    screen: Floats, depth: Floats, faces: Ints, cut: Floats, behind: np.ndarray,
    height: int, width: int,
) -> Hits:  # fmt: skip
    """Find the nearest uncut triangle of each sample.

    Args:
        screen: [n, 2] x and y of the vertices in samples. depth: [n] view distance, positive.
        faces: [m, 3]. cut: [n]; fragments with an interpolated value below 0 are dropped.
        behind: [m] whether a face is also drawn when it is turned away.
    """
    corner = screen[faces]  # [m, 3, 2]
    x, y = corner[:, :, 0], corner[:, :, 1]
    area = (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0]) - (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0])
    low, high = _bounds(x)
    left = np.maximum(np.ceil(low - 0.5), 0).astype(np.int32)
    right = np.minimum(np.floor(high - 0.5), width - 1).astype(np.int32)
    low, high = _bounds(y)
    top = np.maximum(np.ceil(low - 0.5), 0).astype(np.int32)
    bottom = np.minimum(np.floor(high - 0.5), height - 1).astype(np.int32)
    # Screen y points down, so faces that look at the camera have negative area.
    drawn = (right >= left) & (bottom >= top) & ((area < -1e-6) | (behind & (area > 1e-6)))
    chosen = np.flatnonzero(drawn)
    columns = right[chosen] - left[chosen] + 1
    count = columns * (bottom[chosen] - top[chosen] + 1)
    owner = np.repeat(np.arange(len(chosen), dtype=np.int32), count)
    first = (np.cumsum(count) - count).astype(np.int32)
    inner = np.arange(len(owner), dtype=np.int32) - first[owner]
    wide = columns[owner]
    row = inner // wide
    column = inner - row * wide
    row += top[chosen][owner]
    column += left[chosen][owner]
    x0, x1, x2 = x[chosen].T
    y0, y1, y2 = y[chosen].T
    scale = 1 / area[chosen]
    # Barycentric weights of the second and third corner as planes over the screen.
    b1x, b1y = (y2 - y0) * scale, (x0 - x2) * scale
    b2x, b2y = (y0 - y1) * scale, (x1 - x0) * scale
    b1c = -(b1x * (x0 - 0.5) + b1y * (y0 - 0.5))
    b2c = -(b2x * (x0 - 0.5) + b2y * (y0 - 0.5))
    fx, fy = column.astype(np.float32), row.astype(np.float32)
    b1 = b1x[owner] * fx + b1y[owner] * fy + b1c[owner]
    b2 = b2x[owner] * fx + b2y[owner] * fy + b2c[owner]
    inside = np.flatnonzero((b1 >= 0) & (b2 >= 0) & (b1 + b2 <= 1))
    owner, b1, b2 = owner[inside], b1[inside], b2[inside]
    pixel = row[inside].astype(np.int64) * width + column[inside]
    face = chosen[owner]
    index = faces[face]
    b0 = 1 - b1 - b2
    value = cut[index]
    kept = np.flatnonzero(value[:, 0] * b0 + value[:, 1] * b1 + value[:, 2] * b2 >= 0)
    pixel, face, index = pixel[kept], face[kept], index[kept]
    inverse = 1 / depth[index]
    weights = np.stack([b0[kept], b1[kept], b2[kept]], axis=1) * inverse
    total = weights[:, 0] + weights[:, 1] + weights[:, 2]
    far = (1 / total).astype(np.float32)
    buffer = np.full(height * width, np.inf, np.float32)
    np.minimum.at(buffer, pixel, far)
    nearest = np.flatnonzero(far == buffer[pixel])
    winner = np.full(height * width, -1, np.int64)
    winner[pixel[nearest]] = nearest
    hit = np.flatnonzero(winner >= 0)
    source = winner[hit]
    return Hits(
        pixel=hit,
        face=face[source],
        corners=(weights[source] / total[source, None]).astype(np.float32),
        depth=buffer.reshape(height, width),
    )


def interpolate(values: Floats, faces: Ints, hits: Hits) -> Floats:
    """Vertex values [n, c] at the drawn samples [k, c]."""
    index = faces[hits.face]
    out = values[index[:, 0]] * hits.corners[:, :1]
    out += values[index[:, 1]] * hits.corners[:, 1:2]
    out += values[index[:, 2]] * hits.corners[:, 2:]
    return out


def _box(image: Floats, radius: int) -> Floats:
    """Mean over a (2 radius + 1) square, borders repeated."""
    for axis in (0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(image, pad, mode="edge"), axis=axis, dtype=np.float64)
        size = 2 * radius + 1
        if axis == 0:
            image = ((total[size:] - total[:-size]) / size).astype(np.float32)
        else:
            image = ((total[:, size:] - total[:, :-size]) / size).astype(np.float32)
    return image


def occlusion(depth: Floats, radius: int, reach: float) -> Floats:
    """Cheap ambient shadow [H, W] in [0, 1]: how far a sample lies behind its surroundings.

    Depth is unsharp-masked (Luft, Colditz and Deussen 2006); the empty background is ignored.
    """
    solid = np.isfinite(depth)
    covered = _box(solid.astype(np.float32), radius)
    near = np.where(solid, depth, 0).astype(np.float32)
    mean = _box(near, radius) / np.maximum(covered, 1e-6)
    return np.where(solid, np.clip((depth - mean) / reach, 0, 1), 0).astype(np.float32)


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
