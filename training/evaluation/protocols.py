"""The protocols by which the field's papers measured, each under its name.

They differ in how pictures come to one size, in SSIM's window, in the range that LPIPS sees and in
the pictures that are left out; figures compare within one protocol alone. Sources: `metrics.py` of
PCDMs, `utils/metrics.py` of PIDM, `models/metrics.py` and `pose_transfer_test.py` of CFLD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from .metrics import skimage_metrics

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
        pixels = picture
    elif how == "pillow":
        image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
    else:
        # PyTorch's filters are OpenCV's: no antialiasing, and a cubic kernel with the slope -3/4.
        # In fp64, because positions in fp32 would be off by 2e-3 grey levels.
        planes = torch.from_numpy(picture.astype(np.float64)).permute(2, 0, 1)[None]
        mode = "bicubic" if how == "cubic" else "bilinear"
        pixels = functional.interpolate(planes, size, mode=mode)[0].permute(1, 2, 0).numpy()
    return pixels.astype(np.float32) / np.float32(255)


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
    metrics = skimage_metrics()
    a_255, b_255 = a * np.float32(255), b * np.float32(255)
    figures = {
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
        figures["ssim-51"] = metrics.structural_similarity(
            b, a, data_range=1, win_size=51, channel_axis=2
        )
    return {name: float(value) for name, value in figures.items()}
