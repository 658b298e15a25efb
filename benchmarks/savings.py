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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.ranges import COUNT, GUIDANCE_SCALE

from .inputs import noise_case
from .timing import flops, interleaved


def stages_of(
    pipeline: PCDMsPipeline, options: argparse.Namespace
) -> dict[str, Callable[[bool], Any]]:
    """Each stage as a function of `savings`; pictures and poses are noise, work does not care."""
    case = noise_case(pipeline.preset, options.poses)
    source, targets = case.source_pose, case.targets
    features = pipeline.encode_source(case.source)
    common: dict[str, Any] = {"seed": 0, "steps": options.steps}
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

    stages: dict[str, Callable[[bool], Any]] = {"inpainting": inpainting}
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
    totals = {"saved": 0.0, "plain": 0.0}
    for name, stage in stages.items():
        works = {way: partial(stage, way == "saved") for way in ("saved", "plain")}
        outputs: dict[str, Tensor] = {way: work() for way, work in works.items()}
        counted = {way: flops(work) for way, work in works.items()}
        times = interleaved(works, options.rounds, options.device)
        medians = {way: statistics.median(values) for way, values in times.items()}
        totals = {way: totals[way] + medians[way] for way in totals}
        results[name] = {
            "seconds": round(medians["saved"], 4),
            "seconds_plain": round(medians["plain"], 4),
            "ratio": round(medians["saved"] / medians["plain"], 3),
            "ratio_by_counted_flops": round(counted["saved"] / counted["plain"], 3),
            "largest_difference_of_std": float(
                (outputs["saved"] - outputs["plain"]).abs().max() / outputs["plain"].std()
            ),
        }
    return {
        "preset": pipeline.preset.name,
        "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu, 1 thread",
        "poses": options.poses,
        "steps": options.steps,
        "guidance_scale": options.guidance_scale,
        **results,
        "ratio": round(totals["saved"] / totals["plain"], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="folder (default: the weights that ship)")
    parser.add_argument("--poses", type=COUNT.parse, default=1)
    parser.add_argument("--steps", type=COUNT.parse, default=20)
    parser.add_argument("--guidance-scale", type=GUIDANCE_SCALE.parse, default=2.0)
    parser.add_argument("--rounds", type=COUNT.parse, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sys.stdout.write(json.dumps(measure(options), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
