"""Weights of two sizes are compared on the same pairs at both sizes."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from training.evaluation.held_out_pairs import choose_pairs, shots_of
from training.evaluation.measure_pairs import claim, pictures_folder
from training.evaluation.pictures import save_pictures
from training.evaluation.two_sizes import main, resized, resized_shot

SMALL, LARGE = (48, 32), (96, 64)


@pytest.fixture(autouse=True)
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """PCK is measured elsewhere, and the detector takes half a second a picture."""
    monkeypatch.setattr("training.evaluation.pose_judges.has_blazepose", lambda: False)


def finished(report: Path, size: tuple[int, int], noise: float, seed: int = 0) -> Path:
    """A run of three pairs whose refined pictures are the truth under so much noise."""
    folder = pictures_folder(report)
    claim(folder, {"seed": seed, "people": "rendered", "split": "test", "size": list(size)})
    lines = [json.dumps({"settings": {}})]
    for pair in choose_pairs(seed, 3, None, "test"):
        truth = shots_of(pair, None, "test", size)[1]
        draws = np.random.default_rng(pair.number).normal(0, noise, truth.picture.shape)
        refined = np.clip(truth.picture + draws, 0, 255).astype(np.uint8)
        save_pictures(folder, pair.number, {"truth": truth.picture, "refined": refined}, truth)
        lines.append(json.dumps({"pair": pair.number, "identity": pair.identity}))
    report.with_suffix(".jsonl").write_text("\n".join(lines) + "\n")
    return report


def test_the_better_weights_win_at_both_sizes_and_other_pairs_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = finished(tmp_path / "old.json", SMALL, noise=25)
    new = finished(tmp_path / "new.json", LARGE, noise=5)
    output = tmp_path / "both.json"
    assert main(["--reports", str(old), str(new), "--json", str(output)]) == 0
    report = json.loads(output.read_text())
    assert set(report) == {"48x32", "96x64"}
    for size in report.values():
        assert size["pairs"] == 3
        _, low, _ = size["differences"]["new refined - old refined"]["psnr"]
        assert low > 1
        assert size["methods"]["truth"]["ssim"] == [1.0, 1.0, 1.0]
    assert "3 pairs at 48x32:" in output.with_suffix(".md").read_text()
    other = finished(tmp_path / "other.json", LARGE, noise=5, seed=1)
    assert main(["--reports", str(old), str(other), "--json", str(output)]) == 2
    assert "seed differ" in capsys.readouterr().err
    assert main(["--reports", str(new), str(old), "--json", str(output)]) == 2
    assert "swap them" in capsys.readouterr().err


def test_a_truth_is_reduced_with_its_mask_and_joints() -> None:
    pair = choose_pairs(0, 1, None, "test")[0]
    large, small = (shots_of(pair, None, "test", size)[1] for size in (LARGE, SMALL))
    shot = resized_shot(large, SMALL)
    assert np.allclose(shot.xy, small.xy, atol=0.05)
    assert (shot.mask != small.mask).mean() < 0.02
    assert np.abs(shot.picture.astype(int) - small.picture).mean() < 4
    assert resized(small.picture, LARGE).shape == (*LARGE, 3)
