"""Camera, framings and OpenPose-18 key points with their visibility."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .body import Asset, Floats, skin_points

#: How deep [dm] a joint may lie below the surface and still count as visible.
TISSUE = np.array(
    [0.35, 1.1, 1.1, 0.8, 0.7, 1.1, 0.8, 0.7, 1.6, 1.1, 0.9, 1.6, 1.1, 0.9, 0.35, 0.35, 0.45, 0.45]
)
FACE = (0, 14, 15, 16, 17)
NOSE_TIP, RIGHT_EAR, LEFT_EAR = 5054, 5532, 12131  # vertices of the body
OUTSIDE, OCCLUDED, VISIBLE = 0, 1, 2


@dataclass(frozen=True)
class Camera:
    """A perspective camera that orbits the person.

    Args:
        yaw: 0 sees the front, pi the back; at pi/2 the camera stands at the person's left.
        elevation: radians above the horizon. centre: [3] point in the picture's middle.
        span: height of the frame [dm] at the centre's distance. shift: sideways, in pixels.
    """

    yaw: float
    elevation: float
    centre: Floats
    span: float
    shift: float = 0.0

    @property
    def axes(self) -> Floats:
        """Rows: right, up and towards the camera, in world axes."""
        cy, sy = np.cos(self.yaw), np.sin(self.yaw)
        ce, se = np.cos(self.elevation), np.sin(self.elevation)
        back = np.array([sy * ce, se, cy * ce])
        right = np.array([cy, 0.0, -sy])
        return np.stack([right, np.cross(back, right), back]).astype(np.float32)

    def project(self, points: Floats, height: int, width: int) -> tuple[Floats, Floats]:
        """Pixels [n, 2] (pixel centres at integer + 0.5) and view distances [n]."""
        local = (points - self.centre) @ self.axes.T
        distance = np.float32(3.25 * self.span)
        depth = distance - local[:, 2]
        scale = height / self.span * distance / depth
        return (
            np.stack(
                [width / 2 + self.shift + local[:, 0] * scale, height / 2 - local[:, 1] * scale],
                axis=1,
            ).astype(np.float32),
            depth.astype(np.float32),
        )


def keypoints_3d(asset: Asset, points: Floats, bones: Floats) -> Floats:
    """World positions [18, 3] of the key points of morphed rest ``points`` [N + J, 3]."""

    def at(bone: str, joint: str, offset: tuple[float, float, float] = (0, 0, 0)) -> Floats:
        frame = bones[asset.bone(bone)]
        rest = asset.joint(points, joint) + np.array(offset, np.float32)
        return frame[:, :3] @ rest + frame[:, 3]

    out = np.zeros((18, 3), np.float32)
    for side, sign, row in (("R", -1.0, 2), ("L", 1.0, 5)):
        low = side.lower()
        out[row] = at(f"clavicle.{side}", f"{low}-shoulder", (sign * 0.11, 0.24, 0))
        out[row + 1] = at(f"upperarm02.{side}", f"{low}-elbow")
        out[row + 2] = at(f"lowerarm02.{side}", f"{low}-hand")
        leg = row + 6
        out[leg] = at("root", f"{low}-upper-leg", (-sign * 0.14, -0.14, 0.20))
        out[leg + 1] = at(f"upperleg.{side}", f"{low}-knee")
        out[leg + 2] = at(f"lowerleg.{side}", f"{low}-ankle", (0, 0.2, 0))
        out[14 if side == "R" else 15] = at("head", f"{low}-eye", (0, 0, 0.11))
    out[1] = (out[2] + out[5]) / 2
    marks = [NOSE_TIP, RIGHT_EAR, LEFT_EAR]
    out[[0, 16, 17]] = skin_points(points[marks], asset.body.skin[marks], bones)[0]
    head = bones[asset.bone("head")][:, :3]
    out[0] += head @ np.array([0, 0.05, -0.08], np.float32)
    return out


def visibility(
    pixels: Floats, distance: Floats, depth: Floats, height: int, width: int
) -> NDArray[np.uint8]:
    """Codes [18]: 0 outside the frame, 1 occluded, 2 visible.

    ``depth`` is the depth buffer at any multiple of the picture's size.
    """
    scale = depth.shape[0] // height
    inside = (
        (pixels[:, 0] >= 0) & (pixels[:, 0] < width) & (pixels[:, 1] >= 0) & (pixels[:, 1] < height)
    )
    column = np.clip((pixels[:, 0] * scale).astype(int), 0, depth.shape[1] - 1)
    row = np.clip((pixels[:, 1] * scale).astype(int), 0, depth.shape[0] - 1)
    hidden = distance - depth[row, column] > TISSUE  # the empty background hides nothing
    return np.where(inside, np.where(hidden, OCCLUDED, VISIBLE), OUTSIDE).astype(np.uint8)


def openpose_visibility(
    xy: Floats, visible: NDArray[np.uint8], rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Which key points [18] an OpenPose-like detector would report.

    Points outside the frame are missing. Occluded points of the face are always missing, which
    is how a detector codes a back view; other occluded joints are found in 70 % of the cases, and
    visible ones are lost in 1 %. An elbow or knee that is missing takes no wrist or ankle along.

    Args:
        xy: [18, 2] pixels; a point that is not finite is missing.
        visible: [18] codes of :func:`visibility`.
        rng: draws 18 numbers.
    """
    luck = rng.random(18)
    result = np.where(visible == VISIBLE, luck > 0.01, (visible == OCCLUDED) & (luck > 0.3))
    result[list(FACE)] &= visible[list(FACE)] == VISIBLE
    return result & np.isfinite(xy).all(axis=1)
