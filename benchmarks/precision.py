"""What half precision costs in accuracy, part by part, on the shipped weights and people.

    python -m benchmarks.precision --json FILE [--types bfloat16 float16] [--people 4] [--steps 20]

Everything is compared with the same work in fp32: one call of every network on equal inputs, what a
stage gives after its loop on equal inputs, and the pictures. Each part is in the half type alone
once; and everything is in it but one part, which shows what that part gains by fp32.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core import images
from pcdm_core.cli import run
from pcdm_core.config import Preset
from pcdm_core.demo import EXAMPLES
from pcdm_core.files import write_text
from pcdm_core.offload import pick_device
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.ranges import COUNT, GUIDANCE_SCALE
from training.evaluation.lpips import STLPIPS
from training.evaluation.metrics import ssim

from .inputs import Components, load
from .mixed_dtypes import HalfProducts, Stages, cast, in_type, variants, whole
from .timing import machine

SEED = 0
Figures = dict[str, float]
Judge = Callable[[Tensor, Tensor], list[float]]


@dataclass(frozen=True)
class People:
    """Pictures [B, 3, H, W] of B people in one pose, and the same people in another."""

    source: Tensor
    source_pose: Keypoints
    target_pose: Keypoints
    truth: Tensor


@dataclass(frozen=True)
class Made:
    """What the stages give; fp32."""

    embeds: Tensor | None
    latents: Tensor  # of stage 2's canvas
    image: Tensor


def example_people(count: int, preset: Preset, device: str) -> People:
    """The first `count` people that ship, from their first view to one that differs by person."""
    folders = sorted(p for p in EXAMPLES.iterdir() if p.is_dir() and p.name.isdigit())[:count]
    pictures: dict[str, list[Tensor]] = {"source": [], "truth": []}
    poses: dict[str, list[Keypoints]] = {"source": [], "truth": []}
    for row, folder in enumerate(folders):
        views = sorted(folder.glob("*.png"))
        for name, view in (("source", views[0]), ("truth", views[1 + row % (len(views) - 1)])):
            picture = images.load_picture(view)
            fitted, fit = images.fit(picture, preset.height, preset.width, preset.fit)
            pose = read_pose(view.with_suffix(".json"), size=(picture.shape[-2], picture.shape[-1]))
            pictures[name].append(fitted.to(device))
            poses[name].append(pose.moved(fit.points))
    source, truth = (torch.cat(pictures[name]) for name in ("source", "truth"))
    return People(source, Keypoints.cat(poses["source"]), Keypoints.cat(poses["truth"]), truth)


@torch.no_grad()
def make(stages: Stages, people: People, **sampling: Any) -> Made:
    """The pipeline's call, each stage by its own pipeline."""
    given: dict[str, Any] = {"seed": SEED, **sampling}
    prior = {key: value for key, value in given.items() if key != "guidance_scale"}
    features = stages.encoders.encode_source(people.source)
    poses = (people.source_pose, people.target_pose)
    embeds = stages.prior.predict_embedding(cast(features, stages.prior.dtype), *poses, **prior)
    inpainting, refining = stages.inpainting, stages.refining
    taken = None if embeds is None else embeds.to(inpainting.dtype)
    latents = inpainting.inpaint_latents(cast(features, inpainting.dtype), *poses, taken, **given)
    image = inpainting.decode_target(latents)
    if refining.refining is not None:
        image = refining.refine(cast(features, refining.dtype), image, **given)
    return Made(None if embeds is None else embeds.float(), latents.float(), image)


def relative(found: Tensor, expected: Tensor) -> float:
    """Root of the mean square difference, in deviations of what is expected."""
    found, expected = (tensor.cpu().double() for tensor in (found, expected))
    return float((found - expected).square().mean().sqrt() / expected.std())


# --- one call -------------------------------------------------------------------------------------


@torch.no_grad()
def one_call(
    preset: Preset, parts: Components, halves: Components, people: People, steps: int
) -> dict[str, Figures]:
    """Each network's error on inputs of an fp32 run: of all its calls the mean and the largest."""
    pipeline = PCDMsPipeline(preset, **parts)
    calls: dict[str, list[tuple[Any, ...]]] = {name: [] for name in parts}
    handles = [
        part.register_forward_pre_hook(lambda _, given, name=name: calls[name].append(given))
        for name, part in parts.items()
    ]
    made = make(whole(pipeline), people, steps=steps)
    for handle in handles:
        handle.remove()
    dtype = next(halves["inpainting"].parameters()).dtype

    def narrow(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(dtype) if value.is_floating_point() else value
        return value.to(dtype=dtype)

    found: dict[str, Figures] = {}
    for name in parts:
        if name == "autoencoder":
            continue
        errors = [
            relative(halves[name](*map(narrow, given)), parts[name](*given))
            for given in calls[name]
        ]
        found[name] = {"mean": float(np.mean(errors)), "largest": max(errors)}
    for name, given in (("encode", people.source), ("decode", made.latents)):
        expected = getattr(parts["autoencoder"], name)(given)
        error = relative(getattr(halves["autoencoder"], name)(narrow(given)), expected)
        found[f"autoencoder, {name}"] = {"mean": error, "largest": error}
    return found


# --- pictures -------------------------------------------------------------------------------------


def judge_of(device: str) -> Judge | None:
    """ST-LPIPS [B], where its package is installed."""
    try:
        network = STLPIPS.from_package().to(device)
    except ImportError:
        return None
    return lambda a, b: network(a, b)[0].tolist()


def similarity(a: Tensor, b: Tensor) -> float:
    """Mean SSIM of 8-bit pictures."""
    pairs = zip(images.to_uint8(a), images.to_uint8(b), strict=True)
    return float(np.mean([ssim(x, y) for x, y in pairs]))


def compare(found: Made, expected: Made, people: People, judge: Judge | None) -> Figures:
    """A variant against fp32, and its pictures against the true ones."""
    a, b = images.to_uint8(found.image), images.to_uint8(expected.image)
    levels = np.abs(a.astype(int) - b.astype(int))
    figures: Figures = {}
    if found.embeds is not None and expected.embeds is not None:
        figures["embeds"] = relative(found.embeds, expected.embeds)
    figures["latents"] = relative(found.latents, expected.latents)
    figures["pixels"] = relative(found.image, expected.image)
    figures["levels"] = float(levels.mean())
    figures["largest_levels"] = float(levels.max())
    figures["ssim"] = similarity(found.image, expected.image)
    figures["ssim_of_truth"] = similarity(found.image, people.truth)
    if judge is not None:
        figures["st_lpips"] = float(np.mean(judge(found.image, expected.image)))
        figures["st_lpips_of_truth"] = float(np.mean(judge(found.image, people.truth)))
    return figures


def measure(
    preset: Preset, parts: Components, people: People, dtype: torch.dtype, expected: Made,
    judge: Judge | None, **sampling: Any,
) -> dict[str, Any]:  # fmt: skip
    """All figures of one type, or why there are none."""
    device = people.source.device.type
    on_cpu = device == "cpu" and dtype == torch.float16
    products: AbstractContextManager[Any] = HalfProducts() if on_cpu else nullcontext()
    report: dict[str, Any] = {"products": "fp32 sums by casting" if on_cpu else "the device's own"}
    try:
        with products:
            halves = in_type(parts, dtype)
            report["one call"] = one_call(preset, parts, halves, people, sampling["steps"])
            rows: dict[str, Figures] = {}
            for name, stages in variants(preset, parts, dtype).items():
                sys.stderr.write(f"{dtype}: {name}\n")
                made = make(stages, people, **sampling)
                rows[name] = compare(made, expected, people, judge)
    except (NotImplementedError, RuntimeError) as error:
        if "not implemented" not in str(error).lower():
            raise
        return {"missing": f"not on this device ({str(error).splitlines()[0]})"}
    return {**report, "variants": rows}


# --- the command ----------------------------------------------------------------------------------

COLUMNS: dict[str, tuple[str, str]] = {
    "embeds": ("embedding", ".2%"),
    "latents": ("latents", ".2%"),
    "pixels": ("picture", ".2%"),
    "levels": ("levels of 255", ".2f"),
    "largest_levels": ("most", ".0f"),
    "ssim": ("SSIM", ".4f"),
    "st_lpips": ("ST-LPIPS", ".5f"),
    "ssim_of_truth": ("SSIM of truth", ".4f"),
    "st_lpips_of_truth": ("ST-LPIPS of truth", ".4f"),
}


def markdown(report: dict[str, Any]) -> str:
    """Two tables a type."""
    full = report["float32"]
    lines: list[str] = []
    for name, found in report["types"].items():
        if "missing" in found:
            lines += [f"{name}: {found['missing']}", ""]
            continue
        calls = found["one call"]
        lines += [f"{name}, one call on equal inputs: error in deviations", ""]
        lines += _table(["network", "mean", "largest"], [
            [part, f"{row['mean']:.2%}", f"{row['largest']:.2%}"] for part, row in calls.items()
        ])  # fmt: skip
        rows = found["variants"]
        shown = [key for key in COLUMNS if any(key in row for row in rows.values())]
        lines += ["", f"{name}, {report['steps']} steps, {report['people']} people", ""]
        body = [
            [variant] + [format(row[k], COLUMNS[k][1]) if k in row else "-" for k in shown]
            for variant, row in (("nothing (fp32)", full), *rows.items())
        ]
        lines += [*_table([f"in {name}", *(COLUMNS[k][0] for k in shown)], body), ""]
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def build_parser() -> argparse.ArgumentParser:
    """All options."""
    parser = argparse.ArgumentParser(prog="precision", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--weights", type=Path, help="a folder in place of the shipped weights")
    parser.add_argument("--types", nargs="+", choices=("bfloat16", "float16"),
                        default=["bfloat16", "float16"])  # fmt: skip
    parser.add_argument(
        "--people", type=COUNT.parse, default=4, help="of those that ship (default 4)"
    )
    parser.add_argument("--steps", type=COUNT.parse, default=20, help="of every stage (default 20)")
    parser.add_argument("--guidance-scale", type=GUIDANCE_SCALE.parse, help="of stages 2 and 3")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--threads", type=COUNT.parse, default=os.cpu_count(), help="on a CPU")
    return parser


def command(options: argparse.Namespace) -> None:
    """Measure, write and print."""
    torch.set_num_threads(options.threads)
    device = pick_device(options.device)
    preset, parts = load(options.weights, device)
    people = example_people(options.people, preset, device)
    judge = judge_of(device)
    sampling = {"steps": options.steps, "guidance_scale": options.guidance_scale}
    expected = make(whole(PCDMsPipeline(preset, **parts)), people, **sampling)
    report: dict[str, Any] = {"machine": machine(device), "preset": preset.name, **sampling}
    report |= {"people": len(people.source), "types": {}}
    report["float32"] = compare(expected, expected, people, judge)
    for name in options.types:
        dtype = getattr(torch, name)
        report["types"][name] = measure(preset, parts, people, dtype, expected, judge, **sampling)
    for path, content in (
        (options.json, json.dumps(report, indent=1)),
        (options.json.with_suffix(".md"), markdown(report)),
    ):
        write_text(path, f"{content}\n")
    sys.stdout.write(f"{markdown(report)}\n{options.json}\n")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    options = build_parser().parse_args(argv)
    return run(lambda: command(options), "precision")


if __name__ == "__main__":
    sys.exit(main())
