"""`python run.py run-benchmark`: draw the test pairs of a data set.

`python run.py measure` compares the pictures with their truths.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pcdm_core.cli import add_sampling_options, load_pipeline, run
from pcdm_core.ranges import COUNT, parse_size

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one plain sentence on standard error."""
    options = build_parser().parse_args(arguments)
    return run(lambda: run_benchmark(options), "run-benchmark")


def build_parser() -> argparse.ArgumentParser:
    """The options, with those of sampling that `pcdm generate` has too."""
    parser = argparse.ArgumentParser(prog="run.py run-benchmark", description=__doc__)
    parser.add_argument(
        "--pairs",
        type=Path,
        required=True,
        help="the list, in the data set's folder: test_data.json, fasion-resize-pairs-test.csv, "
        "test_pairs.txt or market-pairs-test.csv",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder; it goes on there")
    parser.add_argument(
        "--best-of",
        type=COUNT.parse,
        default=1,
        help="as published: draw so many and keep the nearest to the truth, apart from the singles",
    )
    parser.add_argument(
        "--size",
        type=parse_size,
        help="HEIGHTxWIDTH of the files, as a protocol wants them (default: the preset's, without "
        "its padding)",
    )
    parser.add_argument("--no-refining", action="store_true", help="stop after stage 2")
    parser.add_argument("--batch", type=COUNT.parse, default=8, help="pairs at once (default 8)")
    add_sampling_options(parser)
    return parser


def run_benchmark(options: argparse.Namespace) -> None:
    """Every process draws its share; the first one reports."""
    from ..data import open_pairs
    from ..evaluation.render_pairs import (
        PairRenderer,
        Rendering,
        open_record,
        render_pairs,
        rendering_key,
    )

    pictures = open_pairs(options.pairs)
    state = _processes(options)
    rank, count = (0, 1) if state is None else (state.process_index, state.num_processes)
    if rank == 0:
        print(pictures.report())
    pipeline = load_pipeline(options)
    settings = Rendering(
        seed=options.seed,
        steps=options.steps or pipeline.preset.steps,
        guidance_scale=options.guidance_scale,
        best_of=options.best_of,
        refining=not options.no_refining,
        undo_padding=pipeline.preset.fit == "pad",
        size=options.size,
    )
    key = rendering_key(pipeline, settings)
    open_record(options.output, key, settings, len(pictures.pairs), write=rank == 0)
    total = render_pairs(
        PairRenderer(pipeline, pictures, settings),
        options.output,
        share=(rank, count),
        batch=options.batch,
        progress=rank == 0,
    )
    logger.info("process %d of %d drew %d pictures", rank, count, total)
    if state is not None:
        state.wait_for_everyone()
    if rank == 0:
        for folder in settings.folders:
            print(options.output / folder)


def _processes(options: argparse.Namespace) -> Any:
    """accelerate's state where several processes were launched; each takes its own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    try:
        import accelerate
    except ImportError as error:
        raise ImportError(
            "Several processes need accelerate. Install it with: pip install accelerate"
        ) from error
    from ..loop.distributed import PATIENCE

    state = accelerate.PartialState(cpu=options.device == "cpu", timeout=PATIENCE)
    options.device = str(state.device)
    return state


if __name__ == "__main__":
    sys.exit(main())
