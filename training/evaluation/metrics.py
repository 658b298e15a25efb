"""Figures for one picture against its truth, and honest intervals for many.

Pictures are numpy uint8 `[H, W, 3]` RGB; masks are bool `[H, W]`. scikit-image and scipy, which it
brings along, are imported where they are used (`pip install scikit-image`, or the extra `eval`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcdm_core.garment_colour import check_pair

PSNR_CEILING = 100.0
"""dB given to equal pictures, whose ratio is infinite."""


@dataclass(frozen=True)
class SSIMProtocol:
    """One of the many SSIMs: figures compare only within one protocol.

    Attributes:
        name: stands beside every figure.
        sigma: of the Gaussian window, in pixels.
        data_range: span of the pixel values.
    """

    name: str
    sigma: float
    data_range: float


WANG_2004 = SSIMProtocol(name="ssim-wang2004-rgb", sigma=1.5, data_range=255.0)
"""The window and constants of Wang et al. 2004 on 8-bit pixels, mean of the three colours."""


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float
    count: int


def ssim(
    picture: np.ndarray,
    truth: np.ndarray,
    mask: np.ndarray | None = None,
    protocol: SSIMProtocol = WANG_2004,
) -> float:
    """Structural similarity, at most 1, of two pictures uint8 [H, W, 3].

    Args:
        mask: bool [H, W]; with it the mean of the similarity map over the pixels inside, whose
            windows may reach outside. Without it, the mean over the picture less a border of half
            a window, as scikit-image gives it.

    Raises:
        ValueError: the sizes differ or the mask is empty.
        ImportError: scikit-image is missing.
    """
    mean, similarity = ssim_map(picture, truth, protocol)
    if mask is None:
        return mean
    check_pair(picture, truth, mask)
    return float(similarity[mask].mean())


def ssim_map(
    picture: np.ndarray, truth: np.ndarray, protocol: SSIMProtocol = WANG_2004
) -> tuple[float, np.ndarray]:
    """The structural similarity of the picture, and its map float64 [H, W, 3]; see `ssim`."""
    check_pair(picture, truth, None)
    try:
        from skimage.metrics import structural_similarity
    except ImportError as error:
        raise ImportError(
            "SSIM needs scikit-image. Install it with: pip install scikit-image"
        ) from error
    figures: Any = structural_similarity(  # a pair, as `full` asks for
        truth.astype(np.float64),
        picture.astype(np.float64),
        gaussian_weights=True,
        sigma=protocol.sigma,
        use_sample_covariance=False,
        data_range=protocol.data_range,
        channel_axis=2,
        full=True,
    )
    mean, similarity = figures
    return float(mean), similarity


def psnr(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB, over the picture or the pixels inside the mask.

    Raises:
        ValueError: the sizes differ or the mask is empty.
    """
    check_pair(picture, truth, mask)
    error = np.square(picture.astype(np.float64) - truth.astype(np.float64))
    mean = float((error if mask is None else error[mask]).mean())
    return min(PSNR_CEILING, 10 * float(np.log10(255.0**2 / max(mean, 1e-12))))


def bootstrap(
    values: Sequence[float] | np.ndarray,
    *,
    groups: Sequence[Any] | np.ndarray | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> Interval:
    """The mean and its 95 % percentile bootstrap interval.

    For a paired comparison pass the differences. NaN values are left out.

    Args:
        values: [N], one figure a pair.
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
    kept = ~np.isnan(array)
    array, labels = array[kept], labels[kept]
    if len(array) == 0:
        raise ValueError("bootstrap: there are no values to average.")
    _, member = np.unique(labels, return_inverse=True)
    sums = np.bincount(member, weights=array)
    counts = np.bincount(member).astype(np.float64)
    mean = float(array.mean())
    if len(sums) == 1:  # every draw is the same; scipy refuses a single one
        return Interval(mean, mean, mean, len(array))

    def mean_of_groups(sums: np.ndarray, counts: np.ndarray, axis: int = -1) -> np.ndarray:
        return sums.sum(axis) / counts.sum(axis)

    from scipy import stats

    interval = stats.bootstrap(
        (sums, counts),
        mean_of_groups,
        paired=True,  # a person's sum and count are drawn together
        vectorized=True,
        n_resamples=draws,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), len(array))
