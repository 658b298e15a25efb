"""How much of a picture's time remains where nothing is computed twice in the sampling loop.

    python -m benchmarks.savings [--weights FOLDER] [--poses 1] [--steps 20] [--guidance-scale 2]

Every stage runs in this process with and without `savings`, in turn, on the same inputs and one
thread; the numbers that both give are compared too. What counts is the ratio: seconds depend on the
machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call, the device's queue included."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def stages_of(pipeline: PCDMsPipeline, options: argparse.Namespace) -> dict[str, Callable]:
    """Each stage as a function of `savings`; pictures and poses are noise, work does not care."""
    draw = torch.Generator().manual_seed(0)
    preset = pipeline.preset
    picture = torch.rand(1, 3, preset.height, preset.width, generator=draw) * 2 - 1
    xy = torch.rand(options.poses + 1, 18, 2, generator=draw) * 0.8 + 0.1
    people = Keypoints(xy, torch.ones(xy.shape[:2], dtype=torch.bool))
    source, targets = people.select(slice(0, 1)), people.select(slice(1, None))
    features = pipeline.encode_source(picture)
    common = {"seed": 0, "steps": options.steps}
    embeds = pipeline.predict_embedding(features, source, targets, **common)
    common["guidance_scale"] = options.guidance_scale
    coarse = pipeline.inpaint(features, source, targets, embeds, **common)

    def prior(savings: bool) -> Tensor | None:
        steps = options.steps
        return pipeline.predict_embedding(
            features, source, targets, seed=0, steps=steps, savings=savings
        )

    def inpainting(savings: bool) -> Tensor:
        return pipeline.inpaint(features, source, targets, embeds, savings=savings, **common)

    def refining(savings: bool) -> Tensor:
        return pipeline.refine(features, coarse, savings=savings, **common)

    stages: dict[str, Callable] = {"inpainting": inpainting}
    if embeds is not None:
        stages = {"prior": prior, **stages}
    if pipeline.refining is not None:
        stages["refining"] = refining
    return stages


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Medians of the interleaved rounds, and counted operations, stage by stage."""
    pipeline = PCDMsPipeline.from_folder(options.weights, device=options.device)
    stages = stages_of(pipeline, options)
    results: dict[str, object] = {}
    totals = {True: 0.0, False: 0.0}
    for name, stage in stages.items():
        outputs: dict[bool, Tensor] = {}
        counted: dict[bool, int] = {}
        for savings in (True, False):  # warms up as well
            with FlopCounterMode(display=False) as counter:
                outputs[savings] = stage(savings)
            counted[savings] = counter.get_total_flops()
        times: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(options.rounds):
            for savings in (True, False):  # in turn, so that a busy machine slows both
                times[savings].append(
                    seconds(lambda stage=stage, on=savings: stage(on), options.device)
                )
        medians = {savings: statistics.median(values) for savings, values in times.items()}
        totals = {savings: totals[savings] + medians[savings] for savings in totals}
        results[name] = {
            "seconds": round(medians[True], 4),
            "seconds_plain": round(medians[False], 4),
            "ratio": round(medians[True] / medians[False], 3),
            "ratio_by_counted_flops": round(counted[True] / counted[False], 3),
            "largest_difference_of_std": float(
                (outputs[True] - outputs[False]).abs().max() / outputs[False].std()
            ),
        }
    return {
        "preset": pipeline.preset.name,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu, 1 thread",
        "poses": options.poses,
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        **results,
        "ratio": round(totals[True] / totals[False], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder (default: the weights that ship)")
    parser.add_argument("--poses", type=int, default=1)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance-scale", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(measure(options), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
