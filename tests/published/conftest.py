"""The published presets at tiny widths, and a folder of their files as people download them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from pcdm_core.checkpoints import build
from pcdm_core.config import Preset
from pcdm_core.presets import PRESETS
from tests.core.foreign_files import original_vae
from tests.core.tiny_pipeline import TEST
from tests.core.weights_files import CLIP, KL, SINGLE_STAGE, upstream_state
from tests.parity.fixtures import drawn_state

OF_FULL_SIZE = dict(PRESETS)  # the tests of this folder see tiny ones under these names
PUBLISHED = replace(
    TEST,
    name="published",
    autoencoder=replace(KL, latent_channels=12, block_out_channels=(8, 8, 8), downscale=4),
    global_encoder=replace(CLIP, embedding_dim=16),
)
SIMPLIFIED = replace(
    PUBLISHED,
    name="simplified",
    prior=None,
    inpainting=SINGLE_STAGE,
    refining=None,
    global_encoder=None,
    steps=PRESETS["simplified"].steps,
)


@pytest.fixture(autouse=True)
def tiny_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that asks for a published preset gets the tiny one."""
    presets = cast(dict[str, Preset], PRESETS)
    for preset in (PUBLISHED, SIMPLIFIED):
        monkeypatch.setitem(presets, preset.name, preset)


def clip_state() -> Mapping[str, Tensor]:
    blank = build("global_encoder", PUBLISHED.global_encoder, "meta")
    return drawn_state(blank, "global_encoder", "transformers CLIP", {"": 1})


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """The files of the three stages; stage 1 twice, once under its misleading name."""
    folder = tmp_path / "downloads"
    (folder / "dinov2-giant").mkdir(parents=True)
    stages: dict[str, Any] = {"s1_256": "stage 1", "s2_512": "stage 2", "s3-512": "stage 3"}
    for name, stage in stages.items():
        torch.save({"module": upstream_state(stage)}, folder / f"{name}.pt")
    torch.save({"module": upstream_state("stage 1")}, folder / "s2_256.pt")
    save_file(upstream_state("DINOv2"), folder / "dinov2-giant" / "model.safetensors")
    (folder / "dinov2-giant" / "config.json").write_text("{}", encoding="utf-8")
    save_file(dict(clip_state()), folder / "model (1).safetensors")
    save_file(original_vae(PUBLISHED.autoencoder), folder / "vae.safetensors")
    return folder


@pytest.fixture
def comfyui(tmp_path: Path) -> Path:
    """The folder of a ComfyUI."""
    for name in ("clip_vision", "vae", "checkpoints"):
        (tmp_path / "ComfyUI" / "models" / name).mkdir(parents=True)
    return tmp_path / "ComfyUI"
