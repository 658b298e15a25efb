"""Evaluation on rendered people and the export of examples, with tiny random weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from PIL import Image

from pcdm_core import demo
from pcdm_core.pose.formats import read_pose
from tests.core.tiny_pipeline import TEST, save_tiny_weights
from training.evaluation import __main__ as evaluate
from training.evaluation import compare_settings as choices
from training.evaluation import contact_sheets as sheets
from training.evaluation.held_out_pairs import choose_pairs, clothed_regions, shots_of
from training.evaluation.measure_pairs import pictures_folder
from training.evaluation.pair_figures import figures_of
from training.evaluation.pictures import METHODS, pictures_file, read_pictures
from training.synthetic.dataset import Job, write_dataset
from training.tools import export_examples

SIZE = (TEST.height, TEST.width)
FEW = ("--methods", "truth", "coarse", "refined")


@pytest.fixture(autouse=True)
def no_detector(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights show nobody: without the detector every run is shorter."""
    monkeypatch.setattr("training.evaluation.pose_judges.has_blazepose", lambda: False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people of the test split with three views."""
    folder = tmp_path_factory.mktemp("people")
    write_dataset(Job(folder, "test", 3, SIZE, 0), range(5, 7), workers=1, quiet=True)
    return folder


def run(weights: Path, data: Path, output: Path, pairs: int, *more: str) -> int:
    arguments = ["--weights", str(weights), "--data", str(data), "--json", str(output)]
    arguments += ["--pairs", str(pairs), "--steps", "2", "--device", "cpu", "--oracle-pairs", "1"]
    arguments += ["--train-data", str(data / "none")]
    return evaluate.main([*arguments, *more])


def records(output: Path) -> list[dict[str, Any]]:
    lines = output.with_suffix(".jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines][1:]


@pytest.mark.slow
def test_every_method_is_measured_and_reported_and_what_is_missing_is_said(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "a" / "report.json"
    assert run(weights, data, output, 3) == 0
    report = json.loads(output.read_text())
    assert report["pairs"] == 3
    assert report["people"] == 2
    assert set(report["methods"]) == set(METHODS) - {"coarse_regression"}
    for figures in report["methods"].values():
        mean, low, high = figures["ssim_person"]
        assert low <= mean <= high
    coarse, copy = (report["methods"][name]["psnr"][0] for name in ("coarse", "copy"))
    assert report["differences"]["coarse - copy"]["psnr"][0] == pytest.approx(coarse - copy)
    assert report["differences"]["oracle - refined"]["ssim"][0] >= 0
    printed = capsys.readouterr().out
    assert printed.startswith(output.with_suffix(".md").read_text())
    assert "| coarse, predicted embedding |" in printed
    assert "95 % bootstrap interval" in printed
    assert "Missing: PCK." in printed
    assert "Install ai-edge-litert" in printed
    assert "--train-data" in printed
    assert "- FAIL: refined's Laplacian energy" in printed
    assert "- not measured: PCK of refined" in printed


@pytest.mark.slow
def test_fewer_methods_are_measured_alike_and_an_unknown_one_is_named(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    whole, few = tmp_path / "whole.json", tmp_path / "few.json"
    assert run(weights, data, whole, 2) == 0
    assert run(weights, data, few, 2, "--methods", "refined", "truth", "coarse") == 0
    reports = [json.loads(path.read_text()) for path in (whole, few)]
    assert list(reports[1]["methods"]) == ["truth", "coarse", "refined"]
    for name, figures in reports[1]["methods"].items():
        assert figures == reports[0]["methods"][name]
    capsys.readouterr()
    for names, said in ((["truth", "blur"], "blur is none"), (["refined"], "truth is missing")):
        assert run(weights, data, tmp_path / "no.json", 2, "--methods", *names) == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_and_equals_an_undisturbed_one_exactly(
    weights: Path, data: Path, tmp_path: Path
):
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"
    assert run(weights, data, whole, 4, "--batch", "2", *FEW, "oracle") == 0
    assert run(weights, data, parts, 4, "--batch", "2", *FEW, "oracle") == 0
    folder = pictures_folder(parts)
    pictures_file(folder, 3).unlink()
    (folder / ".000003.part.npz").write_bytes(b"half a file")
    lines = parts.with_suffix(".jsonl").read_text().splitlines(keepends=True)
    parts.with_suffix(".jsonl").write_text("".join(lines[:3]) + '{"pair": 2, "identity"')
    parts.unlink()
    assert run(weights, data, parts, 4, "--batch", "2", *FEW, "oracle") == 0
    assert parts.read_text() == whole.read_text()
    assert records(parts) == records(whole)
    for number in range(4):
        mine, theirs = (
            pictures_file(pictures_folder(path), number).read_bytes() for path in (parts, whole)
        )
        assert mine == theirs


@pytest.mark.slow
def test_a_pairs_pictures_are_its_own_in_any_batch(weights: Path, data: Path, tmp_path: Path):
    one, many = tmp_path / "one.json", tmp_path / "many.json"
    assert run(weights, data, one, 3, "--batch", "1") == 0
    assert run(weights, data, many, 3, "--batch", "3") == 0
    for number in range(3):
        alone, _ = read_pictures(pictures_folder(one), number)
        together, truth = read_pictures(pictures_folder(many), number)
        assert list(alone) == list(together)
        assert np.array_equal(truth.picture, together["truth"])
        for name, picture in alone.items():
            assert np.abs(picture.astype(int) - together[name]).max() <= 2, name


@pytest.mark.slow
def test_results_of_other_settings_are_not_mixed_in(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "report.json"
    assert run(weights, data, output, 1, *FEW) == 0
    before = output.read_text()
    assert run(weights, data, output, 1, *FEW, "--guidance-scale", "3") == 2
    assert "guidance_scale differ" in capsys.readouterr().err
    assert output.read_text() == before


@pytest.mark.slow
def test_sheets_show_people_chosen_by_seed_and_the_worst(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "report.json"
    arguments = ["--json", str(output), "--out", str(tmp_path / "sheets"), "--people", "2"]
    assert sheets.main(arguments) == 2
    assert "run.py evaluate" in capsys.readouterr().err
    assert run(weights, data, output, 2, *FEW, "copy") == 0
    lines = output.with_suffix(".jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines[1:]]
    for row, distance in zip(rows, (0.1, 0.4), strict=True):
        row["figures"]["refined"]["st_lpips"] = distance
    assert sheets.worst_pairs(rows, 1) == [(1, 0.4)]
    output.with_suffix(".jsonl").write_text("\n".join([lines[0], *map(json.dumps, rows)]))
    assert sheets.main([*arguments, "--worst", "1"]) == 0
    with Image.open(tmp_path / "sheets" / "people.jpg") as people:
        assert people.width > 1000
        with Image.open(tmp_path / "sheets" / "worst.jpg") as worst:
            assert worst.width == people.width
            assert worst.height < people.height


@pytest.mark.slow
def test_every_choice_is_compared_with_the_default_on_the_same_pairs(
    weights: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(choices, "GUIDANCE", (1.0, 1.5))
    monkeypatch.setattr(choices, "STEPS", (2, 3))
    output = tmp_path / "choices.json"
    arguments = ["--weights", str(weights), "--data", str(data), "--json", str(output)]
    arguments += ["--pairs", "2", "--steps", "2", "--guidance-scale", "1.5", "--device", "cpu"]
    assert choices.main(arguments) == 0
    report = json.loads(output.read_text())
    assert set(report) == {"default", "guidance 1", "3 steps"}
    assert report["3 steps"]["settings"]["steps"] == 3
    assert report["guidance 1"]["settings"]["guidance_scale"] == 1.0
    means = [report[name]["methods"]["refined"]["ssim"][0] for name in ("guidance 1", "default")]
    assert means[0] != means[1]
    printed = capsys.readouterr().out
    assert "default (2 steps, guidance 1.5)" in printed
    assert "| with stage 3 (refined) |" in printed
    assert f"| guidance 1 - default | {means[0] - means[1]:+.3f}".replace("0.", ".") in printed


def test_without_a_number_of_steps_the_presets_own_is_taken(
    weights: Path, data: Path, tmp_path: Path
):
    output = tmp_path / "report.json"
    arguments = ["--weights", str(weights), "--data", str(data), "--json", str(output)]
    arguments += ["--pairs", "1", "--device", "cpu", "--methods", "truth", "coarse"]
    assert evaluate.main(arguments) == 0
    assert json.loads(output.read_text())["settings"]["steps"] == TEST.steps


def test_people_and_pairs_follow_from_the_seed_and_leave_the_examples_out():
    pairs = choose_pairs(3, 40, None, "test")
    assert choose_pairs(3, 60, None, "test")[:40] == pairs
    assert choose_pairs(4, 40, None, "test") != pairs
    assert len({pair.identity for pair in pairs}) == 40
    assert all(pair.source != pair.target and pair.identity >= 1000 for pair in pairs)


def test_rendered_and_stored_people_give_the_same_pair(data: Path):
    (pair,) = choose_pairs(0, 1, data, "test")
    for mine, stored in zip(
        shots_of(pair, None, "test", SIZE), shots_of(pair, data, "test", SIZE), strict=True
    ):
        assert np.array_equal(mine.picture, stored.picture)
        assert np.array_equal(mine.mask, stored.mask)
        assert np.array_equal(mine.detectable, stored.detectable)


def test_the_truth_has_the_best_figures_and_recoloured_clothes_show_in_the_colour(data: Path):
    (pair,) = choose_pairs(1, 1, data, "test")
    _, truth = shots_of(pair, data, "test", SIZE)
    assert clothed_regions(truth)
    best = figures_of(truth.picture, truth)
    assert best["ssim"] == pytest.approx(1.0)
    assert best["colour"] == pytest.approx(0.0)
    recoloured = truth.picture.copy()
    for region in clothed_regions(truth):
        recoloured[region] = 255 - recoloured[region]
    worse = figures_of(recoloured, truth)
    assert worse["colour"] > 10
    assert worse["psnr_person"] < worse["psnr"]
    assert best["band"] == pytest.approx(1.0)
    assert worse["band"] < 0


def test_pictures_of_another_size_are_refused_with_both_sizes(data: Path):
    (pair,) = choose_pairs(1, 1, data, "test")
    with pytest.raises(ValueError, match=r"64x48.*256x176"):
        shots_of(pair, data, "test", (256, 176))


def test_exported_examples_are_what_the_demo_takes(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    folder = tmp_path / "examples"
    arguments = ["--out", str(folder), "--people", "1", "--views", "3", "--preset", "test"]
    assert export_examples.main(arguments) == 0
    person = folder / "000000"
    assert sorted(p.name for p in person.iterdir()) == [
        f"{view:02d}.{kind}" for view in range(3) for kind in ("json", "png")
    ]
    pose = read_pose(person / "00.json")
    assert pose.visible.sum() > 10
    assert ((pose.xy >= 0) & (pose.xy <= 1)).all()
    monkeypatch.setattr(demo, "EXAMPLES", folder)
    arguments = ["--weights", str(weights), "--output", str(tmp_path / "sheet.png"), "--steps", "1"]
    assert demo.main([*arguments, "--device", "cpu"]) == 0
    assert (tmp_path / "sheet.png").is_file()


@pytest.mark.slow
def test_fast_presets_are_compared_with_the_default_and_carry_their_time(
    weights: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):  # fmt: skip
    presets = {name: choices.FAST_PRESETS[name] for name in ("4-steps", "latents", "half-decode")}
    monkeypatch.setattr(choices, "FAST_PRESETS", presets)
    output = tmp_path / "fast.json"
    arguments = ["--weights", str(weights), "--data", str(data), "--json", str(output)]
    arguments += ["--pairs", "1", "--steps", "2", "--guidance-scale", "1.5", "--device", "cpu"]
    arguments += ["--variants", "fast"]
    assert choices.main(arguments) == 0
    report = json.loads(output.read_text())
    assert list(report) == ["default", *presets]
    assert report["4-steps"]["settings"]["steps"] == 4
    assert report["latents"]["settings"]["fast"]["hand_over_latents"]
    spent = {name: row["seconds_a_pair"] for name, row in report.items()}
    assert all(seconds > 0 for seconds in spent.values())
    ssim = {name: row["methods"]["refined"]["ssim"][0] for name, row in report.items()}
    assert ssim["latents"] != ssim["default"] == ssim["half-decode"]
    assert "| s a pair |" in capsys.readouterr().out
    # Going on makes no pictures and keeps the time that they took.
    assert choices.main(arguments) == 0
    again = json.loads(output.read_text())
    assert {name: row["seconds_a_pair"] for name, row in again.items()} == spent


@pytest.mark.slow
def test_pictures_of_a_fast_preset_are_not_taken_for_those_of_the_default(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "report.json"
    assert run(weights, data, output, 1, *FEW, "--fast", "half-decode") == 0
    assert run(weights, data, output, 1, *FEW) == 2
    assert "fast" in capsys.readouterr().err
