"""`python run.py bench --json FILE`: how long a picture takes, and what it needs in memory.

The plain path does the work as the published scripts do it (see `plain`); the pack's own arms stand
beside it in the same run, in turn. The models have the weights that ship (mini) and random weights
of the published size. On a GPU both run whole; on a CPU the published size is measured as one step
of each stage, and labelled so. Beside FILE lie a table (.md) and a plot (.svg); `--readme` puts
both into README.md too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pcdm_core.cli import run
from pcdm_core.files import write_text
from pcdm_core.offload import pick_device
from pcdm_core.ranges import COUNT
from pcdm_core.speed import FAST_PRESETS, STUDENT

from .inputs import load, random_components, sized
from .one_step import measure_steps
from .plot import drawing
from .readme import write_readme
from .report import markdown
from .timing import machine
from .variants import make_arms, ratios, run_arms

MODELS = ("mini", "published")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    options = build_parser().parse_args(argv)
    return run(lambda: bench(options), "bench")


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--readme", action="store_true", help="renew the figures in README.md")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=MODELS,
        default=MODELS,
        help="mini: the weights that ship; published: random weights of that size (default: both)",
    )
    parser.add_argument("--weights", type=Path, help="a folder in place of the shipped weights")
    parser.add_argument(
        "--size", default="512x352", help="HEIGHTxWIDTH of the published size (default %(default)s)"
    )
    parser.add_argument(
        "--poses",
        type=COUNT.parse,
        nargs="+",
        help="of a source (default: mini 1 4 16 64, else 1 4 16)",
    )
    parser.add_argument(
        "--samples", type=COUNT.parse, nargs="+", default=[1, 4], help="of a pose (default 1 4)"
    )
    parser.add_argument(
        "--fast",
        nargs="*",
        choices=[name for name in FAST_PRESETS if name != STUDENT],  # it needs other weights
        default=["10-steps", "4-steps", "fast"],
        help="presets that change the pictures, at one pose (default: %(default)s)",
    )
    parser.add_argument("--steps", type=COUNT.parse, default=20, help="of every stage (default 20)")
    parser.add_argument(
        "--rounds", type=COUNT.parse, default=5, help="timed runs of every arm (default 5)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16", "bfloat16"),
        help="of the pack's arms (default: float16 on a GPU, float32 on a CPU)",
    )
    parser.add_argument(
        "--half",
        choices=("float16", "bfloat16"),
        help="measure one pose in this type as well",
    )
    parser.add_argument(
        "--compile",
        action="store_true",
        help="measure one pose with compiled networks as well; compiling takes minutes",
    )
    parser.add_argument(
        "--threads", type=COUNT.parse, help="on a CPU (default: one a core)", default=os.cpu_count()
    )
    return parser


def bench(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    gpu = torch.device(device).type == "cuda"
    dtype = getattr(torch, options.dtype or ("float16" if gpu else "float32"))
    report: dict[str, Any] = {"machine": machine(device), "steps": options.steps}
    report |= {"rounds": options.rounds, "models": {}}
    for name in options.models:
        sys.stderr.write(f"{name}\n")
        if name == "published" and not gpu:
            preset = sized("published", options.size)
            rounds = min(options.rounds, 3)
            report["models"][name] = {"size": size_of(preset), "one_step": True}
            report["models"][name]["stages"] = measure_steps(preset, rounds)
            continue
        if name == "mini":
            preset, components = load(options.weights, device)
        else:
            preset = sized("published", options.size)
            components = random_components(preset, device)
        arms = make_arms(
            preset,
            components,
            device=device,
            dtype=dtype,
            poses=options.poses or ([1, 4, 16, 64] if name == "mini" else [1, 4, 16]),
            samples=options.samples,
            steps=options.steps,
            fast=options.fast,
            half=None if options.half is None else getattr(torch, options.half),
            compile=options.compile,
        )
        run_arms(arms, options.rounds, device)
        report["models"][name] = {
            "size": size_of(preset),
            "preset": preset.name,
            "one_step": False,
            "arms": [arm.report() for arm in arms],
            **ratios(arms),
        }
    text = markdown(report)
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    write_text(options.json.with_suffix(".md"), text)
    names = [options.json, options.json.with_suffix(".md")]
    picture = drawing(report["models"])
    if picture is not None:
        names.append(options.json.with_suffix(".svg"))
        write_text(names[-1], picture)
    if options.readme:
        names += write_readme([report])
    sys.stdout.write(f"{text}\n{', '.join(map(str, names))}\n")


def size_of(preset: Any) -> str:
    """Height x width."""
    return f"{preset.height}x{preset.width}"


if __name__ == "__main__":
    sys.exit(main())
