"""Texture of a garment: is it as sharp as the truth's, and is it the truth's texture?

Two figures that neither blur nor noise can win: blur lowers the energy, noise raises it without
correlating. Pictures are numpy uint8 [H, W, 3]; regions bool [H, W].
"""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])
BAND = (1 / 128, 1 / 32)
"""Widths of the two Gaussians of the band, as shares of the picture's height."""
FLAT = 0.5
"""Grey levels of standard deviation below which a band holds no texture to correlate."""
FEWEST = 16
"""Pixels that a region must have."""


def laplacian_energy(picture: np.ndarray, region: np.ndarray) -> float:
    """Mean squared Laplacian of the luma, over pixels whose four neighbours lie inside too.

    Returns:
        NaN where fewer than 16 such pixels are left.
    """
    inner = eroded(region)
    if inner.sum() < FEWEST:
        return float("nan")
    grey = picture.astype(np.float64) @ LUMA
    padded = np.pad(grey, 1, mode="edge")
    around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
    return float(np.square(around - 4 * grey)[inner].mean())


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


def band(picture: np.ndarray, region: np.ndarray) -> np.ndarray:
    """The luma between the two blurs of `BAND`, float64 [H, W]; means within the region alone."""
    grey = picture.astype(np.float64) @ LUMA
    fine, coarse = (_blur_inside(grey, region, share * len(grey)) for share in BAND)
    return fine - coarse


def eroded(region: np.ndarray) -> np.ndarray:
    """Pixels whose four neighbours lie inside."""
    from scipy import ndimage

    return ndimage.binary_erosion(region)


def _blur_inside(grey: np.ndarray, region: np.ndarray, sigma: float) -> np.ndarray:
    inside = region.astype(np.float64)
    weight = _blur(inside, sigma)
    return _blur(grey * inside, sigma) / np.maximum(weight, 1e-9)


def _blur(values: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    reach = max(1, int(np.ceil(3 * sigma)))
    return ndimage.gaussian_filter(values, sigma, mode="constant", radius=reach)
