"""The demo's choices and its contact sheet, with tiny random weights."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pcdm_core import demo
from pcdm_core.pose.formats import read_pose
from pcdm_core.presets import PRESETS
from pcdm_core.sheet import GROUND, contact_sheet
from tests.core.tiny_pipeline import save_person, save_tiny_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two example people with three views each."""
    folder = tmp_path / "examples"
    for name in ("000003", "000007"):
        save_person(folder / name, views=3)
    monkeypatch.setattr(demo, "EXAMPLES", folder)
    return folder


def run_demo(weights: Path, output: Path, *more: str) -> int:
    arguments = ["--weights", str(weights), "--output", str(output), "--steps", "1"]
    return demo.main([*arguments, "--device", "cpu", *more])


def test_the_demo_draws_an_unseen_person_and_prints_where_the_sheet_is(
    weights: Path, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "out" / "sheet.png"
    assert run_demo(weights, output) == 0
    printed = capsys.readouterr().out
    assert str(output.resolve()) in printed
    assert "rendered people only" in printed
    assert "person 3 in 2 other poses" in printed
    with Image.open(output) as image:
        assert image.width > image.height > 300


@pytest.mark.slow
def test_the_seed_picks_person_and_view(
    weights: Path, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    sheets = []
    for seed in range(3):
        output = tmp_path / f"{seed}.png"
        assert run_demo(weights, output, "--seed", str(seed)) == 0
        sheets.append(output.read_bytes())
    assert len(set(sheets)) == 3
    printed = capsys.readouterr().out
    assert "person 7" in printed


def test_the_demo_draws_four_of_many_views(
    weights: Path, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    save_person(examples / "000003", views=7)
    assert run_demo(weights, tmp_path / "many.png") == 0
    assert "person 3 in 4 other poses" in capsys.readouterr().out


def test_an_own_person_has_no_truth_column(
    weights: Path, examples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    person = save_person(tmp_path / "own", views=3, height=50, width=90)
    arguments = ["--image", str(person / "00.png"), "--source-pose", str(person / "00.json")]
    arguments += ["--pose", str(person / "01.json"), str(person / "02.json")]
    assert run_demo(weights, tmp_path / "own.png", *arguments) == 0
    assert run_demo(weights, tmp_path / "example.png") == 0
    assert "rendered people only" in capsys.readouterr().out
    with Image.open(tmp_path / "own.png") as mine, Image.open(tmp_path / "example.png") as theirs:
        assert mine.height == theirs.height
        # One column less: 48 pixels five times enlarged, and the gap beside them.
        assert 240 < theirs.width - mine.width < 260


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--image", "a.png"], "--source-pose"),
        (["--output", "sheet.jpg"], "PNG"),
        (["--weights", "nowhere"], "nowhere"),
    ],
)
def test_what_is_missing_is_said_with_status_2(
    weights: Path,
    examples: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
):
    assert run_demo(weights, tmp_path / "sheet.png", *arguments) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "sheet.png").exists()


def test_missing_examples_are_said(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr(demo, "EXAMPLES", tmp_path / "none")
    assert run_demo(weights, tmp_path / "sheet.png") == 2
    assert "example people are missing" in capsys.readouterr().err


def flat(colour: tuple[int, int, int], height: int = 64, width: int = 48) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 2, 4, 7])
def test_every_picture_lies_whole_on_the_sheet(rows: int):
    colours = [(10 + 20 * k, 200 - 20 * k, 90) for k in range(rows)]
    sheet = contact_sheet(
        [("Source", flat((250, 0, 0))), ("Source pose", flat((0, 0, 250)))],
        ["Target pose", "Result"],
        [[flat(colour), flat((0, 250, 0))] for colour in colours],
        title="Title",
        note="A note that is long enough to be wrapped somewhere, because it goes on and on. " * 4,
    )
    pixels = np.asarray(sheet).reshape(-1, 3)

    def area(colour: tuple[int, int, int]) -> int:
        return int((pixels == colour).all(-1).sum())

    cell = area(colours[0])
    assert cell >= 64 * 48
    assert all(area(colour) == cell for colour in colours)
    assert area((0, 250, 0)) == rows * cell
    assert 0.8 * cell <= area((250, 0, 0)) <= 4 * cell
    assert area((250, 0, 0)) == area((0, 0, 250))
    assert area(GROUND) > cell
    edge = np.concatenate([np.asarray(sheet)[0], np.asarray(sheet)[-1]])
    assert (edge == GROUND).all()


def test_a_row_that_does_not_fit_the_columns_is_refused():
    with pytest.raises(ValueError, match="Target pose, Result"):
        contact_sheet([], ["Target pose", "Result"], [[flat((0, 0, 0))]], title="")


def test_the_shipped_examples_fit_the_shipped_preset():
    people = sorted(p for p in demo.EXAMPLES.iterdir() if p.is_dir())
    assert len(people) >= 10
    preset = PRESETS["mini"]
    for person in people:
        views = sorted(person.glob("*.png"))
        assert len(views) == 9
        for view in views:
            with Image.open(view) as image:
                assert (image.mode, image.size) == ("RGB", (preset.width, preset.height))
            pose = read_pose(view.with_suffix(".json"))
            assert int(pose.visible.sum()) >= 6
            assert bool(((pose.xy >= 0) & (pose.xy <= 1)).all())
