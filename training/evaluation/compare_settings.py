"""Tables for choices that need no training: guidance, steps, fast presets, stage 3.

`python -m training.evaluation.compare_settings --pairs 64 --json out/choices.json`, with
`--variants fast` for the presets of `pcdm_core.speed`, or with `--variants weights --others FOLDER
...` for other weights. Every variant differs from the default in one setting; differences are
paired. Pictures are kept, so that the command goes on where it was stopped.
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

from pcdm_core.cli import add_sampling_options, load_pipeline, run
from pcdm_core.files import write_text
from pcdm_core.speed import FAST_PRESETS, STUDENT

from .__main__ import add_options

if TYPE_CHECKING:  # the help needs none of them
    from pcdm_core.pipeline import PCDMsPipeline

    from .held_out_pairs import HeldOutSet
    from .judges import Judges
    from .pictures import Seconds

GUIDANCE = (1.0, 1.25, 1.5, 2.0)
STEPS = (4, 8, 12, 20)
METHODS = ("truth", "copy", "coarse", "refined")
COLUMNS = (
    "ssim", "st_lpips", "ssim_person", "st_lpips_person", "pck", "swapped", "colour",
    "laplacian_ratio", "band", "kernel_distance",
)  # fmt: skip
TIME = {"seconds": ("s a pair", 2, 1.0)}


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="compare_settings", description=(__doc__ or "").split("\n")[0]
    )
    add_options(parser, pairs=64)
    parser.add_argument(
        "--variants",
        choices=("sampling", "fast", "weights"),
        default="sampling",
        help="guidance and steps (default), the fast presets, or the weights of --others",
    )
    parser.add_argument(
        "--others", type=Path, nargs="+", default=[], help="folders of weights to compare with"
    )
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: compare_settings(options), "compare_settings")


def compare_settings(options: argparse.Namespace) -> None:
    """Every variant of the weights that `options` name."""
    from pcdm_core.checkpoints.components import find_student
    from pcdm_core.checkpoints.files import CheckpointError

    from .held_out_pairs import HeldOutSet
    from .judges import Judges
    from .measure_pairs import weights_sha256

    pipeline = load_pipeline(options)
    digest = weights_sha256(options.weights, options.student)
    guidance = options.guidance_scale or pipeline.preset.guidance_scale
    steps = options.steps or pipeline.preset.steps
    default = {"steps": steps, "guidance_scale": guidance}

    def other(weights: Path | None, student: Path | None, settings: Mapping[str, Any]) -> Variant:
        fields = {**vars(options), "weights": weights, "student": student}
        loaded = load_pipeline(argparse.Namespace(**fields))
        return Variant(loaded, weights_sha256(weights, student), settings)

    rows = {"default": Variant(pipeline, digest, default)}
    if options.variants == "sampling":
        for value in (v for v in GUIDANCE if v != guidance):
            settings = {**default, "guidance_scale": value}
            rows[f"guidance {value:g}"] = Variant(pipeline, digest, settings)
        for value in (v for v in STEPS if v != steps):
            rows[f"{value} steps"] = Variant(pipeline, digest, {**default, "steps": value})
    elif options.variants == "weights":
        for folder in options.others:
            rows[folder.name] = other(folder, None, default)
    else:
        for name in (n for n in FAST_PRESETS if n != STUDENT):
            rows[name] = Variant(pipeline, digest, {**default, "fast": name})
        with suppress(CheckpointError):  # there need not be one
            if options.student is None and (student := find_student(options.weights)) is not None:
                rows[STUDENT] = other(options.weights, student, {**default, "fast": STUDENT})
    judges = Judges.load(pipeline.device)
    compare(options.json, HeldOutSet.of(options), rows, judges, steps, options.workers)


@dataclass(frozen=True)
class Variant:
    """Weights and how pictures are made with them (fields of `Sampling`)."""

    pipeline: PCDMsPipeline
    weights: str  # their digest
    settings: Mapping[str, Any]


def compare(
    output: Path,
    held_out: HeldOutSet,
    rows: Mapping[str, Variant],
    judges: Judges,
    steps: int = 20,
    processes: int = 1,
    methods: tuple[str, ...] = METHODS,
) -> dict[str, Any]:
    """Make, measure and print every row of a table; the others are compared with the first.

    Args:
        output: the JSON file of the figures; the table and the pictures lie beside it.
        steps: of the rows that name no other number.
        processes: that render and measure.
        methods: each gets a table, but for the truth and the copy.
    """
    from .measure_pairs import measure_pairs, workers
    from .pictures import PictureMaker, Sampling

    base = Sampling(seed=held_out.seed, steps=steps, methods=methods, oracle_pairs=0)
    reports: dict[str, dict[str, Any]] = {}
    records: dict[str, list[dict[str, Any]]] = {}
    with workers(processes) as pool:
        for name, variant in rows.items():
            print(name, file=sys.stderr)
            maker = PictureMaker(variant.pipeline, replace(base, **variant.settings))
            path = output.with_suffix("") / f"{name.replace(' ', '-')}.json"
            reports[name], records[name] = measure_pairs(
                held_out, path, maker, judges, variant.weights, pool
            )
            reports[name]["seconds_a_pair"] = keep_seconds(path, maker.seconds)
            print(*maker.seconds.lines(), sep="\n", file=sys.stderr)
    text = "\n\n".join(tables(reports, records))
    write_text(output, json.dumps(reports, indent=1) + "\n")
    write_text(output.with_suffix(".md"), text + "\n")
    print(f"{text}\n\n{output}, {output.with_suffix('.md')}")
    return {"reports": reports, "records": records}


def keep_seconds(report: Path, seconds: Seconds) -> float | None:
    """Of the three stages for one pair; what an earlier run found where this one made none."""
    path = report.with_suffix(".seconds")
    spent = seconds.a_pair(("prior", "inpainting", "refining"))
    if spent is None:
        return float(path.read_text(encoding="utf-8")) if path.is_file() else None
    write_text(path, f"{spent}\n")
    return spent


def tables(
    reports: Mapping[str, Mapping[str, Any]], records: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Markdown: the methods of the first row, then all rows and their differences to the first."""
    from .pictures import METHODS
    from .report import PERSON_COLUMNS, PICTURE_COLUMNS, heading, markdown, mean_of

    columns = {name: {**PICTURE_COLUMNS, **PERSON_COLUMNS}[name] for name in COLUMNS}
    first, *others = reports
    settings = reports[first]["settings"]
    title = f"{first} ({settings['steps']} steps, guidance {settings['guidance_scale']:g})"
    methods = {
        name: row
        for name, row in reports[first]["methods"].items()
        if name not in ("truth", "copy")
    }
    names = METHODS | {
        "coarse": "without stage 3 (coarse)", "refined": "with stage 3 (refined)",
    }  # fmt: skip
    parts = [heading(reports[first]), f"{title}:"]
    parts.append(markdown({names[method]: row for method, row in methods.items()}, columns))
    for method in methods:
        rows = {
            title if name == first else name: dict(report["methods"][method])
            for name, report in reports.items()
        }
        for row, report in zip(rows.values(), reports.values(), strict=True):
            if method == list(methods)[-1] and report["seconds_a_pair"] is not None:
                row["seconds"] = [report["seconds_a_pair"]]
        differences = {
            f"{name} - {first}": {
                figure: mean_of(records[name], records[first], method, figure) for figure in columns
            }
            for name in others
        }
        parts += [f"Variants, {METHODS[method]}:", markdown(rows, {**columns, **TIME})]
        parts += ["Paired differences:", markdown(differences, columns, signed=True)]
    return parts


if __name__ == "__main__":
    sys.exit(main())
