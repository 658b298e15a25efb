"""Where in a picture a posed body lies: soft capsules round its limbs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ranges import check_settings
from .bones import Bools, trunk_length
from .canvas import in_frame
from .keypoints import FACE, Joint, Keypoints

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
_JOINT_RADIUS = 0.16
_SOFTNESS = 0.12  # the width of the soft edge
_FALLBACK_TRUNK = 0.2  # of the picture's height, where not a single bone is visible


def body_mask(keypoints: Keypoints, height: int, width: int) -> Tensor:
    """The area of a posed body, for laying a generated person over another picture.

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
    device = keypoints.xy.device
    rows = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    columns = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # [H, W, 2]: x, y
    bodies = keypoints.to_pixels(height, width).to(torch.float32)
    masks = [
        _mask_of_one(grid, xy, visible.cpu().numpy())
        for xy, visible in zip(bodies, keypoints.visible, strict=True)
    ]
    return torch.stack(masks)[:, None] if masks else grid.new_zeros(0, 1, height, width)


def _mask_of_one(grid: Tensor, xy: Tensor, visible: Bools) -> Tensor:
    trunk = trunk_length(xy.cpu().numpy(), visible, _SCALE_KINDS, spine=(Joint.NECK,))
    trunk = trunk or _FALLBACK_TRUNK * grid.shape[0]
    mask = grid.new_zeros(grid.shape[:2])

    def add(start: Tensor, end: Tensor, radius: float) -> None:
        torch.maximum(mask, _capsule(grid, start, end, radius * trunk, trunk), out=mask)

    for a, b, radius, reach in _CAPSULES:
        if visible[a] and visible[b]:
            bone = xy[b] - xy[a]
            onward = bone / bone.norm().clamp(min=1e-6) * reach * trunk
            add(xy[a], xy[b] + onward, radius)
    for joint in Joint:
        if visible[joint] and joint not in FACE:
            add(xy[joint], xy[joint], _JOINT_RADIUS)
    face = [joint for joint in FACE if visible[joint]]
    if face:
        centre = xy[face].mean(dim=0)
        add(centre, centre, _HEAD_RADIUS)
    return mask


def _capsule(grid: Tensor, start: Tensor, end: Tensor, radius: float, trunk: float) -> Tensor:
    """1 nearer to the line from start to end than `radius`, falling to 0 over the soft edge."""
    bone = end - start
    along = ((grid - start) @ bone / bone.dot(bone).clamp(min=1e-6)).clamp(0.0, 1.0)
    distance = (grid - start - along[..., None] * bone).norm(dim=-1)
    return ((radius - distance) / (_SOFTNESS * trunk) + 0.5).clamp(0.0, 1.0)
