"""Few-step students of stages 2 and 3: many guided steps of the teacher in one unguided step.

Progressive distillation (arXiv 2202.00512) in one go: the student's few timesteps are fixed, and
between two of them the teacher makes several guided steps of second order (DPM-Solver++ 2M, arXiv
2211.01095). What the student is asked for is the clean sample from which a single DDIM step lands
where the teacher landed. Teacher and student begin at the same noised training sample.

A teacher whose sampler draws noise in each step lands somewhere else each time, and the mean of
these places is what it predicts itself. Its student has `teacher_steps: 0`: it learns from the
truth, at its own timesteps alone, and `perception` keeps it from drawing that mean, a blur.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import ScheduleConfig
from pcdm_core.sampling import guide
from pcdm_core.schedules import make_scheduler, set_last_timesteps, whole_run

from ..config import StageRun, StudentRun
from ..data.in_memory import CoarsePictures, People
from ..features.protocol import Features
from ..stages import TIMESTEP, Batch, DenoisingStage, Frozen, InpaintingStage, RefiningStage
from ..stages.losses import add_noise, clean_sample
from .lora import LowRank


def student_schedule(schedule: ScheduleConfig) -> ScheduleConfig:
    """The teacher's noise table, sampled from pure noise to the sample.

    A student of a sampler that draws noise does so too; any other one's is DDIM.
    """
    return replace(schedule, sampler="ddpm_trailing" if schedule.ancestral else "ddim_trailing")


def ddim_step(x_t: Tensor, x0: Tensor, alpha_bar: Tensor, following: Tensor) -> Tensor:
    """x_t -> the sample at the following noise level (equation 12 of arXiv 2010.02502)."""
    noise = (x_t - alpha_bar.sqrt() * x0) / (1 - alpha_bar).sqrt()
    return following.sqrt() * x0 + (1 - following).sqrt() * noise


def extrapolated(
    x0: Tensor, before: Tensor, noisier: Tensor, alpha_bar: Tensor, following: Tensor
) -> Tensor:
    """The x0 with which `ddim_step` is of second order (algorithm 2 of arXiv 2211.01095).

    As many steps of first order draw blurred pictures, and their student learns the blur.

    Args:
        x0: predicted at the level `alpha_bar`, from which the step to `following` starts.
        before: predicted one step earlier, at the level `noisier`.
    """
    here = _half_log_snr(alpha_bar)
    ahead, behind = _half_log_snr(following) - here, here - _half_log_snr(noisier)
    lead = x0 + (x0 - before) * ahead / (2 * behind)
    # Without noise the logarithm has no bound: the last step is of first order, as samplers' are.
    # Timesteps that lie close are rounded to the same one, and from there is nothing to learn.
    return torch.where((following < 1) & (behind > 0), lead, x0)


def _half_log_snr(alpha_bar: Tensor) -> Tensor:
    return 0.5 * torch.logit(alpha_bar)


def asked_for(x_t: Tensor, x_s: Tensor, alpha_bar: Tensor, following: Tensor) -> Tensor:
    """The x0 from which `ddim_step` leads from x_t to x_s."""
    ratio = ((1 - following) / (1 - alpha_bar)).sqrt()
    return (x_s - ratio * x_t) / (following.sqrt() - ratio * alpha_bar.sqrt())


class Distillation:
    """The timesteps of teacher and student, and the loss of a batch."""

    def __init__(
        self,
        settings: StudentRun,
        schedule: ScheduleConfig,
        guidance: float,
        denoise: float = 1.0,
    ) -> None:
        """`guidance` of the teacher; `denoise` is that of the runs that the student will make.

        Raises:
            ValueError: a teacher that draws noise is to be followed.
        """
        if schedule.ancestral and settings.teacher_steps:
            raise ValueError(
                f"The teacher's sampler, {schedule.sampler}, draws noise in each step, so there is "
                f"no one place where it lands. Set student: {{teacher_steps: 0}}."
            )
        self.settings, self.schedule, self.guidance = settings, schedule, guidance
        scheduler = make_scheduler(student_schedule(schedule))
        whole = whole_run(settings.steps, denoise, schedule.num_train_timesteps)
        set_last_timesteps(scheduler, settings.steps, whole)
        grid = [*scheduler.timesteps.tolist()[-settings.steps :], -1]
        parts = max(settings.teacher_steps, 1)
        # [steps, parts + 1]: from each of the student's timesteps to the next one.
        self.timesteps = torch.tensor(
            [
                [round(t + (s - t) * part / parts) for part in range(parts + 1)]
                for t, s in pairwise(grid)
            ]
        )

    def alphas(self, table: Tensor, timesteps: Tensor) -> Tensor:
        """alpha_bar [B, 1, 1, 1]; before the first timestep (-1) there is no noise."""
        levels = table[timesteps.clamp(min=0)]
        return torch.where(timesteps < 0, 1.0, levels).view(-1, 1, 1, 1)

    @torch.no_grad()
    def teach(
        self, teacher: Any, table: Tensor, batch: Batch, cond: Conditioning, null: Conditioning
    ) -> dict[str, Tensor]:
        """Timesteps, x0 asked for, and the noise that with it makes the sample that both saw.

        The noise is put over the batch's `start`, or else over x0.
        """
        x0 = batch["x0"]
        rows = self.timesteps.to(x0.device)[batch["part"]]  # [B, parts + 1]
        if not self.settings.teacher_steps:
            start = {"start": batch["start"]} if "start" in batch else {}
            return {"x0": x0, "noise": batch["noise"], "timesteps": rows[:, 0], **start}
        begin, end = self.alphas(table, rows[:, 0]), self.alphas(table, rows[:, -1])
        x_t = x = add_noise(batch.get("start", x0), batch["noise"], begin.flatten())
        guided = self.guidance != 1.0
        joint = null.cat(cond) if guided else cond
        before: tuple[Tensor, Tensor] | None = None
        for timesteps, following in zip(rows.T[:-1], rows.T[1:], strict=True):
            here, ahead = self.alphas(table, timesteps), self.alphas(table, following)
            both = 1 + guided
            prediction = teacher(x.repeat(both, 1, 1, 1), timesteps.repeat(both), joint).float()
            if guided:
                lower, upper = prediction.chunk(2)
                prediction = guide(lower, upper, self.guidance)
            clean = clean_sample(prediction, x, here, self.schedule)
            lead = clean if before is None else extrapolated(clean, *before, here, ahead)
            x, before = ddim_step(x, lead, here, ahead), (clean, here)
        x0 = asked_for(x_t, x, begin, end)
        noise = (x_t - begin.sqrt() * x0) / (1 - begin).sqrt()
        return {"x0": x0, "noise": noise, "timesteps": rows[:, 0]}


def _undropped(run: StageRun) -> StageRun:
    """A student has no unconditional rows: nothing is dropped."""
    return replace(run, drop_tokens=0.0, drop_embeds=0.0, drop_coarse=0.0)


class Student(DenoisingStage):
    """What the students of both stages do; the teacher is their own base."""

    student: LowRank
    distillation: Distillation
    frozen: Frozen

    @property
    def components(self) -> dict[Component, nn.Module]:
        return {}  # a difference is no whole part; `distill` writes both

    def prepare(self, samples: Tensor, pairs: Tensor) -> Batch:
        batch = super().prepare(samples, pairs)
        share = self._uniform(TIMESTEP, samples, 1)[:, 0]
        # Which of the student's steps a sample trains [B].
        return batch | {"part": (share * self.distillation.settings.steps).to(torch.int64)}

    def forward(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            cond = self.condition(batch)
            null = self.model.unconditional(cond)
            lesson = self.distillation.teach(self.model, self.table, batch, cond, null)
        student = self.student.bound(self.student.merged())
        cond = self.condition(batch, student)
        perceived = self._perceived(self.frozen, batch)
        return self._loss({"weight": batch["weight"], **lesson}, cond, perceived, student)


class StudentInpainting(Student, InpaintingStage):
    """Stage 2's student, the patch encoder frozen."""

    def __init__(
        self, model: LowRank, frozen: Frozen, people: People | Features, run: StageRun, seed: int,
        distillation: Distillation,
    ) -> None:  # fmt: skip
        base: Any = model.base
        InpaintingStage.__init__(self, base, None, frozen, people, _undropped(run), seed)
        self.student, self.distillation = model, distillation


class StudentRefining(Student, RefiningStage):
    """Stage 3's student, on the coarse pictures of stage 2's student."""

    def __init__(
        self, model: LowRank, frozen: Frozen, people: People | Features, coarse: CoarsePictures,
        run: StageRun, seed: int, distillation: Distillation,
    ) -> None:  # fmt: skip
        base: Any = model.base
        RefiningStage.__init__(self, base, frozen, people, coarse, _undropped(run), seed)
        self.student, self.distillation = model, distillation
