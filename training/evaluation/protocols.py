"""The protocols by which the field's papers measured, each under its name.

They differ in how pictures come to one size, in SSIM's window, in the range that LPIPS sees and in
the pictures that are left out; figures compare within one protocol alone. Sources: `metrics.py` of
PCDMs; `utils/metrics.py` and `data/prepare_data.py` of PIDM; `models/metrics.py`,
`datasets/deepfashion.py` and `pose_transfer_test.py` of CFLD.
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

Filter = Literal["cubic", "linear", "pillow", "antialiased"]
LPIPSRange = Literal["[-1,1]", "[0,1]"]
FILTERS: Mapping[Filter, str] = {
    "cubic": "OpenCV's bicubic",
    "linear": "OpenCV's bilinear",
    "pillow": "Pillow's bicubic",
    "antialiased": "PyTorch's antialiased bicubic, cut to 8 bits",
}


@dataclass(frozen=True)
class Protocol:
    """How one paper's scripts measure.

    Attributes:
        name: stands beside every figure.
        ssim_sigma: of the Gaussian window of "SSIM"; constants over the span of the picture.
        resize: of generated pictures to the common size.
        truth_resize: of truths and training pictures.
        reports: the figures that the script itself prints, of those that compare pixels.
        as_they_are: SSIM, PSNR, L1 and MAE at the generated pictures' own size. Truths and training
            pictures come to that size by Pillow's bicubic before all else, as the paper's script
            prepares its data.
        lpips_range: of the published figure; the other one is given beside it.
        lpips_batch: As published: what does not fill a batch is left out; None leaves out nothing.
        fid_batch: likewise.
    """

    name: str
    ssim_sigma: float
    resize: Filter
    truth_resize: Filter
    lpips_range: LPIPSRange
    reports: tuple[str, ...]
    as_they_are: bool = False
    lpips_batch: int | None = None
    fid_batch: int | None = None


PLAIN = ("ssim", "psnr", "l1", "mae")
PROTOCOLS: Mapping[str, Protocol] = {
    p.name: p
    for p in (
        # As published: LPIPS is fed [0, 1] where it wants [-1, 1].
        Protocol("pcdms", 1.2, "cubic", "cubic", "[0,1]", PLAIN, lpips_batch=64, fid_batch=128),
        Protocol(
            *("pidm", 1.2, "linear", "linear", "[-1,1]", (*PLAIN, "ssim-51"), True),
            lpips_batch=64,
            fid_batch=64,
        ),
        Protocol("cfld", 1.5, "antialiased", "pillow", "[-1,1]", ("ssim", "psnr", "ssim-51")),
    )
}


def prepared(truth: np.ndarray, protocol: Protocol, size: tuple[int, int]) -> np.ndarray:
    """A truth, or a training picture, as it lies on disk for the script; uint8 [H, W, 3].

    Args:
        size: height and width of the generated pictures.
    """
    if not protocol.as_they_are or truth.shape[:2] == size:
        return truth
    return np.asarray(Image.fromarray(truth).resize((size[1], size[0]), Image.Resampling.BICUBIC))


def brought_to(picture: np.ndarray, size: tuple[int, int], how: Filter) -> np.ndarray:
    """uint8 [H, W, 3] -> float32 [h, w, 3] in [0, 1] (a little beyond it, by `cubic`)."""
    if picture.shape[:2] == size:
        pixels = picture
    elif how == "pillow":
        image = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(image)
    elif how == "antialiased":
        planes = torch.from_numpy(picture.astype(np.float32) / 255).permute(2, 0, 1)[None]
        planes = functional.interpolate(planes, size, mode="bicubic", antialias=True) * 255.0
        # As published: cut off, not rounded.
        pixels = planes.clamp(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
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
        ImportError: scikit-image is missing.
    """
    if protocol.as_they_are:
        size = picture.shape[0], picture.shape[1]
    truth = prepared(truth, protocol, size)
    a = brought_to(picture, size, protocol.resize)
    b = brought_to(truth, size, protocol.truth_resize)
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
    if "ssim-51" in protocol.reports:
        figures["ssim-51"] = metrics.structural_similarity(
            b, a, data_range=1, win_size=51, channel_axis=2
        )
    return {name: float(value) for name, value in figures.items()}
