"""A pose of one body on the proportions of another.

A pose that was taken from somebody else carries that person's limbs along, and a model that draws
what the skeleton says gives them to the source person. Here each bone keeps its direction and its
foreshortening, and gets the source person's length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from .editing import fit_pose, inside
from .keypoints import Keypoints
from .skeleton import FACE, HEAD_KIND, KIND_OF, Bools, Floats, bone_lengths, rebuild, trunk_length

Framing = Literal["as source", "whole"]

_ANKLES, _TRUNK = (10, 13), (1, 2, 5, 8, 11)
_CORE = (0, *_TRUNK)  # what stays in the frame where the whole body does not
_WRISTS = (7, 4)  # the left hand hangs on the left wrist
_MARGIN = 0.02  # of the frame, left where a pose is moved or made smaller to stay in it
_SMALLEST, _LARGEST = 0.1, 10.0  # times that a bone may change


@dataclass(frozen=True)
class Retargeted:
    """A pose in the source's frame.

    Attributes:
        pose: as many rows as the target pose had.
        report: one line a row, what was changed.
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

    Returns:
        Key points in the source's frame.
    """
    if framing not in get_args(Framing):
        raise ValueError(f"framing {framing!r}: choose one of {', '.join(get_args(Framing))}")
    source = source.expand(len(target))
    # One unit for both: the target's picture as it is seen whole in the source's frame.
    fitted = target if target_size is None else fit_pose(target, target_size, size)
    rows = [
        _retarget_row(fitted.select(row), source.select(row), size, framing)
        for row in range(len(target))
    ]
    names = [f"pose {row + 1}: " if len(rows) > 1 else "" for row in range(len(rows))]
    report = "\n".join(name + said for name, (_, said) in zip(names, rows, strict=True))
    return Retargeted(Keypoints.cat([pose for pose, _ in rows]), report)


def _retarget_row(
    target: Keypoints, source: Keypoints, size: tuple[int, int], framing: Framing
) -> tuple[Keypoints, str]:
    xy, seen = target.to_pixels(*size)[0].cpu().numpy(), target.visible[0].cpu().numpy()
    own, own_seen = source.to_pixels(*size)[0].cpu().numpy(), source.visible[0].cpu().numpy()
    if not seen.any():
        return target, "there is no visible joint"
    ratios, scale = _ratios(xy, seen, own, own_seen)

    def bone(joint: int, parent: int, vector: Floats) -> Floats:
        direct = parent >= 0 and joint in KIND_OF and KIND_OF[joint] in ratios
        if joint in FACE:
            return vector * ratios.get(HEAD_KIND, scale)
        return vector * (ratios[KIND_OF[joint]] if direct else scale)

    built = rebuild(xy, seen, bone, np.zeros(2))
    built += _place(built, seen, own, own_seen)
    shift, shrink = _framed(built, seen, bool(own_seen[list(_ANKLES)].any()), size, framing)
    built = built * shrink + shift
    pose = _with_hands(target, xy, built, scale * shrink, size)
    pose = inside(pose)
    said = f"the body's size changed by {scale:.2f}"
    if ratios:
        low, high = min(ratios.values()), max(ratios.values())
        said += f", its bones by {low:.2f} to {high:.2f}"
    if shrink < 1:
        said += f"; made {shrink:.2f} times as large to stay in the frame"
    lost = int(seen.sum()) - int(pose.visible.sum())
    if lost:
        said += f"; {lost} joints lie beyond the frame and are left out"
    return pose, said


def _ratios(
    xy: Floats, seen: Bools, own: Floats, own_seen: Bools
) -> tuple[dict[int, float], float]:
    """By how much each kind of bone changes that both show, and the body as a whole."""
    trunk, own_trunk = trunk_length(xy, seen), trunk_length(own, own_seen)
    if trunk is None or own_trunk is None:
        return {}, 1.0
    scale = _bounded(own_trunk / trunk)
    lengths, own_lengths = bone_lengths(xy, seen), bone_lengths(own, own_seen)
    both = lengths.keys() & own_lengths.keys()
    return {kind: _bounded(own_lengths[kind] / lengths[kind]) for kind in both}, scale


def _bounded(ratio: float) -> float:
    return min(max(ratio, _SMALLEST), _LARGEST)


def _place(built: Floats, seen: Bools, own: Floats, own_seen: Bools) -> Floats:
    """The shift [2] to where the source person is."""
    trunk = [joint for joint in _TRUNK if seen[joint] and own_seen[joint]]
    common = trunk or [joint for joint in range(18) if seen[joint] and own_seen[joint]]
    if not common:
        return own[own_seen].mean(axis=0) - built[seen].mean(axis=0) if own_seen.any() else own[0]
    shift = own[common].mean(axis=0) - built[common].mean(axis=0)
    feet = [joint for joint in _ANKLES if seen[joint]]
    own_feet = [joint for joint in _ANKLES if own_seen[joint]]
    if feet and own_feet:
        shift[1] = own[own_feet, 1].max() - built[feet, 1].max()
    return shift


def _framed(
    built: Floats, seen: Bools, source_stands: bool, size: tuple[int, int], framing: Framing
) -> tuple[Floats, float]:
    """Shift [2] and factor that bring what must be seen into the frame, changing no more."""
    must = [joint for joint in range(18) if seen[joint]]
    keeps_scale = framing == "as source" and not source_stands
    if keeps_scale:
        must = [joint for joint in _CORE if seen[joint]] or must
    frame = np.array([size[1], size[0]], dtype=np.float64)
    low, high = built[must].min(axis=0), built[must].max(axis=0)
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
