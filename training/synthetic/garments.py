"""Garments: clothing shells cut by scalar fields.

A shell (the "tights" or "skirt" helper of the base mesh, subdivided) is inflated, smoothed and
kept where its *cut field* is positive; the renderer interpolates the field per pixel, so hems stay
crisp at every resolution. The same field, evaluated on the body and on inner garments, hides what
lies below. Fields are in decimetres on the template body.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from .body import Asset, Floats, Ints, Mesh, load_asset, vertex_normals

UPPER_ARM = 2.28  # its length on the template
FAR = 9.0


@dataclass(frozen=True)
class Cut:
    """Where a garment ends, on the template.

    Args:
        kind: "top" (neck, sleeves, hem), "bottom" (waist, legs), "skirt" or "shoe".
        sleeve: 0 shoulder, 1 elbow, 2 wrist; negative values bare the shoulder.
        hem: lowest y. waist: highest y of bottoms, skirts and shoes.
        neck: radii (x, y) of the neck opening. wedge: y where a V neck ends, or None.
        opening: half width of an open front at the hem, or None when closed.
    """

    kind: str
    sleeve: float = 2.0
    hem: float = 0.6
    waist: float = 1.6
    neck: tuple[float, float] = (0.8, 0.6)
    wedge: float | None = None
    opening: float | None = None


@dataclass(frozen=True)
class Garment:
    """One garment: where it is cut, how it sits, and the index of its material.

    A joined skirt follows, in the list of garments, the bodice that has its material.
    """

    cut: Cut
    shell: str  # "tights" or "skirt"
    ease: float
    material: int
    flare: float = 0.0
    wrinkle: float = 0.0
    over: tuple[int, ...] = field(default=())  # indices of the garments that this one covers
    joined: bool = False  # its upper edge is sewn to another garment: no hem there


@dataclass
class Piece:
    """Geometry in rest pose, ready to be posed and drawn.

    ``attributes`` [n, 7]: template x, y, z; hem distance; arm membership; sleeve parameter; extra.
    """

    points: Floats
    normals: Floats
    skin: Floats
    faces: np.ndarray
    cut: Floats
    attributes: Floats
    material: int
    two_sided: bool

    def trimmed(self, limit: float = 0.8) -> tuple[Piece, np.ndarray]:
        """Drop faces that are cut whole; also return which faces must be drawn from behind."""
        corner = self.cut[self.faces]
        keep = corner.max(axis=1) > 0
        faces, corner = self.faces[keep], corner[keep]
        vertices, faces = np.unique(faces, return_inverse=True)
        piece = Piece(
            self.points[vertices], self.normals[vertices], self.skin[vertices],
            faces.reshape(-1, 3), self.cut[vertices], self.attributes[vertices], self.material,
            self.two_sided,
        )  # fmt: skip
        # Near a hem the inside can be seen; elsewhere faces turned away are never drawn.
        behind = (corner.min(axis=1) < limit) | self.two_sided
        return piece, behind


@dataclass(frozen=True)
class Anatomy:
    """Fields of one mesh on the template that every cut uses."""

    template: Floats
    arm: Floats  # membership in [0, 1]
    sleeve: Floats  # 0 shoulder, 1 elbow, 2 wrist, about -.4 on the trunk
    head: Floats  # weight of head and neck


@lru_cache(maxsize=8)
def anatomy(name: str) -> Anatomy:
    """Fields of the asset's mesh ``name`` ("body", "tights", "skirt", "eyes")."""
    asset = load_asset()
    mesh: Mesh = getattr(asset, name)
    at = mesh.template.astype(np.float64)
    arm, lower = np.zeros(len(at)), np.zeros(len(at))
    sleeve = np.zeros(len(at))
    for index, bone in enumerate(asset.bone_names):
        if bone.startswith(("upperarm", "lowerarm", "wrist", "finger")):
            arm += mesh.skin[:, index]
        if bone.startswith(("lowerarm", "wrist", "finger")):
            lower += mesh.skin[:, index]
    for sign, side in ((1, "l"), (-1, "r")):
        shoulder = asset.joint(asset.base, f"{side}-shoulder").astype(np.float64)
        elbow = asset.joint(asset.base, f"{side}-elbow").astype(np.float64)
        hand = asset.joint(asset.base, f"{side}-hand").astype(np.float64)
        first, second = elbow - shoulder, hand - elbow
        upper = (at - shoulder) @ first / float(first @ first)
        fore = (at - elbow) @ second / float(second @ second)
        value = (1 - lower) * np.minimum(upper, 1.2) + lower * (1 + np.maximum(fore, -0.2))
        sleeve = np.where(at[:, 0] * sign > 0, value, sleeve)
    sleeve = arm * sleeve + (1 - arm) * -0.45
    head = mesh.skin[:, [asset.bone("head"), asset.bone("neck03")]].sum(axis=1)
    return Anatomy(
        mesh.template, arm.astype(np.float32), sleeve.astype(np.float32), head.astype(np.float32)
    )


def evaluate(cut: Cut, fields: Anatomy) -> Floats:
    """The signed field [n] in dm: positive where the garment is."""
    x, y, z = fields.template.T
    trunk = (0.5 - fields.arm) * 4
    if cut.kind == "shoe":
        return (cut.waist - 0.12 * np.clip(z, -1, 1) - y).astype(np.float32)
    if cut.kind in ("bottom", "skirt"):
        out = np.minimum.reduce([cut.waist - y, y - cut.hem, trunk])
        return np.minimum(out, _front_opening(cut, fields)).astype(np.float32)
    sleeve = (cut.sleeve - fields.sleeve) * UPPER_ARM
    radius = np.sqrt(
        (x / cut.neck[0]) ** 2
        + ((y - 5.95 - 0.1 * np.clip(-z, 0, 1)) / cut.neck[1]) ** 2
        + ((z - 0.2) / 1.1) ** 2
    )
    neck = (radius - 1) * min(cut.neck)
    top = np.minimum(6.1 - y, neck)
    hem = np.where(fields.arm > 0.5, FAR, y - cut.hem)
    out = np.minimum.reduce([sleeve, top, hem])
    if cut.wedge is not None:
        side = (np.abs(x) - 0.42 * (y - cut.wedge)) * 0.9
        out = np.minimum(out, np.where((z > 0.25) & (fields.arm < 0.5), side, FAR))
    return np.minimum(out, _front_opening(cut, fields)).astype(np.float32)


def _front_opening(cut: Cut, fields: Anatomy) -> Floats:
    """Positive beside the open front of a jacket; far away where there is none."""
    x, y, z = fields.template.T
    if cut.opening is None:
        return np.full(len(x), FAR, np.float32)
    side = np.abs(x) - cut.opening * (1 + 0.12 * (2.5 - y))
    return np.where((z > 0.25) & (fields.arm < 0.5), side, FAR).astype(np.float32)


def _attributes(fields: Anatomy, hem: Floats, extra: Floats | None = None) -> Floats:
    last = np.zeros(len(hem), np.float32) if extra is None else extra
    return np.column_stack([fields.template, hem, fields.arm, fields.sleeve, last]).astype(
        np.float32
    )


def _settle(points: Floats, normals: Floats, mesh: Mesh, ease: Floats, rounds: int) -> Floats:
    """Inflate by ``ease`` [n] and let the cloth bridge hollows without sinking into the body."""
    rest, away = np.ascontiguousarray(points.T), np.ascontiguousarray(normals.T)
    cloth = rest + away * ease
    for _ in range(rounds):
        cloth = 0.5 * cloth + 0.5 * mesh.around(cloth)
        x, y, z = (cloth - rest) * away
        cloth += away * np.maximum(0.6 * ease - (x + y + z), 0)
    return np.ascontiguousarray(cloth.T)


def _wrinkles(points: Floats, amount: float, rng: np.random.Generator) -> Floats:
    waves = np.zeros(len(points), np.float32)
    for _ in range(7):
        direction = rng.normal(size=3) * (0.8, 1.5, 0.8)
        phase = rng.random() * 2 * np.pi
        warp = rng.normal(size=3) * 1.2
        bend = np.sin(points @ warp.astype(np.float32))
        waves += np.sin(points @ (direction * 1.6).astype(np.float32) + phase + 1.2 * bend)
    return waves * np.float32(amount / 7**0.5)


@lru_cache(maxsize=1)
def _waist() -> tuple[Ints, Ints, Floats]:
    """Skirt vertices near the waist, their three nearest tights vertices, and weights [n, 3]."""
    asset = load_asset()
    skirt, tights = asset.skirt.template, asset.tights.template
    waist = np.flatnonzero(skirt[:, 1] > 0.7)
    apart = np.linalg.norm(skirt[waist, None] - tights[None], axis=2)
    near = np.argsort(apart, axis=1)[:, :3]
    weights = 1 / (np.take_along_axis(apart, near, axis=1) + 0.02)
    return waist, near, weights / weights.sum(axis=1, keepdims=True)


def _sew(cloth: Floats, y: Floats, bodice: Floats, normals: Floats) -> Floats:
    """Lay the waist of a skirt onto the bodice that it is sewn to."""
    waist, near, weights = _waist()
    onto = ((bodice + 0.035 * normals)[near] * weights[:, :, None]).sum(axis=1)
    share = np.clip((y[waist] - 0.75) / 0.7, 0, 1)[:, None]
    out = cloth.copy()
    out[waist] += share * (onto - cloth[waist])
    return out


@lru_cache(maxsize=1)
def _skirt_skin() -> Floats:
    """Skin weights [n, B] of the skirt: it hangs between the legs more than it follows each."""
    asset = load_asset()
    skin = asset.skirt.skin.copy()
    upper = [asset.bone(f"upperleg.{side}") for side in "LR"]
    lower = [asset.bone(f"lowerleg.{side}") for side in "LR"]
    moved = 0.5 * skin[:, lower]
    skin[:, lower] -= moved
    skin[:, upper] += moved
    for pair in (upper, lower):
        skin[:, pair] = 0.5 * skin[:, pair] + 0.5 * skin[:, pair].mean(axis=1, keepdims=True)
    return skin


def dress(
    asset: Asset, rest: Floats, garments: Sequence[Garment], rng: np.random.Generator
) -> tuple[list[Piece], Piece, Floats]:
    """Dress a morphed body.

    Returns the garments' pieces, the body's piece (its attribute "extra" holds the lips) with the
    covered parts cut away, and the outermost shell's trunk points [n, 3] in rest pose.
    """
    pieces: list[Piece] = []
    trunk: list[Floats] = []
    bodices: dict[int, Floats] = {}  # by material, which sewn parts share
    shells: dict[str, tuple[Floats, Floats]] = {}  # at rest: points and normals
    for number, item in enumerate(garments):
        mesh: Mesh = getattr(asset, item.shell)
        fields = anatomy(item.shell)
        if item.shell not in shells:
            points = mesh.place(rest)
            shells[item.shell] = points, vertex_normals(points, mesh.faces)
        points, upright = shells[item.shell]
        y = fields.template[:, 1]
        ease = np.full(len(points), item.ease, np.float32)
        if item.cut.kind == "bottom" and item.flare:
            ease += item.flare * np.clip((-1.5 - y) / 5.5, 0, 1).astype(np.float32)
        if item.cut.kind == "top" and item.flare:
            reach = np.clip((3.0 - y) / 3.0, 0, 1) * (fields.arm < 0.5)
            ease += item.flare * reach.astype(np.float32)
        if item.cut.kind == "shoe":
            cloth = _settle(points, upright, mesh, ease, 8)
            ground = float(points[:, 1].min()) - 0.12
            flat = np.clip((-7.93 - y) / 0.12, 0, 1).astype(np.float32)
            cloth[:, 1] += flat * (ground - cloth[:, 1])
        else:
            cloth = _settle(points, upright, mesh, ease, 8 if item.ease > 0.07 else 4)
            if item.shell == "skirt" and item.flare:
                drop = np.clip((1.2 - y) / 6.0, 0, 1).astype(np.float32)
                centre = np.array([0, 0, 0.15], np.float32)
                out = (cloth - centre) * np.array([1, 0, 1], np.float32)
                cloth += out * (item.flare * drop)[:, None]
                turns = np.arctan2(out[:, 0], out[:, 2])
                pleats = np.sin(turns * 9 + 2) + 0.5 * np.sin(turns * 14)
                cloth += out * (0.035 * drop * min(1.0, item.flare * 3) * pleats)[:, None]
            if item.joined:
                upper = bodices[item.material]
                cloth = _sew(cloth, y, upper, vertex_normals(upper, asset.tights.faces))
        normals = vertex_normals(cloth, mesh.faces)
        if item.wrinkle:
            cloth = cloth + normals * _wrinkles(cloth, item.wrinkle, rng)[:, None]
            normals = vertex_normals(cloth, mesh.faces)
        field = evaluate(item.cut, fields)
        cut = field
        for other in garments:
            if number in other.over:
                margin = 0.06 + 0.5 * other.ease
                cut = np.minimum(cut, margin - evaluate(other.cut, fields))
        if item.cut.kind == "top":
            bodices[item.material] = cloth
        if item.cut.kind != "shoe":
            inside = (field > 0) & (fields.arm < 0.3)
            trunk.append(cloth[inside])
        skin = _skirt_skin() if item.shell == "skirt" else mesh.skin
        # One cylinder for the pattern, not one per leg.
        hem = evaluate(replace(item.cut, waist=FAR), fields) if item.joined else field
        whole = np.full(len(field), float(item.shell == "skirt" or item.cut.kind == "top"))
        pieces.append(
            Piece(
                cloth, normals, skin, mesh.faces, cut, _attributes(fields, hem, whole),
                item.material, item.shell == "skirt" or item.cut.opening is not None,
            )
        )  # fmt: skip
    mesh, fields = asset.body, anatomy("body")
    points = mesh.place(rest)
    cut = np.full(len(points), FAR, np.float32)
    for item in garments:
        covered = evaluate(item.cut, fields)
        margin = 0.06 if item.cut.kind == "shoe" else 0.12 + 0.8 * item.ease
        cut = np.minimum(cut, margin - covered)
    body = Piece(
        points, vertex_normals(points, mesh.faces), mesh.skin, mesh.faces, cut,
        _attributes(fields, cut, asset.lips[mesh.sources[:, 0]]), 0, False,
    )  # fmt: skip
    bare = points[(fields.arm < 0.3) & (fields.head < 0.5)]
    return pieces, body, np.concatenate([*trunk, bare])
