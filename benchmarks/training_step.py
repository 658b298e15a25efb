"""How much faster a training step is on cached features than with the encoders on line.

    python -m benchmarks.training_step [--preset mini] [--stage inpainting] [--device cpu]

Both loops run in this process on the same pictures, batch, precision and attention kernel, in turn:
the one does per step what the published scripts do (encode the pictures of the batch with frozen
encoders), the other reads the same features from memory-mapped tables. The models have random
weights; what is measured is work, and the ratio is what counts: seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image

from pcdm_core.config import Preset
from pcdm_core.encoders import LinearImageEncoder, PatchImageEncoder, build_global_encoder
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT
from pcdm_core.vae import build_autoencoder
from training.config import StageRun
from training.data import ContentIndex, open_pictures
from training.data.in_memory import CoarsePictures, people_of_pictures
from training.features.cached import STAGE_TABLES, CachedFeatures, FeatureCache, FrozenEncoders
from training.features.protocol import Features, OnlineFeatures
from training.loop.trainer import PairSource, Trainer
from training.stages import Frozen, InpaintingStage, PriorStage, RefiningStage, StageModule
from training.stages.initialise import build_denoiser

from .timing import flops, interleaved


def write_pictures(root: Path, preset: Preset, people: int) -> None:
    """A plain folder of people in noise; the content of a picture costs nothing here."""
    draw = np.random.default_rng(0)
    for person in range(people):
        folder = root / f"{person:03d}"
        folder.mkdir(parents=True)
        for view in range(2):
            pixels = draw.integers(0, 256, (preset.height, preset.width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{view}.png")
            xy = draw.uniform(0.1, 0.9, (18, 2))
            lines = "".join(f"{x} {y}\n" for x, y in xy)
            (folder / f"{view}.txt").write_text(lines, encoding="utf-8")


def make_encoders(preset: Preset, device: str) -> FrozenEncoders:
    """The preset's frozen encoders with random weights."""
    assert preset.global_encoder is not None
    whole = build_global_encoder(preset.global_encoder)
    if isinstance(whole, LinearImageEncoder):
        whole.projection.normal_(std=0.01)
    autoencoder = build_autoencoder(preset.autoencoder)
    patch = PatchImageEncoder(preset.patch_encoder)
    for part in (autoencoder, patch, whole):
        part.requires_grad_(False).eval().to(device)
    return FrozenEncoders(autoencoder, patch, whole)


def make_stage(
    name: str, preset: Preset, encoders: FrozenEncoders, features: Features, run: StageRun
) -> StageModule:
    """A stage with the same fresh weights each time."""
    torch.manual_seed(0)
    model = build_denoiser(preset, name)
    assert encoders.autoencoder is not None
    frozen = Frozen(encoders.autoencoder, torch.nn.Identity())
    if name == "prior":
        return PriorStage(model, features, run, 0)  # type: ignore[arg-type]
    if name == "inpainting":
        return InpaintingStage(model, None, frozen, features, run, 0)  # type: ignore[arg-type]
    return RefiningStage(model, frozen, features, None, run, 0)  # type: ignore[arg-type]


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Both loops; returns what is to be reported."""
    name, device = options.stage, options.device
    preset = find_preset(options.preset)
    if options.size:
        height, width = map(int, options.size.split("x"))
        preset = replace(preset, height=height, width=width)
    write_pictures(folder / "people", preset, max(options.batch, 2))
    index = ContentIndex(folder / "content.json")
    pictures, digests = index.check(open_pictures(folder / "people"))
    encoders = make_encoders(preset, device)
    coarse_paths = [pictures.paths[target] for target in pictures.pairs[:, 1].tolist()]
    cache = FeatureCache(folder, pictures, digests, preset, encoders, coarse=coarse_paths)
    for kind in STAGE_TABLES[name]:
        cache.fill(kind, batch=4)
    people = people_of_pictures(pictures, preset).to(device)
    coarse = CoarsePictures(people.pictures[pictures.pairs[:, 1]], pictures.pairs)
    online = OnlineFeatures(
        people, encoders.autoencoder, encoders.patch_encoder, encoders.global_encoder, coarse
    )
    loops: dict[str, Features] = {"online": online, "cached": CachedFeatures(cache, device)}
    run = StageRun(
        batch_size=options.batch, ema_decay=None, max_snr_weight=None, posterior="sample"
    )
    rows = pictures.pairs
    if name == "refining":
        rows = torch.cat([rows, torch.arange(len(rows))[:, None]], dim=1)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=options.precision)
    steps: dict[str, Callable[[], object]] = {}
    for loop, features in loops.items():
        stage = make_stage(name, preset, encoders, features, run)
        trainer = Trainer(stage, run, accelerator, folder / loop)
        trainer.total = 10**9
        source = PairSource(rows, 0)
        steps[loop] = lambda trainer=trainer, source=source: trainer.train_step(source)
    counted = {loop: flops(step) for loop, step in steps.items()}  # warms up as well
    times = interleaved(steps, options.rounds, device)
    medians = {loop: statistics.median(values) for loop, values in times.items()}
    return {
        "stage": name,
        "preset": preset.name,
        "size": f"{preset.height}x{preset.width}",
        "batch": options.batch,
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": options.precision,
        "seconds_online": round(medians["online"], 4),
        "seconds_cached": round(medians["cached"], 4),
        "ratio": round(medians["online"] / medians["cached"], 3),
        "ratio_by_counted_flops": round(counted["online"] / counted["cached"], 3),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--stage", default="inpainting", choices=list(STAGE_TABLES))
    parser.add_argument(
        "--size", help="height x width, for example 256x176 (default: the preset's)"
    )
    parser.add_argument("--batch", type=COUNT.parse, default=8)
    parser.add_argument("--rounds", type=COUNT.parse, default=10)
    parser.add_argument("--precision", default="no", choices=["no", "fp16", "bf16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(measure(options, Path(folder))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
