"""ComfyUI's own UNet with the weights of ours.

Our UNets are stock diffusers networks, and ComfyUI's key table maps all of their weights onto its
`UNetModel`.
"""

from __future__ import annotations

from typing import Any

import comfy.utils
import torch
from comfy.ldm.modules.diffusionmodules.openaimodel import UNetModel
from torch import Tensor

from ..pcdm_core.config import InpaintingConfig, RefiningConfig


def unet_config(config: InpaintingConfig | RefiningConfig) -> dict[str, Any]:
    """The keywords of ComfyUI's `UNetModel` for a stage.

    Raises:
        ValueError: widths that `UNetModel` cannot build; the field is named.
    """
    unet = config.unet
    widths, first = unet.block_out_channels, unet.block_out_channels[0]
    head_widths = {w // h for w, h in zip(widths, unet.num_heads, strict=True)}
    if any(width % first for width in widths) or unet.norm_num_groups != 32:
        raise ValueError(
            f"ComfyUI's UNet has 32 norm groups and widths that are multiples of the first, got "
            f"{unet.norm_num_groups} groups and widths {widths}. Change the configuration."
        )
    if len(head_widths) != 1:
        raise ValueError(
            f"ComfyUI's UNet has heads of one width, got {sorted(head_widths)} "
            f"(widths {widths}, heads {unet.num_heads}). Change the configuration."
        )
    layers = unet.layers_per_block
    native: dict[str, Any] = {
        "image_size": unet.sample_size,
        "in_channels": config.in_channels,
        "out_channels": config.latent_channels,
        "model_channels": first,
        "channel_mult": [width // first for width in widths],
        "num_res_blocks": [layers] * len(widths),
        "transformer_depth": [int(a) for a in unet.attention_levels for _ in range(layers)],
        "transformer_depth_output": [
            int(a) for a in unet.attention_levels for _ in range(layers + 1)
        ],
        "transformer_depth_middle": 1,
        "context_dim": unet.cross_attention_dim,
        "num_heads": -1,
        "num_head_channels": head_widths.pop(),
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "use_temporal_attention": False,
        "legacy": False,
        # As the host does for the SD 2 family, whose attention overflows in half precision.
        "attn_precision": torch.float32,
    }
    if isinstance(config, InpaintingConfig) and config.embedding_dim is not None:
        native |= {"num_classes": "sequential", "adm_in_channels": config.embedding_dim}
    return native


def native_state_dict(state: dict[str, Tensor], native: dict[str, Any]) -> dict[str, Tensor]:
    """A diffusers UNet's tensors under the names of `UNetModel(**native)`.

    Raises:
        RuntimeError: ComfyUI's own table has no name for a tensor; the first are listed.
    """
    names = comfy.utils.unet_to_diffusers(native)
    unknown = [key for key in state if key not in names]
    if unknown:
        raise RuntimeError(
            f"This ComfyUI has no place for {len(unknown)} tensors of the model "
            f"({', '.join(unknown[:3])}). Use a ComfyUI version that docs/nodes.md names."
        )
    return {names[key]: tensor for key, tensor in state.items()}


class PoseUNet(UNetModel):
    """ComfyUI's UNet, with a pose map added to what the first convolution gives."""

    def forward(
        self,
        x: Tensor,
        timesteps: Tensor | None = None,
        context: Tensor | None = None,
        y: Tensor | None = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        pcdm_pose: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """As `UNetModel.forward`; `pcdm_pose` is [B, C0, h, w]."""
        options = {} if transformer_options is None else transformer_options
        if pcdm_pose is not None:
            options = _with_pose(options, pcdm_pose)
        return super().forward(
            x, timesteps, context, y, control=control, transformer_options=options, **kwargs
        )


def _with_pose(options: dict[str, Any], pose: Tensor) -> dict[str, Any]:
    """The options with one more patch, before those that users add; the given ones stay as is."""

    def add(h: Tensor, now: dict[str, Any]) -> Tensor:
        return h + pose.to(h) if now["block"] == ("input", 0) else h

    patches = dict(options.get("patches", {}))
    patches["input_block_patch"] = [add, *patches.get("input_block_patch", [])]
    return {**options, "patches": patches}
