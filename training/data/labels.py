"""What the renderer knows of its pictures, as numbers and classes that a network can be asked for.

Most of it lies beside the pictures, in `identity.json`; a person's build follows from the seed that
stands there. Nothing is rendered.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..synthetic.identity import HAIR_KINDS, HAIRS, build_of
from ..synthetic.wardrobe import (
    BOTTOM_PATTERNS,
    OUTER_PATTERNS,
    OUTERS,
    OUTFITS,
    SHOES,
    TOP_PATTERNS,
    TOPS,
)

SLOTS: Mapping[str, tuple[str, ...]] = {
    "top": (*dict.fromkeys(TOPS), "dress"),
    "bottom": tuple(dict.fromkeys(OUTFITS)),
    "outer": tuple(dict.fromkeys(OUTERS)),
    "shoes": tuple(dict.fromkeys(SHOES)),
}
"""Kinds of garment by where they are worn; a dress is both top and bottom."""
PATTERNS = tuple(dict.fromkeys((*TOP_PATTERNS, *BOTTOM_PATTERNS, *OUTER_PATTERNS)))
CLASSES: Mapping[str, tuple[str, ...]] = {
    **SLOTS,
    **{f"{slot} pattern": PATTERNS for slot in ("top", "bottom", "outer")},
    "hair": tuple(dict.fromkeys(HAIR_KINDS)),
    "hair colour": tuple(HAIRS),
    "framing": ("full", "three-quarter", "upper", "close"),
}
COLOURED = (*SLOTS, "hair", "skin", "background")
CHANNELS = ("red", "green", "blue")
BUILD = ("gender", "age", "muscle", "weight", "height")
NUMBERS = (
    *(f"{part} {channel}" for part in COLOURED for channel in CHANNELS),
    *BUILD,
    "facing",  # 1 towards the camera, -1 away from it
    "sideways",
)


@dataclass(frozen=True)
class Labels:
    """One row a picture."""

    numbers: Tensor  # fp32 [N, K], see NUMBERS; NaN where there is none, as of a missing garment
    classes: Tensor  # int64 [N, C], see CLASSES; -1 where there is none

    def to(self, device: torch.device | str) -> Labels:
        """All rows on another device."""
        return Labels(self.numbers.to(device), self.classes.to(device))


def read_labels(people: Iterable[Path]) -> Labels:
    """The labels of all views of rendered people, folder after folder.

    Raises:
        ValueError: a folder's record names a garment, pattern or hair that this version does not
            know; the generator that drew it is another one.
    """
    rows = [row for folder in people for row in _rows(folder)]
    numbers, classes = zip(*rows, strict=True)
    return Labels(torch.tensor(numbers, dtype=torch.float32), torch.tensor(classes))


def _rows(folder: Path) -> list[tuple[list[float], list[int]]]:
    record = json.loads((folder / "identity.json").read_text(encoding="utf-8"))
    of_person: Mapping[str, Any] = record["attributes"]
    colours: dict[str, list[float]] = {name: of_person[name] for name in ("skin", "background")}
    names: dict[str, str] = {"hair": of_person["hair"]["kind"], "outer": "none"}
    if names["hair"] != "bald":
        colours["hair"] = of_person["hair"]["colour"]
        names["hair colour"] = of_person["hair"]["name"]
    for garment in of_person["garments"]:
        for slot in (slot for slot, kinds in SLOTS.items() if garment["kind"] in kinds):
            colours[slot] = garment["colour"]
            names |= {slot: garment["kind"], f"{slot} pattern": garment["pattern"]}
    build = build_of(record["seed"])
    fixed = [c for part in COLOURED for c in colours.get(part, [math.nan] * 3)]
    fixed += [getattr(build, name) for name in BUILD]
    rows: list[tuple[list[float], list[int]]] = []
    for view in record["views"]:
        words = {**names, "framing": view["framing"]}
        classes = [_place(folder, name, words.get(name)) for name in CLASSES]
        rows.append(([*fixed, math.cos(view["yaw"]), math.sin(view["yaw"])], classes))
    return rows


def _place(folder: Path, name: str, word: str | None) -> int:
    if word is None:
        return -1
    if word not in CLASSES[name]:
        raise ValueError(
            f"{folder / 'identity.json'}: {name} is {word!r}, which this version of the generator "
            f"does not know. Render the people again."
        )
    return CLASSES[name].index(word)
