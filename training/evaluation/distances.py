"""Distances between two sets of pictures, from their features.

The Frechet distance (Heusel et al. 2017) falls with the number of pictures and needs thousands; the
kernel distance (Binkowski et al. 2018, the kernel of KID) has no such bias and serves for hundreds.
Which backbone made the features belongs beside every figure.
"""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Between normal distributions fitted to features [N, D] and [M, D].

    Raises:
        ValueError: fewer than two rows, or widths that differ.
    """
    a, b = _as_features(a), _as_features(b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"Features differ in width: {a.shape[1]} and {b.shape[1]}.")
    means = a.mean(0), b.mean(0)
    x, y = ((p - m) / np.sqrt(len(p) - 1) for p, m in zip((a, b), means, strict=True))
    traces = float(np.square(x).sum() + np.square(y).sum())
    # trace((Sx Sy)^1/2) is the sum of the singular values of x yT: no root of a matrix is needed,
    # and rank below D does no harm. Turning rows (Q of x = QR) changes no singular value.
    x, y = (np.linalg.qr(p, mode="reduced")[1] if len(p) > p.shape[1] else p for p in (x, y))
    cross = float(np.linalg.svd(x @ y.T, compute_uv=False).sum())
    return float(np.square(means[0] - means[1]).sum()) + traces - 2 * cross


class KernelDistance:
    """Squared maximum mean discrepancy between results and truths of the same pairs.

    A result and its own truth are never compared, nor a picture with itself: the estimate has no
    bias and may come out slightly negative. Times 1000, as is the custom.
    """

    def __init__(self, results: np.ndarray, truths: np.ndarray) -> None:
        """Features [N, D] each; row k of both belongs to pair k."""
        results, truths = _as_features(results), _as_features(truths)
        if results.shape != truths.shape:
            raise ValueError(f"Expected pairs, got {len(results)} results, {len(truths)} truths.")
        # One matrix holds all that is needed, because the same pairs weigh in all three terms.
        kernels = [_kernel(a, b) for a, b in ((results, results), (truths, truths))]
        cross = _kernel(results, truths)
        self._matrix = sum(kernels) - cross - cross.T
        np.fill_diagonal(self._matrix, 0.0)

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        """The distance for pair weights [..., N] (how often a pair was drawn); NaN for one."""
        weights = np.asarray(weights, dtype=np.float64)
        total = ((weights @ self._matrix) * weights).sum(-1)
        pairs = weights.sum(-1) ** 2 - np.square(weights).sum(-1)
        return 1000 * np.where(pairs > 0, total, np.nan) / np.maximum(pairs, 1.0)


def draws_of(groups: np.ndarray, *, seed: int = 0, draws: int = 1000) -> np.ndarray:
    """How often each row is in each resample [draws, N]; whole groups (people) are drawn."""
    _, member = np.unique(groups, return_inverse=True)
    count = int(member.max()) + 1
    generator = np.random.default_rng(seed)
    people = generator.integers(0, count, size=(draws, count))
    return np.stack([np.bincount(row, minlength=count)[member] for row in people])


def _kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a @ b.T / a.shape[1] + 1.0) ** 3


def _as_features(features: np.ndarray) -> np.ndarray:
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"Expected features [N, D] with N of at least 2, got {features.shape}.")
    return features.astype(np.float64)
