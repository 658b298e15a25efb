"""The arms of a comparison: ways to make the same pictures, timed in turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.inputs import fit_rows
from pcdm_core.options import SamplingOptions
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.body_mask import body_mask
from pcdm_core.run_stages import Batch, Hooks, run_stages
from pcdm_core.speed import SpeedPreset, find_fast
from pcdm_core.torch_compile import Backend

from .inputs import Components, copies, noise_case, weight_bytes
from .published_baseline import AS_PUBLISHED, GUIDANCE, PlainPath, Types
from .timing import StageClock, peak_bytes, seconds, spread

SEED = 0
CHUNK = 16  # rows that go through a stage at once, as in a call of the pipeline
PLAIN = "plain"


@dataclass
class Arm:
    """One way: `run` makes `pictures` pictures and tells the clock of its parts."""

    name: str
    pictures: int
    about: dict[str, Any]
    run: Callable[[StageClock], object]
    weights: int  # bytes
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
        """What was found; times are seconds."""

        def medians(rows: Sequence[dict[str, float]]) -> dict[str, float]:
            return {name: statistics.median(row[name] for row in rows) for name in rows[0]}

        return {
            "name": self.name,
            **self.about,
            "pictures": self.pictures,
            "seconds": spread(self.seconds),
            "seconds_a_picture": statistics.median(self.seconds) / self.pictures,
            "processor_seconds_a_picture": statistics.median(self.processor) / self.pictures,
            "stages": medians([clock.parts for clock in self.clocks]),
            "steps_a_second": medians([clock.steps_a_second for clock in self.clocks]),
            "peak_bytes": None if self.peak is None else self.weights + self.peak,
            "weight_bytes": self.weights,
        }


def run_pack(
    pipeline: PCDMsPipeline,
    clock: StageClock,
    *,
    poses: int,
    samples: int,
    steps: int,
    fast: SpeedPreset,
) -> Tensor:
    """What a call of the pipeline does, stage by stage and in its chunks, so that each is timed."""
    case = noise_case(pipeline.preset, poses)
    with clock.of("source"):
        features = pipeline.encode_source(case.source)
    source_pose, targets, _, noises = fit_rows(
        case.source_pose, case.targets, features.fit, sources=1, pictures=samples
    )
    batch = Batch(features, source_pose, targets, SEED, noises)
    run: dict[str, Any] = {"chunk": CHUNK, "callback": clock, "hooks": Hooks(during=clock.of)}
    result = run_stages(pipeline, batch, SamplingOptions(steps=steps).under(fast), **run)
    body_mask(batch.target_pose, *batch.target_pose.frame)
    return result.image


def pack_arm(
    pipeline: PCDMsPipeline,
    weights: int,
    *,
    poses: int,
    samples: int,
    steps: int,
    fast: str | None = None,
    note: str = "",
) -> Arm:
    """This pack: the poses of a source in batches, the preset's own guidance.

    `note` ends the name: what else is different about the pipeline.
    """
    preset = find_fast(fast)
    scale = preset.guidance_scale
    about = {
        "poses": poses,
        "samples": samples,
        "steps": preset.steps or steps,
        "guidance_scale": pipeline.preset.guidance_scale if scale is None else scale,
        "type": str(pipeline.dtype).removeprefix("torch."),
        "fast": fast,
        "note": note,
        "compiled": bool(pipeline.compiled),
    }
    name = f"{poses} pose{'s' * (poses > 1)}"
    if samples > 1:
        name += f", {samples} samples"
    if fast is not None:
        name += f", fast preset {fast}"
    name += note

    def run(clock: StageClock) -> object:
        counts = {"poses": poses, "samples": samples, "steps": steps}
        return run_pack(pipeline, clock, **counts, fast=preset)

    return Arm(name, poses * samples, about, run, weights)


def plain_arm(
    preset: Preset, components: Components, *, name: str, types: str, samples: int, steps: int
) -> Arm:
    """The plain path: one pair; further pairs take as long again."""
    case = noise_case(preset, 1)
    path = PlainPath(preset, components)

    def run(clock: StageClock) -> object:
        return path(
            case.source,
            case.source_pose,
            case.targets,
            samples=samples,
            steps=steps,
            seed=SEED,
            clock=clock,
        )

    about = {"poses": 1, "samples": samples, "steps": steps}
    about |= {"guidance_scale": GUIDANCE, "type": types}
    return Arm(name, samples, about, run, weight_bytes(components))


def make_arms(
    preset: Preset,
    components: Components,
    *,
    device: str,
    dtype: torch.dtype,
    poses: Sequence[int],
    samples: Sequence[int],
    steps: int,
    fast: Sequence[str] = (),
    half: torch.dtype | None = None,
    compile: bool | Backend = False,
) -> list[Arm]:
    """The plain path at each number of samples, this pack at each number of poses.

    Fast presets, which change the pictures, are measured at one pose; so are another type (`half`)
    and compiled networks, each alone and both together.

    On a GPU the plain path has the types of the published scripts, and where this pack's type is
    another, the plain path in that type stands beside it: what is left is not precision's. On a
    CPU, where half types save no time everywhere, the plain path is in fp32.
    """
    gpu = torch.device(device).type == "cuda"
    published = AS_PUBLISHED if gpu else Types.all_in(torch.float32)
    told = "as published" if gpu else "float32"
    plain = published.apply(copies(components))
    arms = [
        plain_arm(preset, plain, name=plain_name(count), types=told, samples=count, steps=steps)
        for count in samples
    ]
    if published != Types.all_in(dtype):
        same = Types.all_in(dtype).apply(copies(components))
        arms.append(
            plain_arm(
                preset,
                same,
                name=f"{PLAIN}, this type",
                types=str(dtype).removeprefix("torch."),
                samples=1,
                steps=steps,
            )
        )
    ours = Types.all_in(dtype).apply(copies(components))
    pipeline = PCDMsPipeline(preset, **ours)
    weights = weight_bytes(ours)
    counts = [(count, 1) for count in poses] + [(1, count) for count in samples if count != 1]
    for number, each in counts:
        arms.append(pack_arm(pipeline, weights, poses=number, samples=each, steps=steps))
    for name in fast:
        arms.append(pack_arm(pipeline, weights, poses=1, samples=1, steps=steps, fast=name))
    types = [dtype] if half is None else [dtype, half]
    for kind, compiled in product(types, (False, True) if compile else (False,)):
        if (kind, compiled) == (dtype, False):
            continue
        parts = Types.all_in(kind).apply(copies(components))
        note = "" if kind == dtype else f", {str(kind).removeprefix('torch.')}"
        note += ", compiled" if compiled else ""
        other = PCDMsPipeline(preset, **parts, compile=compile if compiled else False)
        weights = weight_bytes(parts)
        arms.append(pack_arm(other, weights, poses=1, samples=1, steps=steps, note=note))
    return arms


def plain_name(samples: int) -> str:
    """Of the plain path's arm."""
    return PLAIN if samples == 1 else f"{PLAIN}, {samples} samples"


def run_arms(arms: Sequence[Arm], rounds: int, device: str) -> None:
    """Measure memory, which warms up, then time every arm in turn, round after round.

    The tensors of compiled networks are not counted on a CPU: counting would keep torch from
    compiling them, then and later.
    """
    for arm in arms:
        if arm.about.get("compiled") and torch.device(device).type != "cuda":
            arm.run(StageClock(device))
            arm.peak = None
            continue
        arm.peak = peak_bytes(lambda arm=arm: arm.run(StageClock(device)), device)
    for _ in range(rounds):
        for arm in arms:
            arm.round(device)


def ratios(arms: Sequence[Arm]) -> dict[str, Any]:
    """Seconds a picture of each of the pack's arms over the plain path's, by rounds.

    A round's runs stand side by side in time, so a ratio is the median of the rounds' ratios. That
    of processor time tells the work on a CPU that has other things to do as well. The share of
    precision is that of the logarithm of the whole gain, because gains multiply.
    """
    by_name = {arm.name: arm for arm in arms}
    found: dict[str, Any] = {}
    for arm in arms:
        if arm.name.startswith(PLAIN):
            continue
        samples = arm.about["samples"]
        plain = by_name.get(plain_name(samples))
        if plain is None:
            continue
        processor = _round_ratios(arm, plain, "processor")
        found[arm.name] = {
            **spread(_round_ratios(arm, plain)),
            "against": plain.name,
            "processor": spread(processor),
        }
    same = by_name.get(f"{PLAIN}, this type")
    return {"of_plain": found, "precision_alone": _precision(same, by_name.get(PLAIN), arms)}


def _round_ratios(arm: Arm, other: Arm, of: str = "seconds") -> list[float]:
    pairs = zip(getattr(arm, of), getattr(other, of), strict=True)
    return [(mine / arm.pictures) / (theirs / other.pictures) for mine, theirs in pairs]


def _precision(same: Arm | None, plain: Arm | None, arms: Sequence[Arm]) -> dict[str, Any]:
    single = next((arm for arm in arms if arm.about["poses"] == 1 and _is_pack(arm)), None)
    if plain is None or single is None:
        return {"share_of_gain": None, "why": "there is no run of one pose on both paths"}
    if same is None:
        return {"share_of_gain": 0.0, "why": "both paths have the same types"}
    of_plain = statistics.median(_round_ratios(same, plain))
    whole = statistics.median(_round_ratios(single, plain))
    share = math.log(of_plain) / math.log(whole) if whole != 1.0 else None
    return {"share_of_gain": share, "ratio_by_precision": of_plain, "ratio": whole}


def _is_pack(arm: Arm) -> bool:
    exact = arm.about.get("fast") is None and not arm.about.get("note")
    return exact and arm.about["samples"] == 1 and not arm.name.startswith(PLAIN)
