"""The command `pcdm` on files on disk, with tiny random weights."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core.checkpoints import inspect
from pcdm_core.cli import main, output_files, run
from pcdm_core.images import load_picture, to_uint8
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import read_pose, to_openpose, write_openpose
from tests.core.tiny_pipeline import TEST, poses, save_person, save_tiny_weights
from tests.core.weights_files import upstream_state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_person(tmp_path_factory.mktemp("person"), views=3)


def generate(person: Path, weights: Path, output: Path, *more: str) -> int:
    arguments = ["generate", "--image", str(person / "00.png")]
    arguments += ["--source-pose", str(person / "00.json")]
    if "--pose" not in more:
        arguments += ["--pose", str(person / "01.json"), str(person / "02.json")]
    arguments += ["--weights", str(weights), "--output", str(output), "--steps", "2"]
    return main([*arguments, "--device", "cpu", *more])


def test_a_batch_of_poses_becomes_one_picture_a_pose_at_the_sources_size(
    person: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    output = tmp_path / "new" / "folder"
    assert generate(person, weights, output, "--save-coarse") == 0
    names = ["00_to_01.png", "00_to_01_coarse.png", "00_to_02.png", "00_to_02_coarse.png"]
    assert sorted(p.name for p in output.iterdir()) == names
    printed = capsys.readouterr()
    assert [Path(line).name for line in printed.out.split()] == names
    assert "inpainting" in printed.err  # a progress bar a stage
    assert "refining" in printed.err
    for name in names:
        with Image.open(output / name) as image:
            assert image.size == (66, 96)


def test_several_pictures_of_a_pose_differ_and_the_first_is_that_of_one(
    person: Path, weights: Path, tmp_path: Path
):
    one, three = tmp_path / "one", tmp_path / "three"
    assert generate(person, weights, one) == 0
    assert generate(person, weights, three, "--pictures", "3") == 0
    names = [f"00_to_{pose}_picture{n}.png" for pose in ("01", "02") for n in (1, 2, 3)]
    assert sorted(p.name for p in three.iterdir()) == names
    pixels = {name: to_uint8(load_picture(three / name)).astype(int) for name in names}
    for pose in ("01", "02"):
        alone = to_uint8(load_picture(one / f"00_to_{pose}.png")).astype(int)
        assert np.abs(pixels[f"00_to_{pose}_picture1.png"] - alone).max() <= 1
        assert np.abs(pixels[f"00_to_{pose}_picture2.png"] - alone).max() > 5


def test_the_command_writes_what_the_pipeline_returns(person: Path, weights: Path, tmp_path: Path):
    assert generate(person, weights, tmp_path, "--seed", "5", "--size", "model") == 0
    pipeline = PCDMsPipeline.from_folder(weights)
    source = load_picture(person / "00.png")
    target = read_pose(person / "01.json")
    result = pipeline(source, read_pose(person / "00.json"), target, seed=5, steps=2)
    with Image.open(tmp_path / "00_to_01.png") as image:
        pixels = np.asarray(image).astype(int)
    # Alone here, one of two there: equal up to the last bit of a rounding.
    assert np.abs(pixels - to_uint8(result.image)[0]).max() <= 1


def test_without_refining_the_refining_weights_need_not_be_there(
    person: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    fewer = tmp_path / "weights"
    fewer.mkdir()
    for file in weights.iterdir():
        if file.name != "refining.safetensors":
            (fewer / file.name).write_bytes(file.read_bytes())
    assert generate(person, fewer, tmp_path / "a.png", "--pose", str(person / "01.json")) == 2
    assert "refining.safetensors" in capsys.readouterr().err
    assert not (tmp_path / "a.png").exists()
    more = ("--pose", str(person / "01.json"), "--no-refining")
    assert generate(person, fewer, tmp_path / "a.png", *more) == 0
    assert (tmp_path / "a.png").is_file()


@pytest.mark.slow
def test_the_old_switch_no_savings_is_accepted_and_does_nothing(
    person: Path, weights: Path, tmp_path: Path
):
    for number, more in enumerate(((), ("--no-savings",))):
        arguments = ("--pose", str(person / "01.json"), *more)
        assert generate(person, weights, tmp_path / f"{number}.png", *arguments) == 0
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()


def test_a_pose_file_with_several_frames_gives_several_pictures(
    person: Path, weights: Path, tmp_path: Path
):
    clip = write_openpose(poses(3), tmp_path / "clip.json", 96, 66)
    assert generate(person, weights, tmp_path / "out", "--pose", str(clip)) == 0
    names = [f"00_to_clip_{frame:04d}.png" for frame in range(3)]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == names


def test_a_pose_of_another_canvas_keeps_its_proportions(
    person: Path, weights: Path, tmp_path: Path
):
    # The same pose on a canvas padded to a square: it lands where it was.
    pose = read_pose(person / "01.json")
    document = to_openpose(pose, 96, 66)[0]
    points = np.asarray(document["people"][0]["pose_keypoints_2d"]).reshape(18, 3)
    points[:, 0] += 15
    document["people"][0]["pose_keypoints_2d"] = points.reshape(-1).tolist()
    document["canvas_width"] = 96
    square = tmp_path / "square.json"
    square.write_text(json.dumps(document))
    more = ("--size", "model", "--no-refining")
    assert generate(person, weights, tmp_path / "a.png", *more, "--pose", str(square)) == 0
    source = load_picture(person / "00.png")
    pipeline = PCDMsPipeline.from_folder(weights)
    smaller = poses(1, 1)  # the square fits into 66x96 as 66x66, in its middle
    xy = (torch.tensor(points[None, :, :2]) * 66 / 96 + torch.tensor([0.0, 15.0])) / torch.tensor(
        [66.0, 96.0]
    )
    result = pipeline(
        source,
        read_pose(person / "00.json"),
        type(smaller)(xy, smaller.visible),
        seed=0,
        steps=2,
        with_refining=False,
    )
    with Image.open(tmp_path / "a.png") as image:
        assert np.abs(np.asarray(image).astype(int) - to_uint8(result.image)[0]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "L", "P", "CMYK"])
def test_pictures_of_any_mode_are_served(person: Path, weights: Path, tmp_path: Path, mode: str):
    suffix = "tif" if mode == "CMYK" else "png"
    with Image.open(person / "00.png") as image:
        image.convert(mode).save(tmp_path / f"00.{suffix}")
    arguments = ["generate", "--image", str(tmp_path / f"00.{suffix}")]
    arguments += ["--source-pose", str(person / "00.json"), "--pose", str(person / "01.json")]
    arguments += ["--weights", str(weights), "--output", str(tmp_path / "out"), "--steps", "1"]
    assert main([*arguments, "--device", "cpu"]) == 0
    with Image.open(tmp_path / "out" / "00_to_01.png") as image:
        assert (image.mode, image.size) == ("RGB", (66, 96))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "nowhere"], "nowhere"),
        (["--image", "nowhere.png"], "nowhere.png"),
        (["--pose", "nowhere.json"], "nowhere.json"),
        (["--source-pose", "broken.json"], "broken.json"),
        (["--pose", "empty.json"], "all 18 joints are missing"),
        (["--image", "broken.json"], "not a picture"),
        (["--output", "one.png"], "2 pictures"),
        (["--output", "broken.json"], "is a file"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_what_cannot_be_served_is_one_sentence_status_2_and_no_file(
    person: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
):
    monkeypatch.chdir(tmp_path)
    Path("broken.json").write_text("{", encoding="utf-8")
    missing = {"people": [{"pose_keypoints_2d": [0.0] * 54}]}
    Path("empty.json").write_text(json.dumps(missing), encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    assert generate(person, weights, tmp_path / "out", *arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("pcdm: ")
    assert words in printed.err
    assert "Traceback" not in printed.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_missing_default_folder_of_weights_is_said(
    person: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    monkeypatch.setattr("pcdm_core.checkpoints.load.WEIGHTS_FOLDER", tmp_path / "weights")
    arguments = ["generate", "--image", str(person / "00.png"), "--device", "cpu"]
    arguments += ["--source-pose", str(person / "00.json"), "--pose", str(person / "01.json")]
    assert main([*arguments, "--output", str(tmp_path / "out.png")]) == 2
    assert "no weights ship" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--steps", "0"], ["--seed", "-1"], ["--seed", "x"], ["--size", "big"]]
)
def test_a_wrong_option_is_refused_by_name(
    person: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
):
    with pytest.raises(SystemExit) as stopped:
        generate(person, weights, tmp_path, *arguments)
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_poses_of_one_name_from_two_folders_do_not_overwrite_each_other():
    paths = output_files(Path("out"), Path("a/me.jpg"), ["run", "sit", "run"])
    assert [path.name for path in paths] == ["me_to_run.png", "me_to_sit.png", "me_to_run_3.png"]


def test_inspect_says_what_a_file_is(weights: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["inspect", str(weights / "refining.safetensors")]) == 0
    printed = capsys.readouterr().out
    assert "component: refining" in printed
    assert "preset: test" in printed


def test_convert_writes_what_loads_and_refuses_other_files(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    published = tmp_path / "mp_rank_00_model_states.pt"
    state = PCDMsPipeline.from_folder(weights).inpainting.state_dict()
    torch.save({"module": state}, published)
    assert main(["convert", str(published), str(tmp_path / "inpainting.safetensors")]) == 0
    assert "component: inpainting" in capsys.readouterr().out
    assert main(["inspect", str(tmp_path / "inpainting.safetensors")]) == 0
    (tmp_path / "note.pt").write_text("no weights")
    assert main(["convert", str(tmp_path / "note.pt"), str(tmp_path / "x.safetensors")]) == 2
    assert "note.pt" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_help_needs_none_of_the_large_libraries(root: Path):
    code = (
        "import sys, pcdm_core.cli as cli\n"
        "try:\n    cli.main(['generate', '--help'])\n"
        "except SystemExit as stop:\n    assert stop.code == 0\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "--source-pose" in result.stdout


def test_a_folder_tells_its_preset_and_configurations(weights: Path):
    pipeline = PCDMsPipeline.from_folder(weights)
    assert pipeline.preset == TEST
    assert pipeline.refining is not None
    assert not pipeline.refining.training


def test_convert_writes_half_precision_unless_the_type_is_to_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wide = {name: tensor.float() for name, tensor in upstream_state("stage 2").items()}
    torch.save({"module": wide}, tmp_path / "s2.pt")
    for options, dtype in (([], "float16"), (["--keep-dtype"], "float32")):
        path = tmp_path / f"{dtype}.safetensors"
        assert main(["convert", str(tmp_path / "s2.pt"), str(path), *options]) == 0
        assert inspect(path).dtypes == (dtype,)
    next(iter(wide.values())).fill_(70000)
    torch.save({"module": wide}, tmp_path / "s2.pt")
    assert main(["convert", str(tmp_path / "s2.pt"), str(tmp_path / "x.safetensors")]) == 2
    assert "has values that are infinite" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_a_device_out_of_memory_names_the_switches(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    assert run(command, "pcdm") == 2
    sentence = capsys.readouterr().err
    assert all(switch in sentence for switch in ("--keep one", "--dtype bfloat16", "--tiled"))
