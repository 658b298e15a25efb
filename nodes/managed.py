"""Modules that ComfyUI moves as a whole: all but the UNets, which `comfy_model.py` hands over."""

from __future__ import annotations

from typing import Any

import comfy.model_management
import comfy.model_patcher
import torch
from torch import nn

LARGE = 100_000_000  # parameters; above, half precision where the device is good at it


class Resident:
    """A module under ComfyUI's memory management.

    Its layers are not ComfyUI's own, so that a part of them left on the CPU would fail: it is
    loaded whole or not at all.
    """

    def __init__(self, module: nn.Module) -> None:
        management = comfy.model_management
        module.eval().requires_grad_(False)
        # The class without finer memory management, also where the host has one.
        self.patcher = comfy.model_patcher.ModelPatcher(
            module,
            load_device=management.get_torch_device(),
            offload_device=management.unet_offload_device(),
            size=management.module_size(module),
        )

    @property
    def module(self) -> Any:
        """The module wherever it is, for its configuration."""
        return self.patcher.model

    @property
    def device(self) -> torch.device:
        """Where the module computes."""
        return self.patcher.load_device

    def load(self) -> Any:
        """The module on its device; between two of them ComfyUI's Cancel is obeyed."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        comfy.model_management.load_models_gpu([self.patcher], force_full_load=True)
        return self.patcher.model


def resident_dtype(module: nn.Module) -> torch.dtype:
    """The floating type of a module outside the UNets."""
    count = sum(parameter.numel() for parameter in module.parameters())
    half = count > LARGE and comfy.model_management.should_use_fp16(
        comfy.model_management.get_torch_device(), model_params=count
    )
    return torch.float16 if half else torch.float32
