"""Hair: a cap grown from the scalp, and hanging parts placed outside the clothes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .body import Asset, Floats, vertex_normals
from .garments import FAR, Piece, anatomy


@dataclass(frozen=True)
class HairStyle:
    """Lengths in dm on the template.

    Args:
        kind: "bald", "buzz", "short", "medium", "curly", "bob", "long", "ponytail" or "bun".
        volume: thickness over the scalp. hairline: height of the front hairline.
        length: how far hanging hair reaches below the ears. seed: for strands and edge.
        sweep: how much lower the hairline is on the person's right than on the left.
        locks: how far long hair reaches below the ears in front of the shoulders, or 0.
    """

    kind: str
    volume: float
    hairline: float
    length: float
    seed: int
    sweep: float = 0.0
    locks: float = 0.0


def hair_field(style: HairStyle, template: Floats) -> Floats:
    """Signed field [n] in dm on the template: positive where hair grows."""
    x, y, z = template.astype(np.float64).T
    around = np.arctan2(np.abs(x), z - 0.25)  # 0 front, pi back
    side = 7.14 if style.kind in ("buzz", "short", "curly") else 6.98
    front = np.clip(1 - around / 1.15, 0, 1)
    back = np.clip((around - 1.75) / 0.9, 0, 1)
    # A fringe closes the temples that a higher hairline leaves open.
    open_ = float(np.clip((style.hairline - 7.68) / 0.12, 0, 1))
    temple = np.exp(-(((around - 0.72) / 0.28) ** 2)) * 0.08 * open_
    line = side + (style.hairline - side) * np.minimum(1, 2.6 * front) ** 0.7 + temple
    line = line + style.sweep * np.clip(x / 0.45, -1, 1) * np.minimum(1, 2.6 * front)
    line = line + (6.45 - side) * back**1.3
    strands = np.sin(around * 23 + style.seed % 7) + np.sin(around * 41 + style.seed % 11)
    line = line + 0.015 * strands
    ear = (np.stack([np.abs(x), y, z], axis=1) - (0.75, 7.15, 0.45)) / (0.16, 0.36, 0.22)
    field = np.minimum(y - line, (np.sqrt((ear**2).sum(axis=1)) - 1) * 0.16)
    return np.where(y > 5.9, field, -1).astype(np.float32)


def _tube(path: Floats, radii: Floats, sides: int = 12) -> tuple[Floats, np.ndarray]:
    """A closed tube around ``path`` [n, 3] with ``radii`` [n, 2] (across x, across z)."""
    turn = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.stack([np.cos(turn), np.zeros(sides), np.sin(turn)], axis=1)
    spread = np.stack([radii[:, 0], np.zeros(len(path)), radii[:, 1]], axis=1)
    points = (path[:, None] + spread[:, None] * ring[None]).reshape(-1, 3)
    return points.astype(np.float32), _grid(len(path), sides, closed=True)


def _grid(rows: int, columns: int, closed: bool) -> np.ndarray:
    row, column = np.meshgrid(
        np.arange(rows - 1), np.arange(columns if closed else columns - 1), indexing="ij"
    )
    a = (row * columns + column).ravel()
    b = (row * columns + (column + 1) % columns).ravel()
    quads = np.stack([a, b, b + columns, a + columns], axis=1)
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _hang(asset: Asset, points: Floats, head: Floats, spine: Floats) -> Floats:
    """Skin weights [n, B]: the head above the chin, the upper spine below the shoulders."""
    low, high = float(spine[1]), float(head[1])
    share = np.clip((points[:, 1] - low) / max(high - low, 1e-3), 0, 1) ** 0.8
    skin = np.zeros((len(points), len(asset.bone_names)), np.float32)
    skin[:, asset.bone("head")] = share
    skin[:, asset.bone("spine01")] = 1 - share
    return skin


def _piece(asset: Asset, points: Floats, faces: np.ndarray, skin: Floats, material: int) -> Piece:
    attributes = np.zeros((len(points), 7), np.float32)
    attributes[:, :3] = points - np.array([0, points[:, 1].max() - 8.0, 0], np.float32)
    attributes[:, 3] = FAR
    return Piece(
        points, vertex_normals(points, faces), skin, faces,
        np.full(len(points), FAR, np.float32), attributes, material, True,
    )  # fmt: skip


def grow(
    asset: Asset, points: Floats, style: HairStyle, outer: Floats, material: int
) -> list[Piece]:
    """The pieces of the hair of a body.

    Args:
        points: morphed points [N + J, 3]. outer: [k, 3] points of trunk and clothes in rest pose,
            which hanging hair stays outside of. material: index of the hair's material.
    """
    if style.kind == "bald":
        return []
    rng = np.random.default_rng(style.seed)
    mesh, fields = asset.body, anatomy("body")
    rest = mesh.place(points)
    field = hair_field(style, fields.template)
    normals = vertex_normals(rest, mesh.faces)
    root = np.clip(field / 0.22, 0, 1)
    top = np.clip((fields.template[:, 1] - 7.3) / 1.0, 0, 1)
    thick = style.volume * (0.55 + 0.6 * top) * root**0.6
    if style.kind == "curly":
        lumps = np.sin(rest * 9.0 + rng.random(3).astype(np.float32) * 6).prod(axis=1)
        thick = thick * (1 + 0.35 * lumps)
    strands = np.sin(np.arctan2(rest[:, 0], rest[:, 2] - 0.2) * 30 + style.seed % 5)
    shell = rest + normals * (thick * (1 + 0.05 * strands) + 0.012)[:, None]
    # Smooth the cap so that the ears' folds do not show through.
    for _ in range(3):
        calm = mesh.around(np.ascontiguousarray(shell.T)).T
        shell = np.where((field > 0.02)[:, None], 0.5 * shell + 0.5 * calm, shell)
    attributes = np.column_stack(
        [fields.template, field, np.zeros((len(field), 2)), np.zeros(len(field))]
    ).astype(np.float32)
    near = np.flatnonzero((fields.head > 0.5)[mesh.faces].all(axis=1))
    pieces = [
        Piece(
            shell.astype(np.float32), vertex_normals(shell, mesh.faces), mesh.skin,
            mesh.faces[near], field, attributes, material, False,
        )
    ]  # fmt: skip
    skull = rest[(fields.head > 0.9) & (fields.template[:, 1] > 7.62)]  # above the ears
    low, high = skull.min(axis=0), skull.max(axis=0)
    middle, half = (high + low) / 2, (high - low) / 2
    head, spine = asset.joint(points, "head"), asset.joint(points, "spine-1")
    ear = (rest[5532] + rest[12131]) / 2
    if style.kind in ("bob", "long", "medium"):
        pieces += _curtain(asset, style, material, middle, half, ear, head, spine, outer)
    if style.kind == "ponytail":
        start = np.array([0, ear[1] + 0.55, middle[2] - half[2] - 0.02])
        steps = np.linspace(0, 1, 14)
        drop = start[1] - style.length * 1.15 * steps**1.15
        back = start[2] - 0.42 * np.sin(np.minimum(steps * 4, 1.6))
        path = np.stack([np.zeros(14), drop, back], axis=1)
        path[:, 2] = np.minimum(path[:, 2], _back(outer, path[:, 1], 0.3) - 0.22)
        path[0] = start + np.array([0, 0, 0.1])
        width = 0.23 * np.sin(np.pi * np.clip(0.12 + 0.88 * steps, 0, 0.985)) ** 0.6 + 0.03
        tube, faces = _tube(path, np.stack([width, width * 0.85], axis=1))
        pieces.append(_piece(asset, tube, faces, _hang(asset, tube, head, spine), material))
    if style.kind == "bun":
        centre = np.array([0, ear[1] + 0.75, middle[2] - half[2] - 0.12])
        lift = np.linspace(1, -1, 11)  # downwards, so that faces look outwards
        path = centre + np.stack([np.zeros(11), 0.36 * lift, np.zeros(11)], axis=1)
        round_ = 0.38 * np.sqrt(np.maximum(1 - lift**2, 0.001))
        ball, faces = _tube(path, np.stack([round_, round_], axis=1), 16)
        skin = np.zeros((len(ball), len(asset.bone_names)), np.float32)
        skin[:, asset.bone("head")] = 1
        pieces.append(_piece(asset, ball, faces, skin, material))
    return pieces


def _back(outer: Floats, heights: Floats, half_width: float) -> Floats:
    """The rearmost z of trunk and clothes near each height, made monotone from the neck down."""
    out = np.full(len(heights), np.inf)
    near = outer[np.abs(outer[:, 0]) < half_width]
    for row, y in enumerate(heights):
        ring = near[np.abs(near[:, 1] - y) < 0.35]
        if len(ring):
            out[row] = ring[:, 2].min()
    return np.where(np.isfinite(out), out, FAR)


def _curtain(
    asset: Asset, style: HairStyle, material: int, middle: Floats, half: Floats, ear: Floats,
    head: Floats, spine: Floats, outer: Floats,
) -> list[Piece]:  # fmt: skip
    """A sheet that hangs from the crown round the back, from before one ear to the other.

    Behind the shoulders it lies on the back, before them (``style.locks``) on the chest.
    """
    columns, rows = 41, 26
    around = np.linspace(-2.05, 2.05, columns)  # 0 is the back
    start = float(middle[1])
    tip = float(ear[1]) - style.length
    shoulders = float(spine[1]) + 0.75  # hair that is neither behind nor before ends above them
    away = np.abs(around)
    share = np.clip((away - 0.75) / 0.45, 0, 1)
    ragged = 0.06 * np.sin(around * 13 + style.seed % 7) + 0.05 * np.sin(around * 29)
    end = tip + 0.35 * np.minimum(away, 1.2) ** 2 + ragged  # rounded, with strands
    end = end * (1 - share) + np.maximum(tip, shoulders) * share
    if style.locks:
        before = np.clip((away - 1.50) / 0.12, 0, 1)
        hem = float(ear[1]) - style.locks + 0.5 * (away - 1.75) ** 2 / 0.09 + 0.5 * ragged
        end = end * (1 - before) + np.minimum(end, hem) * before
    else:  # no points hang beside the face
        end = end + 0.6 * np.clip((away - 1.35) / 0.7, 0, 1)
    steps = np.linspace(0, 1, rows)
    y = start + (end[None] - start) * steps[:, None]
    thick = style.volume * 0.75 + 0.05
    spread = thick * np.minimum(1, 0.15 + steps * 4)[:, None]  # the upper edge is in the cap
    rx = half[0] + spread * 1.1
    rz = half[2] + spread
    # Below the ears the back of the head recedes; hair follows it half way to the nape.
    tuck = np.clip((float(ear[1]) - y) / 1.2, 0, 1)
    x = np.sin(around)[None] * rx * (1 - 0.05 * tuck)
    z = middle[2] - np.cos(around)[None] * rz * (1 - 0.18 * tuck)
    if style.locks:  # in front they spread towards the breastbone
        inner = 0.15 - 0.65 * np.clip((away - 1.5) / 0.55, 0, 1)
        x = x * (1 + inner * (away > 1.45) * np.clip(tuck * 1.2, 0, 1))
    z = z - 0.02 * np.sin(around * 23 + style.seed % 5) * np.cos(around)
    least, low = z - FAR, y < ear[1] - 0.6
    for row, column in zip(*np.nonzero(low & ((away < 1.3) | (away > 1.45))), strict=True):
        near = (np.abs(outer[:, 1] - y[row, column]) < 0.3) & (
            np.abs(outer[:, 0] - x[row, column]) < 0.3
        )
        if not near.any():
            continue
        if away[column] < 1.3:
            z[row, column] = min(z[row, column], float(outer[near, 2].min()) - 0.14)
        else:
            least[row, column] = float(outer[near, 2].max()) + 0.16
            z[row, column] = max(z[row, column], least[row, column])
    for _ in range(3):  # even out the steps of the search above
        z[1:-1] = 0.25 * z[:-2] + 0.5 * z[1:-1] + 0.25 * z[2:]
        back = slice(6, -6)
        calm = (z[:, :-2] + z[:, 1:-1] + z[:, 2:]) / 3
        z[:, 1:-1][:, back] = np.minimum(z[:, 1:-1], calm)[:, back]
    z = np.maximum(z, least)
    sheet = np.stack([x, y, z], axis=2).reshape(-1, 3).astype(np.float32)
    faces = _grid(rows, columns, closed=False)
    return [_piece(asset, sheet, faces, _hang(asset, sheet, head, spine), material)]
