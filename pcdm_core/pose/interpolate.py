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
from .bones import KINDS, PARENT, TREE, Body, Bools, Floats, body_of, trunk_length
from .canvas import in_frame, says_no_canvas
from .keypoints import HIPS, SHOULDERS, WRISTS, Joint, Keypoints

_LIMBS = (3, 4, 6, 7, 9, 10, 12, 13)  # what turns in the picture; the rest moves with the trunk

# Bones of a body that stands and faces the viewer, in trunks: the right side, from the parent.
_STANDING_RIGHT = {
    Joint.RIGHT_SHOULDER: (-0.37, 0.0), Joint.RIGHT_ELBOW: (-0.1, 0.57),
    Joint.RIGHT_WRIST: (-0.05, 0.51), Joint.RIGHT_HIP: (-0.18, 1.0),
    Joint.RIGHT_KNEE: (-0.04, 0.86), Joint.RIGHT_ANKLE: (0.0, 0.84),
    Joint.RIGHT_EYE: (-0.06, -0.06), Joint.RIGHT_EAR: (-0.09, 0.05),
}  # fmt: skip
_STANDING = {
    Joint.NOSE: (0.0, -KINDS[0][1]),
    **_STANDING_RIGHT,
    **{joint.mirror: (-x, y) for joint, (x, y) in _STANDING_RIGHT.items()},
}


@dataclass(frozen=True)
class _Figure:
    """One pose taken apart; lengths in pixels."""

    hips: Floats  # [2], the middle of the hips
    upright: float  # angle of the trunk, 0 is upright
    bones: Floats  # [18, 2], from each joint's parent to it, in the trunk's frame
    visible: Bools
    hands: Floats | None  # [2, 21, 2], from the wrist, in the trunk's frame
    hands_visible: Bools  # [2, 21], nothing without hands


def interpolate_poses(
    poses: Keypoints, count: int, size: tuple[int, int], *, loop: bool = False
) -> Keypoints:
    """A movement through all poses, at even steps.

    Args:
        poses: K key poses, one after another.
        count: how many poses to give; the first is the first key pose and, without `loop`, the
            last is the last one.
        size: (height, width) of the frame, in pixels; angles depend on its shape.
        loop: go on from the last key pose to the first, which then does not come twice.

    Returns:
        `count` rows. A joint that both neighbouring key poses show is visible; one that only the
        nearer of them shows is visible too. Key poses of other canvases are shown whole in the
        frame, which is the canvas of all rows unless one of them says none.

    Raises:
        ValueError: no key pose, or a count or a size outside its range.
    """
    if not len(poses):
        raise ValueError("There is no pose to begin with; give at least one.")
    check_settings(count=count, height=size[0], width=size[1])
    poses = in_frame(poses, size)
    if len(poses) == 1 or count == 1:
        return poses.select(0).expand(count)
    stops = len(poses) if loop else len(poses) - 1
    places = np.arange(count) * (stops / (count if loop else count - 1))
    rows: list[Keypoints] = []
    for place in places.tolist():
        index = min(int(place + 1e-9), stops - 1)
        first, second = poses.select(index), poses.select((index + 1) % len(poses))
        rows.append(between(first, second, min(max(place - index, 0.0), 1.0), size))
    moving = Keypoints.cat(rows)
    if poses.canvas is None:
        return moving
    return moving.with_canvas(None if says_no_canvas(poses) else size)


def between(first: Keypoints, second: Keypoints, share: float, size: tuple[int, int]) -> Keypoints:
    """The pose at `share` (0 to 1) of the way from one pose to another; one row each."""
    if share <= 0 or share >= 1:
        return first if share <= 0 else second
    bodies = body_of(first, size), body_of(second, size)
    start, end = _complete(*bodies, size[0]), _complete(bodies[1], bodies[0], size[0])
    if start is None or end is None:
        return first if share < 0.5 else second
    return _together(_apart(start, first, size), _apart(end, second, size), share, size)


# --- taking apart --------------------------------------------------------------------------------


def _complete(body: Body, other: Body, height: int) -> Floats | None:
    """All 18 joints in pixels: what is missing is taken from the other pose, then from habit."""
    xy, visible = body
    if not visible.any():
        return None
    trunk, other_trunk = trunk_length(*body), trunk_length(*other)
    scale = 1.0 if trunk is None or other_trunk is None else trunk / other_trunk
    unit = trunk or other_trunk or 0.2 * height

    def usual(joint: int) -> Floats:
        """A bone of the other pose, or of one that stands and faces the viewer."""
        other_xy, other_visible = other
        parent = PARENT[joint]
        if other_visible[joint] and other_visible[parent]:
            return (other_xy[joint] - other_xy[parent]) * scale
        return np.array(_STANDING[Joint(joint)]) * unit

    whole = xy.copy()
    if not visible[Joint.NECK]:
        # Back from the first visible joint, along the bones of the other pose or of habit.
        first = joint = next(joint for joint in TREE if visible[joint])
        back = np.zeros(2)
        while joint != Joint.NECK:
            back += usual(joint)
            joint = PARENT[joint]
        whole[Joint.NECK] = xy[first] - back
    for joint in TREE[1:]:
        if not visible[joint]:
            whole[joint] = whole[PARENT[joint]] + usual(joint)
    return whole


def _apart(whole: Floats, pose: Keypoints, size: tuple[int, int]) -> _Figure:
    hips = whole[list(HIPS)].mean(axis=0)
    spine = whole[Joint.NECK] - hips
    upright = float(np.arctan2(spine[0], -spine[1])) if np.linalg.norm(spine) > 1e-9 else 0.0
    turn = _turn(-upright)
    bones = np.zeros((18, 2))
    for joint in TREE[1:]:
        bones[joint] = turn @ (whole[joint] - whole[PARENT[joint]])
    visible = pose.visible[0].cpu().numpy()
    if pose.hands_xy is None or pose.hands_visible is None:
        return _Figure(hips, upright, bones, visible, None, np.zeros((2, 21), bool))
    hands = pose.hands_xy[0].detach().cpu().double().numpy() * [size[1], size[0]]
    hands = (hands - whole[list(WRISTS)][:, None]) @ turn.T
    return _Figure(hips, upright, bones, visible, hands, pose.hands_visible[0].cpu().numpy())


# --- putting together ----------------------------------------------------------------------------


def _together(a: _Figure, b: _Figure, share: float, size: tuple[int, int]) -> Keypoints:
    upright = a.upright + share * _shortest(b.upright - a.upright)
    turned = _faces(a) * _faces(b) < 0
    bones = (1 - share) * a.bones + share * b.bones
    if not turned:
        for joint in _LIMBS:
            bones[joint] = _swung(a.bones[joint], b.bones[joint], share)
    turn = _turn(upright)
    whole = np.zeros((18, 2))
    for joint in TREE[1:]:
        whole[joint] = whole[PARENT[joint]] + turn @ bones[joint]
    hips = (1 - share) * a.hips + share * b.hips
    whole += hips - whole[list(HIPS)].mean(axis=0)
    nearer = a if share < 0.5 else b
    frame = np.array([size[1], size[0]], dtype=np.float64)
    xy = torch.from_numpy(whole / frame)[None]
    # Visible in both or in the nearer: what only the farther one shows comes or goes halfway.
    visible = torch.from_numpy(nearer.visible.copy())[None]
    if nearer.hands is None:
        return Keypoints(xy, visible)
    hands = nearer.hands
    if a.hands is not None and b.hands is not None:
        mixed = (1 - share) * a.hands + share * b.hands
        farther = b if nearer is a else a
        both = (nearer.hands_visible & farther.hands_visible)[..., None]
        hands = np.where(both, mixed, hands)
    hands = hands @ turn.T + whole[list(WRISTS)][:, None]
    hands_visible = torch.from_numpy(nearer.hands_visible.copy())[None]
    return Keypoints(xy, visible, torch.from_numpy(hands / frame)[None], hands_visible)


def _faces(figure: _Figure) -> float:
    """Above 0 facing the viewer, below 0 turned away; 0 where it is seen from the side."""
    width = float(np.diff(figure.bones[list(SHOULDERS), 0]).item())
    spine = float(np.linalg.norm(figure.bones[list(HIPS)].mean(axis=0)))
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
