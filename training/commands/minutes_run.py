"""A run whose whole time is given (`train-mini --minutes`): a GPU that is there for minutes only.

People are rendered on every core while training has begun. A rehearsal of the whole recipe, with
networks that are thrown away, tells the machine's speed and what the evaluation will take. Each
part is packed as soon as it is finished: what the limit cuts off leaves all earlier parts valid.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

from pcdm_core.checkpoints.components import STUDENT_FOLDER
from pcdm_core.checkpoints.lora import SUFFIX
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.files import atomic_file, write_bytes

from ..config import TRAINED, CoarseRun, StageRun, TrainConfig, load_config
from ..data.in_memory import CoarsePictures
from ..distillation.run import DistillRun
from ..evaluation.__main__ import main as evaluate
from ..evaluation.contact_sheets import PEOPLE, sheet
from ..evaluation.measure_pairs import pictures_folder
from ..stages import StageModule
from .mini_run import MiniRun
from .train_mini import CONFIGS

logger = logging.getLogger(__name__)

FILES, FILE_BYTES, ALL_BYTES = 8, 15_000_000, 60_000_000
MEMBER_BYTES = 1000  # of an archive for each file in it, names and dates
ORDER = ("autoencoder", "global_encoder", "inpainting", "patch_encoder", "prior", "refining")
METHODS = ("truth", "copy", "coarse", "coarse_null", "refined")
BATCH = 64  # pairs that the evaluation draws at once


class Plan:
    """The seconds of a run, shared out among the parts that are still to come."""

    def __init__(self, end: float, shares: Mapping[str, float], reserve: float = 0.0) -> None:
        """`end` by `time.monotonic`; `reserve` seconds of it are for what comes after the parts."""
        self.end, self.shares, self.reserve = end, dict(shares), reserve

    def remaining(self) -> float:
        """Seconds until the reserve begins."""
        return max(self.end - self.reserve - time.monotonic(), 0.0)

    def seconds(self, part: str) -> float:
        """What a part gets that begins now."""
        names = list(self.shares)
        later = sum(self.shares[name] for name in names[names.index(part) :])
        return self.remaining() * self.shares[part] / later if later else 0.0


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Ends the block with a TimeoutError; on Windows, which has no such signal, it never does."""
    alarm = getattr(signal, "SIGALRM", None)
    if alarm is None:
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError("The time is over.")

    before = signal.signal(alarm, stop)
    # Again every few seconds: what the error leaves may wait for worker processes.
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001), 3.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(alarm, before)


class MinutesRun(MiniRun):
    """The recipe under a plan; `files` is the folder of what is to be taken away."""

    shard_bytes = FILE_BYTES // 2

    def __init__(
        self,
        config: TrainConfig,
        data: Path,
        out: Path,
        files: Path,
        plan: Plan,
        pairs: int,
        start_from: Path | None = None,
    ) -> None:
        """`pairs` are those of the evaluation; 0 makes none."""
        super().__init__(config, data, out, start_from=start_from)
        self.files, self.plan, self.report_pairs = files, plan, pairs
        self.plan.shares = dict(config.plan.shares)

    def under_plan(self, name: str, run: StageRun, spare: float = 0.0) -> tuple[StageRun, bool]:
        """A part's training until its time is over, and whether it is worth compiling.

        `spare` are seconds of its time that it needs after its training.
        """
        if name not in self.plan.shares:
            return run, self.config.compile
        seconds = max(self.plan.seconds(name) - spare, 1.0)
        print(f"{name}: {seconds:.0f} s of {self.plan.remaining():.0f} s for training", flush=True)
        compiles = self.config.compile and seconds >= self.config.plan.compile_seconds
        return replace(run, minutes=seconds / 60), compiles

    def train(
        self, name: Component, stage: StageModule, coarse: CoarsePictures | None = None
    ) -> None:
        """As the recipe, for the time that the plan gives."""
        whole = self.config
        run, compiles = self.under_plan(name, whole.stage(name))
        self.config = replace(whole, compile=compiles, stages={**whole.stages, name: run})
        super().train(name, stage, coarse)
        self.config = whole

    def coarse_seconds(self) -> float | None:
        """Of drawing coarse pictures."""
        return self.plan.seconds("coarse") if "coarse" in self.plan.shares else None

    def save(self, stage: StageModule) -> None:
        """Write a stage's parts, and pack all that are finished."""
        super().save(stage)
        pack(
            [path for name in ORDER for path in sorted(self.weights.glob(f"{name}*.safe*"))],
            self.files,
            "weights",
        )

    def rehearse(self) -> bool:
        """The whole recipe in small; prints stage 2's speed and reserves the evaluation's time.

        Returns:
            False where the machine is too slow for these networks and there are smaller ones.
        """
        config, plan = self.config, self.config.plan
        once = {"steps": 0, "minutes": None, "perception": 0.0}
        stages = {name: replace(config.stage(name), **once) for name in TRAINED}
        stages["inpainting"] = replace(stages["inpainting"], minutes=plan.rate_seconds / 60)
        coarse = replace(config.coarse, pairs=2, batch_size=2)
        people = self.read_people()
        small = replace(config, stages=stages, coarse=coarse, identities=self.read, compile=False)
        shutil.rmtree(self.out / "rehearsal", ignore_errors=True)
        trial = MiniRun(small, self.data, self.out / "rehearsal", start_from=self.start_from)
        trial.people, trial.read = people, self.read
        trial.fit_encoders()
        trial.train_inpainting()
        log = (trial.out / "inpainting" / "log.jsonl").read_text(encoding="utf-8").splitlines()
        speed = json.loads(log[-1])["steps_per_second"] * config.stage("inpainting").batch_size
        print(f"Stage 2 ({config.choice}): {speed:.1f} samples/s, not compiled", flush=True)
        if config.smaller is not None and speed < config.least_rate:
            print(f"Below {config.least_rate:g} samples/s: {config.smaller} in its place.")
            return False
        trial.train_prior()
        trial.train_refining()
        try:
            self.plan.reserve += self.evaluation_seconds(trial)
        except RuntimeError as error:  # a package that only figures need
            print(f"{error} The run goes on without.", flush=True)
            self.report_pairs = 0
        return True

    def evaluation_seconds(self, trial: MiniRun) -> float:
        """What the evaluation will take, by one of fewer pairs."""
        report, first = trial.out / "report.json", min(self.report_pairs, BATCH)
        seconds = self.evaluate(trial.weights, first, report)
        if self.report_pairs > first:  # now everything is loaded
            more = self.evaluate(trial.weights, 2 * first, report)
            seconds += (self.report_pairs - first) * more / first
        print(f"Evaluation of {self.report_pairs} pairs: {seconds:.0f} s set aside", flush=True)
        return seconds

    def evaluate(self, weights: Path, pairs: int, report: Path) -> float:
        """The seconds that it took."""
        start = time.monotonic()
        options = {"weights": weights, "pairs": pairs, "json": report, "batch": BATCH}
        options |= {"workers": self.config.render_workers, "oracle-pairs": 0}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        if evaluate([*words, "--methods", *METHODS]):
            raise RuntimeError(f"{report}: the evaluation failed; its message is above.")
        return time.monotonic() - start

    def train_student(self) -> None:
        """Stage 2's few-step student, on the people that its teacher saw."""
        run = load_config(CONFIGS / "student.yaml").stage("inpainting")
        run = replace(run, batch_size=self.config.stage("inpainting").batch_size, log_steps=5)
        run, compiles = self.under_plan("student", run, spare=self.config.plan.end_seconds)
        config = replace(
            self.config,
            compile=compiles,
            identities=self.read,
            stages={"inpainting": run, "refining": StageRun(steps=0)},
            coarse=CoarseRun(pairs=2, batch_size=2, steps=1, guidance_scale=1.0),
        )
        students = DistillRun(config, self.data, self.out / "student", self.weights)
        students.people, students.read = self.people, self.read
        students.train_inpainting()
        students.train_refining()
        differences = sorted(students.differences.glob(f"*{SUFFIX}"))
        pack(differences, self.files, "student", f"{STUDENT_FOLDER}/")

    def train_parts(self) -> None:
        """Every part that is not finished, in order."""
        self.fit_encoders()
        if not self.has("inpainting", "patch_encoder"):
            self.train_inpainting()
        if not self.has("prior"):
            self.train_prior()
        if not self.has("refining"):
            self.train_refining()
        if "student" in self.plan.shares:
            self.train_student()

    def report(self) -> None:
        """Figures of unseen people, and a sheet of the first ones."""
        report, people = self.out / "report.json", min(self.report_pairs, PEOPLE)
        self.evaluate(self.weights, self.report_pairs, report)
        for path in (report, report.with_suffix(".md")):
            write_bytes(self.files / path.name, path.read_bytes())
        title = f"{people} unseen people, in the order of their seed"
        picture = sheet(pictures_folder(report), range(people), title)
        with atomic_file(self.files / "people.jpg") as file:
            picture.save(file, format="JPEG", quality=90, subsampling=0)


# --- files ----------------------------------------------------------------------------------------


def pack(paths: Sequence[Path], folder: Path, name: str, inside: str = "") -> list[Path]:
    """Files in as few archives `name-1.zip`, ... as `FILE_BYTES` allows, each whole or as it was.

    An archive that has room takes later files, so that further files change no order.

    Raises:
        ValueError: a file is larger than an archive may be.
    """
    groups: list[list[Path]] = []
    for path in paths:
        if size_of([path]) > FILE_BYTES:
            raise ValueError(f"{path}: {size_of([path])} bytes; a file may have {FILE_BYTES}.")
        group = next((g for g in groups if size_of([*g, path]) <= FILE_BYTES), None)
        if group is None:
            groups.append(group := [])
        group.append(path)
    archives: list[Path] = []
    for number, group in enumerate(groups, 1):
        archives.append(folder / f"{name}-{number}.zip")
        with atomic_file(archives[-1]) as file, ZipFile(file, "w") as archive:
            for path in group:
                archive.write(path, inside + path.name)
    return archives


def size_of(paths: Sequence[Path]) -> int:
    """Bytes of an archive of these files."""
    return sum(path.stat().st_size + MEMBER_BYTES for path in paths)


def check_files(folder: Path) -> str:
    """A line a file.

    Raises:
        ValueError: there are too many of them, or they are too large.
    """
    sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    total = sum(sizes.values())
    if len(sizes) > FILES or total > ALL_BYTES or max(sizes.values(), default=0) > FILE_BYTES:
        raise ValueError(
            f"{folder}: {len(sizes)} files, {total / 1e6:.1f} MB, the largest "
            f"{max(sizes.values()) / 1e6:.1f} MB. At most {FILES} of {FILE_BYTES / 1e6:.0f} MB, "
            f"{ALL_BYTES / 1e6:.0f} MB together, can be taken away; start with an empty folder."
        )
    return "\n".join(f"{size / 1e6:6.2f} MB  {name}" for name, size in sizes.items())


def run_minutes(
    load: Callable[[str], TrainConfig],
    config: TrainConfig,
    folders: tuple[Path, Path, Path],
    plan: Plan,
    pairs: int,
    start_from: Path | None = None,
) -> None:
    """The whole run.

    Args:
        load: a choice's configuration.
        folders: of people, of the run, and of what is to be taken away.

    Raises:
        TimeoutError: the end came before all was done; what is finished lies there.
    """
    cores = os.cpu_count() or 1

    def of(config: TrainConfig) -> MinutesRun:
        config = replace(config, render_workers=cores)
        return MinutesRun(config, *folders, plan, pairs, start_from)

    run, missing = of(config), ""
    folders[2].mkdir(parents=True, exist_ok=True)
    with run.rendering(run.config.plan.people):
        with time_limit(plan.remaining()):
            if not run.rehearse() and config.smaller is not None:
                run = of(replace(load(config.smaller), smaller=None))
                run.rehearse()
        try:
            with time_limit(plan.remaining()):
                run.train_parts()
        except TimeoutError:
            missing = "training"
    try:
        with time_limit(plan.end - time.monotonic() - run.config.plan.end_seconds / 2):
            if run.report_pairs:
                run.report()
    except (TimeoutError, RuntimeError) as error:
        missing = missing or f"the report ({error})"
    print(check_files(folders[2]))
    print(f"{plan.end - time.monotonic():.0f} s before the limit", flush=True)
    if missing:
        raise TimeoutError(f"{folders[2]}: the limit cut off {missing}; the files there are whole.")
