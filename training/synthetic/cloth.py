"""Cloth: patterns that close round body and limbs, prints, seams and fastenings.

Everything is evaluated per drawn sample from template coordinates, so that a print follows every
morph and pose.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .body import Floats, load_asset
from .material import Colour, Material, mix, noise, ramp


def draw_decal(kind: str, colour: Colour, second: Colour, text: str) -> Floats | None:
    """A square decal [64, 64, 4] with alpha, or None."""
    if kind == "none":
        return None
    image = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    pen = ImageDraw.Draw(image)
    ink = tuple(int(255 * c) for c in colour)
    other = tuple(int(255 * c) for c in second)
    if kind in ("word", "number"):
        font = ImageFont.load_default(24 if kind == "word" else 48)
        box = pen.textbbox((0, 0), text, font=font)
        at = (32 - (box[0] + box[2]) / 2, 32 - (box[1] + box[3]) / 2)
        pen.text(at, text, font=font, fill=ink, stroke_width=1, stroke_fill=ink)
    elif kind == "star":
        turn = np.arange(10) * np.pi / 5 - np.pi / 2
        radius = np.where(np.arange(10) % 2, 12, 30)
        pen.polygon(
            [(32 + r * np.cos(t), 32 + r * np.sin(t)) for r, t in zip(radius, turn, strict=True)],
            fill=ink,
        )
    elif kind == "badge":
        pen.ellipse((4, 4, 60, 60), fill=ink)
        pen.ellipse((12, 12, 52, 52), fill=other)
        pen.rectangle((26, 18, 38, 46), fill=ink)
    elif kind == "heart":
        pen.ellipse((6, 8, 34, 36), fill=ink)
        pen.ellipse((30, 8, 58, 36), fill=ink)
        pen.polygon([(8, 28), (56, 28), (32, 58)], fill=ink)
    elif kind == "bar":
        pen.rectangle((0, 22, 63, 42), fill=ink)
        pen.rectangle((0, 30, 63, 34), fill=other)
    elif kind == "logo":
        pen.polygon([(32, 4), (60, 56), (4, 56)], fill=ink)
        pen.polygon([(32, 24), (46, 50), (18, 50)], fill=other)
    return np.asarray(image, np.float32) / 255


def _cylinder(a: Floats) -> tuple[Floats, Floats, Floats]:
    """Turns round the limb in [-.5, .5], height along it [dm] and the limb's radius [dm]."""
    asset = load_asset()
    x, y, z = a[:, 0], a[:, 1], a[:, 2]
    turn = np.arctan2(x, z - 0.2) / (2 * np.pi)
    height, radius = y - 1.0, np.full(len(a), 1.55, np.float32)
    leg = (y < -0.2) & (a[:, 6] < 0.5)
    if leg.any():
        side = np.sign(x[leg])
        axis = side * (1.1 + (0.5 - y[leg]) * 0.135)
        turn[leg] = np.arctan2(x[leg] - axis, z[leg] - 0.15) / (2 * np.pi)
        radius[leg] = 0.8
    arm = a[:, 4] > 0.5
    for sign, low in ((1, "l"), (-1, "r")):
        joints = [asset.joint(asset.base, f"{low}-{n}") for n in ("shoulder", "elbow", "hand")]
        for part, (start, end) in enumerate(pairwise(joints)):
            mine = arm & (x * sign > 0) & ((a[:, 5] > 1) == bool(part))
            if not mine.any():
                continue
            along = (end - start) / np.linalg.norm(end - start)
            first = np.cross(along, (0, 0, 1.0) if part == 0 else (0, 1.0, 0))
            first /= np.linalg.norm(first)
            offset = a[mine, :3] - start
            turn[mine] = np.arctan2(offset @ np.cross(along, first), offset @ first) / (2 * np.pi)
            height[mine] = 4.0 - a[mine, 5] * 2.25
            radius[mine] = 0.55
    return turn.astype(np.float32), height.astype(np.float32), radius


def cloth_pattern(material: Material, a: Floats) -> Floats:
    """Base colour [k, 3] of patterned cloth before seams and prints."""
    main = np.array(material.colours[0], np.float32)
    colours = material.colours
    second = colours[1 % len(colours)]
    third = colours[2 % len(colours)]
    out = np.repeat(main[None], len(a), axis=0)
    kind, period = material.pattern, material.period
    if kind == "plain":
        return out
    turn, height, radius = _cylinder(a)
    repeats = np.maximum(1, np.round(2 * np.pi * radius / period))
    u, v = turn * repeats, height / period
    fu, fv = u - np.floor(u), v - np.floor(v)
    share = material.value("share", 0.5)
    if kind == "stripes":
        out = mix(out, second, fv < share)
        return mix(out, third, (fv > 0.62) & (fv < 0.74)) if len(colours) > 2 else out
    if kind == "bands":
        near = np.abs(a[:, 1] - 3.4)
        out = mix(out, second, near < 0.55 * period)
        return mix(out, third, near < 0.2 * period)
    if kind == "pinstripes":
        return mix(out, second, fu < 0.16 + 0.2 * share)
    if kind == "checks":
        return mix(out, second, (fu < 0.5) != (fv < 0.5))
    if kind == "plaid":
        out = mix(out, second, 0.45 * (fu < share) + 0.45 * (fv < share))
        thin = ((fu > 0.70) & (fu < 0.78)) | ((fv > 0.70) & (fv < 0.78))
        return mix(out, third, 0.75 * thin)
    if kind == "dots":
        shifted = u + 0.5 * (np.floor(v) % 2)
        offset = shifted - np.floor(shifted) - 0.5
        return mix(out, second, offset**2 + (fv - 0.5) ** 2 < (0.2 + 0.18 * share) ** 2)
    if kind == "flowers":
        row, column = np.floor(v), np.floor(u) % np.maximum(repeats, 1)
        cx = 0.5 + 0.3 * (noise(column, row, material.seed) - 0.5)
        cy = 0.5 + 0.3 * (noise(column, row, material.seed + 1) - 0.5)
        dx, dy = fu - cx, fv - cy
        reach = np.sqrt(dx * dx + dy * dy)
        bloom = 0.30 + 0.10 * np.cos(5 * np.arctan2(dy, dx) + 6 * cx)
        picked = noise(column, row, material.seed + 2)[:, None] < 0.5
        tint = np.where(picked, np.array(second, np.float32), np.array(third, np.float32))
        out = mix(out, tint, reach < bloom)
        return mix(out, main, reach < 0.09)
    if kind == "camouflage":
        p = a[:, :3] / period * 2.2
        field = np.zeros((len(a), 2), np.float32)
        rng = np.random.default_rng(material.seed)
        for _ in range(6):
            d = rng.normal(size=(3, 2)).astype(np.float32)
            field += np.sin(p @ d * 1.7 + rng.random(2).astype(np.float32) * 6.28)
        out = mix(out, second, field[:, 0] > 0.7)
        return mix(out, third, field[:, 1] > 1.3)
    if kind == "zigzag":
        wave = v + 0.5 * np.abs(2 * (fu - 0.5))
        return mix(out, second, wave - np.floor(wave) < share)
    if kind == "diamonds":
        reach = np.abs(fu - 0.5) + np.abs(fv - 0.5)
        out = mix(out, second, reach < 0.36)
        cross = np.abs(np.abs(fu - 0.5) - np.abs(fv - 0.5)) < 0.03
        return mix(out, third, cross)
    if kind == "blocks":
        return mix(out, second, (a[:, 4] > 0.5) | (a[:, 1] > 4.6) | (a[:, 1] < -2.5))
    if kind == "denim":
        weave = noise(np.floor(turn * 900), np.floor(height * 60), material.seed) - 0.5
        worn = np.exp(-((a[:, 2] - 1.1) ** 2)) * 0.12
        return np.clip(out + (0.10 * weave + worn)[:, None], 0, 1)
    return mix(out, second, ramp(a[:, 1], 0.0, 5.0))


def _decal(out: Floats, a: Floats, picture: Floats, material: Material, front: bool) -> Floats:
    size = material.value("decal_size", 1.3)
    cx, cy = material.value("decal_x", 0.0), material.value("decal_y", 3.7)
    side = 1.0 if front else -1.0
    u = (side * (a[:, 0] - (cx if front else 0.0)) / size + 0.5) * 64
    v = (0.5 - (a[:, 1] - cy) / size) * 64
    facing = (a[:, 2] > 0.3) if front else (a[:, 2] < 0.1)
    mine = np.flatnonzero((u >= 0) & (u < 64) & (v >= 0) & (v < 64) & facing & (a[:, 4] < 0.4))
    texel = picture[v[mine].astype(int), u[mine].astype(int)]
    out[mine] = mix(out[mine], texel[:, :3], texel[:, 3])
    return out


def cloth(material: Material, a: Floats) -> Floats:
    """Colour [k, 3] of cloth with hem, seams, prints and fastenings."""
    out = cloth_pattern(material, a)
    x, y, z, hem = a[:, 0], a[:, 1], a[:, 2], a[:, 3]
    second = material.colours[1 % len(material.colours)]
    if material.front is not None:
        out = _decal(out, a, material.front, material, True)
    if material.back is not None:
        out = _decal(out, a, material.back, material, False)
    trim = material.value("trim")  # width [dm] of a contrasting edge
    if trim:
        out = mix(out, second, hem < trim)
    chest = (z > 0.25) & (a[:, 4] < 0.5)
    if material.value("buttons"):
        out *= np.where(chest & (np.abs(np.abs(x) - 0.16) < 0.02), 0.75, 1)[:, None]
        up = y / 0.62
        button = (up - np.floor(up) - 0.5) ** 2 * 0.38 + x * x < 0.0045
        out = mix(out, second, chest & button)
    if material.value("zip"):
        out = mix(out, (0.75, 0.75, 0.78), chest & (np.abs(x) < 0.035))
    if material.value("collar"):  # a band below the neck opening
        near = (hem < 0.28) & (y > 5.0) & (a[:, 4] < 0.3)
        out = mix(out, np.clip(np.array(material.colours[0]) * 0.82 + 0.04, 0, 1), near)
    if material.value("pockets"):
        height = material.value("pockets")
        pocket = (np.abs(np.abs(x) - 0.75) < 0.42) & (y < height) & (y > height - 0.9)
        edge = pocket & (
            (np.abs(np.abs(np.abs(x) - 0.75) - 0.40) < 0.025) | (y > height - 0.06)
            | (y < height - 0.85)
        )  # fmt: skip
        out *= np.where(edge & (chest | (z < -0.2)), 0.72, 1)[:, None]
    if material.value("fly"):
        out *= np.where((z > 0.3) & (np.abs(x) < 0.025) & (y > -0.1), 0.7, 1)[:, None]
        out *= np.where((np.abs(y - (material.value("fly") - 0.32)) < 0.025), 0.75, 1)[:, None]
    if material.value("belt"):
        top = material.value("belt")
        strap = (y < top - 0.04) & (y > top - 0.32) & (a[:, 4] < 0.5)
        out = mix(out, (0.18, 0.11, 0.07), strap)
        buckle = strap & (np.abs(x) < 0.17) & (z > 0.4)
        out = mix(out, (0.80, 0.74, 0.50), buckle)
    if material.value("side_stripe"):
        turn, _, radius = _cylinder(a)
        along = np.abs(np.abs(turn) - 0.25) < 0.10 / (2 * np.pi * radius)
        outer = (turn > 0) == (x > 0)
        out = mix(out, second, along & outer & (radius < 1))
    out *= (1 - 0.30 * (hem < 0.05) - 0.12 * (np.abs(hem - 0.17) < 0.018))[:, None]
    seam = (np.abs(a[:, 4] - 0.5) < 0.05) & (y > 3.0)
    return out * np.where(seam, 0.86, 1.0)[:, None].astype(np.float32)
