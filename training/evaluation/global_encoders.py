"""What a learned global encoder is worth beside the linear one, on equal short runs.

`python -m training.evaluation.global_encoders --config training/configs/mini-global-encoder.yaml
--train-data data/people --identities 3400 --encoder-steps 4000 --stage-1-steps 4000
--stage-2-steps 1000 --json runs/encoders.json` makes the preset's linear encoder and the
configuration's learned one (with `--dims` one of each dimension), trains stages 2 and 1 on each,
the same steps each, into folders beside the file, and prints what the embeddings say of unseen
people, the pictures' figures, and what the predicted embedding is worth over the null one.
Interrupted runs resume. With `--stage-2-steps 0` it ends after the embeddings.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.cli import run
from pcdm_core.files import write_bytes, write_text
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.ranges import COUNT, NUMBER, SEED

from ..commands.mini_run import MiniRun
from ..config import TrainConfig, load_config
from ..data.in_memory import identity_folders
from ..loop.run_log import locked_run
from .__main__ import add_options
from .compare_settings import COLUMNS, Variant, compare
from .embedding_probe import probe, table
from .held_out_pairs import HeldOutSet
from .judges import Judges
from .measure_pairs import weights_sha256
from .report import AVERAGED, PERSON_COLUMNS, PICTURE_COLUMNS, difference_of, markdown

METHODS = ("truth", "coarse_true", "coarse", "coarse_null")
PARTS: tuple[Component, ...] = (
    "inpainting", "autoencoder", "patch_encoder", "prior", "global_encoder",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="global_encoders", description=(__doc__ or "").split("\n")[0]
    )
    add_options(parser, pairs=100)
    parser.add_argument("--config", type=Path, required=True, help="of the runs to compare")
    parser.add_argument("--train-data", type=Path, required=True, help="rendered people")
    parser.add_argument(
        "--autoencoder", type=Path, help="folder of weights to take it from (trained otherwise)"
    )
    parser.add_argument(
        "--dims", type=COUNT.parse, nargs="+", help="of learned embeddings (the configuration's)"
    )
    parser.add_argument("--encoder-steps", type=COUNT.parse, default=4000, help="of each encoder")
    parser.add_argument("--stage-1-steps", type=COUNT.parse, default=4000, help="of each stage 1")
    parser.add_argument("--stage-2-steps", type=NUMBER.parse, default=1000, help="of each stage 2")
    parser.add_argument(
        "--identities", type=COUNT.parse, help="people to train on (the configuration's)"
    )
    parser.add_argument(
        "--probe-people",
        type=COUNT.parse,
        default=100,
        help="last people of --train-data, not trained on, whose embeddings are read (default "
        "%(default)s)",
    )
    parser.add_argument(
        "--fit-people",
        type=COUNT.parse,
        default=500,
        help="people before them, not trained on either, who fit the readings (default "
        "%(default)s)",
    )
    parser.add_argument("--seed", type=SEED.parse, default=0, help="of the pairs and their noise")
    parser.set_defaults(dtype="float32")
    options = parser.parse_args(argv)
    return run(lambda: compare_encoders(options), "global_encoders")


def compare_encoders(options: argparse.Namespace) -> None:
    """Train what is not finished, then read and measure every encoder."""
    configs = configured(load_config(options.config), options)
    people = identity_folders(options.train_data, "train")
    split = len(people) - options.probe_people
    first = split - options.fit_people
    fit, rest = people[max(first, 0) : split], people[split:]
    count = configs["linear"].identities
    if count > first:
        raise ValueError(
            f"{options.train_data}: {len(people)} people are too few to train on {count} and "
            f"to read the embeddings of {options.fit_people + options.probe_people} others. Lower "
            f"--identities, --fit-people or --probe-people."
        )
    runs: dict[str, MiniRun] = {}
    figures: dict[str, Mapping[str, float]] = {}
    for name, config in configs.items():
        mini = runs[name] = trained_run(name, config, options, next(iter(runs.values()), None))
        figures[name] = probe(mini.part("global_encoder").cpu(), fit, rest)  # type: ignore[arg-type]
        mini.people = None  # the next one's have another size
    text = f"Embeddings of {options.probe_people} people:\n\n{table(figures)}"
    print(text)
    write_text(options.json.with_suffix(".embeddings.md"), text + "\n")
    if options.stage_2_steps:
        measure(options, runs)


def configured(config: TrainConfig, options: argparse.Namespace) -> dict[str, TrainConfig]:
    """By name: the configuration with each encoder, and the steps and people of the options."""
    if config.global_encoder.get("kind") != "conv":
        raise ValueError(f"{options.config}: it names no learned encoder (global_encoder: kind).")
    steps = {
        "global_encoder": options.encoder_steps,
        "inpainting": options.stage_2_steps,
        "prior": options.stage_1_steps,
    }
    runs = {n: replace(config.stage(n), steps=count, minutes=None) for n, count in steps.items()}
    config = replace(
        config,
        stages={**config.stages, **runs},
        identities=options.identities or config.identities,
    )
    learned: dict[str, TrainConfig] = {"learned": config}
    if options.dims:
        learned = {
            f"learned {dim}": replace(
                config, global_encoder={**config.global_encoder, "embedding_dim": dim}
            )
            for dim in options.dims
        }
    return {"linear": replace(config, global_encoder={}), **learned}


def trained_run(
    name: str, config: TrainConfig, options: argparse.Namespace, first: MiniRun | None
) -> MiniRun:
    """A run with its encoder and, where they are asked for, stages 2 and 1.

    All use the autoencoder of `--autoencoder`, or else that of the `first`.
    """
    folder = options.json.with_suffix("") / f"run-{name.replace(' ', '-')}"
    mini = MiniRun(config, options.train_data, folder)
    code = options.autoencoder or (first and first.weights)
    with locked_run(mini.out):
        mini.fit_global_encoder()
        if not options.stage_2_steps:
            return mini
        if code is not None and not mini.has("autoencoder"):
            for path in code.glob("autoencoder.safetensors*"):
                write_bytes(mini.weights / path.name, path.read_bytes())
        mini.fit_encoders()
        if not mini.has("inpainting"):
            mini.train_inpainting()
        if not mini.has("prior"):
            mini.train_prior()
    return mini


def measure(options: argparse.Namespace, runs: Mapping[str, MiniRun]) -> None:
    """Pictures of held-out people with each run's weights, and the tables of them."""
    rows: dict[str, Variant] = {}
    for name, mini in runs.items():
        parts: dict[str, Any] = {part: mini.part(part) for part in PARTS}
        pipeline = PCDMsPipeline(mini.preset, **parts)
        rows[name] = Variant(pipeline, weights_sha256(mini.weights), {"guidance_scale": 1.0})
    judges = Judges.load(next(iter(rows.values())).pipeline.device)
    held_out = HeldOutSet.of(options)
    result = compare(
        options.json, held_out, rows, judges, processes=options.workers, methods=METHODS
    )
    text = gains(result["records"])
    write_text(options.json.with_suffix(".gains.md"), text + "\n")
    print(f"\n{text}")


def gains(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Markdown: what predicted and true embeddings are worth over the null one, and of whom more.

    Args:
        records: by encoder, a record a pair; the first is what the others are compared with.
    """
    every = {**PICTURE_COLUMNS, **PERSON_COLUMNS}
    columns = {name: every[name] for name in COLUMNS if name in AVERAGED}
    first = next(iter(records))
    rows: dict[str, dict[str, Any]] = {}
    for method, title in (("coarse", "predicted"), ("coarse_true", "true")):
        for name, ours in records.items():
            pairs = [(ours, method, 1), (ours, "coarse_null", -1)]
            theirs = [(records[first], method, -1), (records[first], "coarse_null", 1)]
            tables = {f"{name}: {title} - null": pairs}
            if name != first:
                tables[f"{title} - null, {name} - {first}"] = [*pairs, *theirs]
            for label, terms in tables.items():
                rows[label] = {figure: difference_of(terms, figure) for figure in columns}
    return "Paired differences:\n\n" + markdown(rows, columns, signed=True)


if __name__ == "__main__":
    sys.exit(main())
