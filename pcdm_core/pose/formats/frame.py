"""What every format is read into."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..keypoints import Keypoints

# Above this a coordinate cannot be a fraction of the picture: people reach a little way out of the
# frame, but not a whole picture's width.
LARGEST_FRACTION = 2.0

LARGEST_NUMBER = 1e9  # no picture is that large; NaN, infinity and damaged numbers end here


class PoseError(ValueError):
    """A pose that cannot be used; the message says which, what was found and what to do."""


@dataclass(frozen=True)
class Frame:
    """The people of one picture; `size` is its (height, width) where the file says it."""

    people: Keypoints
    size: tuple[int, int] | None


@dataclass(frozen=True)
class RawPoints:
    """Points of one person as a file has them: x, y, and whether they count."""

    xy: list[tuple[float, float]]
    visible: list[bool]

    @classmethod
    def parse(cls, triples: list[tuple[object, object, object]], where: str) -> RawPoints:
        """From (x, y, confidence).

        A point is missing where the confidence is 0 or less, a coordinate is null or negative, or
        both coordinates are 0.

        Raises:
            PoseError: a value is no number, NaN or out of all bounds; `where` begins the message.
        """
        xy: list[tuple[float, float]] = []
        visible: list[bool] = []
        for number, (x, y, confidence) in enumerate(triples):
            values = []
            for value in (x, y, confidence):
                if value is None:
                    value = -1.0
                if isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise PoseError(
                        f"{where}: point {number} has {brief(value)} where a number belongs"
                    )
                if not abs(value) <= LARGEST_NUMBER:  # also false for NaN
                    raise PoseError(
                        f"{where}: point {number} is {brief(value)}; write 0 0 0 for a missing "
                        "joint"
                    )
                values.append(float(value))
            seen = values[2] > 0 and min(values[:2]) >= 0 and max(values[:2]) > 0
            xy.append((values[0], values[1]) if seen else (0.0, 0.0))
            visible.append(seen)
        return cls(xy, visible)

    @classmethod
    def missing(cls, count: int) -> RawPoints:
        return cls([(0.0, 0.0)] * count, [False] * count)

    def tensors(self) -> tuple[Tensor, Tensor]:
        """float64 `[N, 2]` and bool `[N]`."""
        return torch.tensor(self.xy, dtype=torch.float64), torch.tensor(self.visible)


def assemble(
    bodies: list[RawPoints],
    hands: list[tuple[RawPoints, RawPoints]],
    size: tuple[int, int] | None,
    where: str,
) -> Keypoints:
    """The people of a picture as key points, whether the file has fractions or pixels.

    Args:
        bodies: at least one; 18 points each.
        hands: left and right hand of each body.
        size: (height, width) of the picture, needed for pixels.
        where: begins the error messages.
    """
    xy, visible = _stack([body.tensors() for body in bodies])
    largest = xy[visible].max().item() if bool(visible.any()) else 0.0
    scale = torch.ones(2, dtype=torch.float64)
    if largest > LARGEST_FRACTION:
        if size is None:
            raise PoseError(
                f"{where}: the coordinates are pixels (up to {largest:g}), but the size of their "
                "picture is not given; pass size=(height, width)"
            )
        scale = torch.tensor([size[1], size[0]], dtype=torch.float64)
    try:
        if not any(any(hand.visible) for pair in hands for hand in pair):
            return Keypoints(xy / scale, visible)
        pairs = [_stack([hand.tensors() for hand in pair]) for pair in hands]
        hands_xy, hands_visible = _stack(pairs)
        return Keypoints(xy / scale, visible, hands_xy / scale, hands_visible)
    except ValueError as error:
        asked = "" if size is None else f" (its picture is taken to be {size[0]}x{size[1]})"
        raise PoseError(f"{where}: {error}{asked}") from error


def _stack(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    return torch.stack([xy for xy, _ in parts]), torch.stack([visible for _, visible in parts])


def brief(value: object) -> str:
    """A value as an error message shows it."""
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        return "a huge number"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
