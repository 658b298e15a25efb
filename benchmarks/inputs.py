"""Models and inputs of a benchmark: shipped or random weights, a picture and poses of noise."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcdm_core.checkpoints import build
from pcdm_core.checkpoints.components import load_components
from pcdm_core.checkpoints.signatures import CONFIGS
from pcdm_core.config import Preset
from pcdm_core.encoders import LinearImageEncoder
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.presets import find_preset

Components = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """One source and its target poses; what they show does not change the work."""

    source: Tensor  # [1, 3, H, W]
    source_pose: Keypoints  # one row
    targets: Keypoints


def noise_case(preset: Preset, poses: int) -> Case:
    """A picture of the preset's size and `poses` target poses, from a fixed seed."""
    draw = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, preset.height, preset.width, generator=draw) * 2 - 1
    xy = torch.rand(poses + 1, 18, 2, generator=draw) * 0.8 + 0.1
    people = Keypoints(xy, torch.ones(xy.shape[:2], dtype=torch.bool))
    return Case(picture, people.select(slice(0, 1)), people.select(slice(1, None)))


def random_component(preset: Preset, name: str, device: str) -> Any:
    """A component of the preset's size with random weights, in fp32."""
    part = build(name, getattr(preset, name), device)  # type: ignore[index]
    if isinstance(part, LinearImageEncoder):  # its projection starts at zero
        part.projection.normal_(std=0.01)
    return part.requires_grad_(False).eval()


def random_components(preset: Preset, device: str) -> Components:
    """Every component that the preset has."""
    names = [name for name in CONFIGS if getattr(preset, name) is not None]
    return {name: random_component(preset, name, device) for name in names}


def sized(name: str, size: str | None) -> Preset:
    """A preset, at another size where one is given as HEIGHTxWIDTH."""
    preset = find_preset(name)
    if size is None:
        return preset
    height, width = map(int, size.split("x"))
    return replace(preset, height=height, width=width)


def load(weights: Path | None, device: str) -> tuple[Preset, Components]:
    """A folder of weights, or with None those that ship, in fp32."""
    preset, components = load_components(weights, device=device)
    return preset, {name: part.requires_grad_(False).eval() for name, part in components.items()}


def copies(components: Components) -> Components:
    """The same weights once more, to be moved to other types."""
    return {name: copy.deepcopy(part) for name, part in components.items()}


def weight_bytes(components: Components) -> int:
    """What the components take in memory."""
    return sum(
        tensor.nbytes
        for part in components.values()
        for tensor in (*part.parameters(), *part.buffers())
    )
