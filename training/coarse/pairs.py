"""Stage 2's own pictures of a data set's training pairs, which stage 3 learns to refine.

They are drawn by the two finished stages as at inference (single samples, the prior's predicted
embeddings), into a folder named after the weights' hash and the settings: pictures of other weights
are never taken for these. An interrupted call goes on, and processes share the work.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import Preset
from pcdm_core.pipeline import PCDMsPipeline

from ..config import TrainConfig
from ..data import PictureSet, Problem, pair_file
from ..data.pairs import PairOrder
from ..evaluation.render_pairs import (
    PairRenderer,
    Rendering,
    open_record,
    render_pairs,
    rendering_key,
)

logger = logging.getLogger(__name__)

TRAINED: tuple[Component, ...] = ("prior", "inpainting")
FROZEN: tuple[Component, ...] = ("autoencoder", "patch_encoder", "global_encoder")


def has_weights(folder: Path) -> bool:
    """Whether both stages are finished there (whole or in shards)."""
    return all(any(folder.glob(f"{name}.safetensors*")) for name in TRAINED)


def chosen_pairs(pictures: PictureSet, config: TrainConfig) -> PictureSet:
    """The set with the pairs that are drawn: all, or a draw of `coarse.pairs` of them."""
    count = config.coarse.pairs
    if count is None or count >= len(pictures.pairs):
        return pictures
    order = PairOrder(len(pictures.pairs), config.seed + 1)
    numbers = order.pair_numbers(torch.arange(count)).sort().values
    return replace(pictures, pairs=pictures.pairs[numbers])


def render_training_pairs(
    pictures: PictureSet,
    preset: Preset,
    config: TrainConfig,
    *,
    encoders: Path,
    weights: Path,
    out: Path,
    accelerator: Accelerator,
) -> Path:
    """The folder with the pictures, drawn where they are missing.

    Args:
        pictures: with the pairs to draw (`chosen_pairs`).
        encoders: folder of the frozen parts. weights: of the finished stages 1 and 2.
        out: holds a folder for each set of weights and settings.

    Raises:
        pcdm_core.checkpoints.load.CheckpointError: a part is missing or damaged; it is named.
    """
    device = accelerator.device
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    folders: dict[Component, Path] = {
        **dict.fromkeys(TRAINED, weights),
        **dict.fromkeys(FROZEN, encoders),
    }
    parts: dict[str, Any] = {
        name: load_component(folder, name, device=device, dtype=dtype)
        for name, folder in folders.items()
    }
    configs = {name: part.config for name, part in parts.items()}
    pipeline = PCDMsPipeline(replace(preset, **configs, refining=None), **parts)
    run = config.coarse
    settings = Rendering(
        seed=config.seed, steps=run.steps, guidance_scale=run.guidance_scale, refining=False
    )
    key = rendering_key(pipeline, settings)
    folder = out / key
    count = len(pictures.pairs)
    open_record(folder, key, settings, count, write=accelerator.is_main_process)
    fresh = render_pairs(
        PairRenderer(pipeline, pictures, settings),
        folder,
        share=(accelerator.process_index, accelerator.num_processes),
        batch=run.batch_size,
        progress=accelerator.is_main_process,
    )
    accelerator.wait_for_everyone()
    logger.info("%s: %d coarse pictures, %d of them new here", folder, count, fresh)
    return folder / settings.folders[0]


def coarse_of(pictures: PictureSet, folder: Path) -> tuple[PictureSet, list[Path]]:
    """The pairs that have a coarse picture `<source>_to_<target>.png`, and these files.

    Raises:
        ValueError: none of the pairs has a picture in the folder.
    """
    paths: dict[int, Path] = {}  # by the pair's number
    missing: list[Problem] = []
    for number, (source, target) in enumerate(pictures.pairs.tolist()):
        path = folder / pair_file(pictures, source, target)
        if path.is_file():
            paths[number] = path
        else:
            missing.append(Problem(str(path), "no coarse picture of this pair"))
    if not paths:
        raise ValueError(f"{folder}: no coarse picture of any of {len(missing)} pairs.")
    problems = (*pictures.problems, *missing)
    rendered = replace(pictures, pairs=pictures.pairs[list(paths)], problems=problems)
    return rendered, list(paths.values())
