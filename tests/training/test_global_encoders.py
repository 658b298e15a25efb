"""The comparison of global encoders, at the smallest size."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from pcdm_core.checkpoints import load_component
from training.config import load_config
from training.evaluation import global_encoders
from training.synthetic.__main__ import main as render

CONFIG = {
    "preset": "test",
    "identities": 5,
    "views": 4,
    "render_workers": 1,
    "global_encoder": {"kind": "conv", "picture_size": 16, "num_layers": 2, "hidden_size": 16},
    "stages": {
        "global_encoder": {"batch_size": 4},
        "autoencoder": {"steps": 0},
        "inpainting": {"batch_size": 2},
        "prior": {"batch_size": 2},
    },
}


@pytest.mark.slow
def test_encoders_are_trained_alike_read_and_measured_on_people_whom_they_never_saw(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    people = tmp_path / "people"
    arguments = ["--out", str(people), "--split", "train", "--identities", "9"]
    render([*arguments, "--views", "4", "--size", "64x48", "--workers", "1"])
    path, config = tmp_path / "encoders.json", tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    options = ["--config", str(config), "--train-data", str(people), "--json", str(path)]
    options += ["--encoder-steps", "3", "--stage-1-steps", "2", "--stage-2-steps", "2"]
    options += ["--pairs", "2", "--dims", "8", "--probe-people", "2", "--fit-people", "2"]
    # First the embeddings alone; the run that follows keeps the encoders.
    assert global_encoders.main([*options, "--stage-2-steps", "0"]) == 0
    assert not path.exists()
    weights = tmp_path / "encoders" / "run-learned-8" / "weights"
    before = (weights / "global_encoder.safetensors").read_bytes()
    assert "| learned 8 |" in capsys.readouterr().out
    assert global_encoders.main(options) == 0
    assert (weights / "global_encoder.safetensors").read_bytes() == before
    assert load_component(weights, "prior").config.embedding_dim == 8
    linear = weights.parents[1] / "run-linear" / "weights"
    codes = [folder / "autoencoder.safetensors" for folder in (linear, weights)]
    assert codes[0].read_bytes() == codes[1].read_bytes()
    report = json.loads(path.read_text())
    assert list(report) == ["linear", "learned 8"]
    gains = path.with_suffix(".gains.md").read_text()
    # What stands there is the difference of the methods' means.
    means = {
        name: {m: one["methods"][m]["ssim"][0] for m in ("coarse", "coarse_null")}
        for name, one in report.items()
    }
    differences = {name: row["coarse"] - row["coarse_null"] for name, row in means.items()}
    row = next(line for line in gains.splitlines() if line.startswith("| learned 8: predicted"))
    assert float(row.split("|")[2].split("[")[0]) == pytest.approx(
        differences["learned 8"], abs=6e-4
    )
    more = next(line for line in gains.splitlines() if "learned 8 - linear" in line)
    assert float(more.split("|")[2].split("[")[0]) == pytest.approx(
        differences["learned 8"] - differences["linear"], abs=6e-4
    )
    too_many = [*options, "--probe-people", "3"]
    assert global_encoders.main(too_many) == 2
    assert "9 people are too few to train on 5" in capsys.readouterr().err


def test_a_configuration_without_a_learned_encoder_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "global_encoder": {}}))
    arguments = ["--config", str(config), "--train-data", str(tmp_path), "--json"]
    assert global_encoders.main([*arguments, str(tmp_path / "out.json")]) == 2


def test_the_example_configuration_is_read_and_fits_the_preset() -> None:
    from pcdm_core.presets import find_preset
    from training.stages.initialise import sized_preset

    path = Path(__file__).parents[2] / "training/configs/mini-global-encoder.yaml"
    config = load_config(path)
    preset = sized_preset(find_preset(config.preset), config)
    assert preset.global_encoder is not None
    assert preset.global_encoder.kind == "conv"
    plain = sized_preset(find_preset(config.preset), replace(config, global_encoder={}))
    assert plain.inpainting == preset.inpainting
    assert plain.prior == preset.prior
