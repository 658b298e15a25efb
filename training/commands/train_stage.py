"""`python run.py train STAGE`: one stage of the paper's recipe on a data set of your own.

Frozen encoders answer once, into a cache (see `cached_features`); training reads the cache. The
command goes on where it was stopped: in the cache, and in training. Several GPUs or nodes:
`accelerate launch -m training.commands.train_stage STAGE ...`.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.cli import run
from pcdm_core.config import STAGES, Preset, Stage
from pcdm_core.presets import find_preset

from ..coarse.pairs import chosen_pairs, coarse_of, has_weights, render_training_pairs
from ..config import TrainConfig, add_set_option, load_config
from ..data import LAYOUTS, ContentIndex, PictureSet, Problem, open_pictures
from ..data.pairs import numbered
from ..features.cached import STAGE_TABLES, CachedFeatures, FeatureCache, FrozenEncoders
from ..loop.distributed import gathered, make_accelerator
from ..loop.precision import EncoderPrecision
from ..loop.run_log import open_run
from ..loop.sample_rng import seed_part
from ..loop.sample_sheets import draw_sheet
from ..loop.trainer import PairSource, Trainer
from ..stages import StageModule, build_stage
from ..stages.initialise import (
    build_denoiser,
    enable_checkpointing,
    sized_preset,
    start_from_base,
    warm_start,
)
from .components import preset_note, save_components
from .export import export_stage

logger = logging.getLogger(__name__)

SHEET_PAIRS = 4
PLAIN = tuple(kind for kind in STAGE_TABLES["refining"] if kind != "coarse")
ENCODERS: dict[str, Component] = {"embeds": "global_encoder", "tokens": "patch_encoder"}


def check_widths(preset: Preset, stage: Stage, parts: Mapping[str, Any], folder: Path) -> None:
    """Refuse frozen parts whose answers a stage's network cannot take.

    Raises:
        ValueError: each is named, with its width and the preset's.
    """
    network: Any = getattr(preset, stage)
    widths = {
        ("autoencoder", "latent_channels"): getattr(network, "latent_channels", None),
        ("autoencoder", "downscale"): preset.autoencoder.downscale,
        ("patch_encoder", "hidden_size"): getattr(network, "patch_dim", None),
        ("global_encoder", "embedding_dim"): getattr(network, "embedding_dim", None),
    }
    problems = [
        f"{name}'s {field} is {value}, and the preset {preset.name} has {expected}"
        for (name, field), expected in widths.items()
        if name in parts and (value := getattr(parts[name].config, field)) != expected
    ]
    if problems:
        raise ValueError(
            f"{folder}: {'; '.join(problems)}. Give the encoders that the preset was made for, or "
            f"the preset of these (`preset:` in the configuration)."
        )


class RecipeRun:
    """One stage over one data set; `out/STAGE` holds its checkpoints, `out/weights` its result."""

    def __init__(
        self,
        config: TrainConfig,
        stage: Stage,
        pictures: PictureSet,
        encoders: Path,
        cache: Path,
        out: Path,
        *,
        coarse: Path | None = None,
        coarse_weights: Path | None = None,
        cache_dtype: str = "float32",
        encoder_precision: EncoderPrecision = "float32",
    ) -> None:
        """`encoders` holds the frozen parts as `pcdm convert` writes them.

        Stage 3 takes its coarse pictures from `coarse`, or draws them with the stages 1 and 2 in
        `coarse_weights` (by default those that this run's folder finished).
        """
        self.config, self.out = config, out
        self.stage_name: Stage = stage
        self.accelerator = make_accelerator(config.mixed_precision, out)
        preset = sized_preset(find_preset(config.preset), config)
        parts = {
            name: load_component(encoders, name, dtype=torch.float32)
            for name in self._encoder_names(stage)
        }
        check_widths(preset, stage, parts, encoders)
        self.preset: Preset = replace(preset, **{n: part.config for n, part in parts.items()})
        for part in parts.values():
            part.requires_grad_(False).to(self.accelerator.device)
        self.encoders = FrozenEncoders(**parts)
        self.share = self.accelerator.process_index, self.accelerator.num_processes
        self.pictures, self.coarse = pictures, list[Path]()
        index = ContentIndex(cache / "content.json")
        digests = index.digests(pictures.paths, self.share)
        self.digests = dict(zip(pictures.paths, digests, strict=True))
        self.open_cache = lambda: FeatureCache(
            cache, self.pictures, [self.digests[path] for path in self.pictures.paths],
            self.preset, self.encoders,
            dtype=cache_dtype, coarse=self.coarse, precision=encoder_precision,
        )  # fmt: skip
        if stage == "refining":
            if coarse is None:
                coarse = self._draw_coarse(encoders, coarse_weights)
            self.pictures, _ = coarse_of(self.pictures, coarse)
            self._fill(PLAIN)  # so that pairs of broken pictures are gone
            self.pictures, self.coarse = coarse_of(self.pictures, coarse)

    def _draw_coarse(self, encoders: Path, weights: Path | None) -> Path:
        weights = self.out / "weights" if weights is None else weights
        if not has_weights(weights):
            raise ValueError(
                f"{weights}: no finished prior and inpainting there. Stage 3 learns from stage 2's "
                f"own pictures of the training pairs: train stages 1 and 2 into the same --out, "
                f"name the folder of their weights (--coarse-weights), or bring the pictures "
                f"(--coarse)."
            )
        self.pictures = chosen_pairs(self.pictures, self.config)
        self._fill(PLAIN)
        return render_training_pairs(
            self.pictures,
            self.preset,
            self.config,
            encoders=encoders,
            weights=weights,
            out=self.out / "coarse",
            accelerator=self.accelerator,
        )

    @staticmethod
    def _encoder_names(stage: str) -> list[Component]:
        kinds = STAGE_TABLES[stage]
        return list(dict.fromkeys(ENCODERS.get(kind, "autoencoder") for kind in kinds))

    def features(self, batch: int = 16) -> CachedFeatures:
        """The stage's features, computed where they are missing; processes share the work."""
        stage = self.stage_name
        self._fill(STAGE_TABLES[stage], batch)
        cache = self.open_cache()
        cache.complete(stage)
        return CachedFeatures(cache, self.accelerator.device, stage)

    def _fill(self, kinds: Sequence[str], batch: int = 16) -> None:
        """Fill tables; pictures that cannot be decoded are found by that, and take no part.

        Raises:
            ValueError: a coarse picture is broken, or no pair is left.
        """
        cache = self.open_cache()
        parts = gathered(cache.fill(kinds, batch=batch, share=self.share).faults)
        faults = {number: what for part in parts for number, what in part.items()}
        problems = [(n, Problem(str(cache.paths[n]), what)) for n, what in sorted(faults.items())]
        for _, problem in problems:
            logger.warning("%s", problem)
        if self.coarse and problems:
            raise ValueError(f"{problems[0][1]}. Mend or delete it, and start again.")
        self.pictures = self.pictures.without(problems)

    def build(self, features: CachedFeatures, base: Path | None, start: Path | None) -> StageModule:
        """The stage, fresh or from base weights (`base`) or earlier ones (`start`)."""
        name, run, seed = self.stage_name, self.config.stage(self.stage_name), self.config.seed
        seed_part(seed, name)
        model = build_denoiser(self.preset, name)
        if base is not None:
            begun = start_from_base(model, base)
            logger.info("%d tensors from %s, %d fresh", begun.copied, base, len(begun.fresh))
        if start is not None:
            fresh = warm_start(model, load_component(start, name).float().state_dict())
            logger.info("started from %s; %d tensors stay fresh", start, len(fresh))
        if run.gradient_checkpointing:
            enable_checkpointing(model)
        return build_stage(name, model, features, self.encoders.autoencoder, run, seed)

    def rows(self) -> Tensor:
        """What a sample number stands for: source, target (and the coarse picture's number)."""
        pairs = self.pictures.pairs
        return numbered(pairs) if self.stage_name == "refining" else pairs

    def train(self, base: Path | None = None, start: Path | None = None) -> Path:
        """Everything, to the end; returns the folder of the finished weights."""
        config, accelerator, name = self.config, self.accelerator, self.stage_name
        run = config.stage(name)
        stage = self.build(self.features(), base, start)
        trainer = Trainer(
            stage,
            run,
            accelerator,
            self.out / name,
            config.compile,
            config.trackers,
            {
                **preset_note(self.preset),
                "data": self.pictures.layout,
                "seed": str(config.seed),
            },
        )
        trainer.resume()
        rows = self.rows()
        sheet_rows = rows[:: max(len(rows) // SHEET_PAIRS, 1)][:SHEET_PAIRS]
        scale = self.preset.guidance_scale
        trainer.run_all(
            PairSource(rows, config.seed),
            sheet=lambda: draw_sheet(stage, sheet_rows, guidance_scale=scale),
        )
        weights = self.out / "weights"
        if accelerator.is_main_process and trainer.is_sharded:
            export_stage(self.out / name, weights, whole=False)  # its checkpoint is whole
        elif accelerator.is_main_process:
            note = {"steps": str(trainer.step), **trainer.note}
            save_components(stage.components, weights, self.preset, note)
        accelerator.wait_for_everyone()
        return weights


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="run.py train", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--config", type=Path, required=True, help="training/configs/*.yaml")
    add_set_option(parser)
    parser.add_argument("--choice", help="which of the file's sets of settings (paper or script)")
    parser.add_argument("--data", type=Path, required=True, help="the data set's folder")
    parser.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS])
    parser.add_argument("--encoders", type=Path, required=True, help="folder of the frozen parts")
    parser.add_argument("--out", type=Path, required=True, help="the run's folder")
    parser.add_argument("--cache", type=Path, help="features (default: cache/ in the run's folder)")
    parser.add_argument("--cache-dtype", choices=["float32", "float16"], default="float32")
    parser.add_argument(
        "--encoder-precision",
        choices=get_args(EncoderPrecision),
        default="float32",
        help="what the frozen encoders compute in; tf32 and bf16 are for GPUs",
    )
    parser.add_argument("--coarse", type=Path, help="stage 3: stage 2's pictures, drawn elsewhere")
    parser.add_argument(
        "--coarse-weights",
        type=Path,
        help="stage 3: draw them with these weights (default: those in --out)",
    )
    parser.add_argument(
        "--base", type=Path, help="start: SD-2.1's unet/, or Kandinsky-2.2's prior/"
    )
    parser.add_argument("--warm-start", type=Path, help="start: folder of weights of this pack")
    options = parser.parse_args(arguments)
    return run(lambda: train(options, arguments), "train")


def train(options: argparse.Namespace, arguments: list[str] | None) -> None:
    """Train one stage on a data set."""
    config = load_config(options.config, options.choice, options.changes)
    with open_run(options.out, config, "train", arguments):
        pictures = open_pictures(options.data, options.layout)
        logger.info("%s", pictures.report())
        recipe = RecipeRun(
            config,
            options.stage,
            pictures,
            options.encoders,
            options.cache or options.out / "cache",
            options.out,
            coarse=options.coarse,
            coarse_weights=options.coarse_weights,
            cache_dtype=options.cache_dtype,
            encoder_precision=options.encoder_precision,
        )
        weights = recipe.train(options.base, options.warm_start)
    print(f"Finished weights: {weights}")


if __name__ == "__main__":
    raise SystemExit(main())
