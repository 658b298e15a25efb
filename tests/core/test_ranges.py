"""Numeric settings outside their range are refused by name, before anything is computed."""

import argparse
import ast
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcdm_core.cli import build_parser, main
from pcdm_core.config import ScheduleConfig
from pcdm_core.images import Fit, resize
from pcdm_core.inputs import draw_rows, repeat_rows
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.body_mask import body_mask
from pcdm_core.pose.formats import PoseError, read_pose, to_openpose
from pcdm_core.pose.interpolate import interpolate_poses
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.render import render_pose
from pcdm_core.pose.retarget import retarget
from pcdm_core.ranges import DENOISE, GUIDANCE_SCALE, SEED, Range
from pcdm_core.run_stages import chunks_of
from pcdm_core.sampling import draw_noise, sample
from pcdm_core.schedules import linear_steps, make_scheduler, most_steps
from pcdm_core.speed import SpeedPreset
from pcdm_core.stages import predict_embedding
from tests.core.runs import tiny
from tests.core.tiny_pipeline import picture, poses, tiny_pipeline
from training.commands import measure
from training.evaluation.render_pairs import Rendering

NO_NUMBERS = (math.nan, math.inf, -math.inf)
NO_COUNTS = (*NO_NUMBERS, -1, 1.5, "2", True)


@pytest.fixture(scope="module")
def pipeline() -> PCDMsPipeline:
    return tiny_pipeline()


@pytest.mark.parametrize("value", [0, 1, 7, np.int64(7), 2**64 - 1])
def test_what_is_inside_passes(value: Any) -> None:
    assert value in SEED
    assert np.float32(1.5) in GUIDANCE_SCALE
    assert 2 in GUIDANCE_SCALE
    assert 1.0 in DENOISE


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 2**64, 10**400, 1.0, "1", None, True])
def test_what_is_outside_does_not(value: Any) -> None:
    assert value not in SEED
    assert 10**400 not in GUIDANCE_SCALE
    assert 0.0 not in DENOISE
    with pytest.raises(ValueError, match=r"^seed is .*; give a whole number from 0 to 1844"):
        SEED.check("seed", value)


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(ValueError, match=r"^seed is .{1,100}; give"):
        SEED.check("seed", "9" * 100_000)


# --- Python --------------------------------------------------------------------------------------

SETTINGS = [
    *(("seed", value) for value in (*NO_COUNTS, 2**64, [math.nan])),
    *(("steps", value) for value in (*NO_COUNTS, 0, 1000, 10**9)),
    *(("guidance_scale", value) for value in (*NO_NUMBERS, -0.5, 101, "2")),
    *(("guidance_rescale", value) for value in (*NO_NUMBERS, -0.5, 5, "2")),
    *(("batch_index", [value]) for value in (*NO_COUNTS, 10**9)),
    *(("chunk", value) for value in (*NO_COUNTS, 0)),
]


@pytest.mark.parametrize(("name", "value"), SETTINGS, ids=str)
def test_the_pipeline_refuses_a_setting_by_name_before_it_computes(
    pipeline: PCDMsPipeline, name: str, value: Any
) -> None:
    calls: list[Any] = []
    handle = torch.nn.modules.module.register_module_forward_pre_hook(lambda *a: calls.append(a))
    try:
        with pytest.raises(ValueError, match=f"^{name} is .*; give "):
            pipeline(picture(), poses(1, 50), poses(1), **{"seed": 0, name: value})
    finally:
        handle.remove()
    assert not calls


STAGE_SETTINGS = [
    (name, value) for name, value in SETTINGS if name not in ("chunk", "guidance_rescale")
]


@pytest.mark.parametrize("stage", ["prior", "inpainting", "refining"])
@pytest.mark.parametrize(("name", "value"), STAGE_SETTINGS, ids=str)
def test_so_does_every_stage_alone(
    pipeline: PCDMsPipeline, stage: str, name: str, value: Any
) -> None:
    if stage == "prior" and (name, value) == ("steps", 1000):
        return  # its sampler takes a step from the table's first timestep too
    features = pipeline.encode_source(picture())
    target = poses(1)
    call: dict[str, Callable[..., Any]] = {
        "prior": lambda **more: pipeline.predict_embedding(features, target, target, **more),
        "inpainting": lambda **more: pipeline.inpaint(
            features, target, target, torch.zeros(1, 16), **more
        ),
        "refining": lambda **more: pipeline.refine(features, picture(), **more),
    }
    with pytest.raises(ValueError, match=f"^{name} is .*; give "):
        call[stage](**{"seed": 0, name: value})


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0.0, 1.01, -1])
def test_a_share_of_the_way_is_one(pipeline: PCDMsPipeline, value: float) -> None:
    features = pipeline.encode_source(picture())
    with pytest.raises(ValueError, match=r"^denoise is .*; give a number that lies above 0"):
        pipeline.refine(features, picture(), seed=0, denoise=value)


def test_more_steps_than_timesteps_name_the_tables_number(pipeline: PCDMsPipeline) -> None:
    run: dict[str, Any] = {"source_pose": poses(1, 50), "target_pose": poses(1), "seed": 0}
    for steps in (1000, 1001, 5000):
        with pytest.raises(ValueError, match=rf"^steps is {steps}; give \d+ at most.*1000 timest"):
            pipeline(picture(), **run, steps=steps)
    assert pipeline.prior is not None
    with pytest.raises(ValueError, match=r"^steps is 1001; give 1000 at most.*1000 timesteps"):
        predict_embedding(
            pipeline.prior, torch.zeros(1, 16), poses(1), poses(1), seed=0, steps=1001
        )


@pytest.mark.parametrize("sampler", ["unipc", "ddim", "ddim_trailing"])
def test_as_many_steps_as_there_can_be_give_numbers(sampler: Any) -> None:
    scheduler = make_scheduler(ScheduleConfig(sampler=sampler))
    most = most_steps(scheduler)
    coefficients = linear_steps(scheduler, most)
    assert coefficients is not None
    assert coefficients.isfinite().all()


@pytest.mark.parametrize("sampler", ["ddim_trailing", "ddpm_trailing"])
def test_a_run_has_as_many_steps_as_were_asked_for(sampler: Any) -> None:
    """The library gives a trailing run of 499 or 998 steps one timestep more, before the first."""
    _, cond, noise = tiny("refining", 1)
    for steps in (498, 499, 998):
        visits: list[int] = []

        def zero(x_t: Any, timesteps: Any, cond: Any, visits: list[int] = visits) -> Any:
            visits.append(int(timesteps[0]))
            return torch.zeros_like(x_t)

        scheduler = make_scheduler(ScheduleConfig(sampler=sampler, prediction_type="sample"))
        step_noise = noise.expand(steps, *noise.shape)
        result = sample(zero, scheduler, noise, cond, steps=steps, step_noise=step_noise)
        assert result.isfinite().all()
        assert (visits[0], len(visits), len(set(visits))) == (999, steps, steps)
        assert min(visits) >= 0


def test_many_steps_of_a_small_share_give_numbers() -> None:
    """As stage 3 of the shipped weights takes them, whose share is .05."""
    _, cond, noise = tiny("refining", 1)
    scheduler = make_scheduler(ScheduleConfig(prediction_type="sample"))
    start = torch.ones_like(noise)
    result = sample(lambda *_: start, scheduler, noise, cond, steps=700, denoise=0.05, start=start)
    torch.testing.assert_close(result, start, rtol=0, atol=0.1)


@pytest.mark.parametrize("value", NO_COUNTS)
def test_numbers_of_pictures_rows_and_poses_are_counts(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^pictures is "):
        repeat_rows(2, value)
    with pytest.raises(ValueError, match=r"^chunk is "):
        chunks_of(4, value)
    with pytest.raises(ValueError, match=r"^count is "):
        interpolate_poses(poses(2), value, (96, 64))
    with pytest.raises(ValueError, match=r"^seed is "):
        draw_rows((2,), [0, value], 2)
    with pytest.raises(ValueError, match=r"^batch_index is "):
        draw_noise((2,), 0, [0, value])
    with pytest.raises(ValueError, match=r"^draws is "):
        draw_noise((2,), 0, [0], value)
    with pytest.raises(ValueError, match=r"^steps is "):
        SpeedPreset("more", steps=value)
    for name in ("seed", "steps", "best_of"):
        with pytest.raises(ValueError, match=f"^{name} is "):
            Rendering(**{name: value})


@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, 2])
def test_shares_are_shares(value: Any) -> None:
    with pytest.raises(ValueError, match=r"^guidance_interval is "):
        SpeedPreset("less", guidance_interval=(0.0, value))
    model, cond, noise = tiny("refining", 1)
    with pytest.raises(ValueError, match=r"^guidance_interval is "):
        sample(model, make_scheduler(ScheduleConfig()), noise, cond, guidance_interval=(value, 1))
    with pytest.raises(ValueError, match=r"^guidance_interval is .*begin before its end"):
        sample(model, make_scheduler(ScheduleConfig()), noise, cond, guidance_interval=(0.8, 0.2))
    with pytest.raises(PoseError, match="threshold is a number from 0 to 1"):
        read_pose(to_openpose(poses(1), 96, 64)[0], threshold=value)


@pytest.mark.parametrize("value", [*NO_COUNTS, 0, 10**9])
def test_sides_of_pictures_are_sides(value: Any) -> None:
    pose = poses(1)
    calls: tuple[Callable[[], Any], ...] = (
        lambda: render_pose(pose, value, 64),
        lambda: body_mask(pose, 96, value),
        lambda: resize(picture(), value, 64),
        lambda: to_openpose(pose, 96, value),
        lambda: interpolate_poses(pose, 2, (value, 64)),
        lambda: retarget(pose, pose, (96, value)),
        lambda: Keypoints.from_pixels(pose.xy, pose.visible, value, 64),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^(height|width) is .*; give a whole number from 1"):
            call()
    with pytest.raises(ValueError, match="cannot fit 96x64 into"):
        Fit.of(96, 64, value, 64, "pad")
    with pytest.raises(PoseError, match=r"size is \(height, width\)"):
        read_pose(to_openpose(pose, 96, 64)[0], size=(value, 64))


HUGE = 10**5000  # more digits than Python writes out


@pytest.mark.parametrize("name", ["seed", "steps", "guidance_scale", "guidance_rescale"])
@pytest.mark.parametrize("value", [HUGE, -HUGE], ids=["huge", "minus huge"])
def test_a_number_of_thousands_of_digits_is_refused_by_name(
    pipeline: PCDMsPipeline, name: str, value: int
) -> None:
    with pytest.raises(ValueError, match=rf"^{name} is a number of 500\d digits; give "):
        pipeline(picture(), poses(1, 50), poses(1), **{"seed": 0, name: value})
    with pytest.raises(ValueError, match=r"^batch_index is a number of"):
        pipeline(picture(), poses(1, 50), poses(1), seed=0, batch_index=[value])
    with pytest.raises(ValueError, match=r"^draws is a number of"):
        draw_noise((2,), 0, [0], value)


ROWS: list[tuple[str, Any]] = [
    ("batch_index", [0, 1, 2, 3]), ("batch_index", [0]), ("batch_index", []),
    ("batch_index", [0, -1, 2]), ("batch_index", [0, True, 2]), ("batch_index", -1),
    ("seed", [1, 2, 3, 4]), ("seed", [1]), ("seed", [1, True, 2]), ("seed", True),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ROWS, ids=str)
@pytest.mark.parametrize("chunk", [1, 16])
def test_noise_numbers_and_seeds_are_one_a_pose_however_many_go_at_once(
    pipeline: PCDMsPipeline, name: str, value: Any, chunk: int
) -> None:
    run: dict[str, Any] = {"seed": 0, name: value, "chunk": chunk}
    with pytest.raises(ValueError, match=f"^{name} (is|has) .*; give "):
        pipeline(picture(), poses(1, 50), poses(3), **run)


# --- the command line ----------------------------------------------------------------------------


def sub_commands() -> dict[str, argparse.ArgumentParser]:
    (commands,) = (a for a in build_parser()._actions if isinstance(a, argparse._SubParsersAction))
    return dict(commands.choices)


def numeric_options() -> Iterator[tuple[str, str, Range]]:
    """Sub-command, option and range of everything that `pcdm` reads as a number."""
    for name, parser in sub_commands().items():
        for action in parser._actions:
            owner = getattr(action.type, "__self__", None)
            if isinstance(owner, Range):
                yield name, action.option_strings[0], owner


def test_the_commands_have_the_numeric_options_that_are_known() -> None:
    generate = {option for command, option, _ in numeric_options() if command == "generate"}
    sampling = {"--seed", "--steps", "--guidance-scale"}
    assert generate == sampling | {"--pictures", "--chunk", "--max-pixels", "--smooth"}


@pytest.mark.parametrize(("command", "option", "allowed"), list(numeric_options()), ids=str)
def test_an_option_is_refused_by_name_with_its_range(
    command: str, option: str, allowed: Range, capsys: pytest.CaptureFixture[str]
) -> None:
    values = ["nan", "inf", "1e999", "x", "", str(allowed.low - 1), "9" * 400]
    if allowed.high is not None:
        values.append(str(allowed.high + 1))
    elif allowed.whole:
        values.remove("9" * 400)  # without an upper end, the noise table's or memory's stops it
    for value in values:
        with pytest.raises(SystemExit) as stopped:
            main([command, f"{option}={value}"])
        assert stopped.value.code == 2
        assert f"argument {option}: got '{value[:20]}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([command, f"{option}=nan"])
    assert f"give {allowed}" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["nanx8", "8xinf", "0x8", "8x-1", "99999x8", "8"])
@pytest.mark.parametrize("parser", [build_parser().parse_args, measure.build_parser().parse_args])
def test_sizes_are_refused_by_name(
    parser: Callable[[list[str]], object], size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parser(["pose", f"--size={size}"])
    assert "argument --size" in capsys.readouterr().err


def test_no_command_of_the_repository_reads_a_number_without_a_range(root: Path) -> None:
    parsers = 0
    bare = []
    for folder in ("pcdm_core", "training", "benchmarks"):
        for path in sorted((root / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("add_argument"):
                    kinds = [ast.unparse(k.value) for k in node.keywords if k.arg == "type"]
                    parsers += any(kind.endswith(".parse") for kind in kinds)
                    if set(kinds) & {"int", "float"}:
                        bare.append(f"{path.relative_to(root)}:{node.lineno}")
    assert parsers > 40
    assert not bare


def test_more_steps_than_the_shipped_tables_have_are_one_sentence(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    person = sorted((root / "pcdm_core" / "weights" / "examples").glob("[0-9]*"))[0]
    arguments = ["generate", "--image", str(person / "00.png"), "--device", "cpu"]
    arguments += ["--source-pose", str(person / "00.json"), "--pose", str(person / "01.json")]
    out = tmp_path / "out"
    assert main([*arguments, "--output", str(out), "--steps", "1000"]) == 2
    assert "steps is 1000; give 999 at most" in capsys.readouterr().err
    assert not out.exists()
