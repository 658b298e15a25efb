"""What evaluation fits on rendered people: the regression baseline."""

from pathlib import Path

import pytest
import torch

from pcdm_core.config import Preset
from pcdm_core.encoders import GlobalEncoder, build_global_encoder
from training.data.in_memory import identity_folders
from training.evaluation.embedding_baseline import fit, fit_or_read
from training.synthetic.__main__ import main as render


@pytest.fixture(scope="module")
def encoder(preset: Preset) -> GlobalEncoder:
    torch.manual_seed(0)
    assert preset.global_encoder is not None
    encoder = build_global_encoder(preset.global_encoder)
    for tensor in (*encoder.parameters(), *encoder.buffers()):
        torch.nn.init.normal_(tensor, std=0.02)
    return encoder


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory, preset: Preset) -> Path:
    folder = tmp_path_factory.mktemp("dozen")
    size = f"{preset.height}x{preset.width}"
    arguments = ["--out", str(folder), "--identities", "12", "--views", "3", "--size", size]
    render([*arguments, "--workers", "1"])
    return folder


@pytest.mark.slow
def test_the_regression_tells_more_than_the_mean_on_people_held_out(
    dozen: Path, encoder: GlobalEncoder
):
    regression = fit(identity_folders(dozen, "train"), encoder)
    assert regression.people == 12
    assert regression.explained > 0.05


def test_a_fit_is_kept_for_its_weights_and_made_again_for_others(
    dozen: Path, encoder: GlobalEncoder, tmp_path: Path
):
    path = tmp_path / "fit.npz"
    first = fit_or_read(path, dozen, encoder, "these")
    again = fit_or_read(path, tmp_path / "gone", encoder, "these")
    assert torch.equal(first.weights, again.weights)
    with pytest.raises(FileNotFoundError, match="--train-data"):
        fit_or_read(path, tmp_path / "gone", encoder, "others")
