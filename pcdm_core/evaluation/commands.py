"""`pcdm evaluate` and `pcdm run-benchmark`."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import write_text
from ..ranges import COUNT

if TYPE_CHECKING:
    from ..pipeline import PCDMsPipeline

logger = logging.getLogger(__name__)

Say = Callable[[object], None]
PROTOCOL_NAMES = ("pcdms", "pidm", "cfld")


def add_evaluate(commands: Any, size: Callable[[str], tuple[int, int]]) -> argparse.ArgumentParser:
    """The parser of `evaluate`."""
    parser = commands.add_parser("evaluate", help="figures of generated pictures by a protocol")
    parser.add_argument(
        "--generated", type=Path, required=True, help="pictures <source>_to_<target>.png"
    )
    parser.add_argument("--gt", type=Path, required=True, help="the test split's pictures")
    parser.add_argument("--protocol", choices=PROTOCOL_NAMES, required=True)
    parser.add_argument(
        "--size", type=size, default=(256, 176), help="HEIGHTxWIDTH that is measured at (256x176)"
    )
    parser.add_argument("--train", type=Path, help="the training split's pictures, for FID")
    parser.add_argument("--alexnet", type=Path, help="for LPIPS: alexnet-owt-7be5be79.pth")
    parser.add_argument("--lpips", type=Path, help="for LPIPS: weights/v0.1/alex.pth of its wheel")
    parser.add_argument("--inception", type=Path, help="for FID: inception_v3_google-0cc3c7bd.pth")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--json", type=Path, help="write the report to this file too")
    return parser


def evaluate(options: argparse.Namespace, device: str, say: Say) -> None:
    """`pcdm evaluate`."""
    from .folders import Judges, evaluate_folders
    from .inception import InceptionV3
    from .lpips import LPIPS
    from .protocols import PROTOCOLS

    if (options.alexnet is None) != (options.lpips is None):
        raise ValueError("LPIPS needs both of its weight files: --alexnet and --lpips.")
    judges = Judges(
        LPIPS.from_files(options.alexnet, options.lpips) if options.lpips else None,
        InceptionV3.from_file(options.inception) if options.inception else None,
        device,
    )
    report = evaluate_folders(
        options.generated,
        options.gt,
        PROTOCOLS[options.protocol],
        size=options.size,
        train=options.train,
        judges=judges,
        progress=True,
    )
    say(report.table())
    if options.json is not None:
        write_text(options.json, json.dumps(asdict(report), indent=1) + "\n")


def add_run_benchmark(commands: Any) -> argparse.ArgumentParser:
    """The parser of `run-benchmark`, without the sampling options that `generate` has too."""
    parser = commands.add_parser("run-benchmark", help="draw the test pairs of a data set")
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
    parser.add_argument("--no-refining", action="store_true", help="stop after stage 2")
    parser.add_argument("--batch", type=COUNT.parse, default=8, help="pairs at once (default 8)")
    return parser


def run_benchmark(
    options: argparse.Namespace, load: Callable[[argparse.Namespace], PCDMsPipeline], say: Say
) -> None:
    """`pcdm run-benchmark`: every process draws its share; the first one reports."""
    from ..data import open_pairs
    from .deepfashion import PairRenderer, Rendering, open_record, render_pairs, rendering_key

    pictures = open_pairs(options.pairs)
    settings = Rendering(
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        best_of=options.best_of,
        refining=not options.no_refining,
    )
    state = _processes(options)
    rank, count = (0, 1) if state is None else (state.process_index, state.num_processes)
    if rank == 0:
        say(pictures.report())
    pipeline = load(options)
    key = rendering_key(pipeline, settings)
    open_record(options.output, key, settings, len(pictures.pairs), write=rank == 0)
    drawn = render_pairs(
        PairRenderer(pipeline, pictures, settings),
        options.output,
        share=(rank, count),
        batch=options.batch,
        progress=rank == 0,
    )
    logger.info("process %d of %d drew %d pictures", rank, count, drawn)
    if state is not None:
        state.wait_for_everyone()
    if rank == 0:
        for folder in settings.folders:
            say(options.output / folder)


def _processes(options: argparse.Namespace) -> Any:
    """accelerate's state where several processes were launched; each takes its own device."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    try:
        accelerate = importlib.import_module("accelerate")
    except ImportError as error:
        raise ImportError(
            "Several processes need accelerate. Install it with: pip install accelerate"
        ) from error
    state = accelerate.PartialState(cpu=options.device == "cpu")
    options.device = str(state.device)
    return state
