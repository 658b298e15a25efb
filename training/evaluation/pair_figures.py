"""The figures of one picture that need neither torch nor a judge: runs in worker processes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from pcdm_core.garment_colour import colour_error

from ..synthetic.shots import Shot
from .held_out_pairs import TRUNK, body_region, clothed_regions
from .metrics import band_correlation, laplacian_energy, periods_kept, psnr, ssim_map


def figures_of(picture: np.ndarray, truth: Shot) -> dict[str, float]:
    """Figures of a picture uint8 [H, W, 3]; those of the garment may be NaN."""
    similarity, local = ssim_map(picture, truth.picture)
    regions = clothed_regions(truth)
    garment = np.logical_or.reduce(regions) if regions else np.zeros_like(truth.mask)
    band = band_correlation(picture, truth.picture, garment)
    # Thighs are too narrow for a print to repeat on, and their folds are mistaken for one.
    trunk = body_region(truth, TRUNK)
    periods = math.nan if trunk is None else periods_kept(picture, truth.picture, trunk)
    return {
        "ssim": similarity,
        "psnr": psnr(picture, truth.picture),
        "ssim_person": float(local[truth.mask].mean()),
        "psnr_person": psnr(picture, truth.picture, truth.mask),
        "colour": colour_error(picture, truth.picture, regions),
        "laplacian": laplacian_energy(picture, garment),
        "band": band,
        "band_print": math.nan if math.isnan(periods) else band,
        "periods": periods,
    }


def figures_of_all(pictures: Mapping[str, np.ndarray], truth: Shot) -> dict[str, dict[str, float]]:
    """`figures_of` of every method's picture."""
    return {name: figures_of(picture, truth) for name, picture in pictures.items()}
