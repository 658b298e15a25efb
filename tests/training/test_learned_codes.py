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
    "render_workers": 1,
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


def test_codes_are_trained_alike_and_measured_on_people_whom_they_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people"
    arguments = ["--out", str(people), "--split", "train", "--identities", "5"]
    render([*arguments, "--views", "4", "--size", "64x48", "--workers", "1"])
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    path = tmp_path / "codes.json"
    arguments = ["--config", str(tmp_path / "config.yaml"), "--train-data", str(people)]
    arguments += ["--steps", "3", "--stage-2-steps", "2", "--pairs", "2", "--json", str(path)]
    assert learned_codes.main([*arguments, "--channels", "4", "12"]) == 0
    report = json.loads(path.read_text())
    assert list(report) == ["4 channels", "12 channels"]
    few, many = (
        {name: row["psnr"][0] for name, row in one["methods"].items()} for one in report.values()
    )
    assert many["autoencoder"] > few["autoencoder"] + 1
    assert many["coarse_true"] < few["autoencoder"]
    weights = tmp_path / "codes" / "run-12" / "weights"
    assert load_component(weights, "inpainting").config.latent_channels == 12
    printed = capsys.readouterr().out
    assert "| 12 channels - 4 channels |" in printed
    assert "| 4 channels (20 steps, guidance 1) |" in printed
    # Again: nothing is trained, the same figures.
    before = {path: path.stat().st_mtime_ns for path in weights.iterdir()}
    assert learned_codes.main([*arguments, "--channels", "12"]) == 0
    assert (
        json.loads(path.read_text())["12 channels"]["methods"] == report["12 channels"]["methods"]
    )
    assert {path: path.stat().st_mtime_ns for path in weights.iterdir()} == before
