"""The table behind the choice of the learned code: its round trip, and what stage 2 learns on it.

`python -m training.evaluation.learned_codes --config training/configs/mini.yaml
--train-data data/people --channels 16 24 32 48 --steps 2000 --stage-2-steps 1000 --json
runs/codes.json` trains the autoencoder of a configuration with each number of channels, then stage
2 on it, the same steps each, into folders beside the file, and compares both on held-out people as
`compare_settings` does; differences are to the first code. Interrupted runs resume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.cli import run
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.ranges import COUNT, SEED

from ..commands.mini_run import MiniRun
from ..config import TrainConfig, load_config
from ..data.in_memory import People
from ..loop.run_log import locked_run
from .__main__ import add_options
from .compare_settings import Variant, compare
from .held_out_pairs import HeldOutSet
from .judges import Judges
from .measure_pairs import weights_sha256

METHODS = ("truth", "autoencoder", "coarse_true")
PARTS: tuple[Component, ...] = ("inpainting", "autoencoder", "patch_encoder", "global_encoder")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="learned_codes", description=(__doc__ or "").split("\n")[0]
    )
    add_options(parser, pairs=100)
    parser.add_argument("--config", type=Path, required=True, help="of the runs to compare")
    parser.add_argument("--train-data", type=Path, required=True, help="rendered people")
    parser.add_argument("--channels", type=COUNT.parse, nargs="+", default=[16, 24, 32, 48])
    parser.add_argument("--steps", type=COUNT.parse, default=2000, help="of each autoencoder")
    parser.add_argument("--stage-2-steps", type=COUNT.parse, default=1000, help="of each stage 2")
    parser.add_argument(
        "--identities", type=COUNT.parse, help="people to train on (the configuration's)"
    )
    parser.add_argument("--seed", type=SEED.parse, default=0, help="of the pairs and their noise")
    parser.set_defaults(dtype="float32")
    options = parser.parse_args(argv)
    return run(lambda: compare_codes(options), "learned_codes")


def compare_codes(options: argparse.Namespace) -> None:
    """Train what is not finished, then measure every code."""
    config = load_config(options.config)
    rows: dict[str, Variant] = {}
    people: People | None = None
    for channels in options.channels:
        folder = options.json.with_suffix("") / f"run-{channels}"
        mini = MiniRun(configured(config, channels, options), options.train_data, folder)
        people = people or mini.read_people()
        mini.people, mini.read = people, len(people.identities.unique())
        with locked_run(mini.out):
            mini.fit_encoders()
            if not mini.has("inpainting"):
                mini.train_inpainting()
        parts: dict[str, Any] = {name: mini.part(name) for name in PARTS}
        pipeline = PCDMsPipeline(mini.preset, **parts)
        settings = {"guidance_scale": 1.0}
        rows[f"{channels} channels"] = Variant(pipeline, weights_sha256(mini.weights), settings)
    judges = Judges.load(next(iter(rows.values())).pipeline.device)
    held_out = HeldOutSet.of(options)
    compare(options.json, held_out, rows, judges, processes=options.workers, methods=METHODS)


def configured(config: TrainConfig, channels: int, options: argparse.Namespace) -> TrainConfig:
    """The configuration with so many channels, and the steps and people of the options."""
    steps = {"autoencoder": options.steps, "inpainting": options.stage_2_steps}
    runs = {n: replace(config.stage(n), steps=count, minutes=None) for n, count in steps.items()}
    return replace(
        config,
        stages={**config.stages, **runs},
        autoencoder={**config.autoencoder, "latent_channels": channels},
        identities=options.identities or config.identities,
    )


if __name__ == "__main__":
    sys.exit(main())
