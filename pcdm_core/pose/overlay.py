"""Skeletons drawn over a picture, for the eye."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from ..images import from_uint8, resize, to_uint8
from .keypoints import Keypoints
from .render import draw_people, people_of

LONGER_SIDE = 768  # pixels; the skeleton's lines have one width, which suits this size
GROUND = 0.55  # how much of the picture's light is left under a skeleton
GHOST = 0.45


def overlay(picture: Tensor, people: Sequence[Keypoints], ghost: Keypoints | None = None) -> Tensor:
    """A picture, darkened, with skeletons over it.

    Args:
        picture: `[1, 3, H, W]` in [-1, 1].
        people: who is drawn, all on the one picture.
        ghost: drawn below them in grey, to compare.

    Returns:
        `[1, 3, h, w]` in [-1, 1], with the picture's shape and a longer side of 768 pixels.
    """
    height, width = picture.shape[-2:]
    scale = LONGER_SIDE / max(height, width)
    height, width = max(round(height * scale), 1), max(round(width * scale), 1)
    pixels = to_uint8(resize(picture, height, width))[0].astype(np.float64) * GROUND
    if ghost is not None:
        grey = draw_people(people_of(ghost), height, width).max(axis=-1, keepdims=True) * GHOST
        pixels = np.maximum(pixels, grey)
    skeletons = draw_people([row for person in people for row in people_of(person)], height, width)
    pixels = np.where(skeletons.any(axis=-1, keepdims=True), skeletons, pixels)
    return from_uint8(pixels.round().clip(0, 255).astype(np.uint8))
