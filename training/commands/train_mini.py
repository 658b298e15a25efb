"""From nothing to the weights that ship: render people, train every stage, export.

Each step is skipped when its result is there, and a stage that was interrupted goes on from its
last checkpoint, so that the same command finishes what an earlier one began.
"""

# Worker processes import the main module again: what is heavy waits for its command.
from __future__ import annotations

import argparse
import shutil
import time
from functools import partial
from pathlib import Path

from pcdm_core.cli import run
from pcdm_core.files import part_of, replace_file
from pcdm_core.ranges import COUNT, Range

CONFIGS = Path(__file__).parents[1] / "configs"


MINUTES = Range(0, 1440, whole=False, above=True)


def ship(weights: Path, target: Path) -> None:
    """Copy finished parts over the shipped ones, each file whole or not at all."""
    from ..config import TRAINED

    target.mkdir(parents=True, exist_ok=True)
    stale = {p for n in (*TRAINED, "patch_encoder") for p in target.glob(f"{n}*.safetensors*")}
    parts = {part_of(target / p.name): p for p in sorted(weights.glob("*.safetensors*"))}
    try:
        for part, path in parts.items():
            shutil.copyfile(path, part)
        for part, path in parts.items():
            replace_file(part, target / path.name)
            stale.discard(target / path.name)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)
    for old in stale:
        old.unlink()


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    from ..config import add_set_option

    parser = argparse.ArgumentParser(prog="run.py train-mini", description=__doc__)
    parser.add_argument(
        "--config", type=Path, help="training/configs/mini.yaml, with --minutes minutes.yaml"
    )
    add_set_option(parser)
    parser.add_argument("--data", type=Path, default=Path("data/people"), help="rendered people")
    parser.add_argument("--out", type=Path, default=Path("runs/mini"), help="the run's folder")
    parser.add_argument("--warm-start", type=Path, help="folder of exported weights to start from")
    parser.add_argument("--ship", type=Path, help="copy the finished weights to this folder")
    parser.add_argument(
        "--follow",
        type=COUNT.parse,
        metavar="N",
        help="start training at N rendered people and take in the others as they come",
    )
    limit = parser.add_argument_group("a run whose whole time is given")
    limit.add_argument(
        "--minutes", type=MINUTES.parse, help="for everything, evaluation and files too"
    )
    limit.add_argument("--preset", help="which of the configuration's choices (default: its own)")
    limit.add_argument("--pairs", type=COUNT.parse, default=200, help="to evaluate (default 200)")
    limit.add_argument("--files", type=Path, help="what is to be taken away (default OUT/files)")
    options = parser.parse_args(arguments)
    return run(lambda: train(options, arguments), "train-mini")


def train(options: argparse.Namespace, arguments: list[str] | None) -> None:
    """Run the recipe, and ship what it made where that is asked for."""
    start = time.monotonic()  # before the libraries, which take seconds
    from ..config import load_config
    from ..loop.run_log import open_run
    from .mini_run import MiniRun

    limited = options.minutes is not None
    path = options.config or CONFIGS / ("minutes.yaml" if limited else "mini.yaml")
    load = partial(load_config, path, changes=options.changes)
    config = load(options.preset)
    with open_run(options.out, config, "train-mini", arguments):
        if limited:
            from .minutes_run import Plan, run_minutes

            folders = options.data, options.out, options.files or options.out / "files"
            end = start + options.minutes * 60
            plan = Plan(end, config.plan.shares, config.plan.end_seconds)
            run_minutes(load, config, folders, plan, options.pairs, options.warm_start)
            return
        follow, weights = options.follow is not None, options.warm_start
        mini = MiniRun(config, options.data, options.out, follow=follow, start_from=weights)
        mini.run_all(options.follow)
        if options.ship is not None and mini.accelerator.is_main_process:
            ship(mini.weights, options.ship)
    print(f"Finished weights: {mini.weights}")


if __name__ == "__main__":
    raise SystemExit(main())
