"""A run whose whole time is given: its plan, its files, what is carried to a bare machine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from pcdm_core.checkpoints.components import find_student
from pcdm_core.checkpoints.components import load_components as read_parts
from pcdm_core.config import Preset
from pcdm_core.presets import find_preset
from pcdm_core.vae import build_autoencoder
from training.coarse.render import CoarseRenderer, render_coarse
from training.commands import minutes_run
from training.commands.components import load_components
from training.commands.mini_run import MiniRun
from training.commands.minutes_run import Plan, check_files, pack, time_limit
from training.commands.train_mini import CONFIGS, main
from training.config import CoarseRun, StageRun, TrainConfig, load_config
from training.stages.initialise import build_denoiser, sized_preset
from training.tools.carry_packages import MODELS, PACKAGES, command, pins, prune

from . import workers

MINUTES = CONFIGS / "minutes.yaml"
SHARES = {"inpainting": 3.0, "prior": 1.0, "refining": 2.0}


class Clock:
    """Stands still until it is moved."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(minutes_run.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


# --- the plan -------------------------------------------------------------------------------------


def test_parts_that_keep_to_their_time_share_all_of_it(clock: Clock) -> None:
    plan = Plan(clock.now + 70.0, SHARES, reserve=10.0)
    for part, seconds in {"inpainting": 30.0, "prior": 10.0, "refining": 20.0}.items():
        assert plan.seconds(part) == pytest.approx(seconds)
        clock.now += seconds
    assert plan.remaining() == 0


def test_a_slow_part_shortens_what_follows_and_the_end_is_kept(clock: Clock) -> None:
    plan = Plan(clock.now + 70.0, SHARES, reserve=10.0)
    clock.now += 12  # rendering
    assert plan.seconds("inpainting") == pytest.approx(24.0)
    clock.now += 30  # 6 more than that
    assert plan.seconds("prior") == pytest.approx(6.0)
    clock.now += plan.seconds("prior")
    assert plan.seconds("refining") == pytest.approx(12.0)
    clock.now += 20  # and there is nothing left
    assert (plan.remaining(), plan.seconds("refining")) == (0, 0)
    assert plan.end - clock.now == pytest.approx(2.0)


def test_what_the_evaluation_takes_is_no_time_for_training(clock: Clock) -> None:
    plan = Plan(clock.now + 70.0, SHARES)
    plan.reserve += 40
    assert plan.remaining() == 30
    assert plan.seconds("inpainting") == 15


@workers.posix
def test_a_block_ends_at_its_limit_and_nothing_rings_afterwards() -> None:
    with pytest.raises(TimeoutError, match="time is over"), time_limit(0.05):
        time.sleep(20)
    with time_limit(0.05):
        pass
    time.sleep(0.1)


@pytest.mark.parametrize("choice", ["large", "small", "tiny", "tiniest"])
def test_each_choice_of_the_configuration_has_networks_and_a_plan_of_its_parts(choice: str) -> None:
    config = load_config(MINUTES, choice)
    preset = sized_preset(find_preset(config.preset), config)
    with torch.device("meta"):
        parts = [build_denoiser(preset, stage) for stage in ("prior", "inpainting", "refining")]
        parts.append(build_autoencoder(preset.autoencoder))
    # Patch and global encoder of the mini preset have 0.8 M together.
    assert sum(p.numel() for part in parts for p in part.parameters()) < 19.2e6
    assert set(config.plan.shares) - {"coarse", "student"} <= set(config.stages)
    if config.smaller is not None:
        smaller = sized_preset(find_preset(preset.name), load_config(MINUTES, config.smaller))
        assert smaller.inpainting != preset.inpainting
        assert (smaller.height, smaller.width) == (preset.height, preset.width)


def test_coarse_pictures_of_a_given_time_are_whole_batches(
    people_folder: Path, preset: Preset, tmp_path: Path, accelerator: Accelerator
) -> None:
    still = {name: StageRun(steps=0, fit_pictures=20) for name in SHARES}
    stages = {**still, "autoencoder": StageRun(steps=0, fit_pictures=20)}
    config = TrainConfig(preset="test", identities=5, views=4, render_workers=1, stages=stages)
    run = MiniRun(config, people_folder, tmp_path)
    run.shard_bytes = 100_000
    run.fit_encoders()
    run.train_inpainting()
    run.train_prior()
    assert (run.weights / "inpainting.safetensors.index.json").is_file()
    parts = load_components(run.weights, "cpu")
    coarse = CoarseRun(pairs=6, batch_size=2, steps=1, guidance_scale=1.0)
    renderer = CoarseRenderer(preset, parts, coarse, 0)
    inputs = renderer, run.read_people(), tmp_path / "coarse", accelerator
    first = render_coarse(*inputs, seconds=0.0)
    every = render_coarse(*inputs)
    assert (len(first.rows), len(every.rows)) == (2, 6)
    assert torch.equal(first.pictures, every.pictures[:2])


# --- files ----------------------------------------------------------------------------------------


def test_files_are_packed_below_the_limit_and_later_ones_fill_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(minutes_run, "FILE_BYTES", 10_000)
    paths: list[Path] = []
    for name, size in {"code": 3000, "first": 7000, "second": 4000, "prior": 1000}.items():
        paths.append(tmp_path / f"{name}.safetensors")
        paths[-1].write_bytes(name.encode().ljust(size, b"."))
    out = tmp_path / "files"
    assert [path.name for path in pack(paths[:2], out, "weights")] == [
        "weights-1.zip",
        "weights-2.zip",
    ]
    second = (out / "weights-2.zip").read_bytes()
    archives = pack(paths, out, "weights", "student/")
    names = [ZipFile(archive).namelist() for archive in archives]
    assert names == [
        ["student/code.safetensors", "student/second.safetensors"],
        ["student/first.safetensors", "student/prior.safetensors"],
    ]
    assert (out / "weights-2.zip").read_bytes() != second
    assert all(archive.stat().st_size <= 10_000 for archive in archives)
    assert ZipFile(archives[0]).read("student/code.safetensors") == paths[0].read_bytes()
    paths[0].write_bytes(bytes(10_000))
    with pytest.raises(ValueError, match=r"code\.safetensors: 11000 bytes; a file may have 10000"):
        pack(paths, out, "weights")


def test_more_files_than_can_be_taken_away_are_an_error(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}").write_bytes(bytes(2_000_000))
    assert check_files(tmp_path).splitlines()[0] == "  2.00 MB  0"
    (tmp_path / "8").touch()
    with pytest.raises(ValueError, match=r"9 files, 16\.0 MB.*At most 8 of 15 MB, 60 MB together"):
        check_files(tmp_path)
    (tmp_path / "8").unlink()
    (tmp_path / "0").write_bytes(bytes(15_000_001))
    with pytest.raises(ValueError, match=r"the largest 15\.0 MB"):
        check_files(tmp_path)


# --- what is carried ------------------------------------------------------------------------------


def test_what_is_carried_is_pinned_and_goes_with_the_first_huggingface_hub() -> None:
    versions = dict(pin.split("==") for pin in pins(PACKAGES))
    assert {"diffusers", "pydantic", "pydantic-core", "accelerate"} <= set(versions)
    assert "torch" not in versions
    assert versions["huggingface-hub"].startswith("1.")
    with pytest.raises(ValueError, match=r"requirements-dev\.txt: left-pad has no version there"):
        pins(["left-pad"])
    words = command(Path("carried"), "3.12", ["diffusers"])
    assert words[-3:] == ["--target", "carried", f"diffusers=={versions['diffusers']}"]
    assert "--no-deps" in words


def test_pipelines_and_networks_that_nobody_loads_are_left_out(tmp_path: Path) -> None:
    code = [
        "diffusers/pipelines/pipeline_utils.py", "diffusers/pipelines/flux/pipeline.py",
        "transformers/models/clip/modeling_clip.py", "transformers/models/bert/modeling_bert.py",
        "transformers/models/bert/tokenization_bert.py",
    ]  # fmt: skip
    for name in code:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    prune(tmp_path)
    assert [(tmp_path / name).exists() for name in code] == [True, False, True, False, True]
    assert "dinov2" in MODELS


# --- the whole ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_tiny_run_falls_back_ends_in_time_and_leaves_files_that_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: Callable[[int, int], int]
) -> None:
    if not cases(0, 1):
        pytest.skip("four minutes by the clock; python run.py test --full runs it")
    out, files = tmp_path / "run", tmp_path / "files"
    words = [
        "--minutes",
        "4",
        "--set",
        "plan.rate_seconds=3",
        "--preset",
        "tiny",
        "--pairs",
        "2",
        "--set",
        "least_rate=1e9",
    ]
    words += ["--data", str(tmp_path / "people"), "--out", str(out), "--files", str(files)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert "Stage 2 (tiny): " in printed
    assert "Below 1e+09 samples/s: tiniest in its place." in printed
    assert "Stage 2 (tiniest): " in printed
    assert {path.name for path in files.iterdir()} == {
        "weights-1.zip", "student-1.zip", "report.json", "report.md", "people.jpg",
    }  # fmt: skip
    check_files(files)
    for archive in files.glob("*.zip"):
        ZipFile(archive).extractall(tmp_path / "weights")
    preset, parts = read_parts(tmp_path / "weights")
    smaller = load_config(MINUTES, "tiniest")
    assert preset.inpainting.unet == sized_preset(find_preset("test"), smaller).inpainting.unet
    assert all(t.isfinite().all() for part in parts.values() for t in part.state_dict().values())
    assert find_student(tmp_path / "weights") is not None
    _, students = read_parts(tmp_path / "weights", student=True)
    changed = students["inpainting"].state_dict()
    assert any(not torch.equal(t, changed[n]) for n, t in parts["inpainting"].state_dict().items())
    report = json.loads((files / "report.json").read_text(encoding="utf-8"))
    assert {"coarse", "refined", "truth"} <= set(report["methods"])
    with Image.open(files / "people.jpg") as picture:
        assert picture.size[0] > 100
