"""Measure weights of our own on pairs of held-out rendered people.

`python run.py evaluate --seed 0 --pairs 500 --json out/evaluation.json` prints the model card's
tables and the required lines. Pictures of finished batches and figures of measured pairs lie beside
the JSON file: an interrupted or longer run goes on, with equal results.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pcdm_core.ranges import COUNT, NUMBER


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    from pcdm_core.cli import add_sampling_options, run

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

    def command() -> None:
        from .run import evaluate

        evaluate(options)

    return run(command, "evaluate")


def add_options(parser: argparse.ArgumentParser, *, pairs: int) -> None:
    """Options that the evaluation shares with the tables of choices."""
    from .keypoint_judge import DEFAULT_FILE

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
    parser.add_argument(
        "--pose-judge",
        choices=("auto", "blazepose", "regressor"),
        default="auto",
        help="the detector that ships or the regressor of --keypoints (default: what is there)",
    )
    parser.add_argument(
        "--keypoints",
        type=Path,
        default=DEFAULT_FILE,
        help="key-point regressor of training.evaluation.keypoint_judge (default %(default)s)",
    )


if __name__ == "__main__":
    sys.exit(main())
