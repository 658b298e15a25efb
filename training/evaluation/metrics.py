"""Figures for one picture against its truth, and honest intervals for many.

Two of a garment's texture can be won neither by blur nor by noise: blur lowers the Laplacian
energy, and noise raises it without correlating with the truth's band.

Pictures are numpy uint8 `[H, W, 3]` RGB; masks are bool `[H, W]`. scikit-image and scipy, which it
brings along, are imported where they are used (`pip install scikit-image`, or the extra `eval`).
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from pcdm_core.garment_colour import check_pair

PSNR_CEILING = 100.0
"""dB given to equal pictures, whose ratio is infinite."""
SSIM_NAME = "ssim-wang2004-rgb"
"""The window (sigma 1.5) and constants of Wang et al. 2004 on 8-bit pixels, mean of the colours.

There are many SSIMs, and figures compare only within one: this name stands beside every figure.
"""

LUMA = np.array([0.299, 0.587, 0.114])
BAND = (1 / 128, 1 / 32)
"""Widths of the two Gaussians of the band, as shares of the picture's height."""
FLAT = 0.5
"""Grey levels of standard deviation below which a band holds no texture to correlate."""
FEWEST = 16
"""Pixels that a region must have."""
PEAK, RISE = 0.25, 0.05
"""Autocorrelation where a print repeats, and how much it has risen: folds and noise do less."""
REPEAT = 1 / 8
"""The longest period, as a share of the picture's height: folds are farther apart."""
PERIOD_ERROR = 0.15
"""Share of a print's period by which a picture may miss it."""


@dataclass(frozen=True)
class Interval:
    """A mean, or a ratio of sums, with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int


def ssim(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Structural similarity, at most 1, of two pictures uint8 [H, W, 3].

    Args:
        mask: bool [H, W]; with it the mean of the similarity map over the pixels inside, whose
            windows may reach outside. Without it, the mean over the picture less a border of half
            a window, as scikit-image gives it.

    Raises:
        ValueError: the sizes differ or the mask is empty.
        ImportError: scikit-image is missing.
    """
    mean, similarity = ssim_map(picture, truth)
    if mask is None:
        return mean
    check_pair(picture, truth, mask)
    return float(similarity[mask].mean())


def ssim_map(picture: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
    """The structural similarity of the picture, and its map float64 [H, W, 3]; see `ssim`."""
    check_pair(picture, truth, None)
    figures: Any = skimage_metrics().structural_similarity(  # a pair, as `full` asks for
        truth.astype(np.float64),
        picture.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255.0,
        channel_axis=2,
        full=True,
    )
    mean, similarity = figures
    return float(mean), similarity


def skimage_metrics() -> ModuleType:
    """`skimage.metrics`.

    Raises:
        ImportError: scikit-image is missing.
    """
    try:
        return importlib.import_module("skimage.metrics")
    except ImportError as error:
        raise ImportError(
            "SSIM needs scikit-image. Install it with: pip install scikit-image"
        ) from error


def psnr(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over the picture or the pixels inside the mask.

    Raises:
        ValueError: the sizes differ or the mask is empty.
    """
    check_pair(picture, truth, mask)
    error = np.square(picture.astype(np.float64) - truth.astype(np.float64))
    mean = float((error if mask is None else error[mask]).mean())
    return min(PSNR_CEILING, 10 * float(np.log10(255.0**2 / max(mean, 1e-12))))


def laplacian_energy(picture: np.ndarray, region: np.ndarray) -> float:
    """Mean squared Laplacian of the luma, over pixels whose four neighbours lie inside too.

    Returns:
        NaN where fewer than 16 such pixels are left.
    """
    from scipy import ndimage

    inner = eroded(region)
    if inner.sum() < FEWEST:
        return float("nan")
    energy = np.square(ndimage.laplace(picture.astype(np.float64) @ LUMA, mode="nearest"))
    return float(energy[inner].mean())


def band_correlation(picture: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Correlation of what lies between two blurs, over the region: -1 to 1.

    What lies outside of the region takes no part, so that a silhouette is no texture.

    Returns:
        NaN where the region is small or the truth flat; 0 where only the picture is flat.
    """
    if region.sum() < FEWEST:
        return float("nan")
    a, b = (band(p, region)[region] for p in (picture, truth))
    a, b = a - a.mean(), b - b.mean()
    if b.std() < FLAT:
        return float("nan")
    return float((a * b).mean() / (a.std() * b.std())) if a.std() > 1e-6 else 0.0


def print_periods(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """How far apart a print repeats, down and across, in pixels: float64 [2], NaN without a print.

    Of each direction it is the first peak of the autocorrelation of what `band` leaves that reaches
    `PEAK` and stands `RISE` above the valley before it, among shifts of two pixels up to half of
    the region's extent and `REPEAT`.
    """
    periods = np.full(2, np.nan)
    if region.sum() < FEWEST:
        return periods
    rows, columns = (np.flatnonzero(region.any(axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = region[box].astype(np.float64)
    texture = band(picture, region)[box]
    texture = (texture - texture[region[box]].mean()) * inside
    if (energy := float(np.square(texture).sum() / inside.sum())) < FLAT**2:
        return periods
    for axis in (0, 1):
        length = inside.shape[axis]
        products = [np.ones(1)]
        for shift in range(1, min(length // 2, round(REPEAT * len(picture))) + 1):
            near, far = (np.arange(length - shift) + start for start in (0, shift))
            pairs = inside.take(near, axis) * inside.take(far, axis)
            if pairs.sum() < FEWEST:
                break
            product = texture.take(near, axis) * texture.take(far, axis)
            products.append(np.atleast_1d(product.sum() / pairs.sum() / energy))
        curve = np.concatenate(products)
        middle, valleys = curve[1:-1], np.minimum.accumulate(curve)[1:-1]
        tops = (middle >= curve[:-2]) & (middle > curve[2:])
        tops &= (middle >= PEAK) & (middle >= valleys + RISE)
        peaks = np.flatnonzero(tops[1:]) + 2
        if len(peaks):
            before, top, after = curve[peaks[0] - 1 : peaks[0] + 2]
            # The vertex of the parabola through the peak and its neighbours.
            periods[axis] = peaks[0] + (before - after) / (2 * (before - 2 * top + after))
    return periods


def periods_kept(picture: np.ndarray, truth: np.ndarray, region: np.ndarray) -> float:
    """Of the directions in which the truth repeats, the share where the picture does likewise.

    Returns:
        0 to 1: periods within `PERIOD_ERROR` of the truth's; NaN where the truth has no print.
    """
    expected = print_periods(truth, region)
    if np.isnan(expected).all():
        return float("nan")
    errors = np.abs(print_periods(picture, region) / expected - 1)[~np.isnan(expected)]
    return float((errors <= PERIOD_ERROR).mean())  # False where the picture has none


def band(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The luma between the two blurs of `BAND`, float64 [H, W]; means within the region alone."""
    from scipy import ndimage

    grey, inside = picture.astype(np.float64) @ LUMA, region.astype(np.float64)

    def blur(values: np.ndarray, sigma: float) -> np.ndarray:
        reach = max(1, int(np.ceil(3 * sigma)))
        return ndimage.gaussian_filter(values, sigma, mode="constant", radius=reach)

    fine, coarse = (
        blur(grey * inside, sigma) / np.maximum(blur(inside, sigma), 1e-9)
        for sigma in (share * len(grey) for share in BAND)
    )
    return fine - coarse


def eroded(region: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours lie inside."""
    from scipy import ndimage

    return ndimage.binary_erosion(region)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    *,
    weights: np.ndarray | None = None,
    groups: Sequence[Any] | np.ndarray | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> Interval:
    """The mean and its 95 % percentile bootstrap interval.

    For a paired comparison pass the differences. NaN values are left out.

    Args:
        values: [N], one figure a pair.
        weights: [N] without NaN; with them the sum of the values over the sum of the weights.
        groups: [N], who a value belongs to. Values of one person are not independent, so with
            groups whole people are drawn, not single values.
        seed: of the resampling.
        draws: number of resamples.

    Raises:
        ValueError: no value is left, or there are not as many groups as values.
    """
    array = np.asarray(values, dtype=np.float64)
    labels = np.arange(len(array)) if groups is None else np.asarray(groups)
    if len(labels) != len(array):
        raise ValueError(f"bootstrap: {len(array)} values but {len(labels)} groups.")
    present = ~np.isnan(array)
    array, labels = array[present], labels[present]
    if len(array) == 0:
        raise ValueError("bootstrap: there are no values to average.")
    bases = np.ones(len(array)) if weights is None else weights[present]
    _, member = np.unique(labels, return_inverse=True)
    sums, base_sums = (np.bincount(member, weights=column) for column in (array, bases))
    mean = float(array.sum() / bases.sum())
    if len(sums) == 1:  # every draw is the same; scipy refuses a single one
        return Interval(mean, mean, mean, len(array))

    def ratio(sums: np.ndarray, base_sums: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis) / np.maximum(base_sums.sum(axis), 1e-9)

    from scipy import stats

    interval = stats.bootstrap(
        (sums, base_sums),
        ratio,
        paired=True,  # a person's sums are drawn together
        vectorized=True,
        n_resamples=draws,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(array))
