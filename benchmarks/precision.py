"""What half precision costs in accuracy, on the shipped weights and people.

    python -m benchmarks.precision --json FILE [--types bfloat16 float16] [--people 4] [--steps 20]

What every stage gives is compared with the same run in fp32, and the pictures with the true ones.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core import images
from pcdm_core.checkpoints.components import load_components
from pcdm_core.cli import run
from pcdm_core.config import Preset
from pcdm_core.demo import EXAMPLES
from pcdm_core.files import write_text
from pcdm_core.offload import pick_device
from pcdm_core.output import PCDMsOutput
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.ranges import COUNT, GUIDANCE_SCALE
from training.evaluation.lpips import STLPIPS
from training.evaluation.metrics import ssim

from .report import table
from .timing import machine
from .variants import in_types

SEED = 0
STAGES = ("target_embeds", "coarse", "image")
Judge = Callable[[Tensor, Tensor], list[float]]
COLUMNS = {
    "target_embeds": ("embedding", ".2%"),
    "coarse": ("stage 2", ".2%"),
    "image": ("picture", ".2%"),
    "levels": ("levels of 255", ".2f"),
    "largest_levels": ("most", ".0f"),
    "ssim": ("SSIM", ".4f"),
    "st_lpips": ("ST-LPIPS", ".5f"),
    "ssim_of_truth": ("SSIM of truth", ".4f"),
    "st_lpips_of_truth": ("ST-LPIPS of truth", ".4f"),
}


def example_people(count: int, preset: Preset) -> tuple[Tensor, Keypoints, Keypoints, Tensor]:
    """The first `count` people that ship, from their first view to one that differs by person.

    Returns:
        Source pictures [count, 3, H, W], their poses, the target poses, the true pictures.
    """
    folders = sorted(p for p in EXAMPLES.iterdir() if p.is_dir() and p.name.isdigit())[:count]
    pictures: list[list[Tensor]] = [[], []]
    poses: list[list[Keypoints]] = [[], []]
    for row, folder in enumerate(folders):
        views = sorted(folder.glob("*.png"))
        for side, view in enumerate((views[0], views[1 + row % (len(views) - 1)])):
            picture = images.load_picture(view)
            fitted, fit = images.fit(picture, preset.height, preset.width, preset.fit)
            pose = read_pose(view.with_suffix(".json"), size=(picture.shape[-2], picture.shape[-1]))
            pictures[side].append(fitted)
            poses[side].append(pose.moved(fit.points))
    source, truth = map(torch.cat, pictures)
    return source, Keypoints.cat(poses[0]), Keypoints.cat(poses[1]), truth


def relative(result: Tensor, expected: Tensor) -> float:
    """Root of the mean square difference, in deviations of what is expected."""
    result, expected = (tensor.detach().cpu().double() for tensor in (result, expected))
    return float((result - expected).square().mean().sqrt() / expected.std())


def judge_of(device: str) -> Judge | None:
    """ST-LPIPS [B], where its package is installed."""
    try:
        network = STLPIPS.from_package().to(device)
    except ImportError:
        return None
    return lambda a, b: network(a, b)[0].tolist()


def compare(
    result: PCDMsOutput, expected: PCDMsOutput, truth: Tensor, judge: Judge | None
) -> dict[str, float]:
    """A run against the one in fp32, and its pictures against the true ones."""
    stages = {n: (getattr(result, n), getattr(expected, n)) for n in STAGES}
    figures = {name: relative(*pair) for name, pair in stages.items() if pair[0] is not None}
    ours, theirs = (images.to_uint8(output.image).astype(int) for output in (result, expected))
    levels = abs(ours - theirs)
    figures |= {"levels": float(levels.mean()), "largest_levels": float(levels.max())}
    for suffix, other in (("", expected.image), ("_of_truth", truth.to(result.image))):
        pairs = zip(images.to_uint8(result.image), images.to_uint8(other), strict=True)
        figures[f"ssim{suffix}"] = float(np.mean([ssim(x, y) for x, y in pairs]))
        if judge is not None:
            figures[f"st_lpips{suffix}"] = float(np.mean(judge(result.image, other)))
    return figures


def markdown(report: dict[str, Any]) -> str:
    """One table, a row a type."""
    rows: dict[str, dict[str, float]] = report["types"]
    keys = [key for key in COLUMNS if key in rows["float32"]]
    body = [[name, *(format(row[k], COLUMNS[k][1]) for k in keys)] for name, row in rows.items()]
    head = f"{report['steps']} steps, {report['people']} people:"
    return "\n".join([head, "", *table(["", *(COLUMNS[k][0] for k in keys)], body)]) + "\n"


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(prog="precision", description=(__doc__ or "").split("\n")[0])
    types = ("bfloat16", "float16")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--weights", type=Path, help="a folder in place of the shipped weights")
    parser.add_argument("--types", nargs="+", choices=types, default=types)
    parser.add_argument(
        "--people", type=COUNT.parse, default=4, help="of those that ship (default 4)"
    )
    parser.add_argument("--steps", type=COUNT.parse, default=20, help="of every stage (default 20)")
    parser.add_argument("--guidance-scale", type=GUIDANCE_SCALE.parse, help="of stages 2 and 3")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--threads", type=COUNT.parse, default=os.cpu_count(), help="on a CPU")
    return parser


def measure(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    preset, parts = load_components(options.weights, device=device)
    source, source_pose, target_pose, truth = example_people(options.people, preset)
    sampling = {"steps": options.steps, "guidance_scale": options.guidance_scale}
    outputs: dict[str, PCDMsOutput] = {}
    for name in ("float32", *options.types):
        sys.stderr.write(f"{name}\n")
        pipeline = PCDMsPipeline(preset, **in_types(parts, getattr(torch, name)))
        outputs[name] = pipeline(source, source_pose, target_pose, seed=SEED, **sampling)
    expected, judge = outputs["float32"], judge_of(device)
    figures = {name: compare(output, expected, truth, judge) for name, output in outputs.items()}
    report = {"machine": machine(device), "preset": preset.name, **sampling}
    report |= {"people": len(truth), "types": figures}
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    write_text(options.json.with_suffix(".md"), markdown(report))
    sys.stdout.write(f"{markdown(report)}\n{options.json}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    options = build_parser().parse_args(argv)
    return run(lambda: measure(options), "precision")


if __name__ == "__main__":
    sys.exit(main())
