"""OpenPose-18 key points of people, one person per row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import torch
from torch import Tensor

from ..ranges import check_settings


class Joint(IntEnum):
    """The 18 body joints in the order of OpenPose's COCO model; sides are the person's own."""

    NOSE, NECK = 0, 1
    RIGHT_SHOULDER, RIGHT_ELBOW, RIGHT_WRIST = 2, 3, 4
    LEFT_SHOULDER, LEFT_ELBOW, LEFT_WRIST = 5, 6, 7
    RIGHT_HIP, RIGHT_KNEE, RIGHT_ANKLE = 8, 9, 10
    LEFT_HIP, LEFT_KNEE, LEFT_ANKLE = 11, 12, 13
    RIGHT_EYE, LEFT_EYE, RIGHT_EAR, LEFT_EAR = 14, 15, 16, 17

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return self.name.lower().replace("_", " ")

    @property
    def mirror(self) -> Joint:
        """The same joint of the other side; nose and neck are their own."""
        side, _, part = self.name.partition("_")
        other = {"LEFT": "RIGHT", "RIGHT": "LEFT"}.get(side)
        return Joint[f"{other}_{part}"] if other else self


BODY_JOINTS = tuple(joint.name.lower() for joint in Joint)
"""The joints' names in files and reports."""

MIRROR = tuple(joint.mirror for joint in Joint)
"""Where each joint finds its mirror image: every left joint swaps places with its right one."""

# Right side first, as in `Joint`.
SHOULDERS = Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER
HIPS = Joint.RIGHT_HIP, Joint.LEFT_HIP
KNEES = Joint.RIGHT_KNEE, Joint.LEFT_KNEE
ANKLES = Joint.RIGHT_ANKLE, Joint.LEFT_ANKLE
FACE = Joint.NOSE, Joint.RIGHT_EYE, Joint.LEFT_EYE, Joint.RIGHT_EAR, Joint.LEFT_EAR

HAND_SIDES = ("left", "right")
"""The order of the hands' second axis, which is also the order in which they are drawn."""

WRISTS = Joint.LEFT_WRIST, Joint.RIGHT_WRIST
"""The joints that carry the hands, in the order of `HAND_SIDES`."""

HAND_POINTS = 21

# Joints may well lie outside the picture, but a visible one this many pictures away is a mix-up of
# units.
FARTHEST = 16.0


K = TypeVar("K", bound="Keypoints")  # typing.Self is newer than the oldest Python


@dataclass(frozen=True, eq=False)
class Keypoints:
    """Body key points, normalised to the picture, with optional hands.

    Attributes:
        xy: float `[B, 18, 2]`, x / width and y / height, in [0, 1] inside the picture. Precision
            is kept; the file readers give float64, so that drawing truncates to the
            same pixels as the published float64 arithmetic.
        visible: bool `[B, 18]`; False is a missing joint. Its xy is finite and means nothing.
        hands_xy: float `[B, 2, 21, 2]`, in the order of `HAND_SIDES`, or None: nobody has hands.
        hands_visible: bool `[B, 2, 21]`, given exactly if `hands_xy` is.
        canvas: int64 `[B, 2]`, height and width in pixels of the picture that each row was drawn
            for, or 0, 0 where a file does not say it. Coordinates are fractions of that picture;
            `canvas.in_frame` brings them into another one. None: of the picture that the pose is
            used with, as where a program made it.

    Raises:
        ValueError: wrong shapes or types, or a visible point that is not finite or is given in
            pixels. The message names the field.
    """

    xy: Tensor
    visible: Tensor
    hands_xy: Tensor | None = None
    hands_visible: Tensor | None = None
    canvas: Tensor | None = None

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
        if self.canvas is not None and self.canvas.shape != (len(self.xy), 2):
            raise ValueError(
                f"canvas: expected [{len(self.xy)}, 2] (height and width of each row's picture), "
                f"got {list(self.canvas.shape)}"
            )

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
        if xy.ndim == 2:
            hands = (part if part is None else part[None] for part in (hands_xy, hands_visible))
            return cls.from_pixels(xy[None], visible[None], height, width, *hands)
        check_settings(height=height, width=width)
        size = _size(height, width, xy.device)
        pose = cls(
            xy.to(size.dtype) / size,
            visible.to(torch.bool),
            None if hands_xy is None else hands_xy.to(size.dtype) / size,
            None if hands_visible is None else hands_visible.to(torch.bool),
        )
        return pose.with_canvas((height, width))

    @classmethod
    def cat(cls, parts: Sequence[Keypoints]) -> Keypoints:
        """All rows below each other; where only some parts have hands, the others' are missing."""
        if not parts:
            raise ValueError("cat: no key points were given")
        tensors = [torch.cat([part.xy for part in parts]), torch.cat([p.visible for p in parts])]
        if any(part.hands_xy is not None for part in parts):
            hands = zip(*(part._hands_or_missing() for part in parts), strict=True)
            tensors += [torch.cat(halves) for halves in hands]
        pose = cls(*tensors)
        if all(part.canvas is None for part in parts):
            return pose
        return pose.with_canvas(*(size for part in parts for size in part.canvases))

    def __len__(self) -> int:
        return len(self.xy)

    @property
    def canvases(self) -> list[tuple[int, int] | None]:
        """(height, width) of the picture that each row was drawn for, None where it is unknown."""
        if self.canvas is None:
            return [None] * len(self)
        return [(height, width) if height else None for height, width in self.canvas.tolist()]

    def with_canvas(self: K, *sizes: tuple[int, int] | None) -> K:
        """The same coordinates as those of pictures of (height, width): one size, or one a row."""
        canvas = torch.tensor([size or (0, 0) for size in sizes], device=self.xy.device)
        return self._with(canvas=canvas.expand(len(self), 2))

    @property
    def has_hands(self) -> bool:
        """Whether any hand point of anybody is visible."""
        return self.hands_visible is not None and bool(self.hands_visible.any())

    def to_pixels(self, height: int, width: int) -> Tensor:
        """float64 `[B, 18, 2]`, x and y in pixels of a picture of that size.

        float32 on a device that has no float64.
        """
        size = _size(height, width, self.xy.device)
        return self.xy.to(size.dtype) * size

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
        """These rows, always with the batch axis (an int selects a batch of one)."""
        rows = torch.arange(len(self), device=self.xy.device)[index].reshape(-1)
        return self._map(lambda tensor: tensor[rows])

    def mirrored(self) -> Keypoints:
        """As seen in a mirror: x becomes 1 - x, and left and right joints swap places."""
        mirror = torch.tensor(MIRROR, device=self.xy.device)

        def flip(xy: Tensor) -> Tensor:
            return torch.stack([1.0 - xy[..., 0], xy[..., 1]], dim=-1)

        return self._with(
            xy=flip(self.xy[:, mirror]),
            visible=self.visible[:, mirror],
            hands_xy=None if self.hands_xy is None else flip(self.hands_xy.flip(1)),
            hands_visible=None if self.hands_visible is None else self.hands_visible.flip(1),
        )

    def moved(self, move: Callable[[Tensor], Tensor]) -> Keypoints:
        """Body and hands after a change of coordinates [..., 2] -> [..., 2], such as a fit's.

        Nobody knows of which picture they are fractions then: the canvas is left out.
        """
        hands = None if self.hands_xy is None else move(self.hands_xy)
        return Keypoints(move(self.xy), self.visible, hands, self.hands_visible)

    def without_hands(self) -> Keypoints:
        """The bodies alone."""
        return self._with(hands_xy=None, hands_visible=None)

    def to(self, device: torch.device | str) -> Keypoints:
        """On another device; where that has no float64 the precision becomes float32."""
        widest = _widest(torch.device(device))
        narrow = self._map(lambda t: t.to(widest) if t.dtype == torch.float64 else t)
        return narrow._map(lambda tensor: tensor.to(device))

    def _map(self: K, change: Callable[[Tensor], Tensor]) -> K:
        fields = vars(self).items()
        return self._with(**{name: change(t) for name, t in fields if isinstance(t, Tensor)})

    def _with(self: K, **fields: Tensor | None) -> K:
        """A copy with other fields that are sound because ours are: nothing is checked again."""
        other = copy.copy(self)
        other.__dict__.update(fields)
        return other

    def _hands_or_missing(self) -> tuple[Tensor, Tensor]:
        if self.hands_xy is not None and self.hands_visible is not None:
            return self.hands_xy, self.hands_visible
        shape = (len(self), 2, HAND_POINTS)
        return self.xy.new_zeros(*shape, 2), self.visible.new_zeros(shape)


def _widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that may have none (Apple's, some of Intel's)."""
    return torch.float64 if device.type in ("cpu", "cuda", "meta") else torch.float32


def _size(height: int, width: int, device: torch.device) -> Tensor:
    """`[2]`, what takes fractions of a picture to pixels."""
    return torch.tensor([width, height], dtype=_widest(device), device=device)


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
