"""Random clothes: kinds, cuts, colours, patterns and prints.

Kinds walk through shuffled decks along consecutive identities, so that each is met equally often;
no garment depends on gender.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from .cloth import draw_decal
from .garments import Cut, Garment
from .material import DECALS, Colour, Material

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
OUTER_PATTERNS = (
    "plain", "plaid", "plain", "denim", "plain", "stripes", "plain", "checks", "plain", "blocks",
)  # fmt: skip
WORDS = ("OK", "NY", "LOVE", "SKY", "79", "ART", "GO", "SUN", "ZEN", "HI", "MOON", "A1")


#: Prints; patterned cloth has none, on which they would not be read.
PRINTS = (*DECALS[1:], *DECALS[1:], "none", "none", "none", "none", "none", "none")
PRINTED = ("plain", "gradient", "blocks")
GREYS = (0.10, 0.32, 0.62, 0.93)
COLOUR_CARDS = 12  # the greys, then eight sectors of hue


def deck(seed: int, name: str, size: int, stride: int = 1) -> int:
    """Card of ``name`` for this identity: every run of ``size`` numbers deals each card once.

    ``stride`` neighbours (such as a man and a woman) share a card.
    """
    lap, place = divmod((seed & (2**20 - 1)) // stride, size)
    text = f"{seed >> 20 & 0xFFFF}/{name}/{lap}"
    salt = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    return int(np.random.default_rng(salt).permutation(size)[place])


def spread(seed: int, name: str, rng: np.random.Generator, size: int = 16) -> float:
    """A number in [0, 1) for this identity: every run of ``size`` numbers covers it evenly."""
    return (deck(seed, name, size) + float(rng.random())) / size


def hsv(h: float, s: float, v: float) -> Colour:
    k = (np.array([5.0, 3.0, 1.0]) + h * 6) % 6
    rgb = v - v * s * np.clip(np.minimum(k, 4 - k), 0, 1)
    return (float(rgb[0]), float(rgb[1]), float(rgb[2]))


def rgb(values: Any) -> Colour:
    red, green, blue = (float(c) for c in np.clip(values, 0, 1))
    return red, green, blue


def cloth_colour(rng: np.random.Generator, card: int | None = None) -> Colour:
    """A grey or a hue; ``card`` below COLOUR_CARDS says which, None leaves it to chance."""
    card = int(rng.integers(COLOUR_CARDS)) if card is None else card
    if card < len(GREYS):
        grey = GREYS[card] + float(rng.uniform(-0.06, 0.06))
        return rgb(grey + rng.normal(size=3) * 0.015)
    hue = (card - len(GREYS) + float(rng.random())) / (COLOUR_CARDS - len(GREYS))
    return hsv(hue, float(rng.uniform(0.35, 0.9)), float(rng.uniform(0.3, 0.95)))


def palette(
    rng: np.random.Generator, card: int | None = None, skin: Colour | None = None
) -> tuple[Colour, Colour, Colour]:
    """Three colours, each well apart from the first in brightness or hue; it from ``skin``."""
    first = cloth_colour(rng, card)
    for _ in range(12):
        if skin is None or sum(abs(a - b) for a, b in zip(first, skin, strict=True)) > 0.5:
            break
        first = cloth_colour(rng, card)
    rest: list[Colour] = []
    for _ in range(2):
        other = cloth_colour(rng)
        for _ in range(11):
            if sum(abs(a - b) for a, b in zip(first, other, strict=True)) > 0.7:
                break
            other = cloth_colour(rng)
        rest.append(other)
    return first, rest[0], rest[1]


def decals(kind: str, rng: np.random.Generator, colours: tuple[Colour, ...]) -> tuple[Any, Any]:
    word = str(rng.choice(WORDS)) if kind == "word" else str(rng.integers(0, 100))
    front = draw_decal(kind, colours[1], colours[2], word)
    back = draw_decal("number", colours[1], colours[2], str(rng.integers(1, 100)))
    return front, back if rng.random() < 0.15 else None


def wardrobe(
    seed: int, rng: np.random.Generator, materials: list[Material]
) -> tuple[list[Garment], list[dict[str, Any]]]:
    """Garments with their materials appended, and their descriptions."""
    outfit = OUTFITS[deck(seed, "outfit", len(OUTFITS))]
    top = TOPS[deck(seed, "top", len(TOPS))]
    outer = OUTERS[deck(seed, "outer", len(OUTERS))]
    shoes = SHOES[deck(seed, "shoes", len(SHOES))]
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

    def material(part: str, pattern: str, **values: float) -> Material:
        card = deck(seed, f"{part}_colour", COLOUR_CARDS)
        period = float(rng.uniform(0.45, 1.1)) * (1.7 if pattern in ("plaid", "bands") else 1.0)
        return Material(
            "cloth", palette(rng, card, materials[0].colours[0]), pattern, period,
            {"share": float(rng.uniform(0.3, 0.6)), **values}, seed=int(rng.integers(2**31)),
        )  # fmt: skip

    skirted = outfit in ("skirt", "dress")
    bottom_pattern = BOTTOM_PATTERNS[deck(seed, "bottom_pattern", len(BOTTOM_PATTERNS))]
    top_pattern = TOP_PATTERNS[deck(seed, "top_pattern", len(TOP_PATTERNS))]
    waist = float(rng.uniform(1.35, 1.9))
    tucked = skirted or rng.random() < 0.35
    bottoms: list[int] = []
    if outfit == "dress":
        cloth = material("top", top_pattern)
        if rng.random() < 0.6:
            cloth.values["belt"] = 1.85
        hem = float(rng.uniform(-5.6, -1.9))
        sleeve = float(rng.choice([-0.06, 0.35, 0.8, 1.5, 1.95]))
        neck = (float(rng.uniform(0.85, 1.25)), float(rng.uniform(0.6, 1.0)))
        bodice = Garment(
            Cut("top", sleeve=sleeve, hem=1.0, neck=neck), "tights", 0.10, len(materials),
            wrinkle=0.012,
        )  # fmt: skip
        skirt = Garment(
            Cut("skirt", hem=hem, waist=1.8), "skirt", 0.13, bodice.material,
            flare=float(rng.uniform(0.0, 0.35)), wrinkle=0.012, joined=True,
        )  # fmt: skip
        tops = [add("dress", bodice, cloth)]
        bottoms.append(len(garments))
        garments.append(skirt)
        top_kind = "dress"
    else:
        if outfit == "skirt":
            cloth = material("bottom", bottom_pattern)
            hem = float(rng.choice([-1.9, -2.6, -3.4, -4.6, -6.3])) + float(rng.uniform(-0.2, 0.2))
            garment = Garment(
                Cut("skirt", hem=hem, waist=min(waist, 1.75)), "skirt", 0.12, len(materials),
                flare=float(rng.uniform(0.0, 0.4)), wrinkle=0.012,
            )  # fmt: skip
        else:
            pattern = "denim" if outfit == "jeans" else bottom_pattern
            cloth = material("bottom", pattern, fly=waist)
            if outfit == "jeans":
                blue = hsv(
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
        cloth = material("top", top_pattern)
        neck = (float(rng.uniform(0.72, 1.15)), float(rng.uniform(0.5, 0.85)))
        wedge = float(rng.uniform(3.9, 4.7)) if rng.random() < 0.25 else None
        sleeve, hem, ease = 0.55, float(rng.uniform(0.15, 0.8)), float(rng.uniform(0.08, 0.2))
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
            decal = PRINTS[deck(seed, "print", len(PRINTS))] if top_pattern in PRINTED else "none"
            front, back = decals(decal, rng, cloth.colours)
            wedge = None if front is not None else wedge  # a V neck would cut the print
            small = decal in ("logo", "badge", "heart") and rng.random() < 0.5
            cloth.values.update(
                decal_size=0.55 if small else float(rng.uniform(1.2, 1.7)),
                decal_x=0.62 if small else 0.0,
                decal_y=4.3 if small else float(rng.uniform(3.4, 3.9)),
            )
            cloth = replace(cloth, front=front, back=back)
        ease = 0.06 if tucked else max(ease, garments[0].ease + 0.08)
        shirt = Garment(
            Cut("top", sleeve=sleeve, hem=hem, neck=neck, wedge=wedge), "tights", ease,
            len(materials), flare=0.0 if tucked else float(rng.uniform(0, 0.12)), wrinkle=0.018,
        )  # fmt: skip
        tops, top_kind = [add(top, shirt, cloth)], top
    if outer != "none" and not (top_kind == "sweater" and outer == "cardigan"):
        values: dict[str, float] = {"trim": 0.14 * float(rng.random() < 0.3)}
        pattern = OUTER_PATTERNS[deck(seed, "outer_pattern", len(OUTER_PATTERNS))]
        cloth = material("outer", pattern, **values)
        closed = rng.random() < 0.3
        if closed:
            cloth.values["zip" if rng.random() < 0.5 else "buttons"] = 1.0
        cloth.values["pockets"] = float(rng.random() < 0.6) * 1.9
        hem = {"coat": -2.6, "vest": 0.5, "jacket": 0.7, "cardigan": -0.4}[outer]
        hem += float(rng.uniform(-0.4, 0.3))
        opening = None if closed else float(rng.uniform(0.3, 0.65))
        long_coat, below = hem < 0.25, tuple([*bottoms, *tops])
        ease = 0.30 if skirted else 0.27
        coat = Garment(
            Cut(
                "top", sleeve=-0.12 if outer == "vest" else 1.93, hem=1.2 if long_coat else hem,
                neck=(0.95, 0.62), wedge=4.7 if closed else None, opening=opening,
            ),
            "tights", ease, len(materials), flare=0.05 if long_coat else 0.2, wrinkle=0.02,
            over=below,
        )  # fmt: skip
        add(outer, coat, cloth)
        if long_coat:  # the legs' shell would make it a romper
            garments.append(
                Garment(
                    Cut("skirt", hem=hem, waist=1.75, opening=opening), "skirt", ease + 0.05,
                    coat.material, flare=float(rng.uniform(0.08, 0.2)), wrinkle=0.015,
                    over=(*below, len(garments) - 1), joined=True,
                )
            )  # fmt: skip
    # Which of top and bottom covers the other.
    first, second = (bottoms, tops) if tucked else (tops, bottoms)
    for index in first:
        garments[index] = replace(garments[index], over=tuple(second))
    high = {"sneaker": -7.45, "loafer": -7.62, "high_top": -6.95, "boot": -6.6, "tall_boot": -4.9}
    shaft = high[shoes] + float(rng.uniform(-0.1, 0.1))
    over_leg = shoes == "tall_boot" or (shoes == "boot" and rng.random() < 0.4)
    values = {
        "laces": float(shoes in ("sneaker", "high_top")),
        "stripe": float(shoes == "sneaker" and rng.random() < 0.5),
        "toe": float(shoes == "high_top"),
        "sole": -7.98 + float(rng.uniform(-0.05, 0.05)),
    }
    upper, sole, mark = palette(rng)
    if rng.random() < 0.6:
        sole = (0.95, 0.95, 0.95) if rng.random() < 0.5 else (0.08, 0.08, 0.08)
    add(
        shoes,
        Garment(
            Cut("shoe", waist=shaft),
            "tights",
            0.14 if not over_leg else 0.2,
            len(materials),
            over=tuple(bottoms) if over_leg and not skirted else (),
        ),
        Material("shoe", (upper, sole, mark), values=values),
    )
    if not over_leg and not skirted:
        item = garments[bottoms[0]]
        shoe_index = len(garments) - 1
        ease = max(item.ease, 0.20) if item.cut.hem < shaft else item.ease
        garments[bottoms[0]] = replace(
            item, flare=max(item.flare, ease - item.ease), over=(*item.over, shoe_index)
        )
    return garments, listed
