"""Skeletons as other programs draw them, after their public sources."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from pcdm_core.pose.bones import LIMBS
from pcdm_core.pose.raster import draw_line, ellipse_polygon, fill_circle, fill_convex_polygon
from pcdm_core.pose.render import COLOURS, HAND_BONES, HAND_COLOURS

Picture = np.ndarray

# OpenPose, poseParametersRender.hpp: POSE_BODY_25_COLORS_RENDER_GPU, and the pairs of BODY_25
# without the feet; points as numbers of the 18 joints, 18 the middle of the hips.
OPENPOSE = {
    0: (255, 0, 85), 1: (255, 0, 0), 2: (255, 85, 0), 3: (255, 170, 0), 4: (255, 255, 0),
    5: (170, 255, 0), 6: (85, 255, 0), 7: (0, 255, 0), 18: (255, 0, 0), 8: (0, 255, 85),
    9: (0, 255, 170), 10: (0, 255, 255), 11: (0, 170, 255), 12: (0, 85, 255), 13: (0, 0, 255),
    14: (255, 0, 170), 15: (170, 0, 255), 16: (255, 0, 255), 17: (85, 0, 255),
}  # fmt: skip
OPENPOSE_PAIRS = (
    (1, 18), (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (18, 8), (8, 9), (9, 10), (18, 11),
    (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

# mmpose, configs/_base_/datasets/coco.py.
BLUE, GREEN, ORANGE = (51, 153, 255), (0, 255, 0), (255, 128, 0)
MMPOSE_PAIRS = (
    (13, 12, GREEN), (12, 11, GREEN), (10, 9, ORANGE), (9, 8, ORANGE), (11, 8, BLUE),
    (5, 11, BLUE), (2, 8, BLUE), (5, 2, BLUE), (5, 6, GREEN), (2, 3, ORANGE), (6, 7, GREEN),
    (3, 4, ORANGE), (15, 14, BLUE), (0, 15, BLUE), (0, 14, BLUE), (15, 17, BLUE), (14, 16, BLUE),
    (17, 5, BLUE), (16, 2, BLUE),
)  # fmt: skip


def draw_controlnet(
    xy: np.ndarray,
    height: int,
    width: int,
    dimming: float = 0.6,
    radius: Callable[[int], int] = lambda joint: 4,
    thickness: int = 4,
    blend: bool = False,
    visible: np.ndarray | None = None,
) -> Picture:
    """ControlNet's colours on black; `xy` [18, 2] in pixels.

    `blend` is lllyasviel's first annotator: discs, then limb by limb at 0.6 over what is there.
    """
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    there = np.ones(18, dtype=bool) if visible is None else visible

    def discs() -> None:
        for joint in np.flatnonzero(there).tolist():
            place = (int(xy[joint, 0]), int(xy[joint, 1]))
            fill_circle(canvas, place, radius(joint), COLOURS[joint])

    if blend:
        discs()
    for (a, b), colour in zip(LIMBS, COLOURS, strict=False):
        if not (there[a] and there[b]):
            continue
        layer = canvas.copy()
        middle, way = (xy[a] + xy[b]) / 2, xy[a] - xy[b]
        angle = int(math.degrees(math.atan2(way[1], way[0])))
        axes = (int(np.hypot(*way) / 2), thickness)
        polygon = ellipse_polygon((int(middle[0]), int(middle[1])), axes, angle)
        fill_convex_polygon(layer, polygon, colour)
        if blend:
            layer = np.rint(canvas * 0.4 + layer * 0.6).astype(np.uint8)
        canvas = layer
    if not blend:
        canvas = (canvas * dimming).astype(np.uint8)
        discs()
    return canvas


def draw_lines(
    canvas: Picture, start: np.ndarray, end: np.ndarray, colour: tuple[int, ...], thickness: int
) -> None:
    for shift in range(-thickness, thickness + 1):
        ends = [(int(x) + shift, int(y)) for x, y in (start, end)]
        draw_line(canvas, ends[0], ends[1], colour)
        ends = [(int(x), int(y) + shift) for x, y in (start, end)]
        draw_line(canvas, ends[0], ends[1], colour)


def draw_openpose(xy: np.ndarray, height: int, width: int, radius: int = 5) -> Picture:
    """OpenPose's BODY_25 with `--disable_blending`."""
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    places = np.concatenate([xy, (xy[8] + xy[11])[None] / 2])
    for a, b in OPENPOSE_PAIRS:
        draw_lines(canvas, places[a], places[b], OPENPOSE[b], max(radius // 2, 1))
    for joint, colour in OPENPOSE.items():
        fill_circle(canvas, (int(places[joint, 0]), int(places[joint, 1])), radius, colour)
    return canvas


def draw_mmpose(xy: np.ndarray, height: int, width: int, radius: int = 4) -> Picture:
    """mmpose's 17 points on black, as its local visualizer does it."""
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    for a, b, colour in MMPOSE_PAIRS:
        draw_lines(canvas, xy[a], xy[b], colour, max(radius // 3, 1))
    sides = {2: ORANGE, 3: ORANGE, 4: ORANGE, 8: ORANGE, 9: ORANGE, 10: ORANGE}
    sides |= {5: GREEN, 6: GREEN, 7: GREEN, 11: GREEN, 12: GREEN, 13: GREEN}
    for joint in (*range(1), *range(2, 18)):
        place = (int(xy[joint, 0]), int(xy[joint, 1]))
        fill_circle(canvas, place, radius, sides.get(joint, BLUE))
    return canvas


def face_points(xy: np.ndarray) -> np.ndarray:
    """68 points [68, 2] of a face round eyes, nose and ears of `xy` [18, 2], in DWPose's order."""
    nose, right_eye, left_eye, right_ear, left_ear = xy[[0, 14, 15, 16, 17]]
    middle, across = (right_ear + left_ear) / 2, (left_ear - right_ear) / 2
    down = (nose - (right_eye + left_eye) / 2) * 2.2
    turns = np.linspace(0, np.pi, 17)[:, None]
    jaw = middle + 4 - across * np.cos(turns) + down * np.sin(turns)
    ring = np.linspace(0, 2 * np.pi, 6, endpoint=False)[:, None]
    eyes = [
        eye + across * 0.22 * np.cos(ring) + down * 0.12 * np.sin(ring)
        for eye in (right_eye, left_eye)
    ]
    line = np.linspace(-1, 1, 5)[:, None]
    brows = [eye + across * 0.3 * line - down * 0.35 for eye in (right_eye, left_eye)]
    bridge = nose - down * np.linspace(0.45, 0, 4)[:, None]
    wings = nose + down * 0.18 + across * 0.2 * line
    lips = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
    mouth = nose + down * 0.62 + across * 0.35 * np.cos(lips) + down * 0.15 * np.sin(lips)
    return np.concatenate([jaw, *brows, bridge, wings, *eyes, mouth])


def draw_face(canvas: Picture, points: np.ndarray, radius: int = 3) -> None:
    for x, y in points:
        fill_circle(canvas, (int(x), int(y)), radius, (255, 255, 255))


def draw_dwposes_hands(canvas: Picture, hands: np.ndarray, dot: int = 4, line: int = 1) -> None:
    """controlnet_aux: hands `[2, 21, 2]` in pixels, thick lines and blue discs."""
    for hand in hands:
        for (a, b), colour in zip(HAND_BONES, HAND_COLOURS, strict=True):
            draw_lines(canvas, hand[a], hand[b], colour, line)
        for x, y in hand:
            fill_circle(canvas, (int(x), int(y)), dot, (0, 0, 255))
