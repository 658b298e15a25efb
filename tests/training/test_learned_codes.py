"""The comparison of learned codes, at the smallest size."""

import json
from pathlib import Path

import pytest
import yaml

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from pcdm_core.checkpoints import load_component
from training.evaluation import learned_codes
from training.synthetic.__main__ import main as render

CONFIG = {
    "preset": "test",
    "identities": 5,
    "views": 4,
    "autoencoder": {
        "kind": "conv",
        "downscale": 8,
        "block_out_channels": [8, 8, 16],
        "layers_per_block": 1,
    },
    "stages": {
        "autoencoder": {"batch_size": 2, "crop": 32, "latent_noise": 0.05, "gradients": 0.5},
        "inpainting": {"batch_size": 2},
    },
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments that name seven people and a configuration."""
    folder = tmp_path_factory.mktemp("codes")
    arguments = ["--out", str(folder / "people"), "--split", "train", "--identities", "7"]
    render([*arguments, "--views", "4", "--size", "64x48", "--workers", "1"])
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    return ["--config", str(folder / "config.yaml"), "--data", str(folder / "people")]


def test_codes_are_trained_alike_and_measured_on_people_whom_they_never_saw(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rest = ["--steps", "3", "--stage-2-steps", "2", "--pairs", "2", "--out", str(tmp_path)]
    assert learned_codes.main([*given, *rest, "--channels", "4", "12"]) == 0
    report = json.loads((tmp_path / "4-12.json").read_text())
    assert list(report) == [
        name
        for channels in (4, 12)
        for name in (
            f"8x8 linear, {channels} channels",
            f"8x8 learned, {channels} channels",
            f"8x8 learned, {channels} channels: stage 2",
        )
    ]
    psnr = {name: row["psnr"] for name, row in report.items()}
    assert psnr["8x8 linear, 12 channels"] > psnr["8x8 linear, 4 channels"] + 1
    # Three steps: a learned code is near the linear one that it began as, and is not that one.
    assert abs(psnr["8x8 learned, 12 channels"] - psnr["8x8 linear, 12 channels"]) < 1
    assert psnr["8x8 learned, 12 channels"] != psnr["8x8 linear, 12 channels"]
    assert psnr["8x8 learned, 12 channels: stage 2"] < psnr["8x8 linear, 4 channels"]
    assert load_component(tmp_path / "12" / "weights", "inpainting").config.latent_channels == 12
    assert (tmp_path / "stage-2-4.png").is_file()
    assert "| 8x8 learned, 4 channels |" in capsys.readouterr().out
    # Again: nothing is trained, the same figures.
    assert learned_codes.main([*given, *rest, "--channels", "12"]) == 0
    again = json.loads((tmp_path / "12.json").read_text())
    assert again["8x8 learned, 12 channels: stage 2"] == report["8x8 learned, 12 channels: stage 2"]


def test_people_of_the_run_are_no_unseen_people(
    given: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert learned_codes.main([*given, "--pairs", "3", "--out", str(tmp_path)]) == 2
    assert "its last 3 people are among the 5 of the run" in capsys.readouterr().err
