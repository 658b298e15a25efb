"""Whether half precision pays on the device at hand."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)

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
