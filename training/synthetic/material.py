"""What a piece is painted with, and the helpers of the painters."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .body import Flags, Floats

Colour = tuple[float, float, float]
DECALS = ("none", "word", "number", "star", "badge", "heart", "bar", "logo")


@dataclass(frozen=True)
class Material:
    """How a piece is painted.

    Args:
        kind: "skin", "eyes", "hair", "cloth" or "shoe".
        colours: main colour first; cloth uses up to three, skin: skin, lips, brows, legwear,
            beard and eye shadow.
        pattern: what `cloth_pattern` knows. period: size of its repeat in dm.
        values: further numbers by name, each documented where it is read.
        front, back: decals as [64, 64, 4] in [0, 1].
        seed: of the pattern's randomness.
    """

    kind: str
    colours: tuple[Colour, ...]
    pattern: str = "plain"
    period: float = 1.0
    values: dict[str, float] = field(default_factory=dict)
    front: Floats | None = None
    back: Floats | None = None
    seed: int = 0

    def value(self, name: str, default: float = 0.0) -> float:
        return self.values.get(name, default)


def mix(base: Floats, colour: Colour | Floats, amount: Floats | Flags | float) -> Floats:
    """Move colours [k, 3] towards ``colour`` by ``amount`` in [0, 1], one for all or [k]."""
    share = np.asarray(amount, np.float32)
    share = share[:, None] if share.ndim else share
    return base + (np.asarray(colour, np.float32) - base) * share


def ramp(value: Floats, low: float, high: float) -> Floats:
    """0 below ``low``, 1 above ``high``, linear between."""
    return np.clip((value - low) / (high - low), 0, 1).astype(np.float32)


def noise(a: Floats, b: Floats, seed: int) -> Floats:
    """Reproducible noise in [0, 1) of two integer-valued arrays."""
    mixed = (
        a.astype(np.int64) * 73856093 ^ b.astype(np.int64) * 19349663 ^ (seed * 83492791 + 12345)
    ) & 0xFFFFFFFF
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0xFFFFFFFF
    return ((mixed ^ (mixed >> 16)) & 0xFFFF).astype(np.float32) / 65536
