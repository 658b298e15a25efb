"""A network that is told a later timestep by its own weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import inspect, load_component, shipped_weights
from pcdm_core.config import Preset
from training.stages.initialise import build_denoiser
from training.tools.time_shift import main, shift_timesteps


def embedding(model: torch.nn.Module, timesteps: torch.Tensor) -> torch.Tensor:
    unet: Any = model.unet
    return unet.time_embedding(unet.time_proj(timesteps))


@pytest.mark.parametrize("shift", [-35, 20])
def test_a_shifted_network_does_at_t_what_it_did_later(preset: Preset, shift: int) -> None:
    torch.manual_seed(0)
    model = build_denoiser(preset, "inpainting")
    timesteps = torch.tensor([40, 100, 731, 964])
    with torch.no_grad():
        later, before = embedding(model, timesteps + shift), embedding(model, timesteps)
        shift_timesteps(model, shift)
        torch.testing.assert_close(embedding(model, timesteps), later, rtol=0, atol=1e-4)
    assert (before - later).abs().max() > 0.05


def test_a_file_is_changed_in_place_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "refining.safetensors"
    path.write_bytes((shipped_weights() / path.name).read_bytes())
    before = load_component(tmp_path, "refining").float().state_dict()
    described = inspect(path)
    start = int(described.metadata.get("timestep_shift", "0"))
    assert main([str(path), "--timesteps", "20"]) == 0
    after = inspect(path)
    assert after.metadata["timestep_shift"] == str(start + 20)
    assert (after.config, after.dtypes) == (described.config, described.dtypes)
    changed = load_component(tmp_path, "refining").float().state_dict()
    assert [k for k in before if not torch.equal(before[k], changed[k])] == [
        "unet.time_embedding.linear_1.weight"
    ]
    assert main([str(path), "--timesteps", "-20"]) == 0
    again = load_component(tmp_path, "refining").float().state_dict()
    torch.testing.assert_close(again, before, rtol=0, atol=1e-3)  # rounded to fp16 twice


def test_a_part_without_timesteps_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "autoencoder.safetensors"
    path.write_bytes((shipped_weights() / path.name).read_bytes())
    assert main([str(path), "--timesteps", "20"]) == 2
    assert "expected the model of stage 2 or 3, found autoencoder" in capsys.readouterr().err
