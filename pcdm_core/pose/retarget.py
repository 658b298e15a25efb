"""A pose of one body on the proportions of another.

A pose that was taken from somebody else carries that person's limbs along, and a model that draws
what the skeleton says gives them to the source person. Here each bone keeps its direction and its
foreshortening, and gets the source person's length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from ..ranges import check_settings
from .bones import (
    HEAD_KIND,
    KIND_OF,
    PARENT,
    TREE,
    Body,
    Bools,
    Floats,
    body_of,
    bone_lengths,
    middle_of,
    rebuild,
    trunk_length,
)
from .canvas import in_frame
from .editor import inside
from .keypoints import ANKLES, FACE, HIPS, KNEES, SHOULDERS, WRISTS, Joint, Keypoints

Framing = Literal["as source", "whole"]

_TRUNK = (Joint.NECK, *SHOULDERS, *HIPS)
_LEGS = tuple(zip(HIPS, KNEES, ANKLES, strict=True))
_BELOW = (*KNEES, *ANKLES)  # what half a body does not show
_CORE = (Joint.NOSE, *_TRUNK)  # what stays in the frame where the whole body does not
_MARGIN = 0.02  # of the frame, left where a pose is moved or made smaller to stay in it
_SMALLEST, _LARGEST = 0.1, 10.0  # times that a bone may change


@dataclass(frozen=True)
class Retargeted:
    """A pose in the source's frame.

    Attributes:
        pose: as many rows as the target pose had.
        report: what was changed, a line for each pose that was measured by itself.
    """

    pose: Keypoints
    report: str


def retarget(
    target: Keypoints,
    source: Keypoints,
    size: tuple[int, int],
    *,
    target_size: tuple[int, int] | None = None,
    framing: Framing = "as source",
    one_body: bool = False,
    keep_legs: bool = False,
) -> Retargeted:
    """Move poses onto the proportions, the size and the place of the source person.

    Every bone keeps its direction and its foreshortening. Its length is changed by the ratio of the
    two bodies' bones of that kind; a kind that the source does not show changes as the body's size
    does. The feet stand where the source's stand if both show them, otherwise the trunk is where
    the source's is. Missing joints stay missing.

    Args:
        target: B poses.
        source: 1 or B poses, of the source picture.
        size: (height, width) of the source picture, in pixels.
        target_size: of the picture that the target poses belong to; None takes their own canvas.
        framing: "as source" keeps the source's scale: if the source shows its feet the whole body
            stays in the frame (made smaller only if there is no other way), otherwise head and
            trunk do, and what lies beyond the borders is missing. "whole" keeps every joint in the
            frame.
        one_body: the poses are a movement of one person: measured, placed and framed together, so
            that sizes do not flicker and a jump stays a jump. The first source pose counts.
        keep_legs: a pose that shows neither knees nor ankles, as that of a half-body picture, gets
            the legs that the source shows. Without them a model makes up what is below.

    Returns:
        Key points in the source's frame.

    Raises:
        ValueError: an unknown framing, or a size outside its range.
    """
    check_settings(height=size[0], width=size[1])
    if framing not in get_args(Framing):
        raise ValueError(f"framing {framing!r}: choose one of {', '.join(get_args(Framing))}")
    # One unit for both: the target's picture as it is seen whole in the source's frame.
    fitted = in_frame(target if target_size is None else target.with_canvas(target_size), size)
    source = in_frame(source, size)
    if one_body:
        moved = _retarget_body(fitted, source.select(0), size, framing, keep_legs)
        return replace(moved, pose=moved.pose.with_canvas(size))
    source = source.expand(len(target))
    rows = [
        _retarget_body(fitted.select(row), source.select(row), size, framing, keep_legs)
        for row in range(len(target))
    ]
    names = [f"pose {row + 1}: " if len(rows) > 1 else "" for row in range(len(rows))]
    report = "\n".join(name + row.report for name, row in zip(names, rows, strict=True))
    return Retargeted(Keypoints.cat([row.pose for row in rows]).with_canvas(size), report)


def _retarget_body(
    target: Keypoints, source: Keypoints, size: tuple[int, int], framing: Framing, keep_legs: bool
) -> Retargeted:
    """All rows of the target as one body; one row of the source."""
    bodies = [body_of(target.select(row), size) for row in range(len(target))]
    source_body = body_of(source, size)
    ratios, scale = _ratios(bodies, source_body)

    def bone(joint: int, parent: int, vector: Floats) -> Floats:
        if joint in FACE[1:]:
            return vector * ratios.get(HEAD_KIND, scale)
        return vector * (ratios.get(KIND_OF[joint], scale) if parent == PARENT[joint] else scale)

    shapes = [rebuild(xy, visible, bone, np.zeros(2)) for xy, visible in bodies]
    _move_along(shapes, bodies, scale)
    first = next((row for row, (_, visible) in enumerate(bodies) if visible.any()), 0)
    shift = _place(shapes[first], bodies[first][1], source_body)
    moved = [(shape + shift, visible) for shape, (_, visible) in zip(shapes, bodies, strict=True)]
    legs = keep_legs and _may_take_legs(moved, source_body[1])
    if legs:
        moved = [_with_legs(body, source_body) for body in moved]
        visible = torch.from_numpy(np.stack([visible for _, visible in moved]))
        target = replace(target, visible=visible)
    keeps_scale = framing == "as source" and not source_body[1][list(ANKLES)].any()
    shift, shrink = _framed(moved, keeps_scale, size)
    rows = [
        inside(_with_hands(target.select(row), xy, body * shrink + shift, scale * shrink, size))
        for row, ((xy, _), (body, _)) in enumerate(zip(bodies, moved, strict=True))
    ]
    pose = Keypoints.cat(rows)
    report = f"the body's size changed by {scale:.2f}"
    if ratios:
        report += f", its bones by {min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
    if shrink < 1:
        report += f"; made {shrink:.2f} times as large to stay in the frame"
    if legs:
        report += "; the legs, which it does not show, are the source's own"
    if lost := int(target.visible.sum()) - int(pose.visible.sum()):
        report += f"; joints beyond the frame are left out ({lost})"
    return Retargeted(pose, report)


def _ratios(bodies: Sequence[Body], source: Body) -> tuple[dict[int, float], float]:
    """By how much each kind of bone changes that both show, and the body as a whole."""
    trunks = [trunk for body in bodies if (trunk := trunk_length(*body)) is not None]
    source_trunk = trunk_length(*source)
    if not trunks or source_trunk is None:
        return {}, 1.0
    lengths, source_lengths = bone_lengths(bodies), bone_lengths([source])
    both = lengths.keys() & source_lengths.keys()
    ratios = {kind: _bounded(source_lengths[kind] / lengths[kind]) for kind in both}
    return ratios, _bounded(source_trunk / max(trunks))


def _move_along(shapes: list[Floats], bodies: Sequence[Body], scale: float) -> None:
    """Give the rows their way against the first one, at a joint that all of them show."""
    common = [joint for joint in TREE if all(visible[joint] for _, visible in bodies)]
    if not common:
        return
    joint = common[0]
    start = bodies[0][0][joint]
    for shape, (xy, _) in zip(shapes[1:], bodies[1:], strict=True):
        shape += shapes[0][joint] + (xy[joint] - start) * scale - shape[joint]


def _bounded(ratio: float) -> float:
    return min(max(ratio, _SMALLEST), _LARGEST)


def _place(xy: Floats, visible: Bools, source: Body) -> Floats:
    """The shift [2] to where the source person is."""
    source_xy, source_visible = source
    if not visible.any():
        return np.zeros(2)
    both = visible & source_visible
    common = [joint for joint in _TRUNK if both[joint]] or np.flatnonzero(both).tolist()
    if not common:
        middle = middle_of(Joint, source_xy, source_visible)
        return source_xy[0] if middle is None else middle - xy[visible].mean(axis=0)
    shift = source_xy[common].mean(axis=0) - xy[common].mean(axis=0)
    feet = [joint for joint in ANKLES if visible[joint]]
    source_feet = [joint for joint in ANKLES if source_visible[joint]]
    if feet and source_feet:
        shift[1] = source_xy[source_feet, 1].max() - xy[feet, 1].max()
    return shift


def _may_take_legs(bodies: Sequence[Body], source_visible: Bools) -> bool:
    """Whether no row shows its legs, the source does, and there is a trunk to put them under."""
    joints = np.array([visible for _, visible in bodies])
    trunk = (joints.all(axis=0) & source_visible)[list(_TRUNK)]
    below = list(_BELOW)
    return bool(trunk.any() and source_visible[below].any() and not joints[:, below].any())


def _with_legs(body: Body, source: Body) -> Body:
    """The body with the source's legs: where those are, or under the hips that it shows."""
    (xy, visible), (source_xy, source_visible) = body, source
    xy, visible = xy.copy(), visible.copy()
    for leg in _LEGS:
        hip = leg[0]
        under = xy[hip] - source_xy[hip] if visible[hip] and source_visible[hip] else np.zeros(2)
        for joint in leg:
            if source_visible[joint] and not visible[joint]:
                xy[joint], visible[joint] = source_xy[joint] + under, True
    return xy, visible


def _framed(
    bodies: Sequence[Body], keeps_scale: bool, size: tuple[int, int]
) -> tuple[Floats, float]:
    """Shift [2] and factor that bring what must be seen into the frame, changing no more."""
    points: list[Floats] = []
    for xy, visible in bodies:
        core = [joint for joint in _CORE if visible[joint]]
        points.append(xy[core] if keeps_scale and core else xy[visible])
    must = np.concatenate(points)
    if not len(must):
        return np.zeros(2), 1.0
    frame = np.array([size[1], size[0]], dtype=np.float64)
    low, high = must.min(axis=0), must.max(axis=0)
    if (low >= 0).all() and (high <= frame).all():
        return np.zeros(2), 1.0
    first, last = frame * _MARGIN, frame * (1 - _MARGIN)
    extent = np.maximum(high - low, 1e-9)
    shrink = 1.0 if keeps_scale else float(min(1.0, ((last - first) / extent).min()))
    middle = (low + high) / 2
    shift = middle - middle * shrink  # round the body's middle
    low, high = low * shrink + shift, high * shrink + shift
    for axis in (0, 1):
        # Too large a core shows its upper end: the head says more than the hips.
        if low[axis] < first[axis] or high[axis] - low[axis] > last[axis] - first[axis]:
            shift[axis] += first[axis] - low[axis]
        elif high[axis] > last[axis]:
            shift[axis] -= high[axis] - last[axis]
    return shift, shrink


def _with_hands(
    target: Keypoints, xy: Floats, body: Floats, scale: float, size: tuple[int, int]
) -> Keypoints:
    """The new body, with the target's hands on its wrists."""
    frame = torch.tensor([size[1], size[0]], dtype=torch.float64)
    places, visible = torch.from_numpy(body)[None] / frame, target.visible.cpu()
    if target.hands_xy is None or target.hands_visible is None:
        return Keypoints(places, visible)
    hands = target.hands_xy.detach().cpu().to(torch.float64) * frame
    wrists = list(WRISTS)
    hands = (hands - torch.from_numpy(xy[wrists])[:, None]) * scale
    hands += torch.from_numpy(body[wrists])[:, None]
    hands_visible = target.hands_visible.cpu() & visible[:, wrists, None]
    return Keypoints(places, visible, hands / frame, hands_visible)
