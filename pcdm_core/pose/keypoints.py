"""OpenPose-18 key points of people, one person per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor

from ..ranges import check_settings

BODY_JOINTS = (
    "nose", "neck",
    "right_shoulder", "right_elbow", "right_wrist",
    "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle",
    "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""The 18 body joints in the order of OpenPose's COCO model; sides are the person's own."""

HAND_SIDES = ("left", "right")
"""The order of the hands' second axis, which is also the order in which they are drawn."""

HAND_POINTS = 21

# Where each joint finds its mirror image: every left joint swaps places with its right one.
MIRROR = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10, 15, 14, 17, 16)

# Joints may well lie outside the picture, but a seen one this many pictures away is a mix-up of
# units.
FARTHEST = 16.0


K = TypeVar("K", bound="Keypoints")  # typing.Self is newer than the oldest Python


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Body key points, normalised to the picture, with optional hands.

    Attributes:
        xy: float `[B, 18, 2]`, x / width and y / height, in [0, 1] inside the picture. Precision
            is kept as given; the file readers give float64, so that drawing truncates to the
            same pixels as the published float64 arithmetic.
        visible: bool `[B, 18]`; False is a missing joint. Its xy is finite and means nothing.
        hands_xy: float `[B, 2, 21, 2]`, in the order of `HAND_SIDES`, or None: nobody has hands.
        hands_visible: bool `[B, 2, 21]`, given exactly if `hands_xy` is.

    Raises:
        ValueError: wrong shapes or types, or a visible point that is not finite or is given in
            pixels. The message names the field.
    """

    xy: Tensor
    visible: Tensor
    hands_xy: Tensor | None = None
    hands_visible: Tensor | None = None

    def __post_init__(self) -> None:
        if self.xy.ndim != 3 or self.xy.shape[1:] != (18, 2):
            raise ValueError(
                f"xy: expected [B, 18, 2] (18 OpenPose body joints), got {list(self.xy.shape)}. "
                "Convert other skeletons with pcdm_core.pose.formats first."
            )
        object.__setattr__(self, "xy", _checked("xy", self.xy, "visible", self.visible))
        if (self.hands_xy is None) != (self.hands_visible is None):
            raise ValueError("hands_xy and hands_visible: give both or neither")
        if self.hands_xy is not None and self.hands_visible is not None:
            expected = (len(self.xy), 2, HAND_POINTS, 2)
            if self.hands_xy.shape != expected:
                raise ValueError(
                    f"hands_xy: expected {list(expected)} (left and right hand, 21 points), "
                    f"got {list(self.hands_xy.shape)}"
                )
            hands = _checked("hands_xy", self.hands_xy, "hands_visible", self.hands_visible)
            object.__setattr__(self, "hands_xy", hands)

    @classmethod
    def from_pixels(
        cls,
        xy: Tensor,
        visible: Tensor,
        height: int,
        width: int,
        hands_xy: Tensor | None = None,
        hands_visible: Tensor | None = None,
    ) -> Keypoints:
        """Key points from pixel coordinates; a single person may come without the batch axis.

        Args:
            xy: `[B, 18, 2]` or `[18, 2]`, x in [0, width], y in [0, height]; the left edge of the
                picture is 0 and the right edge is `width`.
            visible: `[B, 18]` or `[18]`; anything that is not 0 counts as visible.
            height: of the picture, in pixels.
            width: of the picture, in pixels.
            hands_xy: `[B, 2, 21, 2]` or `[2, 21, 2]`, left hand first.
            hands_visible: `[B, 2, 21]` or `[2, 21]`.
        """
        check_settings(height=height, width=width)
        widest = _widest(xy.device)
        size = torch.tensor([width, height], dtype=widest, device=xy.device)
        single = xy.ndim == 2
        body = xy.to(widest) / size
        seen = visible.to(torch.bool)
        hands = None if hands_xy is None else hands_xy.to(widest) / size
        hands_seen = None if hands_visible is None else hands_visible.to(torch.bool)
        if single:
            body, seen = body[None], seen[None]
            hands = None if hands is None else hands[None]
            hands_seen = None if hands_seen is None else hands_seen[None]
        return cls(body, seen, hands, hands_seen)

    @classmethod
    def cat(cls, parts: Sequence[Keypoints]) -> Keypoints:
        """All rows below each other; where only some parts have hands, the others' are missing."""
        if not parts:
            raise ValueError("cat: no key points were given")
        xy = torch.cat([part.xy for part in parts])
        visible = torch.cat([part.visible for part in parts])
        if all(part.hands_xy is None for part in parts):
            return cls(xy, visible)
        hands = [part._hands_or_none_seen() for part in parts]
        return cls(
            xy, visible, torch.cat([xy for xy, _ in hands]), torch.cat([seen for _, seen in hands])
        )

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def has_hands(self) -> bool:
        """Whether any hand point of anybody is visible."""
        return self.hands_visible is not None and bool(self.hands_visible.any())

    def to_pixels(self, height: int, width: int) -> Tensor:
        """float64 `[B, 18, 2]`, x and y in pixels of a picture of that size.

        float32 on a device that has no float64.
        """
        widest = _widest(self.xy.device)
        size = torch.tensor([width, height], dtype=widest, device=self.xy.device)
        return self.xy.to(widest) * size

    def to_vector(self, missing_joint: float = -1.0) -> Tensor:
        """The prior's pose token, float32 `[B, 1, 36]`: x0, y0, x1, y1, ...

        Args:
            missing_joint: stands in both coordinates of every missing joint
                (`config.missing_joint`).
        """
        xy = self.xy.to(torch.float32)
        xy = torch.where(self.visible[..., None], xy, torch.full_like(xy, missing_joint))
        return xy.reshape(len(self), 1, 36)

    def expand(self: K, count: int) -> K:
        """One person repeated to `count` rows; key points that have `count` rows stay as they are.

        Raises:
            ValueError: neither 1 nor `count` rows.
        """
        if len(self) == count:
            return self
        if len(self) != 1:
            raise ValueError(
                f"cannot expand {len(self)} poses to {count}: give one pose, or {count} of them"
            )
        return self._map(lambda tensor: tensor.expand(count, *tensor.shape[1:]))

    def select(self: K, index: int | slice | Sequence[int] | Tensor) -> K:
        """The chosen rows, always with the batch axis (an int chooses a batch of one)."""
        rows = torch.arange(len(self), device=self.xy.device)[index]
        rows = rows.reshape(-1)
        return self._map(lambda tensor: tensor[rows])

    def mirrored(self) -> Keypoints:
        """As seen in a mirror: x becomes 1 - x, and left and right joints swap places."""
        mirror = torch.tensor(MIRROR, device=self.xy.device)

        def flip(xy: Tensor) -> Tensor:
            return torch.stack([1.0 - xy[..., 0], xy[..., 1]], dim=-1)

        return Keypoints(
            flip(self.xy[:, mirror]),
            self.visible[:, mirror],
            None if self.hands_xy is None else flip(self.hands_xy.flip(1)),
            None if self.hands_visible is None else self.hands_visible.flip(1),
        )

    def moved(self, move: Callable[[Tensor], Tensor]) -> Keypoints:
        """Body and hands after a change of coordinates [..., 2] -> [..., 2], such as a fit's."""
        hands = None if self.hands_xy is None else move(self.hands_xy)
        return replace(self, xy=move(self.xy), hands_xy=hands)

    def without_hands(self) -> Keypoints:
        """The bodies alone."""
        return replace(self, hands_xy=None, hands_visible=None)

    def to(self, device: torch.device | str) -> Keypoints:
        """On another device; where that has no float64 the precision becomes float32."""
        widest = _widest(torch.device(device))

        def move(tensor: Tensor) -> Tensor:
            if tensor.dtype == torch.float64:
                tensor = tensor.to(widest)
            return tensor.to(device)

        return self._map(move)

    def _map(self: K, change: Callable[[Tensor], Tensor]) -> K:
        return replace(
            self,
            xy=change(self.xy),
            visible=change(self.visible),
            hands_xy=None if self.hands_xy is None else change(self.hands_xy),
            hands_visible=None if self.hands_visible is None else change(self.hands_visible),
        )

    def _hands_or_none_seen(self) -> tuple[Tensor, Tensor]:
        if self.hands_xy is not None and self.hands_visible is not None:
            return self.hands_xy, self.hands_visible
        shape = (len(self), 2, HAND_POINTS)
        return self.xy.new_zeros(*shape, 2), self.visible.new_zeros(shape)


def _widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that may have none (Apple's, some of Intel's)."""
    return torch.float64 if device.type in ("cpu", "cuda", "meta") else torch.float32


def _checked(name: str, xy: Tensor, visible_name: str, visible: Tensor) -> Tensor:
    """`xy` with zeros where a missing point was not finite, or an error that says what is wrong."""
    if not xy.is_floating_point():
        raise ValueError(f"{name}: expected floating-point coordinates, got {xy.dtype}")
    if visible.dtype != torch.bool or visible.shape != xy.shape[:-1]:
        raise ValueError(
            f"{visible_name}: expected bool {list(xy.shape[:-1])}, "
            f"got {visible.dtype} {list(visible.shape)}"
        )
    finite = xy.isfinite().all(-1)
    if not bool((finite | ~visible).all()):
        row = (~finite & visible).nonzero()[0].tolist()
        raise ValueError(
            f"{name}: the point {row} is marked visible but its coordinates are NaN or infinite. "
            f"Mark it missing in {visible_name}, or give its place."
        )
    farthest = xy[visible].abs().max().item() if bool(visible.any()) else 0.0
    if farthest > FARTHEST:
        raise ValueError(
            f"{name}: a visible point lies at {farthest:g}, but coordinates are fractions of the "
            "picture (0 to 1). For pixels use Keypoints.from_pixels."
        )
    return xy if bool(finite.all()) else torch.where(finite[..., None], xy, torch.zeros_like(xy))
