"""Few-step students: what they are asked for, their training, their files, and the comparison."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pcdm_core.checkpoints import CheckpointError, load_component, save_model
from pcdm_core.checkpoints.components import find_student, load_components
from pcdm_core.checkpoints.lora import SUFFIX, apply_lora
from pcdm_core.cli import add_sampling_options, load_pipeline
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.presets import PRESETS
from pcdm_core.schedules import alphas_cumprod, make_scheduler
from tests.core.tiny_pipeline import TEST, picture, poses
from tests.training.students import RUN, SETTINGS, STAGES, stage_of
from training.config import CoarseRun, TrainConfig, load_config
from training.data.in_memory import People
from training.distillation.lora import LowRank, save_lora
from training.distillation.run import DistillRun, main, verdicts
from training.distillation.stages import (
    Distillation,
    asked_for,
    clean_sample,
    ddim_step,
    extrapolated,
    student_schedule,
)
from training.evaluation import compare_settings as choices
from training.loop.trainer import PairSource, Trainer


def test_what_a_difference_leaves_as_it_is_takes_no_room(teacher: Path, tmp_path: Path) -> None:
    base: Any = load_component(teacher, "refining")
    model = LowRank(load_component(teacher, "refining"), 4)
    fresh = {name: tensor.detach().clone() for name, tensor in model.difference().items()}
    path = tmp_path / f"refining{SUFFIX}"
    schedule = student_schedule(base.config.schedule)
    common = {"stage": "refining", "base": base, "config": replace(base.config, schedule=schedule)}
    save_lora(fresh, path, **common)
    assert path.stat().st_size < 20_000
    same = apply_lora(load_component(teacher, "refining"), path)
    assert same.config.schedule.sampler == "ddim_trailing"
    state = base.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in same.state_dict().items())
    name = next(name for name in fresh if name.endswith(".up"))
    fresh[name][0, 0] = 1.0
    save_lora(fresh, path, **common)
    other = apply_lora(load_component(teacher, "refining"), path).state_dict()
    changed = [key for key, tensor in other.items() if not torch.equal(tensor, state[key])]
    assert changed == [name.removesuffix(".up")]


# --- what a student is asked for ------------------------------------------------------------------


def test_one_step_of_the_student_lands_where_the_teacher_landed() -> None:
    draw = torch.Generator().manual_seed(0)
    x_t, x_s = torch.randn(2, 3, 1, 4, 4, generator=draw)
    begin, end = torch.tensor([0.1, 0.5, 0.9]), torch.tensor([0.2, 0.7, 1.0])
    levels = [level.view(3, 1, 1, 1) for level in (begin, end)]
    x0 = asked_for(x_t, x_s, *levels)
    assert torch.allclose(ddim_step(x_t, x0, *levels), x_s, atol=1e-5)
    assert torch.allclose(x0[2], x_s[2], atol=1e-5)  # the last step ends at the sample itself


@pytest.mark.parametrize("kind", ["sample", "epsilon", "v_prediction"])
def test_a_perfect_prediction_of_any_kind_says_the_clean_sample(kind: Any) -> None:
    draw = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 2, 1, 4, 4, generator=draw)
    level = torch.tensor([0.3, 0.8]).view(2, 1, 1, 1)
    x_t = level.sqrt() * x0 + (1 - level).sqrt() * noise
    v = level.sqrt() * noise - (1 - level).sqrt() * x0
    prediction = {"sample": x0, "epsilon": noise, "v_prediction": v}[kind]
    schedule = replace(TEST.inpainting.schedule, prediction_type=kind)
    assert torch.allclose(clean_sample(prediction, x_t, level, schedule), x0, atol=1e-5)


def test_the_students_timesteps_are_those_of_its_sampler() -> None:
    schedule = TEST.inpainting.schedule
    rows = Distillation(SETTINGS, schedule, 1.0).timesteps
    scheduler = make_scheduler(student_schedule(schedule))
    scheduler.set_timesteps(4)
    assert rows[:, 0].tolist() == scheduler.timesteps.tolist() == [999, 749, 499, 249]
    assert rows[:, -1].tolist() == [749, 499, 249, -1]
    assert rows.shape == (4, 3)
    # The sampler ends at the clean sample that the network says.
    sample = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    said = torch.ones_like(sample)
    assert torch.allclose(scheduler.step(said, 249, sample).prev_sample, said, atol=1e-5)
    # A run that begins half-way is learnt at its own timesteps.
    half = Distillation(SETTINGS, schedule, 1.0, denoise=0.5).timesteps
    assert half[:, 0].tolist() == [499, 374, 249, 124]
    assert half[:, -1].tolist() == [374, 249, 124, -1]


@pytest.mark.parametrize("part", [1, 2])
def test_the_teachers_steps_are_of_second_order(part: int) -> None:
    schedule = replace(TEST.inpainting.schedule, prediction_type="sample")
    table, spread = alphas_cumprod(schedule).double(), 0.4  # deviation of Gaussian pictures

    def denoiser(x_t: Tensor, timesteps: Tensor, _: Any) -> Tensor:
        level = table[timesteps].view(-1, 1, 1, 1)
        return x_t * level.sqrt() * spread**2 / (level * spread**2 + 1 - level)

    def error(parts: int) -> float:
        distillation = Distillation(replace(SETTINGS, teacher_steps=parts), schedule, 1.0)
        noise = torch.ones(1, 1, 1, 1, dtype=torch.float64)
        batch = {"x0": 0 * noise, "noise": noise, "part": torch.tensor([part])}
        none: Any = None
        taught = distillation.teach(denoiser, table, batch, none, none)
        first, last = distillation.timesteps[part, [0, -1]]
        begin, end = table[first], table[last]
        # Such pictures' flow keeps a sample's place among those of its own noise level.
        exact = ((end * spread**2 + 1 - end) / (begin * spread**2 + 1 - begin)).sqrt()
        x_t = (1 - begin).sqrt() * noise
        x_s = ddim_step(x_t, taught["x0"], begin, end)
        return float((x_s / x_t - exact).abs())

    assert error(16) < error(8) / 3 < error(4) / 9


def test_two_steps_at_one_timestep_are_of_first_order() -> None:
    x0, before = torch.randn(2, 2, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    noisier, here = torch.tensor([0.5, 0.4]), torch.tensor([0.5, 0.5])  # the first: the same
    levels = [level.view(2, 1, 1, 1) for level in (noisier, here, torch.tensor([0.7, 0.7]))]
    lead = extrapolated(x0, before, *levels)
    assert torch.equal(lead[0], x0[0])
    assert not torch.equal(lead[1], x0[1])


@STAGES
def test_with_one_step_of_an_unguided_teacher_the_student_is_asked_for_its_prediction(
    name: str, teacher: Path, people: People
) -> None:
    stage, rows = stage_of(name, teacher, people)
    stage.distillation = Distillation(replace(SETTINGS, teacher_steps=1), stage.schedule, 1.0)
    with torch.no_grad():
        batch = stage.prepare(torch.arange(4), rows[:4])
        # It starts as the teacher, so it already does what it is asked for.
        assert float(stage(batch)) < 1e-8


# --- training -------------------------------------------------------------------------------------


@pytest.mark.slow
@STAGES
def test_a_few_steps_lower_the_loss_and_leave_the_teacher_alone(
    name: str, teacher: Path, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    stage, rows = stage_of(name, teacher, people)
    before_base = {k: v.clone() for k, v in stage.model.state_dict().items()}
    trainer = Trainer(stage, RUN, accelerator, tmp_path)
    assert all(name.startswith("student.factors.") for name in trainer.names)

    def loss() -> float:
        with torch.no_grad():
            return float(stage(stage.prepare(torch.arange(4), rows[:4])))

    before = loss()
    for _ in range(8):
        trainer.step, trainer.total = 0, 100  # the same samples and noise each time
        trainer.train_step(PairSource(rows[:4], seed=0))
    assert loss() < 0.9 * before
    assert all(torch.equal(v, before_base[k]) for k, v in stage.model.state_dict().items())


@pytest.mark.slow
def test_a_student_that_was_stopped_goes_on_to_the_same_weights(
    teacher: Path, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    def train(folder: Path, steps: int) -> dict[str, Tensor]:
        stage, rows = stage_of("inpainting", teacher, people)
        run = replace(RUN, steps=steps, decay_fraction=0.0, ema_decay=0.9)
        trainer = Trainer(stage, run, accelerator, folder)
        trainer.resume()
        trainer.run_all(PairSource(rows, seed=0))
        return {k: v.detach().clone() for k, v in stage.student.difference().items()}

    whole = train(tmp_path / "whole", 3)
    train(tmp_path / "parts", 1)
    parts = train(tmp_path / "parts", 3)
    assert all(torch.equal(parts[k], v) for k, v in whole.items())
    assert any(v.any() for v in whole.values())


# --- files ----------------------------------------------------------------------------------------

CONFIG = TrainConfig(
    preset="test",
    identities=5,
    views=4,
    render_workers=1,
    stages={n: replace(RUN, steps=2) for n in ("inpainting", "refining")},
    coarse=CoarseRun(pairs=4, batch_size=2, steps=4, guidance_scale=1.0),
    student=SETTINGS,
)


@pytest.fixture(scope="module")
def finished(
    teacher: Path, people_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> DistillRun:
    run = DistillRun(CONFIG, people_folder, tmp_path_factory.mktemp("student"), teacher)
    run.run_all()
    return run


@pytest.mark.slow
def test_the_difference_on_the_teacher_is_the_whole_student(
    finished: DistillRun, teacher: Path
) -> None:
    _, by_difference = load_components(teacher, student=finished.differences)
    _, whole = load_components(finished.weights)
    _, plain = load_components(teacher)
    for name in ("inpainting", "refining"):
        mine, theirs = by_difference[name], whole[name]
        assert mine.config == theirs.config
        assert mine.config.schedule.sampler == "ddim_trailing"
        moved = 0.0
        for key, tensor in theirs.state_dict().items():
            assert torch.allclose(mine.state_dict()[key], tensor, atol=2e-3)  # fp16 on disk
            moved = max(moved, float((tensor - plain[name].state_dict()[key]).abs().max()))
        assert moved > 1e-3
    assert (
        0
        < finished.difference_bytes()
        < sum((teacher / f"{n}.safetensors").stat().st_size for n in ("inpainting", "refining"))
    )


def test_a_student_samples_in_four_unguided_steps(finished: DistillRun, teacher: Path) -> None:
    pipeline = PCDMsPipeline.from_folder(teacher, student=finished.differences)
    rows: list[int] = []
    assert pipeline.refining is not None
    for model in (pipeline.inpainting, pipeline.refining):
        model.unet.register_forward_hook(lambda _, arguments, __: rows.append(len(arguments[0])))
    result = pipeline(picture(), poses(1, 50), poses(2), seed=0, fast="student")
    assert rows == [2] * 8
    assert result.image.isfinite().all()
    whole = PCDMsPipeline.from_folder(finished.weights)
    other = whole(picture(), poses(1, 50), poses(2), seed=0, fast="student")
    assert (result.image - other.image).abs().mean() < 0.05


@pytest.mark.slow
def test_a_student_beside_its_weights_is_found_by_the_preset_that_needs_it(
    finished: DistillRun, teacher: Path, tmp_path: Path
) -> None:
    together = Path(shutil.copytree(teacher, tmp_path / "weights"))
    shutil.copytree(finished.differences, together / "student")

    def options(folder: Path, *more: str) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        add_sampling_options(parser)
        return parser.parse_args(["--weights", str(folder), "--device", "cpu", *more])

    by_option = load_pipeline(options(together, "--fast", "student"))
    by_folder = PCDMsPipeline.from_folder(teacher, student=finished.differences)
    by_name = PCDMsPipeline.from_folder(together, student=True)
    expected = by_folder.inpainting.state_dict()
    for pipeline in (by_option, by_name):
        for key, tensor in pipeline.inpainting.state_dict().items():
            assert torch.equal(tensor, expected[key])
    # Other presets take the weights as they are, and a student's own weights are one already.
    untouched = load_pipeline(options(together, "--fast", "4-steps")).inpainting.config
    assert untouched == load_component(teacher, "inpainting").config
    assert find_student(finished.weights) is None
    load_pipeline(options(finished.weights, "--fast", "student"))
    with pytest.raises(CheckpointError, match=r"no few-step student.*run\.py distill"):
        load_pipeline(options(teacher, "--fast", "student"))


def test_a_difference_is_refused_on_other_weights(
    finished: DistillRun, teacher: Path, tmp_path: Path
) -> None:
    path = finished.differences / f"inpainting{SUFFIX}"
    model = load_component(teacher, "inpainting")
    with torch.no_grad():
        next(iter(model.parameters())).add_(1.0)
    with pytest.raises(CheckpointError, match="a difference on other weights"):
        apply_lora(model, path)
    plain = save_model(model, tmp_path / "inpainting.safetensors", stage="inpainting")
    with pytest.raises(CheckpointError, match="holds no difference"):
        apply_lora(model, plain)
    with pytest.raises(CheckpointError, match="no difference of a student"):
        load_components(teacher, student=tmp_path)


def test_a_finished_student_is_not_trained_again(
    finished: DistillRun, people_folder: Path, teacher: Path
) -> None:
    files = [*finished.weights.iterdir(), *finished.differences.iterdir()]
    before = {path: path.stat().st_mtime_ns for path in files}
    DistillRun(CONFIG, people_folder, finished.out, teacher).run_all()
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.slow
def test_a_student_of_no_steps_is_its_teacher_with_the_students_sampler(
    people_folder: Path, teacher: Path, tmp_path: Path
) -> None:
    stages = {**CONFIG.stages, "refining": replace(CONFIG.stages["refining"], steps=0)}
    run = DistillRun(replace(CONFIG, stages=stages), people_folder, tmp_path, teacher)
    run.run_all()
    assert (run.differences / f"refining{SUFFIX}").stat().st_size < 2_000
    _, plain = load_components(teacher)
    for options in ({"student": run.differences}, {"folder": run.weights}):
        _, student = load_components(**{"folder": teacher, **options})
        refining = student["refining"]
        assert refining.config.schedule.sampler == "ddim_trailing"
        weights = plain["refining"].state_dict()
        for key, tensor in refining.state_dict().items():  # whole weights are halves on disk
            assert torch.equal(tensor.half(), weights[key].half())


# --- the command ----------------------------------------------------------------------------------


def test_the_shipped_configuration_fits_its_models_into_the_limit() -> None:
    config = load_config(Path(__file__).parents[2] / "training/configs/student.yaml")
    mini, size = PRESETS[config.preset], 0
    from training.stages.initialise import build_denoiser

    for name in ("inpainting", "refining"):
        model = LowRank(build_denoiser(mini, name), config.student.rank)
        size += sum(2 * factor.numel() for factor in model.factors.values())
    assert 10e6 < size < 16e6
    table = alphas_cumprod(student_schedule(mini.inpainting.schedule))
    assert len(table) == 1000


@pytest.mark.slow
def test_the_command_trains_compares_and_says_whether_the_student_ships(
    finished: DistillRun, teacher: Path, people_folder: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")
    run = {"steps": 1, "batch_size": 2}
    config = {
        "preset": "test", "identities": 5, "views": 4, "render_workers": 1,
        "stages": {"inpainting": run, "refining": run},
        "coarse": {"pairs": 2, "batch_size": 2, "steps": 4, "guidance_scale": 1.0},
        "student": {"steps": 4, "teacher_steps": 1, "rank": 2},
    }  # fmt: skip
    path = tmp_path / "student.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    arguments = ["--config", path, "--data", people_folder, "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--teacher", str(teacher), "--pairs", "1"]) == 0
    printed = capsys.readouterr().out
    for row in ("default (20 steps", "teacher 8 steps", "teacher 4 steps", "student 4 steps"):
        assert f"| {row}" in printed
    assert "ssim within 5 % of the teacher at 20 steps" in printed
    assert "16 MB at most" in printed
    assert "student ships" in printed.lower()


@pytest.mark.slow
def test_the_table_of_fast_presets_has_the_student_that_comes_with_the_weights(
    finished: DistillRun, teacher: Path, people_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")
    together = Path(shutil.copytree(teacher, tmp_path / "weights"))
    shutil.copytree(finished.differences, together / "student")
    monkeypatch.setattr(choices, "FAST_PRESETS", {"4-steps": choices.FAST_PRESETS["4-steps"]})
    output = tmp_path / "fast.json"
    arguments = ["--data", str(people_folder), "--split", "train", "--json", str(output)]
    arguments += ["--pairs", "1", "--steps", "4", "--guidance-scale", "1", "--device", "cpu"]
    assert choices.main([*arguments, "--weights", str(together), "--variants", "fast"]) == 0
    report = json.loads(output.read_text())
    assert list(report) == ["default", "4-steps", "student"]
    hashes = [row["settings"]["weights_sha256"] for row in report.values()]
    assert hashes[0] == hashes[1] != hashes[2]
    ssim = [row["methods"]["refined"]["ssim"][0] for row in report.values()]
    assert ssim[0] == ssim[1] != ssim[2]  # the same steps of the same weights, and other weights


def test_a_student_ships_only_where_every_line_holds() -> None:
    def report(ssim: float, lpips: float) -> dict[str, Any]:
        row = {"ssim": [ssim], "pck": [0.9], "st_lpips": [lpips], "laplacian_ratio": [0.8]}
        return {"methods": {"refined": row}}

    def records(lpips: float) -> list[dict[str, Any]]:
        return [
            {"identity": i, "figures": {"refined": {"st_lpips": lpips + i / 1e4}}} for i in range(9)
        ]

    reports = {
        "default": report(0.70, 0.10),
        "teacher 4 steps": report(0.65, 0.15),
        "student 4 steps": report(0.69, 0.104),
    }
    rows = {name: records(r["methods"]["refined"]["st_lpips"][0]) for name, r in reports.items()}
    assert all(line.passed for line in verdicts(reports, rows))
    reports["student 4 steps"] = report(0.66, 0.104)  # 5.7 % below
    assert [line.passed for line in verdicts(reports, rows)] == [False, True, True, True, True]
    rows["student 4 steps"] = records(0.15)
    assert not verdicts(reports, rows)[-1].passed
