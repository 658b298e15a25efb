"""`python run.py bench --json FILE`: how long a picture takes, and what it needs in memory.

The plain path does the work as the published scripts do it (see `published_baseline`); the pack's
own arms stand beside it in the same run, in turn. The models have the weights that ship (mini) and,
on a GPU, random weights of the published size. Beside FILE lies a table (.md); `--readme` puts it
into README.md too.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pcdm_core.checkpoints.components import load_components
from pcdm_core.cli import run
from pcdm_core.files import write_text
from pcdm_core.offload import pick_device
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, parse_size
from pcdm_core.speed import FAST_PRESETS, STUDENT

from .memory import random_components
from .report import markdown, write_readme
from .timing import machine
from .variants import make_arms, ratios, run_arms

POSES = {"mini": (1, 4, 16, 64), "published": (1, 4, 16)}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    options = build_parser().parse_args(argv)
    return run(lambda: bench(options), "bench")


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(prog="bench", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--readme", action="store_true", help="regenerate the table in README.md")
    parser.add_argument(
        "--models",
        nargs="+",
        choices=POSES,
        help="mini: the weights that ship; published: random "
        "weights of that size (default: mini, and on a GPU both)",
    )
    parser.add_argument("--weights", type=Path, help="a folder in place of the shipped weights")
    parser.add_argument(
        "--size",
        type=parse_size,
        default=(512, 352),
        help="HEIGHTxWIDTH of the published size (default 512x352)",
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
        default=["10-steps", "4-steps", "fast"],
        choices=[name for name in FAST_PRESETS if name != STUDENT],  # it needs other weights
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
        "--compile",
        action="store_true",
        help="measure one pose compiled as well; compiling takes minutes",
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
    for name in options.models or (POSES if gpu else ("mini",)):
        sys.stderr.write(f"{name}\n")
        if name == "mini":
            preset, components = load_components(options.weights, device=device)
        else:
            height, width = options.size
            preset = replace(find_preset(name), height=height, width=width)
            components = random_components(preset, device)
        arms = make_arms(
            preset,
            components,
            device=device,
            dtype=dtype,
            poses=options.poses or POSES[name],
            samples=options.samples,
            steps=options.steps,
            fast=options.fast,
            compile=options.compile,
        )
        run_arms(arms, options.rounds, device)
        report["models"][name] = {
            "size": f"{preset.height}x{preset.width}",
            "preset": preset.name,
            "arms": [arm.report() for arm in arms],
            "of_plain": ratios(arms),
        }
    text, path = markdown(report), options.json.with_suffix(".md")
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    write_text(path, text)
    names = [options.json, path, *([write_readme(report)] if options.readme else [])]
    sys.stdout.write(f"{text}\n{', '.join(map(str, names))}\n")


if __name__ == "__main__":
    sys.exit(main())
