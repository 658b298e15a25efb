"""Tables for choices that need no training: guidance, steps, with and without stage 3.

`python -m training.evaluation.choices --pairs 64 --json out/choices.json`. Every variant differs
from the default in one setting; differences are paired. Pictures are kept, so that the command goes
on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .report import PERSON_COLUMNS, PICTURE_COLUMNS, heading, markdown, mean_of, summarise

GUIDANCE = (1.0, 1.25, 1.5, 2.0)
STEPS = (4, 8, 12, 20)
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
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: compare(options), "choices")


def variants(steps: int, guidance: float) -> dict[str, dict[str, float]]:
    """Name to settings, the default first; each differs from it in one setting."""
    found: dict[str, dict[str, float]] = {"default": {"steps": steps, "guidance_scale": guidance}}
    for value in GUIDANCE:
        if value != guidance:
            found[f"guidance {value:g}"] = {"steps": steps, "guidance_scale": value}
    for value in STEPS:
        if value != steps:
            found[f"{value} steps"] = {"steps": value, "guidance_scale": guidance}
    return found


def compare(options: argparse.Namespace) -> None:
    """Make, measure and print every variant."""
    from pcdm_core.cli import load_pipeline

    from .judges import Judges
    from .pictures import PictureMaker, Sampling
    from .run import run_pairs, weights_sha256, workers, write

    pipeline = load_pipeline(options)
    weights = weights_sha256(options.weights)
    judges = Judges.load(options.pose_judge, options.keypoints, pipeline.device)
    guidance = options.guidance_scale or pipeline.preset.guidance_scale
    base = Sampling(seed=options.seed, steps=options.steps, methods=METHODS, oracle_pairs=0)
    reports: dict[str, dict[str, Any]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    with workers(options.workers) as pool:
        for name, settings in variants(options.steps, guidance).items():
            print(name, file=sys.stderr)
            generator = PictureMaker(pipeline, replace(base, **settings))
            path = options.json.with_suffix("") / f"{name.replace(' ', '-')}.json"
            measured = run_pairs(options, path, generator, judges, weights, pool)
            about = {"settings": measured.settings, "judges": judges.names, "missing": {}}
            reports[name] = summarise(measured.results, measured.features, about)
            records[name] = measured.results
            for line in generator.seconds.lines():
                print(line, file=sys.stderr)
    text = "\n\n".join(tables(reports, records))
    write(options.json, json.dumps(reports, indent=1) + "\n")
    write(options.json.with_suffix(".md"), text + "\n")
    print(f"{text}\n\n{options.json}, {options.json.with_suffix('.md')}")


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
        rows = {name: report["methods"][method] for name, report in reports.items()}
        parts += [f"Guidance and steps, {method} pictures:", markdown(renamed(rows), COLUMNS)]
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


if __name__ == "__main__":
    sys.exit(main())
