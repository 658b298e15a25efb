"""The command `pcdm annotate`: a folder of pictures becomes poses, layouts, pairs and reports."""

import csv
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core import annotate
from pcdm_core.annotate import pairs_of
from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.cli import main
from pcdm_core.images import save_picture
from pcdm_core.pose.detect import has_blazepose
from pcdm_core.pose.formats import read_pose
from tests.hosts import ROOT
from training.data.layouts import open_pictures

EXAMPLES = WEIGHTS_FOLDER / "examples"
needs_detector = pytest.mark.skipif(not has_blazepose(), reason="ai-edge-litert is not installed")


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """Two people of two pictures each, with their poses, and somebody's notes."""
    for person in ("000000", "000001"):
        (tmp_path / "people" / person).mkdir(parents=True)
        for view in ("00", "01"):
            for ending in (".png", ".json"):
                file = f"{person}/{view}{ending}"
                shutil.copy(EXAMPLES / file, tmp_path / "people" / file)
    return tmp_path / "people"


def run(*arguments: str | Path) -> None:
    assert main(["annotate", *map(str, arguments), "--workers", "1"]) == 0


def test_poses_beside_pictures_go_into_every_layout(people: Path) -> None:
    """And training's own readers take them."""
    run(people, "--layouts", "pcdms", "openpose")
    openpose = json.loads((people / "openpose/000000/01_keypoints.json").read_text())
    picture = Image.open(people / "000000/01.png")
    assert (openpose["canvas_width"], openpose["canvas_height"]) == picture.size
    expected = read_pose(people / "000000/01.json")
    for layout in ("pcdms", "folder"):
        pictures = open_pictures(people, layout)
        assert not pictures.problems
        assert len(pictures.pairs) == 4
        row = pictures.names.index("000000/01.png")
        assert torch.equal(pictures.poses.visible[row], expected.visible[0])
        off = (pictures.poses.xy[row] - expected.xy[0])[expected.visible[0]]
        assert off.abs().max() < 1e-6
    assert Image.open(people / annotate.SHEET).height > 300
    assert not (people / annotate.FAILURES).exists()


@needs_detector
def test_what_no_file_says_is_detected_and_what_fails_is_listed(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = read_pose(people / "000000/00.json")
    (people / "000000/00.json").unlink()
    (people / "000001/00.png").write_bytes(b"no picture")
    save_picture(torch.zeros(1, 3, 60, 40), people / "000001" / "blank.png")
    Image.open(people / "000000/00.png").save(people / "000000/00.bmp")
    out = tmp_path / "out"
    run(people, "--output", out)
    assert "(1 detected, 2 read)" in capsys.readouterr().out
    pose = read_pose(out / "000000/00.json")
    both = (pose.visible & expected.visible)[0]
    assert both.sum() > 12
    assert (pose.xy - expected.xy)[0, both].abs().median() < 0.02
    with (out / annotate.FAILURES).open(encoding="utf-8") as file:
        reasons = {row["picture"]: row["reason"] for row in csv.DictReader(file)}
    assert reasons.keys() == {"000000/00.png", "000001/00.png", "000001/blank.png"}
    assert "00.bmp has the same name" in reasons["000000/00.png"]
    assert "not a picture" in reasons["000001/00.png"]
    assert not list(people.rglob("annotated*"))


@needs_detector
def test_a_run_that_was_stopped_goes_on_without_loss(
    people: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in people.rglob("*.json"):
        file.unlink()
    whole = annotate.find_pose
    done: list[Path] = []

    def stopping(task: annotate.Task) -> annotate.Outcome:
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(task.pose)
        return whole(task)

    monkeypatch.setattr(annotate, "find_pose", stopping)
    assert main(["annotate", str(people), "--workers", "1"]) == 130
    first = {path: path.read_bytes() for path in people.rglob("*.json")}
    assert len(first) == 2
    monkeypatch.setattr(annotate, "find_pose", whole)
    run(people)
    assert "(2 detected, 2 read)" in capsys.readouterr().out
    assert all(path.read_bytes() == content for path, content in first.items())
    assert len(list(people.rglob("*.json"))) == 4


@pytest.mark.slow
@needs_detector
def test_a_run_that_was_killed_goes_on_without_loss(people: Path, tmp_path: Path) -> None:
    for file in people.rglob("*.json"):
        file.unlink()
    shutil.copytree(people, tmp_path / "whole")
    command = [sys.executable, "-m", "pcdm_core.cli", "annotate", str(people), "--workers", "1"]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and len(list(people.rglob("*.json"))) < 2:
            time.sleep(0.01)
        process.kill()
    first = {path: path.read_bytes() for path in people.rglob("*.json")}
    assert 2 <= len(first) < 4
    run(people)
    run(tmp_path / "whole")
    assert all(path.read_bytes() == content for path, content in first.items())
    for file in (tmp_path / "whole").rglob("*"):
        if file.is_file():
            other = people / file.relative_to(tmp_path / "whole")
            assert other.read_bytes() == file.read_bytes(), file.name
    assert not list(people.rglob("*.tmp*"))


@pytest.mark.slow
@needs_detector
def test_processes_find_what_one_finds(people: Path, tmp_path: Path) -> None:
    for file in people.rglob("*.json"):
        file.unlink()
    run(people, "--output", tmp_path / "one")
    assert main(["annotate", str(people), "--output", str(tmp_path / "two"), "--workers", "2"]) == 0
    for file in (tmp_path / "one").rglob("*.json"):
        other = tmp_path / "two" / file.relative_to(tmp_path / "one")
        numbers = [read_pose(path).xy.numpy() for path in (file, other)]
        np.testing.assert_allclose(*numbers, atol=1e-6)


def test_a_pose_file_of_a_users_stays_as_it_is(people: Path) -> None:
    file = people / "000000/00.json"
    document = json.loads(file.read_text())
    document = {"people": document["people"]}  # without a canvas
    file.write_text(json.dumps(document), encoding="utf-8")
    run(people)
    assert json.loads(file.read_text()) == document


def test_a_folder_without_people_ends_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["annotate", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
    assert main(["annotate", str(tmp_path)]) == 2
    assert "holds no pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [("folder", [("x/a_1", "x/a_2"), ("x/a_1", "x/b1"), ("x/a_2", "x/b1")]),
     ("name", [("x/a_1", "x/a_2"), ("y/c1", "y/c12")])],
)  # fmt: skip
def test_pairs_are_of_one_folder_or_of_one_name(rule: str, pairs: list[tuple[str, str]]) -> None:
    names = [Path(name) for name in ("x/a_1", "x/a_2", "x/b1", "y/c1", "y/c12", "z/d")]
    if rule == "folder":
        names.remove(Path("y/c12"))
    result = pairs_of(names, rule)
    assert {frozenset(map(Path.as_posix, pair)) for pair in result} == set(map(frozenset, pairs))
    assert len(result) == 2 * len(pairs)
