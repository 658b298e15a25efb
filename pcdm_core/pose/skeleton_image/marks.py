"""Coloured marks in a skeleton picture: which pixels are joints, limbs, hands or something else."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from ..bones import LIMBS
from ..raster import fill_circle
from ..render import COLOURS

# Above the first a colour channel is a joint's or a hand's, below it a limb's, which is dimmed to
# 153 as published. Others dim less (to 0.8, or not at all), and the first moves up.
_BRIGHT, _DARK = 190, 80
_DIMMEST, _LEAST_DIMMED = 0.45, 0.93  # of full colour, the limbs
_LEAST_LIMBS = 0.3  # of the coloured pixels, where limbs are dimmed

# Neighbours of the palette differ by 85 in one channel; JPEG and resizing move colours a little.
_JOINT_TOLERANCE, _LIMB_TOLERANCE = 56, 40

_WHITE = 200  # all channels above: a face point, or a white background
_LEAST_SHARE = 0.2  # of a disc that must show
LARGEST_RADIUS = 40

_DIMMED = 0.6  # as published, the limbs
_MIXTURE_TOLERANCE = 8
_LEAST_MIXED = 0.01  # of what is drawn, where limbs are blended over discs
_MOST_COLOURS = 5000  # more are no drawing as it was drawn

FOREGROUND = 40  # away from the background's colour

NOTHING = -1


@dataclass(frozen=True)
class Marks:
    """A picture's pixels by what they seem to be.

    Attributes:
        joints: int8 `[H, W]`, a joint's number or `NOTHING`.
        limbs: int8 `[H, W]`, a limb's number (its place in `LIMBS`) or `NOTHING`.
        bright: bool `[H, W]`, joints, hands and face points.
        white: bool `[H, W]`, face points (none on a background that is white itself).
        covering: bool `[H, W]`, what may lie over a limb; as `bright`, if limbs are dimmed.
        hues: int8 `[H, W]`, the palette's number of a colour however dim it is, or `NOTHING`.
        dimming: of the limbs, 1 where they have the joints' own colours.
        other: how much of what is drawn has none of the colours, 0 to 1.
        background: mean colour of the border, RGB.
    """

    joints: np.ndarray
    limbs: np.ndarray
    bright: np.ndarray
    white: np.ndarray
    covering: np.ndarray
    hues: np.ndarray
    dimming: float
    other: float
    background: tuple[int, int, int]


@dataclass(frozen=True)
class Disc:
    """A joint in the picture: its centre's pixel, how many pixels show, and how large it is."""

    joint: int
    x: int
    y: int
    score: float
    radius: int = 0


def mark(pixels: np.ndarray) -> Marks:
    """Sort the pixels of a uint8 `[H, W, 3]` RGB picture."""
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    red, green, blue = (int(value) for value in np.median(border, axis=0))
    foreground = colour_distance(pixels, (red, green, blue)) > FOREGROUND
    high, low = pixels.max(axis=2), pixels.min(axis=2)
    white = (low >= _WHITE) & foreground
    joints = np.full(pixels.shape[:2], NOTHING, dtype=np.int8)
    limbs = joints.copy()
    coloured = foreground & (high >= _DARK) & (low <= _DARK)
    dimming = _dimming(high[coloured])
    least = max(_BRIGHT, round(255 * (1 + dimming) / 2)) if dimming < 1 else _BRIGHT
    least = _BRIGHT if dimming < 0.7 else least
    bright = foreground & (high >= least) & (low < _WHITE)
    vivid = bright & (low <= _DARK)
    joints[vivid] = _nearest(pixels[vivid], np.array(COLOURS), _JOINT_TOLERANCE)
    dim = coloured & ~bright if dimming < 1 else vivid
    palette = (np.array(COLOURS[: len(LIMBS)]) * dimming).astype(np.int16)
    limbs[dim] = _nearest(pixels[dim], palette, _LIMB_TOLERANCE)
    marks = (joints != NOTHING) | (limbs != NOTHING) | white
    other = float((foreground & ~marks).sum()) / max(int(foreground.sum()), 1)
    hues = np.full(pixels.shape[:2], NOTHING, dtype=np.int8)
    full = pixels[coloured].astype(np.float64) * (255 / high[coloured, None])
    hues[coloured] = _nearest(full.astype(np.int16), np.array(COLOURS), _JOINT_TOLERANCE)
    covering = bright | white if dimming < 1 else white
    return Marks(
        joints, limbs, bright | white, white, covering, hues, dimming, other, (red, green, blue)
    )


def _dimming(brightest: np.ndarray) -> float:
    """Of the limbs, from the brightest channel of all coloured pixels; 1 where they have none."""
    if not len(brightest):
        return 0.6
    counts = np.bincount(brightest, minlength=256).astype(np.float64)
    counts = np.convolve(counts, np.ones(9), mode="same")  # JPEG spreads them
    low, high = round(255 * _DIMMEST), round(255 * _LEAST_DIMMED)
    dimmed = brightest[(brightest >= low) & (brightest < high)]
    if len(dimmed) < _LEAST_LIMBS * len(brightest):
        return 1.0
    return float((low + int(counts[low:high].argmax())) / 255)


def unblended(pixels: np.ndarray, marks: Marks) -> Marks | None:
    """The marks of a picture whose limbs were blended over the discs; None where it is not one.

    As lllyasviel's first annotator draws: discs, then limb by limb at 0.6 over what is there. So a
    disc's pixels have its own colour, or a mixture with limbs that end in it.
    """
    palette, owners, pure = _mixtures()
    places = np.argwhere(colour_distance(pixels, marks.background) > FOREGROUND)
    colours, which = np.unique(pixels[places[:, 0], places[:, 1]], axis=0, return_inverse=True)
    if not len(colours) or len(colours) > _MOST_COLOURS:
        return None
    nearest = _nearest(colours, palette, _MIXTURE_TOLERANCE)[which.reshape(-1)]
    if int((nearest >= pure).sum()) < _LEAST_MIXED * len(nearest):
        return None
    joints = np.full(pixels.shape[:2], NOTHING, dtype=np.int8)
    joints[places[:, 0], places[:, 1]] = np.where(nearest == NOTHING, NOTHING, owners[nearest])
    bright = (joints != NOTHING) | marks.white
    limbs = np.where(bright, NOTHING, marks.limbs).astype(np.int8)
    return replace(marks, joints=joints, limbs=limbs, bright=bright, covering=bright)


@lru_cache(maxsize=1)
def _mixtures() -> tuple[np.ndarray, np.ndarray, int]:
    """Colours `[N, 3]`, whose joint each is `[N]`, and where the mixed ones begin."""
    full = np.array(COLOURS, dtype=np.float64)
    pure = [(_DIMMED * full[limb], NOTHING) for limb in range(len(LIMBS))]
    for later, earlier in itertools.combinations(range(len(LIMBS)), 2):
        mixed = (1 - _DIMMED) * _DIMMED * full[later] + _DIMMED * full[earlier]
        pure += [(mixed, NOTHING)]
        mixed = (1 - _DIMMED) * _DIMMED * full[earlier] + _DIMMED * full[later]
        pure += [(mixed, NOTHING)]
    pure += [(full[joint], joint) for joint in range(len(COLOURS))]
    mixtures: list[tuple[np.ndarray, int]] = []
    for joint in range(len(COLOURS)):
        colours = [full[joint]]
        for limb, ends in enumerate(LIMBS):
            if joint in ends:
                colours += [(1 - _DIMMED) * colour + _DIMMED * full[limb] for colour in colours]
        mixtures += [(colour, joint) for colour in colours[1:]]
    every = [*pure, *mixtures]
    return (
        np.array([c for c, _ in every]).astype(np.int16),
        np.array([j for _, j in every]),
        len(pure),
    )


def colour_distance(pixels: np.ndarray, colour: Sequence[int] | np.ndarray) -> np.ndarray:
    """int16 `[...]`: the largest difference of any channel of uint8 `[..., 3]` from a colour."""
    apart = np.abs(pixels.astype(np.int16) - np.array(colour, dtype=np.int16))
    return np.maximum(np.maximum(apart[..., 0], apart[..., 1]), apart[..., 2])


def disc_radii(marks: Marks) -> dict[int, float]:
    """Of the joints in the picture, in pixels: from the longest row of each colour."""
    if marks.dimming == 1:
        return {
            joint: float(radius)
            for joint in range(len(COLOURS))
            if (radius := _inscribed_radius(marks.joints == joint))
        }
    runs = {joint: _longest_run(marks.joints == joint) for joint in range(len(COLOURS))}
    return {joint: (run - 1) / 2 for joint, run in runs.items() if run}


def _inscribed_radius(mask: np.ndarray) -> int:
    """Of the largest disc that a mask holds; 0 where it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(ys):
        return 0
    part = mask[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1].astype(np.int32)
    radius = 0
    while radius < LARGEST_RADIUS:
        area = int(_half_widths(radius + 1).sum()) * 2 + 2 * radius + 3
        if disc_sums(part, radius + 1).max() < area:
            break
        radius += 1
    return radius


def find_discs(marks: Marks, joint: int, radius: int, most: int) -> list[Disc]:
    """Discs of one joint's colour, the best first.

    A place counts by its pixels of the colour, less the ones that stand round it and less the dark
    ones in it. Other bright pixels may cover a disc.
    """
    ys, xs = np.nonzero(marks.joints == joint)
    if not len(ys):
        return []
    reach = radius + 3
    height, width = marks.joints.shape
    y0, x0 = int(ys.min()) - reach, int(xs.min()) - reach
    mask = np.zeros((int(ys.max()) + reach + 1 - y0, int(xs.max()) + reach + 1 - x0), np.int32)
    mask[ys - y0, xs - x0] = 1
    # Nothing is dark outside the picture.
    rows, columns = np.arange(mask.shape[0]) + y0, np.arange(mask.shape[1]) + x0
    inside = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
    around = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
    dark = (inside & ~marks.bright[around]).astype(np.int32)
    # Blurred edges are neither the colour nor black: a ring of a pixel is not judged.
    covered = disc_sums(mask, radius)
    round_it = disc_sums(mask, radius + 3) - disc_sums(mask, radius + 1)
    score = (covered - round_it - disc_sums(dark, max(radius - 1, 0))).astype(np.float64)
    least = max(_LEAST_SHARE * float(_half_widths(radius).sum() * 2 + 2 * radius + 1), 3.0)
    discs: list[Disc] = []
    while len(discs) < most:
        best = score.max()
        if best < least:
            break
        # Of equally good places the middle: a disc that is partly covered may have several.
        ties = np.argwhere(score == best)
        near = ties[np.abs(ties - ties[0]).max(axis=1) <= radius]
        y, x = (int(value) for value in np.rint(near.mean(axis=0)))
        if inside[y, x]:
            discs.append(Disc(joint, x + x0, y + y0, float(best), radius))
        near = slice(max(y - 2 * radius, 0), y + 2 * radius + 1)
        score[near, max(x - 2 * radius, 0) : x + 2 * radius + 1] = -np.inf
    return discs


def _nearest(pixels: np.ndarray, palette: np.ndarray, tolerance: int) -> np.ndarray:
    """The palette's nearest entry for each of `[N, 3]` pixels, or `NOTHING`."""
    distances = colour_distance(pixels[:, None], palette)
    nearest = distances.argmin(axis=1).astype(np.int16)
    nearest[distances.min(axis=1) > tolerance] = NOTHING
    return nearest


def _longest_run(mask: np.ndarray) -> int:
    """Of a row's pixels in a mask; 0 where it is empty."""
    rows = np.pad(mask[mask.any(axis=1)], ((0, 0), (1, 1))).astype(np.int8)
    edges = np.flatnonzero(np.diff(rows.reshape(-1)))
    return int((edges[1::2] - edges[::2]).max(initial=0))


@lru_cache(maxsize=LARGEST_RADIUS * 2)
def _half_widths(radius: int) -> np.ndarray:
    """Of a disc's rows, from `-radius` to `radius`, as the renderer draws it."""
    side = 2 * radius + 1
    picture = np.zeros((side, side, 1), dtype=np.uint8)
    fill_circle(picture, (radius, radius), radius, (1,))
    return (picture[..., 0].sum(axis=1).astype(np.int64) - 1) // 2


def disc_sums(mask: np.ndarray, radius: int) -> np.ndarray:
    """For each place the sum of `mask` over the disc round it."""
    padded = np.pad(mask, radius)
    sums = np.pad(np.cumsum(padded, axis=1), ((0, 0), (1, 0)))
    rows, columns = mask.shape
    total = np.zeros_like(mask)
    for row, half in enumerate(_half_widths(radius).tolist()):
        band = sums[row : row + rows]
        right = band[:, radius + half + 1 : radius + half + 1 + columns]
        total += right - band[:, radius - half : radius - half + columns]
    return total
