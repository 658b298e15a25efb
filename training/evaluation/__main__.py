"""Measure weights of our own on pairs of held-out rendered people.

`python run.py evaluate --seed 0 --pairs 500 --json out/evaluation.json` prints the model card's
tables and the required lines. Pictures of finished batches and figures of measured pairs lie beside
the JSON file: an interrupted or longer run goes on, with equal results.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from pcdm_core.cli import add_sampling_options, load_pipeline, run
from pcdm_core.files import write_text
from pcdm_core.ranges import COUNT, NUMBER
from pcdm_core.speed import STUDENT


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="evaluate",
        description="Measure weights of our own on held-out rendered people; for any folder of "
        "pictures see `run.py measure`.",
    )
    add_options(parser, pairs=64)
    parser.add_argument(
        "--oracle-pairs",
        type=NUMBER.parse,
        default=100,
        help="first pairs with four seeds (default 100)",
    )
    parser.add_argument(
        "--train-data",
        type=Path,
        default=Path("data/people"),
        help="people of the training run, for the regression baseline (default %(default)s)",
    )
    parser.add_argument(
        "--methods",
        nargs="+",
        metavar="NAME",
        help="rows of the table, the truth among them, where fewer will do (default all)",
    )
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: evaluate(options), "evaluate")


def add_options(parser: argparse.ArgumentParser, *, pairs: int) -> None:
    """Options that the evaluation shares with the tables of choices."""
    parser.add_argument(
        "--pairs", type=COUNT.parse, default=pairs, help="how many (default %(default)s)"
    )
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--data", type=Path, help="rendered people to use in place of new ones")
    parser.add_argument("--split", default="test", help="of the people (default test)")
    parser.add_argument(
        "--batch", type=COUNT.parse, default=8, help="pairs sampled at once (default 8)"
    )
    parser.add_argument(
        "--workers", type=COUNT.parse, default=1, help="processes that render and measure"
    )
    for name in ("--pose-judge", "--keypoints"):
        # Chose another judge in versions before 0.1.0; accepted, does nothing.
        parser.add_argument(name, help=argparse.SUPPRESS)


def evaluate(options: argparse.Namespace) -> None:
    """Make and measure what is not there yet, then report all."""
    from pcdm_core.checkpoints.components import find_student

    from .acceptance import verdicts
    from .embedding_baseline import fit_or_read
    from .held_out_pairs import HeldOutSet
    from .judges import Judges
    from .measure_pairs import measure_pairs, weights_sha256, workers
    from .pictures import PictureMaker, Sampling, check_methods
    from .report import card

    pipeline = load_pipeline(options)
    student = options.student
    if student is None and options.fast == STUDENT:
        student = find_student(options.weights)
    weights = weights_sha256(options.weights, student)
    judges = Judges.load(pipeline.device)
    sampling = Sampling(
        seed=options.seed,
        steps=options.steps or pipeline.preset.steps,
        guidance_scale=options.guidance_scale,
        methods=check_methods(options.methods),
        oracle_pairs=options.oracle_pairs,
        fast=options.fast,
    )
    regression = None
    encoder = None if pipeline.prior is None else pipeline.global_encoder
    if "coarse_regression" in sampling.methods and encoder is not None:
        fit = options.json.with_suffix(".regression.npz")
        try:
            regression = fit_or_read(fit, options.train_data, encoder, weights)
        except FileNotFoundError as error:
            judges.missing["row of the regression baseline"] = str(error)
    maker = PictureMaker(pipeline, sampling, regression)
    with workers(options.workers) as pool:
        held_out = HeldOutSet.of(options)
        report, _ = measure_pairs(held_out, options.json, maker, judges, weights, pool)
    lines = verdicts(report)
    report["required"] = [{"line": v.text, "passed": v.passed, "figures": v.figures} for v in lines]
    text = "\n".join([card(report), "", "Required:", "", *map(str, lines)])
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    write_text(options.json.with_suffix(".md"), text + "\n")
    print(text)
    print(*maker.seconds.lines(), sep="\n", file=sys.stderr)
    print(f"\n{options.json}, {options.json.with_suffix('.md')}")


if __name__ == "__main__":
    sys.exit(main())
