"""The protocols by which the field's papers measured, each under its name.

They differ in how pictures come to one size, in SSIM's window, in the range that LPIPS sees and in
the pictures that are left out; figures compare within one protocol alone. Sources: `metrics.py` of
PCDMs, `utils/metrics.py` of PIDM, `models/metrics.py` and `pose_transfer_test.py` of CFLD.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

Filter = Literal["cubic", "linear", "pillow"]
LPIPSRange = Literal["[-1,1]", "[0,1]"]


@dataclass(frozen=True)
class Protocol:
    """How one paper's scripts measure.

    Attributes:
        name: stands beside every figure.
        ssim_sigma: of the Gaussian window of "SSIM"; constants over the span of the picture.
        resize: to the common size: OpenCV's `cubic` or `linear` in fp32, or `pillow`'s bicubic.
        as_they_are: SSIM, PSNR, L1 and MAE at the files' own size.
        window_51: SSIM by a flat window of 51 pixels is reported too.
        lpips_range: of the published figure; the other one is given beside it.
        lpips_batch: As published: what does not fill a batch is left out; None leaves out nothing.
        fid_batch: likewise.
    """

    name: str
    ssim_sigma: float
    resize: Filter
    lpips_range: LPIPSRange
    as_they_are: bool = False
    window_51: bool = False
    lpips_batch: int | None = None
    fid_batch: int | None = None


PROTOCOLS: Mapping[str, Protocol] = {
    p.name: p
    for p in (
        # As published: LPIPS is fed [0, 1] where it wants [-1, 1].
        Protocol("pcdms", 1.2, "cubic", "[0,1]", lpips_batch=64, fid_batch=128),
        Protocol(
            "pidm", 1.2, "linear", "[-1,1]", True, window_51=True, lpips_batch=64, fid_batch=64
        ),
        Protocol("cfld", 1.5, "pillow", "[-1,1]", window_51=True),
    )
}


def brought_to(picture: np.ndarray, size: tuple[int, int], how: Filter) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [h, w, 3] in [0, 1] (a little beyond it, by `cubic`)."""
    if picture.shape[:2] == size:
        return picture.astype(np.float32) / np.float32(255)
    if how == "pillow":
        image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        return np.asarray(image).astype(np.float32) / np.float32(255)
    rows, columns = (
        opencv_weights(*sides, how) for sides in zip(picture.shape[:2], size, strict=True)
    )
    lying = np.einsum("wx,hxc->hwc", columns, picture.astype(np.float64), optimize=True)
    found = np.einsum("hy,ywc->hwc", rows, lying, optimize=True)
    return found.astype(np.float32) / np.float32(255)


@lru_cache(maxsize=64)
def opencv_weights(before: int, after: int, how: Filter) -> np.ndarray:
    """float64 [after, before]: OpenCV's filter along one side, which has no antialiasing.

    The cubic kernel has the slope -3/4 at 1; beyond the border its pixels are repeated. All is
    exact until the end: positions in fp32 alone would be off by 2e-3 grey levels.
    """
    position = (np.arange(after) + 0.5) * (before / after) - 0.5
    first = np.floor(position)
    x = position - first
    if how == "linear":
        taps = [1 - x, x]
        offset = 0
    else:
        a = -0.75
        outer, inner = x + 1, 1 - x
        taps = [
            ((a * outer - 5 * a) * outer + 8 * a) * outer - 4 * a,
            ((a + 2) * x - (a + 3)) * x * x + 1,
            ((a + 2) * inner - (a + 3)) * inner * inner + 1,
        ]
        taps.append(1 - taps[0] - taps[1] - taps[2])
        offset = -1
    weights = np.zeros((after, before))
    for number, tap in enumerate(taps):
        column = np.clip(first.astype(int) + offset + number, 0, before - 1)
        np.add.at(weights, (np.arange(after), column), tap)
    return weights


def reconstruction(
    picture: np.ndarray, truth: np.ndarray, protocol: Protocol, size: tuple[int, int]
) -> dict[str, float]:
    """SSIM, PSNR in dB, L1 and MAE (sum |a-b| over sum a+b) of uint8 [H, W, 3] pictures.

    Raises:
        ValueError: the protocol takes pictures as they are, and these two differ in size.
        ImportError: scikit-image is missing.
    """
    if protocol.as_they_are and picture.shape != truth.shape:
        raise ValueError(
            f"the picture is {picture.shape[0]}x{picture.shape[1]} and the truth "
            f"{truth.shape[0]}x{truth.shape[1]} (height x width); the protocol {protocol.name} "
            f"compares files of one size"
        )
    if protocol.as_they_are:
        size = truth.shape[0], truth.shape[1]
    a, b = (brought_to(p, size, protocol.resize) for p in (picture, truth))
    metrics = _skimage_metrics()
    a_255, b_255 = a * np.float32(255), b * np.float32(255)
    found = {
        "ssim": metrics.structural_similarity(
            b_255,
            a_255,
            gaussian_weights=True,
            sigma=protocol.ssim_sigma,
            use_sample_covariance=False,
            channel_axis=2,
            data_range=a_255.max() - a_255.min(),
        ),
        "psnr": metrics.peak_signal_noise_ratio(b, a, data_range=1),
        "l1": np.abs(a - b).mean(),
        "mae": np.abs(a - b).sum() / (a + b).sum(),
    }
    if protocol.window_51:
        found["ssim-51"] = metrics.structural_similarity(
            b, a, data_range=1, win_size=51, channel_axis=2
        )
    return {name: float(value) for name, value in found.items()}


def _skimage_metrics() -> ModuleType:
    try:
        return importlib.import_module("skimage.metrics")
    except ImportError as error:
        raise ImportError(
            "These figures need scikit-image. Install it with: pip install scikit-image"
        ) from error
