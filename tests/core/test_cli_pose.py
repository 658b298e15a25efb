"""The command `pcdm pose`: any file in, the report, and files out."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.cli import main
from pcdm_core.images import load_picture, save_picture
from pcdm_core.pose.detect import has_blazepose
from pcdm_core.pose.editor import library
from pcdm_core.pose.formats import read_pose, write_openpose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.read_any import read_pose_file, read_skeletons
from pcdm_core.pose.render import render_pose
from tests.core.pose_dialects import DIALECTS, HEIGHT, MISSING, WIDTH, patn_csv, source_of

STANDING = library()[0].keypoints


@pytest.mark.skipif(not has_blazepose(), reason="ai-edge-litert is not installed")
def test_people_in_a_picture_are_detected_described_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One whole, and one who is cut off above the knees."""
    whole = load_picture(WEIGHTS_FOLDER / "examples" / "000000" / "00.png")
    half = load_picture(WEIGHTS_FOLDER / "examples" / "000001" / "00.png")
    height, width = half.shape[-2:]
    half = half[..., : height * 11 // 24, :]
    half = torch.nn.functional.interpolate(half, (height, width * 35 // 16), mode="bilinear")
    file, converted = tmp_path / "people.png", tmp_path / "pose.json"
    save_picture(torch.cat([whole, half], dim=-1), file)
    assert main(["pose", str(file), "--person", "1", "--json", str(converted)]) == 0
    printed = capsys.readouterr().out
    assert "people were detected" in printed
    assert "whole body, view: front" in printed
    assert "half body" in printed
    assert read_pose(converted).visible.any()
    assert main(["pose", str(file), "--person", "7"]) != 0
    assert "there are 2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", DIALECTS)
def test_a_file_of_any_dialect_is_converted_and_drawn(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = source_of(DIALECTS[name])
    file = tmp_path / "pose.anything"
    file.write_text(source if isinstance(source, str) else json.dumps(source), encoding="utf-8")
    converted, skeleton = tmp_path / "new" / "pose.json", tmp_path / "pose.png"
    arguments = ["pose", str(file), "--size", f"{HEIGHT}x{WIDTH}"]
    assert main([*arguments, "--json", str(converted), "--render", str(skeleton)]) == 0
    printed = capsys.readouterr().out
    assert DIALECTS[name].says in printed
    assert printed.splitlines()[-2:] == [str(converted), str(skeleton)]
    pose = read_pose(converted)
    assert pose.visible[0].tolist() == [joint != MISSING for joint in range(18)]
    with Image.open(skeleton) as image:
        assert np.asarray(image).max() == 255
        size = json.loads(converted.read_text(encoding="utf-8"))
        assert image.size == (size["canvas_width"], size["canvas_height"])


def test_a_skeleton_picture_becomes_key_points(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = save_picture(render_pose(STANDING, 768, 512), tmp_path / "skeleton.png")
    assert main(["pose", str(picture), "--json", str(tmp_path / "pose.json")]) == 0
    assert "Skeleton picture in ControlNet's colours: 18 joints." in capsys.readouterr().out
    pose = read_pose(tmp_path / "pose.json")
    assert (pose.xy - STANDING.xy).abs().max() < 0.003
    # Drawn again it is the very picture, but for the fractions of pixels.
    assert main(["pose", str(picture), "--render", str(tmp_path / "again.png")]) == 0
    off = (load_picture(tmp_path / "again.png") - load_picture(picture)).abs().mean()
    assert off < 0.01


def test_a_picture_without_anybody_ends_with_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = torch.rand(1, 3, 96, 64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    picture = save_picture(noise, tmp_path / "noise.png")
    assert main(["pose", str(picture)]) == 2
    said = capsys.readouterr().err
    assert "No person was found" in said or "install" in said
    assert "Traceback" not in said


def test_a_row_a_person_and_the_units_are_chosen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header, row = patn_csv().splitlines()
    table = tmp_path / "annotation.csv"
    table.write_text("\n".join([header, row, f"b{row}", f"c{row}"]), encoding="utf-8")
    poses = tmp_path / "clip.png"
    assert main(["pose", str(table), "--render", str(poses)]) == 0
    assert "Frames: 3." in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("clip*")) == [
        f"clip_000{n}.png" for n in range(3)
    ]
    name = f"b{row.split(':')[0]}"
    for frame in ("1", name):
        assert main(["pose", str(table), "--frame", frame]) == 0
        assert "Frames" not in capsys.readouterr().out
    two = Keypoints.cat([STANDING, STANDING])
    document = json.loads(write_openpose(two, tmp_path / "two.json", 60, 40).read_text())
    document[0]["people"] += document[1]["people"]
    (tmp_path / "people.json").write_text(json.dumps(document[0]), encoding="utf-8")
    command = ["pose", str(tmp_path / "people.json"), "--order", "left to right", "--person"]
    assert main([*command, "1"]) == 0
    assert "People: 2; taken: 1 of the file" in capsys.readouterr().out
    assert main([*command, "2"]) == 2
    assert "person 2 was asked for, but there are 2" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["512", "0x8", "8xx", "axb"])
def test_a_size_that_is_none_is_named(size: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pose", "pose.json", "--size", size])
    assert "--size" in capsys.readouterr().err


def test_the_report_warns_of_a_skeleton_of_another_convention() -> None:
    skeleton = render_pose(STANDING, 512, 384)
    white = torch.where(skeleton.amax(dim=1, keepdim=True) > -1, skeleton, torch.ones(()))
    reading = read_skeletons(torch.cat([skeleton, white]))
    assert len(reading.keypoints) == 2
    assert "Unlike the models' skeletons: the background is white, not black." in str(
        reading.report
    )


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for name in ("pose.json", "pose.png"):
        with pytest.raises(FileNotFoundError, match=name):
            read_pose_file(tmp_path / name)
