"""The model card's figures of the pose detector."""

import json
from pathlib import Path

import numpy as np
import pytest

from pcdm_core.pose.detect import has_blazepose
from pcdm_core.pose.keypoints import MIRROR
from training.evaluation.detector_study import Reading, cases, main, sides_swapped, summarise

JOINTS = np.random.default_rng(0).uniform(0, 100, (18, 2))
ALL = np.ones(18, bool)


def reading(found: np.ndarray = JOINTS, reported: np.ndarray = ALL, **more: object) -> Reading:
    fields = {"picture": "0", "inside": ALL, "seen": ALL, "view": "front", "people": 1} | more
    return Reading(truth=JOINTS, found=found, reported=reported, **fields)  # pyright: ignore[reportArgumentType]


def test_exchanged_sides_are_told_from_other_mistakes() -> None:
    assert sides_swapped(reading(JOINTS[list(MIRROR)]))
    assert not sides_swapped(reading())
    assert not sides_swapped(reading(JOINTS + 3))


def test_every_kind_of_mistake_is_counted_once() -> None:
    near = JOINTS.copy()
    near[3] += [0, 7]  # of a height of about a hundred
    without = ALL.copy()
    without[[0, 9]] = False
    beyond = ALL.copy()
    beyond[10] = False
    report = summarise(
        [
            reading(near),
            reading(reported=without),
            reading(inside=beyond),
            reading(seen=without | (np.arange(18) == 9), view="back"),
            reading(people=0, reported=~ALL),
        ]
    )
    assert (report["pictures"], report["found"]) == (5, 4)
    assert report["pck@0.1"] == 1.0
    assert report["pck@0.05"] == pytest.approx(1 - 1 / 71)
    assert (report["joints inside, left out"], report["joints inside"]) == (1, 51)
    assert (report["joints outside, reported inside"], report["joints outside"]) == (1, 1)
    front, back = report["views"]["front"], report["views"]["back"]
    assert (front["pictures"], front["nose seen, left out"], front["nose hidden"]) == (3, 1, 0)
    assert (back["pictures"], back["nose hidden"], back["nose hidden, reported"]) == (1, 1, 1)
    assert report["sides swapped in"] == []


def test_people_written_by_the_generator_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "test" / "000003"
    folder.mkdir(parents=True)
    codes = np.full((1, 18), 2, np.uint8)
    codes[0, [0, 4, 9]] = 1, 1, 0  # a nose and a wrist that are hidden, a knee outside
    np.savez(
        folder / "people.npz",
        xy=JOINTS[None].astype(np.float32),
        visible=codes,
        size=np.array([96, 64], np.int32),
    )
    ((picture, pose, inside),) = cases(tmp_path, "test")
    assert picture == folder / "00.png"
    assert [joint for joint in range(18) if not pose.visible[0, joint]] == [0, 9]
    assert [joint for joint in range(18) if not inside[joint]] == [9]
    np.testing.assert_allclose(pose.to_pixels(96, 64)[0], JOINTS, atol=1e-4)


@pytest.mark.skipif(not has_blazepose(), reason="ai-edge-litert is not installed")
def test_the_command_measures_the_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--limit", "9", "--json", str(tmp_path / "figures.json")]) == 0
    report = json.loads((tmp_path / "figures.json").read_text())
    assert report["pictures"] == report["found"] == 9
    assert report["pck@0.1"] > 0.9
    assert sum(view["pictures"] for view in report["views"].values()) == 9
    assert "A person in 9 of 9 pictures" in capsys.readouterr().out


def test_a_folder_without_people_says_how_to_make_some(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert "python -m training.synthetic" in capsys.readouterr().err
