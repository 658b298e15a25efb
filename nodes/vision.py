"""Image encoders: modules of our own, or what ComfyUI's CLIP_VISION holds, with our preprocessing.

ComfyUI's own preprocessing differs from the published one: it rounds where that cuts off, and
gives DINOv2 pictures of 518 px with other statistics. Of a CLIP_VISION only the weights and the
blocks are used; pixels and DINOv2's position table come from the core.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.model_management
import torch
from torch import Tensor, nn

from ..pcdm_core.checkpoints import CheckpointError, Component
from ..pcdm_core.checkpoints.detect import preset_config, recognise
from ..pcdm_core.config import GlobalEncoderConfig, PatchEncoderConfig
from ..pcdm_core.encoder_inputs import resample_positions, square_pixels
from .managed import Resident, resident_dtype

Encoder = Callable[[Tensor], Tensor]
"""Fitted pictures [S, 3, H, W] in [-1, 1] -> patch tokens [S, L, P] or embeddings [S, E]."""


class OwnEncoder:
    """One of the core's encoders, loaded from a file."""

    def __init__(self, module: nn.Module) -> None:
        self.dtype = resident_dtype(module)
        self.resident = Resident(module.to(self.dtype))

    def __call__(self, picture: Tensor) -> Tensor:
        """See `Encoder`."""
        module = self.resident.load()
        return module(module.pixels(picture).to(self.resident.device, self.dtype))


class HostGlobalEncoder:
    """CLIP's vision tower inside a CLIP_VISION; its own forward pass is the published one."""

    def __init__(self, clip: Any, config: GlobalEncoderConfig) -> None:
        self.clip, self.config = clip, config

    def __call__(self, picture: Tensor) -> Tensor:
        """[S, 3, H, W] in [-1, 1] -> [S, E], projected, not of unit length."""
        _load(self.clip)
        pixels = square_pixels(picture, self.config.picture_size).to(self.clip.load_device)
        return self.clip.model(pixel_values=pixels, intermediate_output=-2)[2]


class HostPatchEncoder:
    """DINOv2 inside a CLIP_VISION.

    ComfyUI 0.3.64 takes 518 px only and later versions interpolate by themselves; so the
    embeddings are put together here, and the host's blocks do the rest.
    """

    def __init__(self, clip: Any, config: PatchEncoderConfig) -> None:
        self.clip, self.config = clip, config

    def __call__(self, picture: Tensor) -> Tensor:
        """[S, 3, H, W] in [-1, 1] -> [S, L, P] after the last layer norm, CLS first."""
        _load(self.clip)
        device, model = self.clip.load_device, self.clip.model
        cast = comfy.model_management.cast_to_device
        pixels = square_pixels(picture, self.config.picture_size).to(device)
        patches = model.embeddings.patch_embeddings(pixels)
        first = cast(model.embeddings.cls_token, device, patches.dtype)
        tokens = torch.cat([first.expand(len(patches), -1, -1), patches], dim=1)
        side = self.config.picture_size // self.config.patch_size
        table = cast(model.embeddings.position_embeddings, device, torch.float32)
        tokens = tokens + resample_positions(table, side, side).to(tokens)
        return model.layernorm(model.encoder(tokens)[0])


def host_patch_encoder(clip: Any) -> HostPatchEncoder:
    """The encoder inside a CLIP_VISION that must hold a preset's DINOv2."""
    return HostPatchEncoder(clip, _config_of(clip, "patch_encoder", "dinov2", "DINOv2-giant"))


def host_global_encoder(clip: Any) -> HostGlobalEncoder:
    """The encoder inside a CLIP_VISION that must hold a preset's CLIP."""
    return HostGlobalEncoder(
        clip, _config_of(clip, "global_encoder", "clip_vision", "CLIP ViT-H (OpenCLIP ViT-H-14)")
    )


def _load(clip: Any) -> None:
    """A CLIP_VISION onto its device; before it ComfyUI's Cancel is obeyed."""
    comfy.model_management.throw_exception_if_processing_interrupted()
    comfy.model_management.load_model_gpu(clip.patcher)


def _config_of(clip: Any, component: Component, socket: str, expected: str) -> Any:
    tensors = clip.model.state_dict()
    try:
        signature, facts = recognise(tensors, f"The CLIP_VISION at {socket}")
    except CheckpointError:
        content = "another model"
    else:
        config = preset_config(component, facts) if signature.component == component else None
        if config is not None:
            return config
        kind = {"patch_encoder": "a DINOv2", "global_encoder": "a CLIP"}
        width = f" of width {facts['hidden_size']}" if "hidden_size" in facts else ""
        content = f"{kind.get(signature.component, 'another model')}{width}"
    raise CheckpointError(
        f"The CLIP_VISION at {socket} holds {content}, but the published presets need {expected} "
        f"there. Choose that file in Load CLIP Vision."
    )
