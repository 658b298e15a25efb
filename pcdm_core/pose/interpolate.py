"""Poses between poses.

Points on a straight line between two poses would shorten every limb that turns. Here limbs turn by
their angles and keep their lengths, seen from a trunk that moves and turns itself. What turns out
of the picture (from the front to the back) becomes narrow on the way, as in a real turn.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..ranges import check_settings
from .bones import KINDS, PARENT, TREE, Bools, Floats, trunk_length
from .keypoints import Keypoints

_LIMBS = (3, 4, 6, 7, 9, 10, 12, 13)  # what turns in the picture; the rest moves with the trunk
_WRISTS = (7, 4)


@dataclass(frozen=True)
class _Figure:
    """One pose taken apart; lengths in pixels."""

    hips: Floats  # [2], the middle of the hips
    upright: float  # angle of the trunk, 0 is upright
    bones: Floats  # [18, 2], from each joint's parent to it, in the trunk's frame
    seen: Bools
    hands: Floats | None  # [2, 21, 2], from the wrist, in the trunk's frame
    hands_seen: Bools | None


def interpolate_poses(
    poses: Keypoints, count: int, size: tuple[int, int], *, loop: bool = False
) -> Keypoints:
    """A movement through all given poses, at even steps.

    Args:
        poses: K key poses, one after another.
        count: how many poses to give; the first is the first key pose and, without `loop`, the
            last is the last one.
        size: (height, width) of the frame, in pixels; angles depend on its shape.
        loop: go on from the last key pose to the first, which is then not given twice.

    Returns:
        `count` rows. A joint that both neighbouring key poses show is visible; one that only the
        nearer of them shows is visible too.

    Raises:
        ValueError: no key pose, or a count or a size outside its range.
    """
    if not len(poses):
        raise ValueError("There is no pose to begin with; give at least one.")
    check_settings(count=count, height=size[0], width=size[1])
    if len(poses) == 1 or count == 1:
        return poses.select(0).expand(count)
    stops = len(poses) if loop else len(poses) - 1
    places = np.arange(count) * (stops / (count if loop else count - 1))
    rows: list[Keypoints] = []
    for place in places.tolist():
        index = min(int(place + 1e-9), stops - 1)
        first, second = poses.select(index), poses.select((index + 1) % len(poses))
        rows.append(between(first, second, min(max(place - index, 0.0), 1.0), size))
    return Keypoints.cat(rows)


def between(first: Keypoints, second: Keypoints, share: float, size: tuple[int, int]) -> Keypoints:
    """The pose at `share` (0 to 1) of the way from one pose to another; one row each."""
    if share <= 0 or share >= 1:
        return first if share <= 0 else second
    start, end = _complete(first, second, size), _complete(second, first, size)
    if start is None or end is None:
        return first if share < 0.5 else second
    a, b = _apart(start, first, size), _apart(end, second, size)
    return _together(a, b, share, size)


# --- taking apart --------------------------------------------------------------------------------


def _complete(pose: Keypoints, other: Keypoints, size: tuple[int, int]) -> Floats | None:
    """All 18 joints in pixels: what is missing is taken from the other pose, then from habit."""
    xy, seen = _arrays(pose, size)
    if not seen.any():
        return None
    other_xy, other_seen = _arrays(other, size)
    trunk, other_trunk = trunk_length(xy, seen), trunk_length(other_xy, other_seen)
    scale = 1.0 if trunk is None or other_trunk is None else trunk / other_trunk
    unit = trunk or other_trunk or 0.2 * size[0]
    whole = xy.copy()
    known = seen.copy()
    if not known[1]:
        # Back from the first joint that is seen, along the bones of the other pose or of habit.
        first = next(joint for joint in TREE if seen[joint])
        back = np.zeros(2)
        joint = first
        while joint != 1:
            back += _usual(joint, other_xy, other_seen, scale, unit)
            joint = PARENT[joint]
        whole[1], known[1] = xy[first] - back, True
    for joint in TREE[1:]:
        if not known[joint]:
            bone = _usual(joint, other_xy, other_seen, scale, unit)
            whole[joint] = whole[PARENT[joint]] + bone
    return whole


def _usual(joint: int, xy: Floats, seen: Bools, scale: float, unit: float) -> Floats:
    """A bone of the other pose, or of one that stands and faces the viewer."""
    parent = PARENT[joint]
    if seen[joint] and seen[parent]:
        return (xy[joint] - xy[parent]) * scale
    return np.array(_STANDING[joint]) * unit


_STANDING = {
    0: (0.0, -KINDS[0][1]), 2: (-0.37, 0.0), 5: (0.37, 0.0), 8: (-0.18, 1.0), 11: (0.18, 1.0),
    3: (-0.1, 0.57), 6: (0.1, 0.57), 4: (-0.05, 0.51), 7: (0.05, 0.51),
    9: (-0.04, 0.86), 12: (0.04, 0.86), 10: (0.0, 0.84), 13: (0.0, 0.84),
    14: (-0.06, -0.06), 15: (0.06, -0.06), 16: (-0.09, 0.05), 17: (0.09, 0.05),
}  # fmt: skip


def _apart(whole: Floats, pose: Keypoints, size: tuple[int, int]) -> _Figure:
    hips = (whole[8] + whole[11]) / 2
    spine = whole[1] - hips
    upright = float(np.arctan2(spine[0], -spine[1])) if np.linalg.norm(spine) > 1e-9 else 0.0
    turn = _turn(-upright)
    bones = np.zeros((18, 2))
    for joint in TREE[1:]:
        bones[joint] = turn @ (whole[joint] - whole[PARENT[joint]])
    seen = pose.visible[0].cpu().numpy()
    if pose.hands_xy is None or pose.hands_visible is None:
        return _Figure(hips, upright, bones, seen, None, None)
    hands = pose.hands_xy[0].detach().cpu().double().numpy() * [size[1], size[0]]
    hands = np.stack([hands[side] - whole[wrist] for side, wrist in enumerate(_WRISTS)])
    return _Figure(hips, upright, bones, seen, hands @ turn.T, pose.hands_visible[0].cpu().numpy())


def _arrays(pose: Keypoints, size: tuple[int, int]) -> tuple[Floats, Bools]:
    return pose.to_pixels(*size)[0].cpu().numpy(), pose.visible[0].cpu().numpy()


# --- putting together ----------------------------------------------------------------------------


def _together(a: _Figure, b: _Figure, share: float, size: tuple[int, int]) -> Keypoints:
    upright = a.upright + share * _shortest(b.upright - a.upright)
    turned = _faces(a) * _faces(b) < 0
    bones = (1 - share) * a.bones + share * b.bones
    for joint in _LIMBS:
        if not turned:
            bones[joint] = _swung(a.bones[joint], b.bones[joint], share)
    turn = _turn(upright)
    whole = np.zeros((18, 2))
    for joint in TREE[1:]:
        whole[joint] = whole[PARENT[joint]] + turn @ bones[joint]
    hips = (1 - share) * a.hips + share * b.hips
    whole += hips - (whole[8] + whole[11]) / 2
    nearer = a if share < 0.5 else b
    frame = np.array([size[1], size[0]], dtype=np.float64)
    xy = torch.from_numpy(whole / frame)[None]
    # Seen in both or in the nearer: what only the farther one shows comes or goes halfway.
    visible = torch.from_numpy(nearer.seen.copy())[None]
    if nearer.hands is None or nearer.hands_seen is None:
        return Keypoints(xy, visible)
    other = b if nearer is a else a
    hands = nearer.hands
    if other.hands is not None and other.hands_seen is not None:
        mixed = (1 - share) * _hands(a) + share * _hands(b)
        both = (nearer.hands_seen & other.hands_seen)[..., None]
        hands = np.where(both, mixed, hands)
    hands = hands @ turn.T + whole[list(_WRISTS)][:, None]
    seen = torch.from_numpy(nearer.hands_seen.copy())[None]
    return Keypoints(xy, visible, torch.from_numpy(hands / frame)[None], seen)


def _hands(figure: _Figure) -> Floats:
    return np.zeros((2, 21, 2)) if figure.hands is None else figure.hands


def _faces(figure: _Figure) -> float:
    """Above 0 facing the viewer, below 0 turned away; 0 where it is seen from the side."""
    width = float(figure.bones[5, 0] - figure.bones[2, 0])
    spine = float(np.linalg.norm(figure.bones[[8, 11]].mean(axis=0)))
    return 0.0 if abs(width) < 0.25 * spine else width


def _swung(a: Floats, b: Floats, share: float) -> Floats:
    """A limb on its way: the angle takes the shorter way, the length changes evenly."""
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if min(lengths) < 1e-9:
        return (1 - share) * a + share * b
    angles = float(np.arctan2(a[1], a[0])), float(np.arctan2(b[1], b[0]))
    angle = angles[0] + share * _shortest(angles[1] - angles[0])
    length = (1 - share) * lengths[0] + share * lengths[1]
    return length * np.array([np.cos(angle), np.sin(angle)])


def _shortest(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def _turn(angle: float) -> Floats:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
