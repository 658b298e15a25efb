"""Where in a picture a posed body lies: soft capsules round its limbs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ranges import check_settings
from .bones import KINDS, PARENT
from .keypoints import Keypoints

# Capsules as (joint, joint, radius, how far it reaches past the second joint), in trunks. The last
# bones reach on over the hands and the feet.
_CAPSULES = (
    (1, 2, 0.22, 0.0), (1, 5, 0.22, 0.0), (2, 5, 0.22, 0.0),
    (2, 3, 0.18, 0.0), (3, 4, 0.16, 0.35), (5, 6, 0.18, 0.0), (6, 7, 0.16, 0.35),
    (2, 8, 0.26, 0.0), (5, 11, 0.26, 0.0), (1, 8, 0.26, 0.0), (1, 11, 0.26, 0.0),
    (2, 11, 0.26, 0.0), (5, 8, 0.26, 0.0), (8, 11, 0.26, 0.0),
    (8, 9, 0.24, 0.0), (9, 10, 0.19, 0.2), (11, 12, 0.24, 0.0), (12, 13, 0.19, 0.2),
    (1, 0, 0.2, 0.0), (2, 0, 0.14, 0.0), (5, 0, 0.14, 0.0),
)  # fmt: skip

# The longest estimate of these counts, because foreshortening only shortens; shoulders and hips
# are not among them, they look broad or narrow as the body turns.
_MEASURED = tuple((joints, share) for joints, share in KINDS if joints not in ((2, 5), (8, 11)))

_FACE = (0, 14, 15, 16, 17)
_HEAD_RADIUS = 0.4
_JOINT_RADIUS = 0.16
_SOFTNESS = 0.12  # the width of the soft edge
_FALLBACK_TRUNK = 0.2  # of the picture's height, where not a single bone is visible


def body_mask(keypoints: Keypoints, height: int, width: int) -> Tensor:
    """The area of a posed body, for laying a generated person over another picture.

    Args:
        keypoints: B people; missing joints leave out their limbs.
        height: of the mask, in pixels.
        width: of the mask, in pixels.

    Returns:
        float32 `[B, 1, height, width]` in [0, 1], 1 inside, with a soft edge, on the key points'
        device.

    Raises:
        ValueError: a size outside its range.
    """
    check_settings(height=height, width=width)
    device = keypoints.xy.device
    rows = torch.arange(height, device=device, dtype=torch.float32) + 0.5
    columns = torch.arange(width, device=device, dtype=torch.float32) + 0.5
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)  # [H, W, 2]: x, y
    places = keypoints.to_pixels(height, width).to(torch.float32)
    masks = [
        _mask_of_one(grid, xy, seen)
        for xy, seen in zip(places, keypoints.visible.tolist(), strict=True)
    ]
    return torch.stack(masks)[:, None] if masks else grid.new_zeros(0, 1, height, width)


def _mask_of_one(grid: Tensor, xy: Tensor, seen: list[bool]) -> Tensor:
    trunk = _trunk_length(xy, seen, grid.shape[0])
    mask = grid.new_zeros(grid.shape[:2])
    for a, b, radius, reach in _CAPSULES:
        if seen[a] and seen[b]:
            bone = xy[b] - xy[a]
            onward = bone / bone.norm().clamp(min=1e-6) * reach * trunk
            mask = torch.maximum(mask, _capsule(grid, xy[a], xy[b] + onward, radius * trunk, trunk))
    for joint in range(18):
        if seen[joint] and joint not in _FACE:
            disc = _capsule(grid, xy[joint], xy[joint], _JOINT_RADIUS * trunk, trunk)
            mask = torch.maximum(mask, disc)
    face = [joint for joint in _FACE if seen[joint]]
    if face:
        centre = xy[face].mean(dim=0)
        mask = torch.maximum(mask, _capsule(grid, centre, centre, _HEAD_RADIUS * trunk, trunk))
    return mask


def _trunk_length(xy: Tensor, seen: list[bool], height: int) -> float:
    """In pixels: the longest estimate that any visible bone gives."""
    estimates = [
        (xy[joint] - xy[PARENT[joint]]).norm().item() / share
        for joints, share in _MEASURED
        for joint in joints
        if seen[joint] and seen[PARENT[joint]]
    ]
    hips = [joint for joint in (8, 11) if seen[joint]]
    if seen[1] and hips:
        estimates.append((xy[1] - xy[hips].mean(dim=0)).norm().item())
    longest = max(estimates, default=0.0)
    return longest if longest > 0.0 else _FALLBACK_TRUNK * height


def _capsule(grid: Tensor, start: Tensor, end: Tensor, radius: float, trunk: float) -> Tensor:
    """1 nearer to the line from start to end than `radius`, falling to 0 over the soft edge."""
    bone = end - start
    along = ((grid - start) @ bone / bone.dot(bone).clamp(min=1e-6)).clamp(0.0, 1.0)
    distance = (grid - start - along[..., None] * bone).norm(dim=-1)
    return ((radius - distance) / (_SOFTNESS * trunk) + 0.5).clamp(0.0, 1.0)
