"""The skeleton pictures that the inpainting model sees, drawn as the published code draws them.

Source: `draw_bodypose` and `draw_handpose` of the DWPose annotator in the published repository
(`src/controlnet_aux/dwpose/util.py`). Equal to the pixel; see the golden pictures in
`tests/golden/skeleton`.
"""

from __future__ import annotations

import colorsys
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..images import from_uint8
from ..ranges import check_settings
from .bones import LIMBS
from .canvas import in_frame
from .keypoints import Keypoints
from .raster import draw_line, ellipse_polygon, fill_circle, fill_convex_polygon

# RGB; the first 17 are the limbs' colours, all 18 are the joints'.
COLOURS = (
    (255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0),
    (0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255),
    (0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85),
)  # fmt: skip

LIMB_HALF_WIDTH = 4  # pixels, at every picture size, as published
JOINT_RADIUS = 4
HAND_DOT_RADIUS = 1
HAND_DOT_COLOUR = (0, 0, 255)

# Five fingers of four bones each, every finger starting at the wrist (0).
HAND_BONES = tuple(
    (0 if bone == 0 else finger + bone, finger + bone + 1)
    for finger in (0, 4, 8, 12, 16)
    for bone in range(4)
)
# Round the colour circle; OpenCV rounds the colours' halves to even, as `round` does.
HAND_COLOURS = tuple(
    tuple(round(channel * 255) for channel in colorsys.hsv_to_rgb(bone / 20, 1.0, 1.0))
    for bone in range(20)
)


@dataclass(frozen=True)
class Person:
    """One person's points as arrays, normalised to the picture; see `Keypoints`."""

    xy: np.ndarray  # float64 [18, 2]
    visible: np.ndarray  # bool [18]
    hands_xy: np.ndarray | None = None  # float64 [2, 21, 2], left hand first
    hands_visible: np.ndarray | None = None  # bool [2, 21]


def people_of(keypoints: Keypoints) -> list[Person]:
    """Every row as a `Person`."""
    fields = keypoints.xy, keypoints.visible, keypoints.hands_xy, keypoints.hands_visible
    tensors = [field.detach().cpu() for field in fields if field is not None]
    arrays = [t.double().numpy() if t.is_floating_point() else t.numpy() for t in tensors]
    return [Person(*row) for row in zip(*arrays, strict=True)]


def render_pose(
    keypoints: Keypoints, height: int, width: int, draw_hands: bool = True, reduction: int = 1
) -> Tensor:
    """Skeleton pictures, one person in each.

    Args:
        keypoints: B people; other canvases are shown whole, see `canvas`.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        draw_hands: whether visible hands are drawn too (`config.draws_hands`).
        reduction: see `draw_people` (`config.skeleton_reduction`).

    Returns:
        float32 `[B, 3, height, width]`, RGB in [-1, 1], black background, on the key points'
        device.

    Raises:
        ValueError: a size outside its range.
    """
    check_settings(height=height, width=width)
    keypoints = in_frame(keypoints, (height, width))
    people = people_of(keypoints if draw_hands else keypoints.without_hands())
    pictures = [draw_people([person], height, width, reduction) for person in people]
    pixels = np.stack(pictures) if pictures else np.zeros((0, height, width, 3), dtype=np.uint8)
    return from_uint8(pixels).to(keypoints.xy.device)


def pose_canvas(source_pose_map: Tensor, target_pose_map: Tensor) -> Tensor:
    """`[B, 3, H, 2W]`: source skeletons at the left, target skeletons at the right.

    One source pose map goes with any number of target pose maps.
    """
    if len(source_pose_map) == 1:
        source_pose_map = source_pose_map.expand(len(target_pose_map), -1, -1, -1)
    if source_pose_map.shape != target_pose_map.shape:
        raise ValueError(
            f"source and target pose maps differ: {list(source_pose_map.shape)} and "
            f"{list(target_pose_map.shape)}"
        )
    return torch.cat([source_pose_map, target_pose_map], dim=-1)


def draw_people(
    people: Sequence[Person], height: int, width: int, reduction: int = 1
) -> np.ndarray:
    """One skeleton picture of any number of people.

    A limb is drawn if both its joints are visible. Points outside the picture take part and are
    cut off at its border.

    Args:
        reduction: the picture is drawn at so many times the size and averaged down, which makes
            lines thinner by this factor and softens their edges; 1 is as published.

    Returns:
        uint8 `[height, width, 3]`, RGB on black.
    """
    if reduction > 1:
        large = draw_people(people, height * reduction, width * reduction)
        cells = large.reshape(height, reduction, width, reduction, 3)
        return np.rint(cells.mean(axis=(1, 3))).astype(np.uint8)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    # As published: limb by limb over all people, then one dimming, then the joints on top.
    for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
        for person in people:
            if person.visible[a] and person.visible[b]:
                _draw_limb(canvas, person.xy[a], person.xy[b], colour)
    canvas = (canvas * 0.6).astype(np.uint8)
    for joint, colour in enumerate(COLOURS):
        for person in people:
            if person.visible[joint]:
                fill_circle(canvas, _pixel(person.xy[joint], height, width), JOINT_RADIUS, colour)
    # As published: everybody's left hand first, then the right ones.
    for side in (0, 1):
        for person in people:
            if person.hands_xy is not None and person.hands_visible is not None:
                draw_hand(canvas, person.hands_xy[side], person.hands_visible[side])
    return canvas


def _draw_limb(
    canvas: np.ndarray, start: np.ndarray, end: np.ndarray, colour: tuple[int, int, int]
) -> None:
    height, width = canvas.shape[:2]
    x0, y0 = float(start[0]) * width, float(start[1]) * height
    x1, y1 = float(end[0]) * width, float(end[1]) * height
    # As published: centre, half-length and angle are truncated towards zero, not rounded.
    centre = (int((x0 + x1) / 2), int((y0 + y1) / 2))
    length = ((y0 - y1) ** 2 + (x0 - x1) ** 2) ** 0.5
    angle = int(math.degrees(math.atan2(y0 - y1, x0 - x1)))
    polygon = ellipse_polygon(centre, (int(length / 2), LIMB_HALF_WIDTH), angle)
    fill_convex_polygon(canvas, polygon, colour)


def draw_hand(canvas: np.ndarray, xy: np.ndarray, visible: np.ndarray) -> None:
    """Draw one hand into uint8 `[H, W, 3]`; `xy` `[21, 2]` normalised, `visible` `[21]`."""
    height, width = canvas.shape[:2]
    points = [_pixel(point, height, width) for point in xy]
    # As published: a point in the first row or column counts as missing.
    shows = [bool(flag) and x > 0 and y > 0 for flag, (x, y) in zip(visible, points, strict=True)]
    for (a, b), colour in zip(HAND_BONES, HAND_COLOURS, strict=True):
        if shows[a] and shows[b]:
            draw_line(canvas, points[a], points[b], colour)
    for point in itertools.compress(points, shows):
        fill_circle(canvas, point, HAND_DOT_RADIUS, HAND_DOT_COLOUR)


def _pixel(point: np.ndarray, height: int, width: int) -> tuple[int, int]:
    return int(float(point[0]) * width), int(float(point[1]) * height)
