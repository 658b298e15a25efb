"""Do garments have the colours of the truth? A figure that needs no judge.

Pictures are numpy uint8 `[H, W, 3]` RGB; masks are bool `[H, W]`. scikit-image (the extra `eval`)
is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def colour_error(picture: np.ndarray, truth: np.ndarray, regions: Sequence[np.ndarray]) -> float:
    """How far the regions' mean colours lie from the truth's: CIE76 difference, mean of regions.

    About 2 is just visible side by side; red against green is over 100.

    Args:
        regions: bool [H, W] each, in the truth (a torso, the thighs, ...); empty ones are left out.

    Returns:
        The mean difference, or NaN without any region of at least one pixel.

    Raises:
        ValueError: sizes differ.
        ImportError: scikit-image is missing.
    """
    try:
        from skimage.color import rgb2lab
    except ImportError as error:
        raise ImportError("Colours are compared with scikit-image, which is missing.") from error
    errors: list[float] = []
    for region in regions:
        if not region.any():
            continue
        check_pair(picture, truth, region)
        means = [p[region].mean(0, keepdims=True)[None] / 255.0 for p in (picture, truth)]
        lab = [np.asarray(rgb2lab(mean)) for mean in means]
        errors.append(float(np.sqrt(np.square(lab[0] - lab[1]).sum())))
    return float(np.mean(errors)) if errors else float("nan")


def check_pair(picture: np.ndarray, truth: np.ndarray, mask: np.ndarray | None) -> None:
    """Refuse two pictures, or a picture and a mask, that cannot be compared.

    Raises:
        ValueError: which of them is what, and what is expected.
    """
    for name, array in (("picture", picture), ("truth", truth)):
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise ValueError(
                f"{name}: expected uint8 [H, W, 3], got {array.dtype} {list(array.shape)}."
            )
    if picture.shape != truth.shape:
        raise ValueError(
            f"The picture is {picture.shape[0]}x{picture.shape[1]} (height x width), the truth "
            f"{truth.shape[0]}x{truth.shape[1]}. Bring both to one size first."
        )
    if mask is None:
        return
    if mask.dtype != np.bool_ or mask.shape != picture.shape[:2]:
        raise ValueError(
            f"mask: expected bool {list(picture.shape[:2])}, got {mask.dtype} {list(mask.shape)}."
        )
    if not mask.any():
        raise ValueError("mask: no pixel lies inside, so there is nothing to compare.")
