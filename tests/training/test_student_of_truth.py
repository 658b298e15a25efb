"""Students that learn from the truth, and what perception sees of any student."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.students import RUN, SETTINGS, STAGES, stage_of
from training.config import PerceptionRun
from training.data.in_memory import People
from training.distillation.stages import Distillation, student_schedule
from training.features.in_memory import MomentsInMemory
from training.stages.perception import PerceptionNetwork, PerceptualLoss


@STAGES
def test_the_student_of_a_sampler_that_draws_noise_learns_from_the_truth(
    name: str, teacher: Path, people: People
) -> None:
    stage, rows = stage_of(name, teacher, people)
    schedule = replace(stage.schedule, sampler="ddpm_trailing")
    assert student_schedule(schedule).sampler == "ddpm_trailing"
    with pytest.raises(ValueError, match="teacher_steps: 0"):
        Distillation(SETTINGS, schedule, 1.0)
    stage.distillation = Distillation(replace(SETTINGS, teacher_steps=0), schedule, 1.0)
    batch = stage.prepare(torch.arange(4), rows[:4])

    def never(*_: Any) -> Tensor:
        raise AssertionError("the teacher was asked")

    none: Any = None
    lesson = stage.distillation.teach(never, stage.table, batch, none, none)
    assert torch.equal(lesson["x0"], batch["x0"])
    assert torch.equal(lesson["noise"], batch["noise"])
    assert set(lesson["timesteps"].tolist()) <= {999, 749, 499, 249}
    for share, expected in ((0.0, 999), (0.99, 249)):
        part = torch.full((4,), int(share * 4))
        lesson = stage.distillation.teach(never, stage.table, {**batch, "part": part}, none, none)
        assert lesson["timesteps"].tolist() == [expected] * 4


@STAGES
def test_what_perception_sees_is_a_part_of_a_students_loss(
    name: str, teacher: Path, people: People
) -> None:
    stage, rows = stage_of(name, teacher, people)
    stage.distillation = Distillation(replace(SETTINGS, teacher_steps=0), stage.schedule, 1.0)
    torch.manual_seed(0)
    seen = PerceptualLoss(PerceptionNetwork(), PerceptionRun())
    stage.frozen = replace(stage.frozen, perception=seen)
    losses: list[float] = []
    with torch.no_grad():
        for strength in (0.0, 1.0, 2.0):
            stage.run = replace(RUN, perception=strength)
            losses.append(float(stage(stage.prepare(torch.arange(4), rows[:4]))))
    assert losses[1] > losses[0] + 1e-3
    assert losses[2] - losses[1] == pytest.approx(losses[1] - losses[0], rel=1e-3)


@STAGES
def test_a_student_learns_the_same_from_moments_in_memory(
    name: str, teacher: Path, people: People
) -> None:
    stage, rows = stage_of(name, teacher, people)
    with torch.no_grad():
        expected = float(stage(stage.prepare(torch.arange(4), rows[:4])))
        frozen, coarse = stage.frozen, getattr(stage.features, "coarse", None)
        known = people.with_embeds(frozen.global_encoder)
        stage.features = MomentsInMemory(
            known, frozen.autoencoder, frozen.patch_encoder, coarse=coarse
        )
        loss = float(stage(stage.prepare(torch.arange(4), rows[:4])))
    assert loss == pytest.approx(expected, rel=1e-4)
