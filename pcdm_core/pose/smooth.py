"""The frames of a clip as one person's movement: no jitter, no flicker, one body throughout.

Jitter goes by the One Euro filter (Casiez, Roussel and Vogel 2012, "1 Euro Filter: a simple
speed-based low-pass filter for noisy input in interactive systems", CHI): a low pass whose cutoff
rises with speed, so that what rests is calm and what moves fast is followed. It was made for input
that arrives while it is filtered. Here the whole clip is known, and the mean of the filter run
forwards and run backwards counts: by as much as one is late, the other is early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from ..ranges import check_settings
from .bones import (
    KIND_OF,
    KINDS,
    PARENT,
    TREE,
    Body,
    Bools,
    Floats,
    body_of,
    rebuild,
    trunk_length,
)
from .canvas import in_frame, says_no_canvas
from .keypoints import WRISTS, Keypoints

_RATE = 30.0  # frames a second; strengths are tuned for it, and other rates want others
_SLOPE_CUTOFF = 1.0  # Hz, of the speed; the paper's own
_CUTOFFS = 8.0, 0.1  # Hz at rest, at strengths 0 and 1
_BETA = 1.5  # how much faster speed makes the filter: Hz for each trunk a second
_FLICKER = 15  # frames: a joint that is missing for no longer than these was overlooked
_LONGEST = 0.95  # the quantile of a bone's looks that is its length; what is longer are faults


@dataclass(frozen=True)
class Smoothed:
    """A clip in one frame.

    Attributes:
        pose: as many rows as before.
        report: what was changed, in one line.
    """

    pose: Keypoints
    report: str


def smooth_poses(
    poses: Keypoints,
    *,
    strength: float = 0.5,
    one_body: bool = True,
    size: tuple[int, int] | None = None,
) -> Smoothed:
    """A clip of one person without its detector's faults.

    A joint that is missing for half a second or less, and shown before and after, is put between.

    Args:
        poses: T frames, one after another.
        strength: from 0, which leaves places as they are, to 1, which holds still what hardly
            moves.
        one_body: no bone of any frame is longer than the whole clip says; shorter ones are
            foreshortened. Turn it off for a person who comes nearer.
        size: (height, width) of the pictures, in pixels, where no pose says it; None is a square.

    Returns:
        T rows, shown whole in the canvas of the first one that says its own.

    Raises:
        ValueError: a strength or a size outside its range.
    """
    size = next(filter(None, poses.canvases), size or (512, 512))
    check_settings(strength=strength, height=size[0], width=size[1])
    silent = says_no_canvas(poses)
    poses = in_frame(poses, size)
    bodies = [body_of(poses.select(row), size) for row in range(len(poses))]
    trunks = [trunk for body in bodies if (trunk := trunk_length(*body)) is not None]
    if len(poses) < 2 or not trunks:
        return Smoothed(poses, "There is no movement to smooth.")
    unit = float(np.median(trunks))
    xy, visible = (np.stack(parts) for parts in zip(*bodies, strict=True))
    before = _jitter(xy, visible) / unit
    xy, present = _without_flicker(xy, visible)
    smooth = _smoothed(xy / unit, present, strength) * unit
    if one_body:
        smooth = _of_one_body(list(zip(smooth, present, strict=True)))
    frame = np.array([size[1], size[0]], dtype=np.float64)
    pose = replace(poses, xy=torch.from_numpy(smooth / frame), visible=torch.from_numpy(present))
    if poses.hands_xy is not None and poses.hands_visible is not None:
        wrists = list(WRISTS)
        hands = poses.hands_xy.detach().cpu().double().numpy() * frame
        hands = hands - xy[:, wrists, None]  # as the wrist carries them
        points, flat = hands.reshape(len(hands), -1, 2), poses.hands_visible.flatten(1)
        points = _smoothed(points / unit, flat.cpu().numpy(), strength) * unit
        hands = points.reshape(hands.shape) + smooth[:, wrists, None]
        pose = replace(pose, hands_xy=torch.from_numpy(hands / frame))
    after = _jitter(smooth, visible) / unit
    report = (
        f"{len(poses)} frames: jitter {before:.1%} of the trunk's length, now {after:.1%}; "
        f"{int((present & ~visible).sum())} joints put back where they flickered."
    )
    canvas = None if silent else size
    return Smoothed(pose if poses.canvas is None else pose.with_canvas(canvas), report)


def _jitter(xy: Floats, visible: Bools) -> float:
    """How far joints lie from the middle of the frames round them, on average, in pixels."""
    off = np.linalg.norm(xy[1:-1] - (xy[:-2] + xy[2:]) / 2, axis=-1)
    counted = visible[1:-1] & visible[:-2] & visible[2:]
    return float(off[counted].mean()) if counted.any() else 0.0


def _without_flicker(xy: Floats, visible: Bools) -> tuple[Floats, Bools]:
    """Short gaps of single joints, filled on the straight way."""
    xy, present = xy.copy(), visible.copy()
    for joint in range(xy.shape[1]):
        frames = np.flatnonzero(visible[:, joint])
        for first, second in pairwise(frames.tolist()):
            if 1 < second - first <= _FLICKER + 1:
                shares = np.arange(1, second - first)[:, None] / (second - first)
                way = xy[second, joint] - xy[first, joint]
                xy[first + 1 : second, joint] = xy[first, joint] + shares * way
                present[first + 1 : second, joint] = True
    return xy, present


def _smoothed(track: Floats, visible: Bools, strength: float) -> Floats:
    """Points `[T, N, 2]` in trunks, filtered both ways; `visible` is `[T, N]`."""
    if not strength:
        return track
    cutoff = _CUTOFFS[0] * (_CUTOFFS[1] / _CUTOFFS[0]) ** strength
    ahead = _one_euro(track, visible, cutoff)
    back = _one_euro(track[::-1], visible[::-1], cutoff)[::-1]
    return (ahead + back) / 2


def _one_euro(track: Floats, visible: Bools, least_cutoff: float) -> Floats:
    """The paper's algorithm 1. The speed is a point's, so that x and y share one cutoff."""
    smooth, slope = track.copy(), np.zeros(track.shape[1:])
    for row in range(1, len(track)):
        step = track[row] - smooth[row - 1]
        slope += _alpha(np.array(_SLOPE_CUTOFF)) * (step * _RATE - slope)
        cutoff = least_cutoff + _BETA * np.linalg.norm(slope, axis=-1, keepdims=True)
        continues = (visible[row] & visible[row - 1])[:, None]
        smooth[row] = np.where(continues, smooth[row - 1] + _alpha(cutoff) * step, track[row])
        slope = np.where(continues, slope, 0.0)
    return smooth


def _alpha(cutoff: Floats) -> Floats:
    """How much of the new value counts in a low pass of a cutoff in Hz."""
    return 1 / (1 + _RATE / (2 * np.pi * cutoff))


def _of_one_body(bodies: Sequence[Body]) -> Floats:
    """Places `[T, 18, 2]` with no bone longer than the whole clip's."""
    looks: dict[int, list[float]] = {kind: [] for kind in range(len(KINDS))}
    for xy, visible in bodies:
        for joint, kind in KIND_OF.items():
            if visible[joint] and visible[PARENT[joint]]:
                looks[kind].append(float(np.linalg.norm(xy[joint] - xy[PARENT[joint]])))
    longest = {kind: float(np.quantile(some, _LONGEST)) for kind, some in looks.items() if some}

    def bone(joint: int, parent: int, vector: Floats) -> Floats:
        if parent != PARENT[joint] or joint not in KIND_OF:
            return vector
        return vector * min(1.0, longest[KIND_OF[joint]] / max(np.linalg.norm(vector), 1e-9))

    rows: list[Floats] = []
    for xy, visible in bodies:
        first = next((joint for joint in TREE if visible[joint]), TREE[0])
        rows.append(rebuild(xy, visible, bone, xy[first]))
    return np.stack(rows)
