"""Percentage of correct key points (PCK): does a picture show the pose that was asked for?

Definition: Yang and Ramanan 2013; the reference length is the height of the person's box. Which
detector found the points belongs beside every figure.
"""

from __future__ import annotations

import numpy as np

from .keypoints import HIPS, SHOULDERS

IN_PROFILE = 0.05
"""Shoulders or hips that lie less of the person's height apart are seen from the side."""


def correct_keypoints(
    keypoints: np.ndarray, truth: np.ndarray, height: float, share: float = 0.1
) -> np.ndarray:
    """Which joints lie within `share` of the person's height of the truth: bool [...].

    Args:
        keypoints: [..., 2] pixels.
        truth: [..., 2] pixels.
        height: of the person's box in the true picture, in pixels.

    Raises:
        ValueError: the shapes differ or the height is not positive.
    """
    if keypoints.shape != truth.shape or keypoints.shape[-1] != 2:
        raise ValueError(
            f"Key points differ in shape: {list(keypoints.shape)}, {list(truth.shape)}."
        )
    if height <= 0:
        raise ValueError(f"The person's height is {height}; it has to be positive.")
    return np.linalg.norm(keypoints.astype(np.float64) - truth, axis=-1) <= share * height


def pck(
    keypoints: np.ndarray, truth: np.ndarray, counted: np.ndarray, height: float, share: float = 0.1
) -> float:
    """The share of counted joints that are correct, or NaN where none is counted.

    Args:
        keypoints: [J, 2] pixels, from the judged picture.
        truth: [J, 2] pixels.
        counted: bool [J], such as the joints that are visible in both pictures.
    """
    if not counted.any():
        return float("nan")
    return float(correct_keypoints(keypoints[counted], truth[counted], height, share).mean())


def sides_swapped(
    keypoints: np.ndarray, truth: np.ndarray, counted: np.ndarray, height: float
) -> float:
    """Whether a picture shows the person's left where the right should be: a front for a back.

    It is 1 if both shoulders and both hips, as far as they are counted, stand in the reverse of
    their true order across the picture, else 0; NaN where no order can be told: a joint of each
    is not counted, or the person stands so much in profile that the true order says nothing.

    Args:
        keypoints: [18, 2] pixels, from the judged picture.
        truth: [18, 2] pixels.
        counted: bool [18].
        height: of the person's box in the true picture, in pixels.
    """
    reversed_order = [
        bool((keypoints[b, 0] - keypoints[a, 0]) * across < 0)
        for a, b in (SHOULDERS, HIPS)
        if counted[a]
        and counted[b]
        and abs(across := float(truth[b, 0] - truth[a, 0])) >= IN_PROFILE * height
    ]
    return float(all(reversed_order)) if reversed_order else float("nan")


def box_height(mask: np.ndarray) -> float:
    """Height in pixels of the box around a person's mask, bool [H, W].

    Raises:
        ValueError: the mask is empty.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        raise ValueError("mask: no pixel lies inside, so the person has no height.")
    return float(rows[-1] - rows[0] + 1)
