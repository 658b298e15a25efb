"""A folder that cannot be used says all that it lacks, before anything is loaded."""

from pathlib import Path

import pytest
import torch

from pcdm_core.checkpoints import components
from pcdm_core.checkpoints.components import load_components
from tests.core.tiny_pipeline import save_tiny_weights
from tests.core.weights_files import message, upstream_state


def test_every_missing_file_is_named_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save_tiny_weights(tmp_path)
    for name in ("prior", "refining", "patch_encoder"):
        (folder / f"{name}.safetensors").unlink()
    monkeypatch.setattr(components, "open_model", None)  # a call of it would fail
    words = message(load_components, folder)
    assert "lacks 3 of the 6 files of the preset test" in words
    assert "prior.safetensors, refining.safetensors, patch_encoder.safetensors" in words
    assert "refining" not in message(load_components, folder, with_refining=False)
    torch.save(upstream_state("stage 3"), folder / "s3-512.pt")
    assert "gives these the names that are looked for: s3-512.pt" in message(
        load_components, folder
    )


def test_a_folder_of_downloads_is_told_from_one_of_weights(tmp_path: Path) -> None:
    assert "nowhere is no folder" in message(load_components, tmp_path / "nowhere")
    assert "has no weights files" in message(load_components, tmp_path)
    for name in ("s1_256.pt", "s2_512.pt", "s3-512.pt"):
        torch.save({"module": upstream_state("stage 3")}, tmp_path / name)
    words = message(load_components, tmp_path)
    assert "under other names: s1_256.pt, s2_512.pt, s3-512.pt" in words
    assert f"`pcdm models place {tmp_path} --weights NEW_FOLDER`" in words
