"""Where in a picture a posed body lies: soft capsules round its limbs."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from ..ranges import check_settings
from .bones import Bools, trunk_length
from .canvas import in_frame
from .keypoints import FACE, HIPS, Joint, Keypoints

# Capsules as (joint, joint, radius, how far it reaches past the second joint), in trunks, in the
# middle and on the right; the left ones mirror these. The last bones reach on over hands and feet.
_MIDDLE = (
    (Joint.NECK, Joint.NOSE, 0.2, 0.0),
    (Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER, 0.22, 0.0),
    (Joint.RIGHT_HIP, Joint.LEFT_HIP, 0.26, 0.0),
)
_RIGHT = (
    (Joint.NECK, Joint.RIGHT_SHOULDER, 0.22, 0.0),
    (Joint.NECK, Joint.RIGHT_HIP, 0.26, 0.0),
    (Joint.RIGHT_SHOULDER, Joint.NOSE, 0.14, 0.0),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_HIP, 0.26, 0.0),
    (Joint.RIGHT_SHOULDER, Joint.LEFT_HIP, 0.26, 0.0),
    (Joint.RIGHT_SHOULDER, Joint.RIGHT_ELBOW, 0.18, 0.0),
    (Joint.RIGHT_ELBOW, Joint.RIGHT_WRIST, 0.16, 0.35),
    (Joint.RIGHT_HIP, Joint.RIGHT_KNEE, 0.24, 0.0),
    (Joint.RIGHT_KNEE, Joint.RIGHT_ANKLE, 0.19, 0.2),
)
_CAPSULES = (*_MIDDLE, *_RIGHT, *((a.mirror, b.mirror, *sizes) for a, b, *sizes in _RIGHT))

# The longest estimate counts, because foreshortening only shortens; shoulders and hips look broad
# or narrow as the body turns.
_SCALE_KINDS = ((0, 3, 4, 5, 6),)

_HEAD_RADIUS = 0.4
_HEAD_ABOVE_NECK = 0.4  # where no point of the face is visible, as from behind
_JOINT_RADIUS = 0.16
_SOFTNESS = 0.12  # the width of the soft edge
_FALLBACK_TRUNK = 0.2  # of the picture's height, where not a single bone is visible

_CELLS = 5  # computed along the width of the soft edge; what lies between is interpolated
_MOST_CELLS = 256  # along a side of the body's box


def body_mask(keypoints: Keypoints, height: int, width: int) -> Tensor:
    """The area of a posed body, for laying a generated person over another picture.

    Distances are computed as coarsely as the soft edge allows and enlarged, so that large masks
    cost little more than their pixels.

    Args:
        keypoints: B people; missing joints leave out their limbs. Other canvases are shown
            whole, see `canvas`.
        height: of the mask, in pixels.
        width: of the mask, in pixels.

    Returns:
        float32 `[B, 1, height, width]` in [0, 1], 1 inside, with a soft edge, on the key points'
        device.

    Raises:
        ValueError: a size outside its range.
    """
    check_settings(height=height, width=width)
    keypoints = in_frame(keypoints, (height, width))
    bodies = keypoints.to_pixels(height, width).to(torch.float32)
    masks = bodies.new_zeros(len(bodies), 1, height, width)
    for mask, xy, visible in zip(masks, bodies, keypoints.visible, strict=True):
        if bool(visible.any()):
            _draw(mask[0], xy, visible.cpu().numpy())
    return masks


def _draw(mask: Tensor, xy: Tensor, visible: Bools) -> None:
    """Draw a body into an empty mask [H, W]."""
    trunk = trunk_length(xy.cpu().numpy(), visible, _SCALE_KINDS, spine=(Joint.NECK,))
    trunk = trunk or _FALLBACK_TRUNK * mask.shape[0]
    starts, ends, radii = _capsules(xy, visible, trunk)
    softness = _SOFTNESS * trunk
    beyond = (radii + softness / 2)[:, None]
    limits = xy.new_tensor(mask.shape[::-1])
    low = (torch.minimum(starts, ends) - beyond).amin(0).floor().clamp(min=0)
    high = (torch.maximum(starts, ends) + beyond).amax(0).ceil().minimum(limits)
    (left, top), (right, bottom) = low.int().tolist(), high.int().tolist()
    if left >= right or top >= bottom:
        return
    columns, rows = (
        torch.linspace(low + 0.5, high - 0.5, _cells(high - low, softness / _CELLS)).to(xy)
        for low, high in ((left, right), (top, bottom))
    )
    depth = _depth(columns, rows, starts, ends, radii) / softness + 0.5
    box = mask[top:bottom, left:right]
    enlarged = functional.interpolate(
        depth[None, None], box.shape, mode="bilinear", align_corners=True
    )
    torch.clamp(enlarged[0, 0], 0.0, 1.0, out=box)


def _capsules(xy: Tensor, visible: Bools, trunk: float) -> tuple[Tensor, Tensor, Tensor]:
    """The ends [K, 2] and [K, 2] of a body's capsules and their radii [K], in pixels."""
    capsules: list[tuple[Tensor, Tensor, float]] = []
    for a, b, radius, reach in _CAPSULES:
        if visible[a] and visible[b]:
            bone = xy[b] - xy[a]
            onward = bone / bone.norm().clamp(min=1e-6) * reach * trunk
            capsules.append((xy[a], xy[b] + onward, radius))
    for joint in Joint:
        if visible[joint] and joint not in FACE:
            capsules.append((xy[joint], xy[joint], _JOINT_RADIUS))
    face = [joint for joint in FACE if visible[joint]]
    if face:
        centre = xy[face].mean(dim=0)
        capsules.append((centre, centre, _HEAD_RADIUS))
    elif visible[Joint.NECK]:
        capsules += _head_from_behind(xy, visible, trunk)
    starts, ends, radii = zip(*capsules, strict=True)
    return torch.stack(starts), torch.stack(ends), xy.new_tensor(radii) * trunk


def _head_from_behind(
    xy: Tensor, visible: Bools, trunk: float
) -> list[tuple[Tensor, Tensor, float]]:
    """The capsules of a neck and a head on the line from the hips, or upright without these."""
    neck, hips = xy[Joint.NECK], [joint for joint in HIPS if visible[joint]]
    spine = neck - xy[hips].mean(dim=0) if hips else xy.new_tensor([0.0, -1.0])
    centre = neck + spine / spine.norm().clamp(min=1e-6) * _HEAD_ABOVE_NECK * trunk
    return [(neck, centre, _MIDDLE[0][2]), (centre, centre, _HEAD_RADIUS)]


def _cells(pixels: int, size: float) -> int:
    """How many cells of at least this size, in pixels, lie along a side."""
    return min(pixels, math.ceil(pixels / size), _MOST_CELLS)


def _depth(columns: Tensor, rows: Tensor, starts: Tensor, ends: Tensor, radii: Tensor) -> Tensor:
    """How deep in the body the points of a grid lie, in pixels [h, w]; negative outside."""
    across, down = (ends - starts).T[..., None, None]
    x = columns - starts[:, :1, None]  # [K, 1, w]
    y = rows[:, None] - starts[:, 1:, None]  # [K, h, 1]
    length = (across * across + down * down).clamp(min=1e-6)
    along = (x * (across / length) + y * (down / length)).clamp_(0.0, 1.0)
    aside = (x - along * across).square_().add_((y - along * down).square_()).sqrt_()
    return (radii[:, None, None] - aside).amax(0)
