"""Tables for choices that need no training: guidance, steps, fast presets, stage 3.

`python -m training.evaluation.compare_settings --pairs 64 --json out/choices.json`, with
`--variants fast` for the presets of `pcdm_core.speed`. Every variant differs from the default in
one setting; differences are paired. Pictures are kept, so that the command goes on where it was
stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcdm_core.files import write_text
from pcdm_core.speed import FAST_PRESETS, STUDENT

from .report import PERSON_COLUMNS, PICTURE_COLUMNS, heading, markdown, mean_of, summarise

if TYPE_CHECKING:  # the help needs none of them
    from pcdm_core.pipeline import PCDMsPipeline

    from .held_out_pairs import HeldOutSet
    from .judges import Judges
    from .pictures import Seconds

GUIDANCE = (1.0, 1.25, 1.5, 2.0)
STEPS = (4, 8, 12, 20)
TIME = {"seconds": ("s a pair", 2, 1.0)}
METHODS = ("truth", "copy", "coarse", "refined")
COLUMNS = {
    name: {**PICTURE_COLUMNS, **PERSON_COLUMNS}[name]
    for name in (
        "ssim", "st_lpips", "ssim_person", "st_lpips_person", "pck", "colour", "laplacian_ratio",
        "band", "kernel_distance",
    )
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    from pcdm_core.cli import add_sampling_options, run

    from .__main__ import add_options

    parser = argparse.ArgumentParser(prog="choices", description=(__doc__ or "").split("\n")[0])
    add_options(parser, pairs=64)
    parser.add_argument(
        "--variants",
        choices=("sampling", "fast"),
        default="sampling",
        help="guidance and steps (default), or the fast presets, which change the pictures",
    )
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: command(options), "choices")


def command(options: argparse.Namespace) -> None:
    """Every variant of the weights that `options` name."""
    from pcdm_core.checkpoints.files import CheckpointError
    from pcdm_core.cli import load_pipeline

    from .held_out_pairs import HeldOutSet
    from .judges import Judges
    from .run import weights_sha256

    pipeline = load_pipeline(options)
    guidance = options.guidance_scale or pipeline.preset.guidance_scale
    settings = (variants if options.variants == "sampling" else fast_variants)(
        options.steps, guidance
    )
    digest = weights_sha256(options.weights, options.student)
    chosen = {name: Variant(pipeline, digest, s) for name, s in settings.items()}
    if options.variants == "fast" and options.student is None:
        with suppress(CheckpointError):  # there need not be one
            chosen |= _student(options, chosen["default"].settings)
    judges = Judges.load(options.pose_judge, options.keypoints, pipeline.device)
    compare(options.json, HeldOutSet.of(options), chosen, judges, options.steps, options.workers)


def _student(options: argparse.Namespace, settings: Mapping[str, Any]) -> dict[str, Variant]:
    """The few-step student that comes with the weights; nothing where they are one themselves."""
    from pcdm_core.checkpoints.components import find_student
    from pcdm_core.cli import load_pipeline

    from .run import weights_sha256

    folder = find_student(options.weights)
    if folder is None:
        return {}
    pipeline = load_pipeline(argparse.Namespace(**{**vars(options), "student": folder}))
    digest = weights_sha256(options.weights, folder)
    return {STUDENT: Variant(pipeline, digest, {**settings, "fast": STUDENT})}


@dataclass(frozen=True)
class Variant:
    """Weights and how pictures are made with them (fields of `Sampling`)."""

    pipeline: PCDMsPipeline
    weights: str  # their digest
    settings: Mapping[str, Any]


def fast_variants(steps: int, guidance: float) -> dict[str, dict[str, Any]]:
    """The default, and the presets that need no weights of their own."""
    default: dict[str, Any] = {"steps": steps, "guidance_scale": guidance}
    names = (name for name in FAST_PRESETS if name != STUDENT)
    return {"default": default, **{name: {**default, "fast": name} for name in names}}


def variants(steps: int, guidance: float) -> dict[str, dict[str, Any]]:
    """Name to settings, the default first; each differs from it in one setting."""
    found: dict[str, dict[str, Any]] = {"default": {"steps": steps, "guidance_scale": guidance}}
    for value in GUIDANCE:
        if value != guidance:
            found[f"guidance {value:g}"] = {"steps": steps, "guidance_scale": value}
    for value in STEPS:
        if value != steps:
            found[f"{value} steps"] = {"steps": value, "guidance_scale": guidance}
    return found


def compare(
    output: Path,
    held_out: HeldOutSet,
    rows: Mapping[str, Variant],
    judges: Judges,
    steps: int,
    processes: int = 1,
) -> dict[str, Any]:
    """Make, measure and print every row of a table, the first of them being "default".

    Args:
        output: the JSON file of the figures; the table and the pictures lie beside it.
        steps: of the rows that name no other number.
        processes: that render and measure.
    """
    from .pictures import PictureMaker, Sampling
    from .run import run_pairs, workers

    base = Sampling(seed=held_out.seed, steps=steps, methods=METHODS, oracle_pairs=0)
    reports: dict[str, dict[str, Any]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    with workers(processes) as pool:
        for name, variant in rows.items():
            print(name, file=sys.stderr)
            generator = PictureMaker(variant.pipeline, replace(base, **variant.settings))
            path = output.with_suffix("") / f"{name.replace(' ', '-')}.json"
            measured = run_pairs(held_out, path, generator, judges, variant.weights, pool)
            about = {"settings": measured.settings, "judges": judges.names, "missing": {}}
            reports[name] = summarise(measured.results, measured.features, about)
            reports[name]["seconds_a_pair"] = keep_seconds(path, generator.seconds)
            records[name] = measured.results
            for line in generator.seconds.lines():
                print(line, file=sys.stderr)
    text = "\n\n".join(tables(reports, records))
    write_text(output, json.dumps(reports, indent=1) + "\n")
    write_text(output.with_suffix(".md"), text + "\n")
    print(f"{text}\n\n{output}, {output.with_suffix('.md')}")
    return {"reports": reports, "records": records}


def keep_seconds(report: Path, seconds: Seconds) -> float | None:
    """Of the three stages for one pair; what an earlier run found where this one made none."""

    path = report.with_suffix(".seconds")
    found = seconds.a_pair(("prior", "coarse", "refined"))
    if found is None:
        return float(path.read_text(encoding="utf-8")) if path.is_file() else None
    write_text(path, f"{found}\n")
    return found


def tables(
    reports: Mapping[str, Mapping[str, Any]], records: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Markdown: the stages of the default, then the last stage of each variant and differences."""
    default = reports["default"]
    last = "refined" if "refined" in default["methods"] else "coarse"
    settings = default["settings"]
    named = f"default ({settings['steps']} steps, guidance {settings['guidance_scale']:g})"

    def renamed(rows: Mapping[str, Any]) -> dict[str, Any]:
        return {named if name == "default" else name: row for name, row in rows.items()}

    stages = {
        "without stage 3 (coarse)": default["methods"]["coarse"],
        **({"with stage 3 (refined)": default["methods"]["refined"]} if last == "refined" else {}),
    }
    parts = [heading(default), "Stage 3:", markdown(stages, COLUMNS)]
    for method in dict.fromkeys(("coarse", last)):
        rows = {name: _row(report, method, last) for name, report in reports.items()}
        parts += [f"Variants, {method} pictures:", markdown(renamed(rows), {**COLUMNS, **TIME})]
    differences = {
        f"{name} - default": {
            figure: mean_of(records[name], records["default"], last, figure) for figure in COLUMNS
        }
        for name in reports
        if name != "default"
    }
    return [
        *parts,
        f"Paired differences to the default, {last} pictures:",
        markdown(differences, COLUMNS, signed=True),
    ]


def _row(report: Mapping[str, Any], method: str, last: str) -> dict[str, Any]:
    """A method's figures, with the time of all stages where it is the last."""
    spent = report.get("seconds_a_pair") if method == last else None
    return {**report["methods"][method], "seconds": None if spent is None else [spent]}


if __name__ == "__main__":
    sys.exit(main())
