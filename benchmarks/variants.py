"""The arms of a comparison: ways to make the same pictures, timed in turn."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.inputs import repeat_rows
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.speed import find_fast
from pcdm_core.torch_compile import Backend

from .memory import peak_bytes, weight_bytes
from .published_baseline import AS_PUBLISHED, GUIDANCE, PlainPath
from .timing import StageClock, seconds, spread

SEED = 0
CHUNK = 16  # rows that go through a stage at once, as in a call of the pipeline
PLAIN = "plain"
THIS_TYPE = f"{PLAIN}, this type"


# --- what is run ----------------------------------------------------------------------------------


def noise_case(preset: Preset, poses: int) -> tuple[Tensor, Keypoints, Keypoints]:
    """A picture [1, 3, H, W], its pose and `poses` target poses, from a fixed seed.

    What they show does not change the work.
    """
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, preset.height, preset.width, generator=generator) * 2 - 1
    xy = torch.rand(poses + 1, 18, 2, generator=generator) * 0.8 + 0.1
    people = Keypoints(xy, torch.ones(xy.shape[:2], dtype=torch.bool))
    return picture, people.select(slice(0, 1)), people.select(slice(1, None))


def in_types(
    components: Mapping[str, Any], types: torch.dtype | Mapping[str, torch.dtype]
) -> dict[str, Any]:
    """Copies of the components, all in one type or each in its own."""
    of_each = types if isinstance(types, Mapping) else dict.fromkeys(components, types)
    return {name: copy.deepcopy(part).to(of_each[name]) for name, part in components.items()}


# --- arms -----------------------------------------------------------------------------------------


@dataclass
class Arm:
    """One way: `run` makes `pictures` pictures and calls the clock after each step."""

    name: str
    pictures: int
    about: dict[str, Any]
    run: Callable[[StageClock], object]
    weights: int = 0  # bytes
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)  # seconds of all of the process's threads
    clocks: list[StageClock] = field(default_factory=list)
    peak: int | None = 0  # bytes; None where it was not measured

    def round(self, device: str) -> None:
        """One timed run."""
        clock, before = StageClock(device), time.process_time()
        self.seconds.append(seconds(lambda: self.run(clock), device))
        self.processor.append(time.process_time() - before)
        self.clocks.append(clock)

    def report(self) -> dict[str, Any]:
        """The figures; times are seconds."""

        def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
            return {name: statistics.median(row[name] for row in rows) for name in rows[0]}

        return {
            "name": self.name,
            **self.about,
            "pictures": self.pictures,
            "seconds": spread(self.seconds),
            "seconds_a_picture": statistics.median(self.seconds) / self.pictures,
            "processor_seconds_a_picture": statistics.median(self.processor) / self.pictures,
            "stages": medians([clock.stages for clock in self.clocks]),
            "steps_a_second": medians([clock.steps_a_second for clock in self.clocks]),
            "peak_bytes": None if self.peak is None else self.weights + self.peak,
            "weight_bytes": self.weights,
        }


def pack_arm(
    pipeline: PCDMsPipeline, weights: int, *, poses: int = 1, samples: int = 1, steps: int,
    fast: str | None = None,
) -> Arm:  # fmt: skip
    """A call of this pack: the poses of a source in batches, the preset's own guidance."""
    speed = find_fast(fast)
    scale = pipeline.preset.guidance_scale if speed.guidance_scale is None else speed.guidance_scale
    source, source_pose, targets = noise_case(pipeline.preset, poses)
    rows, noises = repeat_rows(poses, samples)
    options: dict[str, Any] = {"seed": SEED, "steps": speed.steps or steps, "fast": fast}

    def run(clock: StageClock) -> object:
        target = targets.select(rows)
        options.update(callback=clock, chunk=CHUNK, batch_index=noises)
        return pipeline(source, source_pose, target, **options).image

    about = {"poses": poses, "samples": samples, "steps": options["steps"], "guidance_scale": scale}
    about |= {"type": _name_of(pipeline.dtype), "fast": fast, "compiled": bool(pipeline.compiled)}
    name = f"{poses} pose{'s' * (poses > 1)}" + (f", {samples} samples" if samples > 1 else "")
    name += "" if fast is None else f", fast preset {fast}"
    name += ", compiled" if pipeline.compiled else ""
    return Arm(name, poses * samples, about, run, weights)


def plain_arm(
    preset: Preset, components: Mapping[str, Any], *, name: str, types: str, samples: int = 1,
    steps: int,
) -> Arm:  # fmt: skip
    """The plain path: one pair; further pairs take as long again."""
    case, path = noise_case(preset, 1), PlainPath(preset, components)
    about = {"poses": 1, "samples": samples, "steps": steps}

    def run(clock: StageClock) -> object:
        return path(*case, samples=samples, steps=steps, seed=SEED, callback=clock)

    about |= {"guidance_scale": GUIDANCE, "type": types}
    return Arm(name, samples, about, run, weight_bytes(components))


def plain_name(samples: int) -> str:
    """Of the plain path's arm."""
    return PLAIN if samples == 1 else f"{PLAIN}, {samples} samples"


def make_arms(
    preset: Preset,
    components: Mapping[str, Any],
    *,
    device: str,
    dtype: torch.dtype,
    poses: Sequence[int],
    samples: Sequence[int],
    steps: int,
    fast: Sequence[str] = (),
    compile: bool | Backend = False,
) -> list[Arm]:
    """The plain path at each number of samples, this pack at each number of poses.

    Fast presets, which change the pictures, are measured at one pose; so are compiled networks.

    On a GPU the plain path has the types of the published scripts, and where this pack's type is
    another, the plain path in that type stands beside it: what is left is not precision's. On a
    CPU, where half types save no time everywhere, the plain path is in fp32.
    """
    gpu = torch.device(device).type == "cuda"
    plain = in_types(components, AS_PUBLISHED if gpu else torch.float32)
    words = "as published" if gpu else "float32"
    arms = [
        plain_arm(preset, plain, name=plain_name(count), types=words, samples=count, steps=steps)
        for count in samples
    ]
    ours = in_types(components, dtype)
    if gpu or dtype != torch.float32:
        types = _name_of(dtype)
        arms.append(plain_arm(preset, ours, name=THIS_TYPE, types=types, steps=steps))
    pipeline, weights = PCDMsPipeline(preset, **ours), weight_bytes(ours)
    for number, each in [(n, 1) for n in poses] + [(1, n) for n in samples if n != 1]:
        arms.append(pack_arm(pipeline, weights, poses=number, samples=each, steps=steps))
    arms += [pack_arm(pipeline, weights, steps=steps, fast=name) for name in fast]
    if compile:
        other = PCDMsPipeline(preset, **in_types(components, dtype), compile=compile)
        arms.append(pack_arm(other, weights, steps=steps))
    return arms


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def run_arms(arms: Sequence[Arm], rounds: int, device: str) -> None:
    """Measure memory, which warms up, then time every arm in turn, round after round.

    The tensors of compiled networks are not counted on a CPU: counting would keep torch from
    compiling them, then and later.
    """
    for arm in arms:
        if arm.about.get("compiled") and torch.device(device).type != "cuda":
            arm.run(StageClock(device))
            arm.peak = None
        else:
            arm.peak = peak_bytes(lambda arm=arm: arm.run(StageClock(device)), device)
    for _ in range(rounds):
        for arm in arms:
            arm.round(device)


def ratios(arms: Sequence[Arm]) -> dict[str, Any]:
    """Seconds a picture of each arm over those of the plain path with as many samples.

    A round's runs stand side by side in time, so a ratio is the median of the rounds' ratios. That
    of processor time tells the work on a CPU that has other things to do as well.
    """
    by_name = {arm.name: arm for arm in arms}
    of_plain: dict[str, Any] = {}
    for arm in arms:
        plain = by_name.get(plain_name(arm.about["samples"]))
        if plain is None or plain is arm:
            continue
        of_plain[arm.name] = {
            **_ratio(arm, plain, "seconds"),
            "against": plain.name,
            "processor": _ratio(arm, plain, "processor"),
        }
    return of_plain


def _ratio(arm: Arm, plain: Arm, of: str) -> dict[str, float]:
    pairs = zip(getattr(arm, of), getattr(plain, of), strict=True)
    return spread([(mine / arm.pictures) / (theirs / plain.pictures) for mine, theirs in pairs])
