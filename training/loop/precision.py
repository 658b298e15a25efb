"""Precision: whether half of it pays on the device at hand, and that of frozen encoders."""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Literal

import torch

logger = logging.getLogger(__name__)

EncoderPrecision = Literal["float32", "tf32", "bf16"]
WITHOUT_BF16 = ("DEFAULT", "NO AVX", "AVX2")
"""What `torch.backends.cpu.get_cpu_capability` says of processors that compute bf16 in software."""


def has_fast_bf16(kind: str) -> bool:
    """Whether networks run faster in bf16 there: `kind` is a device's type.

    In software a step of the mini preset's stage 2 takes fifteen times as long as in fp32.
    """
    return kind != "cpu" or torch.backends.cpu.get_cpu_capability() not in WITHOUT_BF16


def mixed_precision(precision: str) -> str:
    """accelerate's word for what a run asked for; `no` in place of a bf16 that would only cost."""
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "bf16" and not has_fast_bf16(kind):
        logger.warning("This processor has no bf16 instructions: the run computes in fp32.")
        return "no"
    return precision


@contextmanager
def encoder_precision(precision: EncoderPrecision, device: torch.device) -> Generator[None]:
    """How frozen encoders compute: exactly in `float32`, in `tf32`, or with products in `bf16`."""
    matmul: Any = torch.backends.cuda.matmul
    cudnn: Any = torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32  # the latter is on by default
    matmul.allow_tf32 = cudnn.allow_tf32 = precision == "tf32"
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
