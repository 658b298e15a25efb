"""The parts of a preset on disk, as training writes and reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from pcdm_core.checkpoints import components, save_model
from pcdm_core.checkpoints.load import SHARD_BYTES
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import Preset
from pcdm_core.encoders import GlobalEncoder, PatchImageEncoder
from pcdm_core.models import InpaintingModel, PosePrior
from pcdm_core.vae import Autoencoder


@dataclass(frozen=True)
class Components:
    """What the first two stages need."""

    prior: PosePrior
    inpainting: InpaintingModel
    patch_encoder: PatchImageEncoder
    global_encoder: GlobalEncoder
    autoencoder: Autoencoder


def load_components(folder: Path, device: torch.device | str) -> Components:
    """Read the parts of the first two stages from `folder`, in fp32.

    Raises:
        pcdm_core.checkpoints.load.CheckpointError: a part is missing or damaged; it is named.
    """
    _, parts = components.load_components(folder, device=device, with_refining=False)
    return Components(**parts)


def preset_note(preset: Preset) -> dict[str, str]:
    """What the metadata of weights says of their preset: its name, and the size that they know."""
    size = {"height": str(preset.height), "width": str(preset.width), "fit": preset.fit}
    return {"preset": preset.name, **size}


def save_components(
    parts: Mapping[Component, nn.Module],
    folder: Path,
    preset: Preset,
    note: Mapping[str, str],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write parts as fp16 safetensors with their configuration, as the pack ships them."""
    for name, module in parts.items():
        config = getattr(preset, name)
        save_model(
            module,
            folder / f"{name}.safetensors",
            stage=name,
            config=config,
            dtype=torch.float16,
            metadata={**preset_note(preset), **note},
            max_shard_bytes=shard_bytes,
        )
