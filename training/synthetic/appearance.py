"""Skin, face, eyes, hair and shoes, and the table of all painters.

A painter gives the colour of each drawn sample from the attributes of :class:`.garments.Piece`;
template coordinates make a face follow every morph.
"""

from __future__ import annotations

import numpy as np

from .body import Floats
from .cloth import cloth
from .material import Material, mix, noise, ramp

EYE = np.array([0.30775, 7.28415, 1.24535])  # centre of the left eyeball on the template


def skin(material: Material, a: Floats) -> Floats:
    """Colour [k, 3] of skin with lips, brows, beard, lashes, blush, nails and legwear."""
    base, lip, hair = (np.array(c, np.float32) for c in material.colours[:3])
    out = np.repeat(base[None], len(a), axis=0)
    x, y, z = np.abs(a[:, 0]), a[:, 1], a[:, 2]
    face = y > 6.1
    if material.value("legwear"):
        top = material.value("legwear_top", 1.0)
        sock = np.array(material.colours[3], np.float32)
        out = mix(out, sock, np.where(y < top, material.value("legwear"), 0) * (a[:, 4] < 0.5))
    if not face.any():
        return out
    blush = np.exp(-(((x - 0.48) / 0.22) ** 2) - ((y - 6.93) / 0.18) ** 2) * (z > 0.9)
    out = mix(out, base * (1.0, 0.72, 0.70), 0.35 * material.value("blush") * blush)
    out *= (1 - 0.10 * np.exp(-(((y - 6.83) / 0.06) ** 2)) * ((x < 0.2) & (z > 1.3)))[:, None]
    # Thin features are widened to the distance of the samples, or small pictures would lose them.
    step = material.value("step")
    out = mix(out, lip, ramp(a[:, 6], 0.25, 0.6) * face)
    curve = 6.555 + material.value("smile") * 0.10 * (x / 0.27) ** 2
    width = float(np.hypot(0.014, 0.4 * step))
    mouth = np.exp(-(((y - curve) / width) ** 2)) * ((x < 0.30) & (z > 1.1))
    out = mix(out, lip * 0.35, (0.014 / width) ** 0.5 * 0.9 * mouth)
    teeth = (np.abs(y - curve - 0.035) < max(0.03, 0.4 * step)) & (x < 0.20) & (z > 1.2)
    out = mix(out, (0.97, 0.95, 0.92), material.value("teeth") * teeth)
    beard = material.value("beard")
    if beard:
        line = 6.82 - 0.20 * ramp(x, 0.1, 0.5) + 0.45 * ramp(x, 0.45, 0.68)
        clear = (x < 0.22) & (np.abs(y - 6.575) < 0.075)  # the lips stay free
        throat = 6.12 + 0.25 * ramp(-z, -1.0, -0.5)
        area = ramp(line - y, -0.05, 0.08) * ramp(y - throat, -0.04, 0.10)
        area = area * ~clear * ramp(z, 0.42, 0.55)
        if material.value("moustache_only"):
            area = ((np.abs(y - 6.73) < 0.06) & (x < 0.27) & (z > 1.2)).astype(np.float32)
        out = mix(out, material.colours[4], area * beard * (1 - ramp(a[:, 6], 0.25, 0.6)))
    along = np.clip((x - 0.11) / 0.42, 0, 1)
    arch = 7.505 + material.value("brow_height") + 0.05 * np.sin(along * 2.4) - 0.035 * along**3
    thick = material.value("brow_width", 0.035) * (1.1 - 0.6 * along)
    wide = np.hypot(thick, 0.45 * step)
    brow = np.exp(-(((y - arch) / wide) ** 2)) * (x > 0.11) * (x < 0.53) * (thick / wide) ** 0.4
    out = mix(out, hair, np.clip(1.3 * brow, 0, 0.92) * (z > 1.0))
    reach = np.hypot(x - EYE[0], (y - EYE[1]) * 1.35)
    lid = np.abs(reach - 0.165) < max(0.034, 0.35 * step)
    lid = lid & (y > EYE[1] - 0.02) & (z > 1.05)
    out = mix(out, (0.05, 0.03, 0.03), 0.85 * lid)
    shadow = (reach < 0.26) & (y > EYE[1]) & (z > 1.05)
    out = mix(out, material.colours[-1], material.value("eye_shadow") * shadow * ~lid)
    return out


def eyes(material: Material, a: Floats) -> Floats:
    """Colour [k, 3] of the eyeballs: white, iris and pupil by the angle from the gaze."""
    offset = np.column_stack([np.abs(a[:, 0]) - EYE[0], a[:, 1] - EYE[1], a[:, 2] - EYE[2]])
    radius = np.hypot(offset[:, 0], offset[:, 1])
    out = np.repeat(np.array([[0.97, 0.96, 0.94]], np.float32), len(a), axis=0)
    front = offset[:, 2] > 0
    out = mix(out, material.colours[0], front & (radius < 0.088))
    return mix(out, (0.03, 0.03, 0.04), front & (radius < 0.045))


def hair(material: Material, a: Floats) -> Floats:
    """Colour [k, 3] of hair with strands."""
    angle = np.arctan2(a[:, 0], a[:, 2] - 0.2)
    if material.value("curly"):
        lumps = np.sin(a[:, :3] * 13 + material.seed % 7).sum(axis=1) / 3
        grain = noise(np.floor(a[:, 0] * 14), np.floor(a[:, 1] * 14), 3) - 0.5
        strands = 0.5 * lumps + 0.3 * grain
    else:
        fine = noise(np.floor(angle * 60), np.zeros(len(a)), material.seed) - 0.5
        strands = 0.5 * np.sin(angle * 17 + 2 * np.sin(a[:, 1] * 1.5)) + fine
    out = np.array(material.colours[0], np.float32) * (1 + 0.14 * strands)[:, None]
    light = np.exp(-(((a[:, 1] - 8.05 - 0.05 * strands) / 0.12) ** 2))
    out = out + (0.07 * light * material.value("shine", 1.0))[:, None]
    out *= (1 - 0.25 * ramp(0.10 - a[:, 3], 0.0, 0.10))[:, None]  # the hairline is drawn darker
    return np.clip(out, 0, 1).astype(np.float32)


def shoe(material: Material, a: Floats) -> Floats:
    """Colour [k, 3] of shoes: upper, sole, laces or stripes, and a darker rim."""
    upper, sole, mark = (np.array(c, np.float32) for c in material.colours[:3])
    out = np.repeat(upper[None], len(a), axis=0)
    y, z = a[:, 1], a[:, 2]
    if material.value("laces"):
        rung = np.sin((z + y) * 26) > 0.2
        middle = np.abs(np.abs(a[:, 0]) - 2.28 - 0.10 * (z - 0.2)) < 0.13
        out = mix(out, mark, rung & middle & (z > 0.35) & (z < 1.25) & (y > -7.85))
    if material.value("stripe"):
        out = mix(out, mark, (np.abs(z - 0.45 + 0.5 * (y + 7.8)) < 0.09) & (y > -7.95))
    if material.value("toe"):
        out = mix(out, sole, (z > 1.55) & (y < -7.75))
    out = mix(out, sole, y < material.value("sole", -7.98))
    return out * (1 - 0.25 * (a[:, 3] < 0.06))[:, None].astype(np.float32)


PAINTERS = {"skin": skin, "eyes": eyes, "hair": hair, "cloth": cloth, "shoe": shoe}
GLOSS = {
    "skin": (0.06, 14.0), "eyes": (0.30, 60.0), "hair": (0.12, 18.0), "cloth": (0.02, 8.0),
    "shoe": (0.15, 24.0),
}  # fmt: skip
