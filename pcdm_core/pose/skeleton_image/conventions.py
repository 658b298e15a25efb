"""Drawings that are no photographs, and whose colours they have if not ControlNet's."""

from __future__ import annotations

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from .marks import FOREGROUND, Disc, Marks, colour_distance, find_discs

# mmpose's `coco` style (ViTPose, RTMPose, Sapiens): the middle, the left side, the right side.
_MMPOSE = ((51, 153, 255), (0, 255, 0), (255, 128, 0))
_NEAR, _MMPOSE_SHARE, _LEAST_SHARE = 40, 0.85, 0.04

# OpenPose's own renderer (`POSE_BODY_25_COLORS_RENDER_GPU`, and COCO's alike) has ControlNet's
# palette one place further: the neck is red, the nose pink, and a limb has its end's full colour.
# Limbs as numbers of the palette: start, end, which is the limb's own as well.
_OPENPOSE_LIMBS = (
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (7, 8), (8, 9), (10, 11), (11, 12), (0, 17),
)  # fmt: skip
_OPENPOSE_SHARE = 0.6  # of those limbs whose ends are there
_LEAST_LIMBS = 4
_ALONG = 0.8  # of a limb's middle line in its colour

_FEW_COLOURS, _FEW_GREYS, _FLAT_SHARE = 40, 8, 0.93
_THIN, _THIN_SHARE, _DRAWN_SHARE = 0.02, 0.03, 0.3
_FLAT_GROUND = 4.0  # deviation of a drawing's ground: 2.2 at JPEG 50; a photograph's is 7 and more
_SIDE = 400  # pixels at most of what is looked at
_LEAST_PIXELS = 20


def is_drawing(rgb: np.ndarray) -> bool:
    """Whether a uint8 `[H, W, 3]` picture is a flat drawing: few colours, or thin lines.

    A person in a photograph has hundreds of colours, and a trunk that is no line. Where the clothes
    have the ground's colour only thin parts stand out; then the ground itself is not flat.
    """
    step = max(max(rgb.shape[:2]) // _SIDE, 1)
    rgb = rgb[::step, ::step]
    foreground = colour_distance(rgb, _ground(rgb)) > FOREGROUND
    ys, xs = np.nonzero(foreground)
    if len(ys) < _LEAST_PIXELS:
        return False
    codes = rgb[foreground].astype(np.int32) @ (1 << 16, 1 << 8, 1)
    counts = np.sort(np.unique(codes, return_counts=True)[1])[::-1]
    chroma = float(np.ptp(rgb[foreground].astype(np.int16), axis=1).mean())
    few = _FEW_COLOURS if chroma > FOREGROUND else _FEW_GREYS
    if counts[:few].sum() >= _FLAT_SHARE * len(codes):
        return True
    if chroma <= FOREGROUND:
        return False  # a grey photograph of thin things
    if rgb[~foreground].std(axis=0).mean() > _FLAT_GROUND:
        return False
    reach = max(round(_THIN * float(np.hypot(np.ptp(ys), np.ptp(xs)))), 1)
    outside = torch.from_numpy(~foreground)[None, None].float()
    core = F.max_pool2d(outside, 2 * reach + 1, stride=1, padding=reach)[0, 0].numpy() < 0.5
    return bool(core.sum() <= _THIN_SHARE * len(ys) and foreground.mean() <= _DRAWN_SHARE)


def convention_of(rgb: np.ndarray, marks: Marks, radius: int) -> str | None:
    """Whose drawing this is, if it is one of those that are known and not ControlNet's."""
    foreground = rgb[colour_distance(rgb, marks.background) > FOREGROUND]
    if len(foreground) < _LEAST_PIXELS:
        return None
    shares = [
        float(np.less_equal(colour_distance(foreground, colour), _NEAR).mean())
        for colour in _MMPOSE
    ]
    if sum(shares) >= _MMPOSE_SHARE and min(shares) >= _LEAST_SHARE:
        return "mmpose's colours (blue, green and orange; ViTPose and Sapiens have them too)"
    if _is_openposes(marks, radius):
        return "OpenPose's own colours (BODY_25), which name other joints"
    return None


def _ground(rgb: np.ndarray) -> np.ndarray:
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]])
    return np.median(border, axis=0).astype(np.int16)


def _is_openposes(marks: Marks, radius: int) -> bool:
    discs = {
        colour: find_discs(marks, colour, radius, 2)
        for colour in set(itertools.chain(*_OPENPOSE_LIMBS))
    }
    tested = matches = 0
    for start, end in _OPENPOSE_LIMBS:
        pairs = list(itertools.product(discs[start], discs[end]))
        tested += bool(pairs)
        matches += any(_along(marks, *pair, end) >= _ALONG for pair in pairs)
    return matches >= _LEAST_LIMBS and matches >= _OPENPOSE_SHARE * tested


def _along(marks: Marks, start: Disc, end: Disc, colour: int) -> float:
    """The share of the line between two discs in a colour, however dim."""
    steps = np.linspace(0.25, 0.85, 24)
    xs = np.rint(start.x + (end.x - start.x) * steps).astype(np.int64)
    ys = np.rint(start.y + (end.y - start.y) * steps).astype(np.int64)
    height, width = marks.hues.shape
    hues = marks.hues[ys.clip(0, height - 1), xs.clip(0, width - 1)]
    return float((hues == colour).mean())
