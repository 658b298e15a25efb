"""Random people: build, face, hair, clothes; and their views.

Attributes that a training set should cover evenly (gender, origin, skin, hair, kinds of garment)
are *stratified*: they walk through shuffled decks along consecutive identities.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .body import Floats, load_asset, vertex_normals
from .garments import Piece, anatomy, dress
from .hair import HairStyle, grow
from .material import Colour, Material
from .pose import Skeleton, Torso
from .shape import DETAILS, Macro
from .wardrobe import cloth_colour, deck, hsv, rgb, wardrobe

SPLITS = ("train", "val", "test")
SKINS: tuple[Colour, ...] = (
    (0.97, 0.83, 0.74), (0.94, 0.77, 0.66), (0.88, 0.69, 0.55), (0.80, 0.60, 0.45),
    (0.68, 0.48, 0.34), (0.53, 0.36, 0.25), (0.40, 0.26, 0.18), (0.30, 0.19, 0.14),
)  # fmt: skip
HAIRS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06), (0.14, 0.09, 0.06), (0.26, 0.16, 0.10), (0.40, 0.25, 0.14),
    (0.55, 0.38, 0.20), (0.78, 0.62, 0.36), (0.52, 0.22, 0.10), (0.60, 0.60, 0.60),
    (0.86, 0.85, 0.82), (0.35, 0.20, 0.45),
)  # fmt: skip
HAIR_SHARES = (0.17, 0.16, 0.15, 0.13, 0.11, 0.10, 0.08, 0.04, 0.04, 0.02)
HAIR_KINDS = ("short", "long", "bob", "ponytail", "curly", "bun", "medium", "buzz", "bald", "long")
EYE_COLOURS: tuple[Colour, ...] = (
    (0.22, 0.13, 0.07), (0.34, 0.22, 0.10), (0.25, 0.42, 0.62), (0.32, 0.45, 0.30), (0.4, 0.4, 0.4)
)  # fmt: skip


@dataclass
class Identity:
    """A dressed person in rest pose.

    Args:
        seed: everything about the person and their views follows from it.
        attributes: plain values for ``identity.json``.
        points: morphed points [N + J, 3]. pieces: geometry. materials: by index.
    """

    seed: int
    attributes: dict[str, Any]
    points: Floats
    pieces: list[Piece]
    materials: list[Material]
    skeleton: Skeleton
    torso: Torso
    top: float
    background: Colour
    cache: dict[str, Any] = field(default_factory=dict)


def identity_seed(seed: int, split: str, number: int) -> int:
    """The seed of identity ``number`` of a split.

    Layout of the result, an unsigned integer below 2**63, from its low end: 20 bits ``number``, 16
    bits of the SHA-256 of ``"{seed}/{split}"`` (these two choose the cards of the decks, see
    ``wardrobe.deck``), 27 bits of the SHA-256 of ``"{seed}/{split}/{number}"``. Different splits
    therefore share no identity.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if not 0 <= number < 2**20:
        raise ValueError(f"identity number must be in [0, {2**20}), not {number}")
    deal = hashlib.sha256(f"{seed}/{split}".encode()).digest()
    own = hashlib.sha256(f"{seed}/{split}/{number}".encode()).digest()
    high = int.from_bytes(own[:4], "big") >> 5
    return high << 36 | int.from_bytes(deal[:2], "big") << 20 | number


def _body(seed: int, rng: np.random.Generator) -> tuple[Macro, np.ndarray, dict[str, Any]]:
    male = deck(seed, "gender", 2) == 1
    origin = rng.dirichlet((0.25, 0.25, 0.25))
    leading = deck(seed, "origin", 3)
    origin = 0.3 * origin + 0.7 * np.eye(3)[leading]
    macro = Macro(
        gender=float(np.clip((0.93 if male else 0.07) + rng.normal() * 0.08, 0, 1)),
        age=float(rng.beta(1.0, 1.8)),
        muscle=float(rng.beta(3, 3)),
        weight=float(np.clip(rng.beta(2.0, 2.9), 0.06, 0.95)),
        height=float(rng.beta(3, 3)),
        proportions=float(rng.uniform(0.4, 1.0)),
        cup=float(rng.beta(2, 2.4)),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
    )
    details = np.clip(rng.normal(size=len(DETAILS)) * 0.38, -0.9, 0.9)
    details[[row for row, (_, low, _) in enumerate(DETAILS) if not low]] *= rng.random() < 0.6
    return macro, details, {"gender": "male" if male else "female", "age": round(macro.age, 2)}


def make_identity(seed: int) -> Identity:
    """Build the person of a seed (see :func:`identity_seed`)."""
    rng = np.random.default_rng(seed)
    asset = load_asset()
    macro, details, attributes = _body(seed, rng)
    points = asset.morph(macro, details)
    tone = deck(seed, "skin", len(SKINS))
    skin = np.clip(np.array(SKINS[tone]) * (1 + rng.normal(size=3) * 0.02), 0, 1)
    pigment = HAIRS[int(rng.choice(len(HAIRS), p=HAIR_SHARES))]
    if rng.random() < macro.age**2:
        pigment = HAIRS[int(rng.integers(7, 9))]
    kind = HAIR_KINDS[deck(seed, "hair", len(HAIR_KINDS))]
    volume = {"buzz": 0.04, "short": 0.13, "medium": 0.22, "curly": 0.45, "bun": 0.08}
    style = HairStyle(
        kind, volume.get(kind, 0.15) * float(rng.uniform(0.8, 1.3)), float(rng.uniform(7.82, 8.08)),
        float(rng.uniform(0.9, 1.3) if kind == "bob" else rng.uniform(1.8, 3.6)),
        int(rng.integers(2**31)),
    )  # fmt: skip
    male = attributes["gender"] == "male"
    beard = float(rng.uniform(0.35, 0.9)) if male and rng.random() < 0.45 else 0.0
    makeup = float(rng.random() < 0.4)
    lips = skin * (0.86, 0.62, 0.62)
    lips = lips + makeup * rng.uniform(0, 0.5) * (np.array([0.75, 0.1, 0.2]) - skin)
    legwear = float(rng.choice([0.0, 0.0, 0.85, 1.0]))
    sock = cloth_colour(rng)
    face = {
        "beard": beard,
        "moustache_only": float(rng.random() < 0.2),
        "brow_height": float(rng.normal() * 0.02),
        "brow_width": float(rng.uniform(0.022, 0.05)),
        "blush": float(rng.random()),
        "eye_shadow": makeup * 0.35,
        "legwear": legwear,
        "legwear_top": 1.5 if rng.random() < 0.6 else float(rng.choice([-6.7, -4.3])),
    }
    brow = rgb(0.75 * np.array(pigment))
    shadow = hsv(float(rng.random()), 0.5, 0.5)
    materials = [
        Material("skin", (rgb(skin), rgb(lips), brow, sock, shadow), values=face),
        Material("eyes", (EYE_COLOURS[int(rng.integers(len(EYE_COLOURS)))],)),
        Material(
            "hair", (pigment,), seed=style.seed,
            values={"curly": float(kind == "curly"), "shine": float(rng.random())},
        ),
    ]  # fmt: skip
    garments, listed = wardrobe(seed, rng, materials)
    pieces, body, outer = dress(asset, points[: asset.vertex_count], garments, rng)
    where = anatomy("eyes")
    eyes = asset.eyes.place(points)
    eye_attributes = np.zeros((len(eyes), 7), np.float32)
    eye_attributes[:, :3] = where.template
    pieces.append(body)
    pieces.append(
        Piece(
            eyes, vertex_normals(eyes, asset.eyes.faces), asset.eyes.skin, asset.eyes.faces,
            np.full(len(eyes), 9.0, np.float32), eye_attributes, 1, False,
        )
    )  # fmt: skip
    hair = grow(asset, points, style, outer, 2)
    pieces += hair
    crown = max([float(piece.points[:, 1].max()) for piece in [body, *hair]])
    attributes.update(
        hair={"kind": kind, "colour": [round(float(c), 3) for c in pigment]},
        skin=[round(float(c), 3) for c in skin],
        garments=listed,
    )
    level = float(rng.uniform(0.86, 0.96))
    tint = rng.normal(size=3) * 0.01
    return Identity(
        seed, attributes, points, pieces, materials, Skeleton(asset, points),
        Torso(asset, points, outer), crown, rgb(level + tint),
    )  # fmt: skip
