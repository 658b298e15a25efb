"""How much faster a training step is on cached features than with the encoders on line.

    python -m benchmarks.training_step [--preset mini] [--stage inpainting] [--device cpu]

Both loops run in this process on the same pictures, batch, precision and attention kernel, in turn:
the one does per step what the published scripts do (encode the pictures of the batch with frozen
encoders), the other reads the same features from memory-mapped tables. The models have random
weights; what is measured is work, and the ratio is what counts: seconds depend on the machine.

`ratio_slow_reader` is the same step on cached features with a reader that takes four fifths of a
step, over the step on one batch that is read already: batches are read while the one before is
computed, so it is 1 but for what the reading itself computes.

With `--count` nothing is timed: the operations of a step are counted on tensors that have shapes
and no values, at any size. Their ratio is the limit of a cached step where both are bound by
arithmetic; copying, drawing skeletons and the optimiser are no part of it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, parse_size
from training.config import StageRun
from training.data import ContentIndex, PictureSet, open_pictures
from training.data.in_memory import CoarsePictures, people_of_pictures
from training.features.cached import STAGE_TABLES, CachedFeatures, FeatureCache, FrozenEncoders
from training.features.protocol import Features, OnlineFeatures
from training.loop.trainer import PairSource, Trainer
from training.stages import StageModule, build_stage
from training.stages.initialise import build_denoiser

from .memory import META, random_components
from .timing import flops, interleaved

STEPS = 10  # that are timed together, so that a batch read before them hides nothing
ENCODERS = ("autoencoder", "patch_encoder", "global_encoder")


def write_pictures(root: Path, preset: Preset, people: int) -> PictureSet:
    """A plain folder of people in noise; the content of a picture costs nothing here."""
    generator = np.random.default_rng(0)
    for person in range(people):
        folder = root / f"{person:03d}"
        folder.mkdir(parents=True)
        for view in range(2):
            pixels = generator.integers(0, 256, (preset.height, preset.width, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{view}.png")
            xy = generator.uniform(0.1, 0.9, (18, 2))
            lines = "".join(f"{x} {y}\n" for x, y in xy)
            (folder / f"{view}.txt").write_text(lines, encoding="utf-8")
    return open_pictures(root)


class Case:
    """Pictures of noise at a preset's size, and what both loops share."""

    def __init__(self, options: argparse.Namespace, folder: Path) -> None:
        self.name, self.folder = options.stage, folder
        self.preset = find_preset(options.preset)
        if options.size is not None:
            height, width = options.size
            self.preset = replace(self.preset, height=height, width=width)
        self.run = StageRun(
            batch_size=options.batch, ema_decay=None, max_snr_weight=None, posterior="sample"
        )
        self.pictures = write_pictures(folder / "people", self.preset, max(options.batch, 2))
        self.people = people_of_pictures(self.pictures, self.preset)
        pairs = self.pictures.pairs
        self.coarse = CoarsePictures(self.people.pictures[pairs[:, 1]], pairs)

    @property
    def rows(self) -> Tensor:
        """[P, 2 or 3], as the stage's `prepare` takes them."""
        return self.coarse.rows if self.name == "refining" else self.pictures.pairs

    def stage(self, features: Features, autoencoder: Any, device: torch.device) -> StageModule:
        """The stage with the same fresh weights each time."""
        torch.manual_seed(0)
        with device:
            model = build_denoiser(self.preset, self.name)
        return build_stage(self.name, model, features, autoencoder, self.run, 0)

    def online(self, encoders: FrozenEncoders, device: torch.device | str) -> OnlineFeatures:
        """Features as the published scripts compute them, in every step."""
        parts = {field.name: getattr(encoders, field.name) for field in fields(encoders)}
        return OnlineFeatures(self.people.to(device), **parts, coarse=self.coarse.to(device))


def count(case: Case) -> dict[str, float]:
    """Operations in TF of one step with the encoders on line, and of one on cached features."""
    parts = random_components(case.preset, META)
    encoders = FrozenEncoders(**{name: parts[name] for name in ENCODERS})
    stage = case.stage(case.online(encoders, META), encoders.autoencoder, META).to(META)
    size = case.run.batch_size
    batch: dict[str, Tensor] = {}

    def prepare() -> None:
        rows = case.rows[torch.arange(size) % len(case.rows)].to(META)
        with torch.no_grad():
            batch.update(stage.prepare(torch.arange(size, device=META), rows))

    encoding, learning = flops(prepare), flops(lambda: stage(batch).backward())
    return {
        "tflop_online": (encoding + learning) / 1e12,
        "tflop_cached": learning / 1e12,
        "limit": round((encoding + learning) / learning, 3),
    }


def measure(case: Case, precision: str, rounds: int, device: str) -> dict[str, object]:
    """Seconds of a step of both loops."""
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=precision)
    pictures = case.pictures
    digests = ContentIndex(case.folder / "content.json").digests(pictures.paths)
    parts = random_components(case.preset, device)
    encoders = FrozenEncoders(**{name: parts[name] for name in ENCODERS})
    targets = [pictures.paths[target] for target in pictures.pairs[:, 1].tolist()]
    cache = FeatureCache(case.folder, pictures, digests, case.preset, encoders, coarse=targets)
    cache.fill(STAGE_TABLES[case.name], batch=4)
    loops: dict[str, Features] = {
        "online": case.online(encoders, device),
        "cached": CachedFeatures(cache, device, case.name),
    }
    steps: dict[str, Callable[[], object]] = {}
    trainers: dict[str, tuple[Trainer, PairSource]] = {}
    for loop, features in loops.items():
        stage = case.stage(features, encoders.autoencoder, torch.device("cpu"))
        trainer = Trainer(stage, case.run, accelerator, case.folder / loop)
        trainer.total = 10**9
        source = PairSource(case.rows, 0)
        trainers[loop] = trainer, source
        steps[loop] = lambda trainer=trainer, source=source: trainer.train_step(source)
    counts = {loop: flops(step) for loop, step in steps.items()}  # warms up as well
    times = interleaved(steps, rounds, device)
    medians = {loop: statistics.median(values) for loop, values in times.items()}
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "precision": precision,
        "seconds_online": round(medians["online"], 4),
        "seconds_cached": round(medians["cached"], 4),
        "ratio": round(medians["online"] / medians["cached"], 3),
        "ratio_by_counted_flops": round(counts["online"] / counts["cached"], 3),
        "ratio_slow_reader": round(slow_reader(*trainers["cached"], rounds), 3),
    }


def slow_reader(trainer: Trainer, source: PairSource, rounds: int) -> float:
    """Time with a reader that takes 80 % of a step, over time without input."""
    features, ahead = trainer.stage.features, trainer.inputs
    read, trainer.step, still = features.read, 0, ahead(source, 0)
    step = 0.0

    def slowly(pairs: Tensor) -> Any:
        end = time.perf_counter() + 0.8 * step
        inputs = read(pairs)
        time.sleep(max(end - time.perf_counter(), 0))
        return inputs

    def with_input() -> None:
        for _ in range(STEPS):
            trainer.train_step(source)

    def without_input() -> None:
        nonlocal step
        begin = time.perf_counter()
        trainer.inputs = lambda source, number: still
        with_input()
        trainer.inputs = ahead
        step = (time.perf_counter() - begin) / STEPS  # of this minute: a busy machine varies

    without_input()
    features.read = slowly
    arms = {"without": without_input, "with": with_input}
    times = interleaved(arms, max(rounds // STEPS, 1), trainer.accelerator.device.type)
    return statistics.median(b / a for a, b in zip(*times.values(), strict=True))


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="mini")
    parser.add_argument("--stage", default="inpainting", choices=list(STAGE_TABLES))
    parser.add_argument("--size", type=parse_size, help="HEIGHTxWIDTH (default: the preset's)")
    parser.add_argument("--batch", type=COUNT.parse, default=8)
    parser.add_argument(
        "--count", action="store_true", help="count operations instead, without values"
    )
    parser.add_argument("--rounds", type=COUNT.parse, default=10)
    parser.add_argument("--precision", default="no", choices=["no", "fp16", "bf16"])
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        case = Case(options, Path(folder))
        size = f"{case.preset.height}x{case.preset.width}"
        about = {"stage": case.name, "preset": case.preset.name, "size": size}
        about["batch"] = options.batch
        if options.count:
            figures = count(case)
        else:
            figures = measure(case, options.precision, options.rounds, options.device)
        sys.stdout.write(json.dumps({**about, **figures}) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
