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
    FACE,
    HEAD_KIND,
    KIND_OF,
    PARENT,
    TREE,
    Bools,
    Floats,
    bone_lengths,
    rebuild,
    trunk_length,
)
from .editor import fit_pose, inside
from .keypoints import Keypoints

Framing = Literal["as source", "whole"]

_ANKLES, _TRUNK = (10, 13), (1, 2, 5, 8, 11)
_LEGS = ((8, 9, 10), (11, 12, 13))
_BELOW = (9, 10, 12, 13)  # what half a body does not show
_CORE = (0, *_TRUNK)  # what stays in the frame where the whole body does not
_WRISTS = (7, 4)  # the left hand hangs on the left wrist
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
        target_size: of the picture that the target poses belong to; None if it is the same.
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
    fitted = target if target_size is None else fit_pose(target, target_size, size)
    if one_body:
        return _retarget_body(fitted, source.select(0), size, framing, keep_legs)
    source = source.expand(len(target))
    rows = [
        _retarget_body(fitted.select(row), source.select(row), size, framing, keep_legs)
        for row in range(len(target))
    ]
    names = [f"pose {row + 1}: " if len(rows) > 1 else "" for row in range(len(rows))]
    report = "\n".join(name + row.report for name, row in zip(names, rows, strict=True))
    return Retargeted(Keypoints.cat([row.pose for row in rows]), report)


def _retarget_body(
    target: Keypoints, source: Keypoints, size: tuple[int, int], framing: Framing, keep_legs: bool
) -> Retargeted:
    """All rows of the target as one body; one row of the source."""
    bodies = [_arrays(target.select(row), size) for row in range(len(target))]
    own, own_seen = _arrays(source, size)
    ratios, scale = _ratios(bodies, own, own_seen)

    def bone(joint: int, parent: int, vector: Floats) -> Floats:
        if joint in FACE:
            return vector * ratios.get(HEAD_KIND, scale)
        direct = parent == PARENT[joint] and parent >= 0
        return vector * (ratios.get(KIND_OF[joint], scale) if direct else scale)

    built = [rebuild(xy, seen, bone, np.zeros(2)) for xy, seen in bodies]
    _move_along(built, bodies, scale)
    shown = next((row for row, (_, seen) in enumerate(bodies) if seen.any()), 0)
    shift = _place(built[shown], bodies[shown][1], own, own_seen)
    built = [body + shift for body in built]
    shows = [seen for _, seen in bodies]
    legs = keep_legs and _may_take_legs(shows, own_seen)
    if legs:
        built, shows = _with_legs(built, shows, own, own_seen)
        target = replace(target, visible=torch.from_numpy(np.stack(shows)))
    stands = bool(own_seen[list(_ANKLES)].any())
    shift, shrink = _framed(built, shows, stands, size, framing)
    rows = [
        inside(_with_hands(target.select(row), xy, body * shrink + shift, scale * shrink, size))
        for row, ((xy, _), body) in enumerate(zip(bodies, built, strict=True))
    ]
    pose = Keypoints.cat(rows)
    said = f"the body's size changed by {scale:.2f}"
    if ratios:
        said += f", its bones by {min(ratios.values()):.2f} to {max(ratios.values()):.2f}"
    if shrink < 1:
        said += f"; made {shrink:.2f} times as large to stay in the frame"
    if legs:
        said += "; the legs, which it does not show, are the source's own"
    if lost := int(target.visible.sum()) - int(pose.visible.sum()):
        said += f"; joints beyond the frame are left out ({lost})"
    return Retargeted(pose, said)


def _arrays(pose: Keypoints, size: tuple[int, int]) -> tuple[Floats, Bools]:
    return pose.to_pixels(*size)[0].cpu().numpy(), pose.visible[0].cpu().numpy()


def _ratios(
    bodies: Sequence[tuple[Floats, Bools]], own: Floats, own_seen: Bools
) -> tuple[dict[int, float], float]:
    """By how much each kind of bone changes that both show, and the body as a whole."""
    trunks = [trunk for body in bodies if (trunk := trunk_length(*body)) is not None]
    own_trunk = trunk_length(own, own_seen)
    if not trunks or own_trunk is None:
        return {}, 1.0
    lengths, own_lengths = bone_lengths(bodies), bone_lengths([(own, own_seen)])
    both = lengths.keys() & own_lengths.keys()
    ratios = {kind: _bounded(own_lengths[kind] / lengths[kind]) for kind in both}
    return ratios, _bounded(own_trunk / max(trunks))


def _move_along(built: list[Floats], bodies: Sequence[tuple[Floats, Bools]], scale: float) -> None:
    """Give the rows their way against the first one, at a joint that all of them show."""
    common = [joint for joint in TREE if all(seen[joint] for _, seen in bodies)]
    if len(built) == 1 or not common:
        return
    joint = common[0]
    start = bodies[0][0][joint]
    for body, (xy, _) in zip(built, bodies, strict=True):
        body += built[0][joint] + (xy[joint] - start) * scale - body[joint]


def _bounded(ratio: float) -> float:
    return min(max(ratio, _SMALLEST), _LARGEST)


def _place(built: Floats, seen: Bools, own: Floats, own_seen: Bools) -> Floats:
    """The shift [2] to where the source person is."""
    trunk = [joint for joint in _TRUNK if seen[joint] and own_seen[joint]]
    if not seen.any():
        return np.zeros(2)
    common = trunk or [joint for joint in range(18) if seen[joint] and own_seen[joint]]
    if not common:
        return own[own_seen].mean(axis=0) - built[seen].mean(axis=0) if own_seen.any() else own[0]
    shift = own[common].mean(axis=0) - built[common].mean(axis=0)
    feet = [joint for joint in _ANKLES if seen[joint]]
    own_feet = [joint for joint in _ANKLES if own_seen[joint]]
    if feet and own_feet:
        shift[1] = own[own_feet, 1].max() - built[feet, 1].max()
    return shift


def _may_take_legs(shows: Sequence[Bools], own_seen: Bools) -> bool:
    """Whether no row shows its legs, the source does, and there is a trunk to put them under."""
    trunk = [joint for joint in _TRUNK if own_seen[joint] and all(seen[joint] for seen in shows)]
    legless = not any(seen[list(_BELOW)].any() for seen in shows)
    return bool(trunk) and legless and bool(own_seen[list(_BELOW)].any())


def _with_legs(
    built: Sequence[Floats], shows: Sequence[Bools], own: Floats, own_seen: Bools
) -> tuple[list[Floats], list[Bools]]:
    """The rows with the source's legs: where the source's are, or under the hips that they show."""
    bodies, joints = [body.copy() for body in built], [seen.copy() for seen in shows]
    for body, seen in zip(bodies, joints, strict=True):
        for leg in _LEGS:
            hip = leg[0]
            under = body[hip] - own[hip] if seen[hip] and own_seen[hip] else np.zeros(2)
            for joint in leg:
                if own_seen[joint] and not seen[joint]:
                    body[joint], seen[joint] = own[joint] + under, True
    return bodies, joints


def _framed(
    bodies: Sequence[Floats],
    seen: Sequence[Bools],
    source_stands: bool,
    size: tuple[int, int],
    framing: Framing,
) -> tuple[Floats, float]:
    """Shift [2] and factor that bring what must be seen into the frame, changing no more."""
    keeps_scale = framing == "as source" and not source_stands
    points: list[Floats] = []
    for body, joints in zip(bodies, seen, strict=True):
        core = [joint for joint in _CORE if joints[joint]]
        points.append(body[core] if keeps_scale and core else body[joints])
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
    target: Keypoints, xy: Floats, built: Floats, scale: float, size: tuple[int, int]
) -> Keypoints:
    """The new body, with the target's hands on its wrists."""
    frame = torch.tensor([size[1], size[0]], dtype=torch.float64)
    body, visible = torch.from_numpy(built)[None] / frame, target.visible.cpu()
    if target.hands_xy is None or target.hands_visible is None:
        return Keypoints(body, visible)
    hands = target.hands_xy[0].detach().cpu().to(torch.float64) * frame
    seen = target.hands_visible.cpu().clone()
    for side, wrist in enumerate(_WRISTS):
        hands[side] = (hands[side] - torch.from_numpy(xy[wrist])) * scale
        hands[side] += torch.from_numpy(built[wrist])
        seen[0, side] &= visible[0, wrist]
    return Keypoints(body, visible, hands[None] / frame, seen)
