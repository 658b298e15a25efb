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
from .wardrobe import cloth_colour, deck, hsv, rgb, spread, wardrobe

SPLITS = ("train", "val", "test")
SKINS: tuple[Colour, ...] = (
    (0.95, 0.80, 0.71), (0.93, 0.75, 0.64), (0.87, 0.69, 0.55), (0.80, 0.60, 0.45),
    (0.69, 0.49, 0.35), (0.56, 0.38, 0.27), (0.46, 0.30, 0.21), (0.38, 0.25, 0.18),
)  # fmt: skip
#: Shades of each colour of hair; a person gets the shade that is farthest from the skin.
HAIRS: dict[str, tuple[Colour, ...]] = {
    "black": ((0.04, 0.04, 0.05), (0.07, 0.05, 0.05)),
    "dark brown": ((0.17, 0.10, 0.07), (0.24, 0.14, 0.08)),
    "brown": ((0.40, 0.24, 0.13), (0.31, 0.18, 0.10), (0.50, 0.32, 0.18)),
    "blond": ((0.92, 0.79, 0.48), (0.83, 0.66, 0.34), (0.68, 0.50, 0.22)),
    "red": ((0.62, 0.22, 0.08), (0.75, 0.33, 0.12), (0.55, 0.24, 0.12)),
    "grey": ((0.50, 0.51, 0.53), (0.70, 0.70, 0.71), (0.93, 0.93, 0.92)),
}
HAIR_KINDS = ("short", "long", "bob", "ponytail", "curly", "bun", "medium", "buzz", "bald", "long")
#: How the front hair falls: open, to the brows, or lower on one side.
FRINGES = ("open", "fringe", "swept", "open", "fringe", "swept_left")
FACES = ("", "head-oval", "head-square", "head-round", "head-triangular", "")
#: Plain backdrops from light to mid tones as hue, saturation, brightness.
BACKDROPS: tuple[Colour, ...] = (
    (0.0, 0.0, 0.97), (0.0, 0.0, 0.86), (0.60, 0.02, 0.68), (0.11, 0.10, 0.93),
    (0.58, 0.13, 0.90), (0.97, 0.10, 0.91), (0.33, 0.12, 0.84), (0.74, 0.12, 0.88),
    (0.60, 0.22, 0.66), (0.13, 0.24, 0.82), (0.49, 0.24, 0.68), (0.0, 0.0, 0.52),
)  # fmt: skip
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
    digest = hashlib.sha256(f"{seed}/{split}/{number}".encode()).digest()
    high = int.from_bytes(digest[:4], "big") >> 5
    return high << 36 | int.from_bytes(deal[:2], "big") << 20 | number


def _body(seed: int, rng: np.random.Generator) -> tuple[Macro, np.ndarray, dict[str, Any]]:
    male = deck(seed, "gender", 2) == 1
    origin = rng.dirichlet((0.25, 0.25, 0.25))
    leading = deck(seed, "origin", 3)
    origin = 0.3 * origin + 0.7 * np.eye(3)[leading]
    macro = Macro(
        gender=float(np.clip((0.93 if male else 0.07) + rng.normal() * 0.08, 0, 1)),
        age=spread(seed, "age", rng) ** 1.6,
        muscle=_middling(spread(seed, "muscle", rng)),
        weight=0.06 + 0.86 * spread(seed, "weight", rng) ** 1.3,
        height=_middling(spread(seed, "height", rng)),
        proportions=float(rng.uniform(0.4, 1.0)),
        cup=float(rng.beta(2, 2.4)),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
    )
    details = np.clip(rng.normal(size=len(DETAILS)) * 0.55, -1, 1)
    shape, amount = FACES[deck(seed, "face", len(FACES))], float(rng.uniform(0.5, 1.0))
    for row, (folder, low, high) in enumerate(DETAILS):
        if not low:
            details[row] = amount if high == shape else 0.0
        elif high in ("mouth-angles-up", "mouth-scale-horiz-incr"):  # faces are friendly
            details[row] = 0.4 + 0.6 * abs(details[row])
        elif high == "*-eye-scale-incr":
            details[row] = abs(details[row])
        elif folder in ("stomach", "hip", "torso"):
            details[row] *= 0.7
    return macro, details, {"gender": "male" if male else "female", "age": round(macro.age, 2)}


def build_of(seed: int) -> Macro:
    """The build of the person of a seed, as `make_identity` draws it."""
    return _body(seed, np.random.default_rng(seed))[0]


def _middling(share: float) -> float:
    """An even share in [0, 1) drawn towards one half."""
    return 0.5 + 0.5 * float(np.sign(share - 0.5)) * abs(2 * share - 1) ** 1.4


def _apart(first: Any, second: Any) -> float:
    """Distance of two colours, brightness counting most."""
    off = np.asarray(first, float) - np.asarray(second, float)
    return float(np.linalg.norm(off) + abs(off @ (0.3, 0.59, 0.11)))


def _pigment(seed: int, skin: Any, rng: np.random.Generator) -> tuple[str, Colour]:
    """Name and shade of the hair: the shade that stands out from the skin, varied a little."""
    name = list(HAIRS)[deck(seed, "hair_colour", len(HAIRS))]
    vary = 1 + rng.normal(size=3) * 0.04
    shades = [rgb(np.array(shade) * vary) for shade in HAIRS[name]]
    good = [shade for shade in shades if _apart(shade, skin) > 0.45]
    if good:
        return name, good[int(rng.integers(len(good)))]
    return name, max(shades, key=lambda shade: _apart(shade, skin))


def _backdrop(seed: int, rng: np.random.Generator, materials: list[Material]) -> Colour:
    """The plain background of all views of a person, kept apart from skin, hair and clothes."""
    hue, saturation, value = BACKDROPS[deck(seed, "backdrop", len(BACKDROPS))]
    hue, value = (hue + float(rng.normal()) * 0.02) % 1, value + float(rng.normal()) * 0.02
    tried = [
        rgb(np.array(hsv(hue, saturation, min(value * factor, 0.98))))
        for factor in (1.0, 1.13, 0.87, 1.25, 0.76)
    ]
    colours = [material.colours[0] for material in materials if material.kind != "eyes"]
    clear = [min(_apart(colour, other) for other in colours) for colour in tried]
    good = [colour for colour, gap in zip(tried, clear, strict=True) if gap > 0.25]
    return good[0] if good else tried[int(np.argmax(clear))]


def make_identity(seed: int) -> Identity:
    """Build the person of a seed (see :func:`identity_seed`)."""
    rng = np.random.default_rng(seed)
    asset = load_asset()
    macro, details, attributes = _body(seed, rng)
    points = asset.morph(macro, details)
    tone = deck(seed, "skin", len(SKINS))
    skin = np.clip(np.array(SKINS[tone]) * (1 + rng.normal(size=3) * 0.02), 0, 1)
    hair_name, pigment = _pigment(seed, skin, rng)
    kind = HAIR_KINDS[deck(seed, "hair", len(HAIR_KINDS))]
    volume = {"buzz": 0.06, "short": 0.14, "medium": 0.22, "curly": 0.42, "bun": 0.09}
    fringe = FRINGES[deck(seed, "fringe", len(FRINGES))]
    hairline = float(rng.uniform(7.74, 7.94))
    if fringe == "fringe" and kind != "buzz":
        hairline = float(rng.uniform(7.60, 7.67))
    length = {"bob": (0.8, 1.3), "medium": (0.3, 0.6), "long": (1.7, 3.6)}.get(kind, (1.8, 3.4))
    locks = float(rng.uniform(1.3, 2.7)) if kind == "long" else 0.0
    style = HairStyle(
        kind, volume.get(kind, 0.15) * float(rng.uniform(0.85, 1.25)), hairline,
        float(rng.uniform(*length)), int(rng.integers(2**31)),
        {"swept": 0.09, "swept_left": -0.09}.get(fringe, 0.0), locks,
    )  # fmt: skip
    male = attributes["gender"] == "male"
    # Two neighbours, one of them a man, share the card.
    bearded = deck(seed, "beard", 4, stride=2) < 2
    beard = float(rng.uniform(0.5, 0.95)) if male and bearded else 0.0
    makeup = float(rng.random() < 0.4)
    lips = skin + (0.45 + 0.25 * rng.random()) * (np.array([0.76, 0.28, 0.30]) - skin)
    lips = lips + makeup * rng.uniform(0.2, 0.6) * (np.array([0.75, 0.1, 0.2]) - lips)
    legwear = float(rng.choice([0.0, 0.0, 0.85, 1.0]))
    sock = cloth_colour(rng)
    face = {
        "beard": beard,
        "moustache_only": float(rng.random() < 0.2),
        "brow_height": 0.015 + float(rng.normal() * 0.02),
        "brow_width": float(rng.uniform(0.03, 0.055)),
        "smile": float(rng.uniform(0.4, 1.0)),
        "teeth": float(rng.random() < 0.4),
        "blush": float(rng.random()),
        "eye_shadow": makeup * 0.35,
        "legwear": legwear,
        "legwear_top": 1.5 if rng.random() < 0.6 else float(rng.choice([-6.7, -4.3])),
    }
    # Brows of the hair's colour where that is seen on the skin, darker ones elsewhere.
    brow = rgb(0.65 * np.array(pigment))
    brow = brow if _apart(brow, skin) > 0.35 else rgb(0.25 * skin)
    chin = rgb(0.8 * np.array(pigment))
    shadow = hsv(float(rng.random()), 0.5, 0.5)
    materials = [
        Material("skin", (rgb(skin), rgb(lips), brow, sock, chin, shadow), values=face),
        Material("eyes", (EYE_COLOURS[int(rng.integers(len(EYE_COLOURS)))],)),
        Material(
            "hair", (pigment,), seed=style.seed,
            values={"curly": float(kind == "curly"), "shine": float(rng.random())},
        ),
    ]  # fmt: skip
    garments, listed = wardrobe(seed, rng, materials)
    pieces, body, outer = dress(asset, points[: asset.vertex_count], garments, rng)
    fields = anatomy("eyes")
    eyes = asset.eyes.place(points)
    eye_attributes = np.zeros((len(eyes), 7), np.float32)
    eye_attributes[:, :3] = fields.template
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
        hair={"kind": kind, "name": hair_name, "colour": [round(float(c), 3) for c in pigment]},
        skin=[round(float(c), 3) for c in skin],
        garments=listed,
    )
    backdrop = _backdrop(seed, rng, materials)
    attributes["background"] = [round(float(c), 3) for c in backdrop]
    return Identity(
        seed, attributes, points, pieces, materials, Skeleton(asset, points),
        Torso(asset, points, outer), crown, backdrop,
    )  # fmt: skip
