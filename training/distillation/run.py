"""`python run.py distill`: a few-step student of mini weights, measured against its teacher.

It trains the students of stages 2 and 3 (see `stages`), writes them, and compares the teacher at
4, 8 and 20 steps with the student at 4 on held-out people. Interrupted runs resume.

    OUT/difference/   what would ship: the students as differences on the teacher's weights
    OUT/weights/      the same, whole, with the teacher's other parts: a folder for `--weights`
    OUT/comparison.json, .md   the table and what it says
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pcdm_core.checkpoints import load_component, shipped_weights
from pcdm_core.checkpoints.components import STUDENT_STEPS, preset_of
from pcdm_core.checkpoints.folder import has_component
from pcdm_core.checkpoints.lora import SUFFIX
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.checkpoints.write import copy_weights
from pcdm_core.cli import run
from pcdm_core.models import RefiningModel
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.ranges import COUNT, NUMBER

from ..commands.components import preset_note, save_components
from ..commands.rendered_run import RenderedRun
from ..config import TrainConfig, add_set_option, load_config
from ..evaluation.acceptance import Verdict
from ..evaluation.held_out_pairs import HeldOutSet
from ..loop.run_log import open_run
from ..loop.sample_rng import seed_part
from ..stages import StageModule
from .lora import LowRank, save_lora
from .stages import Distillation, StudentInpainting, StudentRefining, student_schedule

UNCHANGED: tuple[Component, ...] = ("autoencoder", "global_encoder", "patch_encoder", "prior")
SIZE_LIMIT = 16_000_000  # bytes of all differences together


class DistillRun(RenderedRun):
    """Students of one folder of weights; the teacher's frozen parts are copied beside them."""

    def __init__(self, config: TrainConfig, data: Path, out: Path, teacher: Path) -> None:
        model = load_component(teacher, "inpainting").config
        preset = preset_of("inpainting", model, teacher / "inpainting.safetensors")
        config = replace(
            config,
            height=config.height or preset.height,
            width=config.width or preset.width,
            skeleton_reduction=model.skeleton_reduction,
        )
        super().__init__(config, data, out)
        self.teacher = teacher
        self.differences = out / "difference"
        self.guidance = config.student.guidance_scale or self.preset.guidance_scale
        for name in UNCHANGED:
            if has_component(teacher, name) and not has_component(self.weights, name):
                copy_weights(teacher / f"{name}.safetensors", self.weights)

    def start(self, name: Component) -> LowRank:
        """The teacher's part with a difference of zero."""
        seed_part(self.config.seed, name)
        return LowRank(load_component(self.teacher, name).float(), self.config.student.rank)

    def distillation(self, base: Any) -> Distillation:
        """The teacher's steps for this part."""
        refines = isinstance(base, RefiningModel)
        return Distillation(
            self.config.student,
            base.config.schedule,
            self.guidance,
            self.preset.refining_denoise if refines else 1.0,
        )

    def train_inpainting(self) -> None:
        """Stage 2's student."""
        model, run = self.start("inpainting"), self.config.stage("inpainting")
        frozen = replace(self.frozen(True), perception=self.perception("inpainting"))
        features, distillation = self.features(frozen), self.distillation(model.base)
        stage = StudentInpainting(model, frozen, features, run, self.config.seed, distillation)
        self.train("inpainting", stage)

    def train_refining(self) -> None:
        """Stage 3's student, on coarse pictures of stage 2's."""
        model, run = self.start("refining"), self.config.stage("refining")
        coarse = self.coarse().to(self.accelerator.device)
        frozen = replace(self.frozen(True), perception=self.perception("refining"))
        features = self.features(frozen, coarse)
        common = run, self.config.seed, self.distillation(model.base)
        stage = StudentRefining(model, frozen, features, coarse, *common)
        self.train("refining", stage, coarse)

    @torch.no_grad()
    def save(self, stage: StageModule) -> None:
        """Write the student as a difference, and whole."""
        if not isinstance(stage, (StudentInpainting, StudentRefining)):
            raise TypeError(f"{type(stage).__name__} is no student.")
        name: Component = "inpainting" if isinstance(stage, StudentInpainting) else "refining"
        base: Any = stage.model
        config = replace(base.config, schedule=student_schedule(base.config.schedule))
        note = preset_note(self.preset) | {STUDENT_STEPS: str(self.config.student.steps)}
        note |= self.note()
        if self.accelerator.is_main_process:
            save_lora(
                stage.student.difference(),
                self.differences / f"{name}{SUFFIX}",
                stage=name,
                base=base,
                config=config,
                metadata=note,
            )
            whole = load_component(self.teacher, name).float()
            whole.load_state_dict(dict(whole.state_dict()) | stage.student.merged())
            whole.config = config
            preset = self.preset
            self.preset = replace(preset, **{name: config})
            part: dict[Component, nn.Module] = {name: whole}
            save_components(part, self.weights, self.preset, note)
            self.preset = preset
        self.accelerator.wait_for_everyone()

    def run_all(self) -> None:
        """Everything, in order; people are rendered where they are missing."""
        with self.rendering(None):
            self.people = self.read_people().with_embeds(self.part("global_encoder"))
            if not self.has("inpainting"):
                self.train_inpainting()
            if self.preset.refining is not None and not self.has("refining"):
                self.train_refining()

    def difference_bytes(self) -> int:
        """What the students would add to the weights that ship."""
        return sum(path.stat().st_size for path in self.differences.glob(f"*{SUFFIX}"))


# --- comparison -----------------------------------------------------------------------------------

TABLE_STEPS = 20  # of the default, which the others are compared with
TEACHER_STEPS = (8, 4)
WITHIN = 0.05


def compare_with_teacher(
    output: Path,
    held_out: HeldOutSet,
    teacher: Path,
    student: Path,
    device: torch.device,
    processes: int,
) -> list[Verdict]:
    """The table of teacher and student, and the lines that decide whether a student ships."""
    from ..evaluation.compare_settings import Variant, compare
    from ..evaluation.judges import Judges
    from ..evaluation.measure_pairs import weights_sha256

    digest = weights_sha256(teacher)
    guides = PCDMsPipeline.from_folder(teacher, device=device)
    learns = PCDMsPipeline.from_folder(student, device=device)
    variants = {"default": Variant(guides, digest, {"steps": TABLE_STEPS})}
    for steps in TEACHER_STEPS:
        variants[f"teacher {steps} steps"] = Variant(guides, digest, {"steps": steps})
    variants["student 4 steps"] = Variant(
        learns, weights_sha256(student), {"steps": TABLE_STEPS, "fast": "student"}
    )
    judges = Judges.load(device)
    figures = compare(output, held_out, variants, judges, TABLE_STEPS, processes)
    return verdicts(figures["reports"], figures["records"])


def verdicts(
    reports: Mapping[str, Mapping[str, Any]], records: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[Verdict]:
    """Each condition for a student, and whether it holds."""
    from ..evaluation.report import cell, mean_of

    last = "refined" if "refined" in reports["default"]["methods"] else "coarse"
    rows = {name: report["methods"][last] for name, report in reports.items()}
    lines: list[Verdict] = []
    for figure, sign in (("ssim", 1), ("pck", 1), ("st_lpips", -1), ("laplacian_ratio", 0)):
        text, change, passes = f"{figure} within 5 % of the teacher at 20 steps", None, None
        theirs, ours = rows["default"].get(figure), rows["student 4 steps"].get(figure)
        if theirs is not None and ours is not None and theirs[0]:
            change = ours[0] / theirs[0] - 1
            passes = sign * change >= -WITHIN if sign else abs(change) <= WITHIN
        lines.append(Verdict(text, passes, "-" if change is None else f"{change:+.1%}"))
    gain = mean_of(records["student 4 steps"], records["teacher 4 steps"], last, "st_lpips")
    text = "st_lpips better than the teacher's at 4 steps"
    passes = None if gain is None else bool(gain[2] < 0)
    return [*lines, Verdict(text, passes, cell(gain, 4, 1.0, signed=True))]


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="run.py distill", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", type=Path, default=Path("training/configs/student.yaml"))
    add_set_option(parser)
    parser.add_argument(
        "--data", type=Path, default=Path("data/student-people"), help="rendered people"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/student"), help="the run's folder")
    parser.add_argument("--teacher", type=Path, help="folder of weights (default: those that ship)")
    parser.add_argument(
        "--pairs",
        type=NUMBER.parse,
        default=200,
        help="of unseen people to compare on; 0 trains only",
    )
    parser.add_argument(
        "--workers", type=COUNT.parse, default=1, help="processes that render and measure"
    )
    options = parser.parse_args(arguments)
    return run(lambda: distill(options, arguments), "distill")


def distill(options: argparse.Namespace, arguments: list[str] | None) -> None:
    """Train the students, and say whether they ship."""
    config = load_config(options.config, changes=options.changes)
    teacher = options.teacher or shipped_weights(config.preset)
    with open_run(options.out, config, "distill", arguments):
        students = DistillRun(config, options.data, options.out, teacher)
        students.run_all()
        size = students.difference_bytes()
        print(f"{students.differences}: {size / 1e6:.1f} MB; whole: {students.weights}")
        if not options.pairs:
            return
        lines = compare_with_teacher(
            options.out / "comparison.json",
            HeldOutSet(config.seed, options.pairs),
            teacher,
            students.weights,
            students.accelerator.device,
            options.workers,
        )
        limit = f"{SIZE_LIMIT / 1e6:.0f} MB at most"
        lines.append(Verdict(limit, size <= SIZE_LIMIT, f"{size / 1e6:.1f}"))
        print(*lines, sep="\n")
        good = all(line.passed for line in lines)
        print("The student ships." if good else "No student ships: teacher, 4 steps, it is.")


if __name__ == "__main__":
    raise SystemExit(main())
