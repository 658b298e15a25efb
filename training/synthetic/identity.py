"""Random people: build, face, hair, clothes; and their views.

Attributes that a training set should cover evenly (gender, origin, hair, kinds of garment) are
*stratified*: they walk through shuffled decks along consecutive identities. Clothes and hair do
not depend on gender.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .appearance import DECALS, PATTERNS, Colour, Material, draw_decal
from .body import Floats, load_asset
from .garments import Cut, Garment, Piece, anatomy, dress
from .hair import HairStyle, grow
from .pose import Skeleton, Torso
from .shape import DETAILS, Macro

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
HAIR_KINDS = ("short", "long", "bob", "ponytail", "curly", "bun", "medium", "buzz", "bald", "long")
EYE_COLOURS: tuple[Colour, ...] = (
    (0.22, 0.13, 0.07), (0.34, 0.22, 0.10), (0.25, 0.42, 0.62), (0.32, 0.45, 0.30), (0.4, 0.4, 0.4)
)  # fmt: skip
OUTFITS = ("trousers", "skirt", "jeans", "dress", "shorts", "trousers", "leggings", "skirt")
TOPS = ("tee", "long", "shirt", "tank", "sweater", "crop", "polo", "tee")
OUTERS = ("none", "none", "jacket", "none", "cardigan", "none", "vest", "coat")
SHOES = ("sneaker", "boot", "loafer", "tall_boot", "sneaker", "high_top")
TOP_PATTERNS = (
    "plain", "stripes", "plain", "dots", "plaid", "plain", "checks", "flowers", "plain",
    "pinstripes", "blocks", "plain", "zigzag", "bands", "camouflage", "plain", "diamonds",
    "gradient",
)  # fmt: skip
BOTTOM_PATTERNS = (
    "plain", "plain", "denim", "plain", "plaid", "stripes", "plain", "camouflage", "dots",
    "plain", "flowers", "checks",
)  # fmt: skip
WORDS = ("OK", "NY", "LOVE", "SKY", "79", "ART", "GO", "SUN", "ZEN", "HI", "MOON", "A1")


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

    Layout of the result (an unsigned integer below 2**63): the low 20 bits hold ``number`` (the
    decks of :func:`make_identity` walk along them), the rest is 40 bits of the SHA-256 of
    ``"{seed}/{split}/{number}"``, so that different splits share no identity.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, not {split!r}")
    if not 0 <= number < 2**20:
        raise ValueError(f"identity number must be in [0, {2**20}), not {number}")
    digest = hashlib.sha256(f"{seed}/{split}/{number}".encode()).digest()
    return (int.from_bytes(digest[:5], "big") << 20) | number


def _deck(seed: int, name: str, size: int) -> int:
    """Card of ``name`` for this identity: every run of ``size`` numbers deals each card once."""
    lap, place = divmod(seed & (2**20 - 1), size)
    salt = int.from_bytes(hashlib.sha256(f"{name}/{lap}".encode()).digest()[:8], "big")
    return int(np.random.default_rng(salt).permutation(size)[place])


def _hsv(h: float, s: float, v: float) -> Colour:
    k = (np.array([5.0, 3.0, 1.0]) + h * 6) % 6
    rgb = v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))


def _cloth_colour(rng: np.random.Generator) -> Colour:
    if rng.random() < 0.32:
        grey = float(rng.choice([0.10, 0.18, 0.35, 0.55, 0.75, 0.93]))
        tint = rng.normal(size=3) * 0.015
        return (grey + float(tint[0]), grey + float(tint[1]), grey + float(tint[2]))
    return _hsv(float(rng.random()), float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.3, 0.95)))


def _palette(rng: np.random.Generator) -> tuple[Colour, Colour, Colour]:
    """Three colours, each well apart from the first in brightness or hue."""
    first = _cloth_colour(rng)
    rest: list[Colour] = []
    for _ in range(2):
        for _ in range(12):
            other = _cloth_colour(rng)
            if sum(abs(a - b) for a, b in zip(first, other, strict=True)) > 0.7:
                break
        rest.append(other)
    return first, rest[0], rest[1]


def _decals(rng: np.random.Generator, palette: tuple[Colour, ...]) -> tuple[Any, Any, str]:
    kind = str(rng.choice(DECALS, p=[0.44] + [0.08] * 7))
    word = str(rng.choice(WORDS)) if kind == "word" else str(rng.integers(0, 100))
    front = draw_decal(kind, palette[1], palette[2], word)
    back = draw_decal("number", palette[1], palette[2], str(rng.integers(1, 100)))
    return front, back if rng.random() < 0.15 else None, kind


def _body(seed: int, rng: np.random.Generator) -> tuple[Macro, np.ndarray, dict[str, Any]]:
    male = _deck(seed, "gender", 2) == 1
    origin = rng.dirichlet((0.25, 0.25, 0.25))
    leading = _deck(seed, "origin", 3)
    origin = 0.3 * origin + 0.7 * np.eye(3)[leading]
    macro = Macro(
        gender=float(np.clip((0.93 if male else 0.07) + rng.normal() * 0.08, 0, 1)),
        age=float(rng.beta(1.0, 1.8)),
        muscle=float(rng.beta(3, 3)),
        weight=float(np.clip(rng.beta(2.2, 2.4), 0.08, 0.95)),
        height=float(rng.beta(3, 3)),
        proportions=float(rng.uniform(0.4, 1.0)),
        cup=float(rng.beta(2, 2.4)),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
    )
    details = np.clip(rng.normal(size=len(DETAILS)) * 0.45, -1, 1)
    details[[row for row, (_, low, _) in enumerate(DETAILS) if not low]] *= rng.random() < 0.6
    return macro, details, {"gender": "male" if male else "female", "age": round(macro.age, 2)}


def _wardrobe(
    seed: int, rng: np.random.Generator, materials: list[Material]
) -> tuple[list[Garment], list[dict[str, Any]]]:
    """Garments with their materials appended, and their descriptions."""
    outfit = OUTFITS[_deck(seed, "outfit", len(OUTFITS))]
    top = TOPS[_deck(seed, "top", len(TOPS))]
    outer = OUTERS[_deck(seed, "outer", len(OUTERS))]
    shoes = SHOES[_deck(seed, "shoes", len(SHOES))]
    garments: list[Garment] = []
    listed: list[dict[str, Any]] = []

    def add(kind: str, garment: Garment, material: Material) -> int:
        materials.append(material)
        garments.append(garment)
        listed.append(
            {
                "kind": kind,
                "colour": [round(float(c), 3) for c in material.colours[0]],
                "pattern": material.pattern,
            }
        )
        return len(garments) - 1

    def material(pattern: str, **values: float) -> Material:
        period = float(rng.uniform(0.45, 1.1)) * (1.7 if pattern in ("plaid", "bands") else 1.0)
        return Material(
            "cloth", _palette(rng), pattern, period, {"share": float(rng.uniform(0.3, 0.6)), **values},
            seed=int(rng.integers(2**31)),
        )  # fmt: skip

    skirted = outfit in ("skirt", "dress")
    bottom_pattern = BOTTOM_PATTERNS[_deck(seed, "bottom_pattern", len(BOTTOM_PATTERNS))]
    top_pattern = TOP_PATTERNS[_deck(seed, "top_pattern", len(TOP_PATTERNS))]
    waist = float(rng.uniform(1.35, 1.9))
    tucked = skirted or rng.random() < 0.35
    bottoms: list[int] = []
    if outfit == "dress":
        cloth = material(top_pattern)
        if rng.random() < 0.4:
            cloth.values["belt"] = 1.85
        hem = float(rng.uniform(-5.6, -1.9))
        skirt = Garment(
            Cut("skirt", hem=hem, waist=1.8), "skirt", 0.10, len(materials),
            flare=float(rng.uniform(0.0, 0.35)), wrinkle=0.012,
        )  # fmt: skip
        bottoms.append(add("dress", skirt, cloth))
        sleeve = float(rng.choice([-0.06, 0.35, 0.8, 1.5, 1.95]))
        neck = (float(rng.uniform(0.85, 1.25)), float(rng.uniform(0.6, 1.0)))
        bodice = Garment(
            Cut("top", sleeve=sleeve, hem=1.0, neck=neck), "tights", 0.10, len(materials) - 1,
            wrinkle=0.012,
        )  # fmt: skip
        garments.append(bodice)
        tops = [len(garments) - 1]
        top_kind = "dress"
    else:
        if outfit == "skirt":
            cloth = material(bottom_pattern)
            hem = float(rng.choice([-1.9, -2.6, -3.4, -4.6, -6.3])) + float(rng.uniform(-0.2, 0.2))
            garment = Garment(
                Cut("skirt", hem=hem, waist=min(waist, 1.75)), "skirt", 0.12, len(materials),
                flare=float(rng.uniform(0.0, 0.4)), wrinkle=0.012,
            )  # fmt: skip
        else:
            pattern = "denim" if outfit == "jeans" else bottom_pattern
            cloth = material(pattern, fly=waist)
            if outfit == "jeans":
                blue = _hsv(
                    float(rng.uniform(0.57, 0.64)), float(rng.uniform(0.3, 0.75)),
                    float(rng.uniform(0.25, 0.7)),
                )  # fmt: skip
                cloth = Material(
                    "cloth", (blue, *cloth.colours[1:]), "denim", 1.0,
                    {"fly": waist, "pockets": waist - 0.55}, seed=cloth.seed,
                )  # fmt: skip
            if outfit == "leggings" or rng.random() < 0.12:
                cloth.values["side_stripe"] = float(rng.random() < 0.5)
            if tucked and outfit != "leggings" and rng.random() < 0.6:
                cloth.values["belt"] = waist
            hem = -7.35 if rng.random() < 0.75 else float(rng.uniform(-6.6, -5.0))
            if outfit == "shorts":
                hem = float(rng.uniform(-3.6, -1.5))
            ease = {"leggings": 0.03, "jeans": 0.08}.get(outfit, float(rng.uniform(0.08, 0.20)))
            flare = 0.0 if outfit == "leggings" else float(rng.choice([0.0, 0.05, 0.15, 0.3]))
            garment = Garment(
                Cut("bottom", hem=hem, waist=waist), "tights", ease, len(materials), flare=flare,
                wrinkle=0.0 if outfit == "leggings" else 0.016,
            )  # fmt: skip
        bottoms.append(add(outfit, garment, cloth))
        cloth = material(top_pattern)
        neck = (float(rng.uniform(0.72, 1.15)), float(rng.uniform(0.5, 0.85)))
        wedge = float(rng.uniform(3.9, 4.7)) if rng.random() < 0.25 else None
        sleeve, hem, ease = 0.55, float(rng.uniform(-0.2, 0.7)), float(rng.uniform(0.08, 0.2))
        if top in ("long", "shirt", "sweater"):
            sleeve = float(rng.choice([1.95, 1.95, 1.55]))
        elif top == "tank":
            sleeve, neck = float(rng.uniform(-0.25, -0.05)), (neck[0] * 1.15, neck[1] * 1.25)
        elif top == "crop":
            sleeve, hem, tucked = float(rng.choice([-0.1, 0.4, 1.9])), 2.2, False
        else:
            sleeve = float(rng.uniform(0.3, 0.85))
        if top in ("shirt", "polo"):
            cloth.values.update(buttons=1.0, collar=1.0)
            neck, wedge = (0.72, 0.5), float(rng.uniform(4.6, 5.0))
        if top == "sweater":
            cloth.values["trim"], ease = 0.3 * float(rng.random() < 0.5), 0.22
            neck = (0.75, 0.5)
        elif rng.random() < 0.25:
            cloth.values["trim"] = 0.16
        if top not in ("shirt", "polo"):
            front, back, decal = _decals(rng, cloth.colours)
            small = decal in ("logo", "badge", "heart") and rng.random() < 0.5
            cloth.values.update(
                decal_size=0.55 if small else float(rng.uniform(1.2, 1.7)),
                decal_x=0.62 if small else 0.0,
                decal_y=4.3 if small else float(rng.uniform(3.4, 3.9)),
            )
            cloth = Material(
                "cloth", cloth.colours, cloth.pattern, cloth.period, cloth.values, front, back,
                cloth.seed,
            )  # fmt: skip
        ease = 0.06 if tucked else max(ease, garments[0].ease + 0.08)
        shirt = Garment(
            Cut("top", sleeve=sleeve, hem=hem, neck=neck, wedge=wedge), "tights", ease,
            len(materials), flare=0.0 if tucked else float(rng.uniform(0, 0.12)), wrinkle=0.018,
        )  # fmt: skip
        tops, top_kind = [add(top, shirt, cloth)], top
    if outer != "none" and not (top_kind == "sweater" and outer == "cardigan"):
        values: dict[str, float] = {"trim": 0.14 * float(rng.random() < 0.3)}
        pattern = TOP_PATTERNS[int(rng.integers(len(TOP_PATTERNS)))] if rng.random() < 0.4 else "plain"
        cloth = material(pattern, **values)
        closed = rng.random() < 0.3
        if closed:
            cloth.values["zip" if rng.random() < 0.5 else "buttons"] = 1.0
        cloth.values["pockets"] = float(rng.random() < 0.6) * 1.9
        hem = {"coat": -2.6, "vest": 0.5, "jacket": 0.7, "cardigan": -0.4}[outer]
        hem += float(rng.uniform(-0.4, 0.3))
        coat = Garment(
            Cut(
                "top", sleeve=-0.12 if outer == "vest" else 1.93, hem=hem, neck=(0.95, 0.62),
                wedge=4.7 if closed else None,
                opening=None if closed else float(rng.uniform(0.3, 0.65)),
            ),
            "tights", 0.34 if outer == "coat" else 0.27, len(materials),
            flare=0.30 if skirted or outer == "coat" else 0.16, wrinkle=0.02,
            over=tuple([*bottoms, *tops]),
        )  # fmt: skip
        add(outer, coat, cloth)
    # Which of top and bottom covers the other.
    first, second = (bottoms, tops) if tucked else (tops, bottoms)
    for index in first:
        item = garments[index]
        garments[index] = Garment(
            item.cut, item.shell, item.ease, item.material, item.flare, item.wrinkle, tuple(second)
        )
    high = {"sneaker": -7.45, "loafer": -7.62, "high_top": -6.95, "boot": -6.6, "tall_boot": -4.9}
    shaft = high[shoes] + float(rng.uniform(-0.1, 0.1))
    over_leg = shoes == "tall_boot" or (shoes == "boot" and rng.random() < 0.4)
    values = {
        "laces": float(shoes in ("sneaker", "high_top")),
        "stripe": float(shoes == "sneaker" and rng.random() < 0.5),
        "toe": float(shoes == "high_top"),
        "sole": -7.98 + float(rng.uniform(-0.05, 0.05)),
    }
    upper, sole, mark = _palette(rng)
    sole = sole if rng.random() < 0.4 else ((0.95,) * 3 if rng.random() < 0.5 else (0.08,) * 3)
    add(
        shoes,
        Garment(
            Cut("shoe", waist=shaft), "tights", 0.14 if not over_leg else 0.2, len(materials),
            over=tuple(bottoms) if over_leg and not skirted else (),
        ),
        Material("shoe", (upper, sole, mark), values=values),
    )
    if not over_leg and not skirted:
        item = garments[bottoms[0]]
        shoe_index = len(garments) - 1
        ease = max(item.ease, 0.20) if item.cut.hem < shaft else item.ease
        garments[bottoms[0]] = Garment(
            item.cut, item.shell, item.ease, item.material,
            max(item.flare, ease - item.ease), item.wrinkle, (*item.over, shoe_index),
        )  # fmt: skip
    return garments, listed


def make_identity(seed: int) -> Identity:
    """Build the person of a seed (see :func:`identity_seed`)."""
    rng = np.random.default_rng(seed)
    asset = load_asset()
    macro, details, attributes = _body(seed, rng)
    points = asset.morph(macro, details)
    tone = _deck(seed, "skin", len(SKINS))
    skin = np.clip(np.array(SKINS[tone]) * (1 + rng.normal(size=3) * 0.02), 0, 1)
    pigment = HAIRS[int(rng.integers(len(HAIRS)))]
    if rng.random() < macro.age**2:
        pigment = HAIRS[int(rng.integers(7, 9))]
    kind = HAIR_KINDS[_deck(seed, "hair", len(HAIR_KINDS))]
    volume = {"buzz": 0.04, "short": 0.13, "medium": 0.22, "curly": 0.45, "bun": 0.08}
    style = HairStyle(
        kind, volume.get(kind, 0.15) * float(rng.uniform(0.8, 1.3)), float(rng.uniform(7.82, 8.08)),
        float(rng.uniform(0.9, 1.3) if kind == "bob" else rng.uniform(1.8, 3.6)),
        int(rng.integers(2**31)),
    )  # fmt: skip
    male = attributes["gender"] == "male"
    beard = float(rng.uniform(0.35, 0.9)) if male and rng.random() < 0.45 else 0.0
    makeup = float(rng.random() < 0.4)
    lips = skin * (0.86, 0.62, 0.62) + makeup * rng.uniform(0, 0.5) * (np.array([0.75, 0.1, 0.2]) - skin)
    legwear = float(rng.choice([0.0, 0.0, 0.85, 1.0]))
    sock = _cloth_colour(rng)
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
    brow = tuple(float(c) * 0.75 for c in pigment)
    shadow = _hsv(float(rng.random()), 0.5, 0.5)
    materials = [
        Material("skin", (tuple(skin), tuple(np.clip(lips, 0, 1)), brow, sock, shadow), values=face),
        Material("eyes", (EYE_COLOURS[int(rng.integers(len(EYE_COLOURS)))],)),
        Material(
            "hair", (pigment,), values={"curly": float(kind == "curly"), "shine": float(rng.random())},
            seed=style.seed,
        ),
    ]  # fmt: skip
    garments, listed = _wardrobe(seed, rng, materials)
    pieces, body, outer = dress(asset, points[: asset.vertex_count], garments, rng)
    where = anatomy("eyes")
    eyes = asset.eyes.place(points)
    from .body import vertex_normals

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
    background = tuple(float(np.clip(level + t, 0, 1)) for t in tint)
    return Identity(
        seed, attributes, points, pieces, materials, Skeleton(asset, points),
        Torso(asset, points, outer), crown, (background[0], background[1], background[2]),
    )  # fmt: skip


assert set(TOP_PATTERNS + BOTTOM_PATTERNS) <= set(PATTERNS)  # noqa: S101
