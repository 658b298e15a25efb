"""Render the pairs of a data set: a benchmark's test pairs, or the training pairs of stage 3.

A pair's picture depends on its number, the seed and the settings alone: not on the batch it came
in, on the number of processes, or on where an earlier call stopped.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcdm_core.checkpoints.write import weights_hash
from pcdm_core.files import folded, write_text
from pcdm_core.images import Fit, fit, load_picture, resize, save_picture, to_uint8
from pcdm_core.options import DEFAULT_STEPS, SamplingOptions
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.ranges import COUNT, check_settings
from pcdm_core.run_stages import Batch, Hooks, run_stages

from ..data import PictureSet, pair_file
from .protocols import PROTOCOLS, reconstruction

RECORD = "rendering.json"
SEED_STEP = 1_000_003


@dataclass(frozen=True, kw_only=True)
class Rendering(SamplingOptions):
    """How pairs are drawn.

    Attributes:
        best_of: 1 draws one sample of each pair, into `single/`. With more, that many are drawn
            besides and the nearest to the truth goes into `best-of-N-by-truth/`. As published: by
            SSIM, after stage 2 and again after stage 3. A figure of these pictures knows the truth
            and does not compare with one of single samples.
        refining: False stops after stage 2.
        undo_padding: of a preset that pads, files hold the picture alone: as a truth is.
        size: height and width of the files, by Pillow's bicubic; None leaves them.
    """

    seed: int = 42
    steps: int | None = DEFAULT_STEPS
    best_of: int = 1
    refining: bool = True
    undo_padding: bool = False
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_settings(seed=self.seed)
        COUNT.check("best_of", self.best_of)

    @property
    def record(self) -> dict[str, Any]:
        """What is written of it, and what a key is made of."""
        names = ["seed", "steps", "guidance_scale", "best_of", "refining"]
        # Named where they are set, so that folders of earlier versions go on.
        names += [name for name in ("undo_padding", "size") if getattr(self, name)]
        return {name: getattr(self, name) for name in names}

    @property
    def folders(self) -> tuple[str, ...]:
        """Where pictures go, single samples first."""
        return ("single",) if self.best_of == 1 else ("single", f"best-of-{self.best_of}-by-truth")


def rendering_key(pipeline: PCDMsPipeline, settings: Rendering) -> str:
    """A digest of the weights and of all that a single sample depends on."""
    names = ("inpainting", "autoencoder", "patch_encoder", "prior", "global_encoder", "refining")
    parts = {name: getattr(pipeline, name) for name in names}
    if not settings.refining:
        parts["refining"] = None
    tensors = {
        f"{name}.{key}": tensor
        for name, part in parts.items()
        if part is not None
        for key, tensor in part.state_dict().items()
    }
    preset = pipeline.preset
    shared = replace(settings, best_of=1).record
    described = [shared, preset.height, preset.width, preset.fit, weights_hash(tensors)]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:16]


def open_record(out: Path, key: str, settings: Rendering, pairs: int, write: bool) -> None:
    """Note what a folder holds, or check that it holds the same.

    Raises:
        ValueError: pictures of other weights or settings lie there.
    """
    path = out / RECORD
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier.get("key") != key:
            raise ValueError(
                f"{out}: its pictures were drawn with other weights or settings "
                f"({earlier.get('settings')}). Give another folder, or the same settings to go on."
            )
    elif write:
        record = {"key": key, "settings": settings.record, "pairs": pairs}
        write_text(path, json.dumps(record, indent=1) + "\n")


class PairRenderer:
    """The pipeline over rows of a data set."""

    def __init__(self, pipeline: PCDMsPipeline, pictures: PictureSet, settings: Rendering) -> None:
        self.pipeline, self.pictures, self.settings = pipeline, pictures, settings
        preset = pipeline.preset
        self.size = preset.height, preset.width
        self.poses = pictures.fitted_poses(*self.size, preset.fit)

    def _picture(self, row: int) -> Tensor:
        preset = self.pipeline.preset
        return fit(load_picture(self.pictures.paths[row]), *self.size, preset.fit)[0]

    def _noise(self, numbers: Sequence[int], rows: Sequence[int]) -> dict[str, Any]:
        seeds = [self.settings.seed * SEED_STEP + number for number in numbers]
        return {"seed": seeds, "batch_index": list(rows)}

    def _poses(self, rows: Sequence[int]) -> Keypoints:
        return self.poses.select(list(rows))

    def output(self, number: int, picture: Tensor) -> Tensor:
        """What a file holds of a pair's picture [3, H, W]: [1, 3, h, w]."""
        settings, picture = self.settings, picture[None]
        if settings.undo_padding:
            target = int(self.pictures.pairs[number, 1])
            size, mode = self.pictures.sizes[target], self.pipeline.preset.fit
            picture = Fit.of(*size, *self.size, mode).inner(picture)
        return resize(picture, *settings.size) if settings.size else picture

    def single(self, numbers: Sequence[int]) -> Tensor:
        """One sample of each pair: [B, 3, H, W] in [-1, 1]."""
        pairs = [self.pictures.pairs[number].tolist() for number in numbers]
        sources, targets = zip(*pairs, strict=True)
        return self.pipeline(
            torch.cat([self._picture(row) for row in sources]),
            self._poses(sources),
            self._poses(targets),
            steps=self.settings.steps or DEFAULT_STEPS,
            guidance_scale=self.settings.guidance_scale,
            with_refining=self.settings.refining,
            **self._noise(numbers, [0] * len(pairs)),
        ).image

    def best(self, number: int) -> Tensor:
        """The nearest of `best_of` samples of a pair: [1, 3, H, W]."""
        pipeline, count = self.pipeline, self.settings.best_of
        source, target = self.pictures.pairs[number].tolist()
        truth = to_uint8(self._picture(target))[0]

        def nearest(stage: str, pictures: Tensor) -> Tensor:
            if stage not in ("coarse", "image"):
                return pictures
            likeness = [
                reconstruction(pixels, truth, PROTOCOLS["pcdms"], self.size)["ssim"]
                for pixels in to_uint8(pictures)
            ]
            best = max(range(count), key=likeness.__getitem__)
            return pictures[best : best + 1].expand_as(pictures)

        features = pipeline.encode_source(self._picture(source))
        poses = features.fitted(self._poses([source])), self._poses([target] * count)
        noise = self._noise([number] * count, range(count))
        batch = Batch(features, poses[0], features.fitted(poses[1]), **noise)
        run: dict[str, Any] = {"refining": self.settings.refining, "chunk": count}
        return run_stages(pipeline, batch, self.settings, hooks=Hooks(after=nearest), **run).image[
            :1
        ]


def render_pairs(
    renderer: PairRenderer,
    out: Path,
    *,
    share: tuple[int, int] = (0, 1),
    batch: int = 8,
    progress: bool = False,
) -> int:
    """Draw the pairs that are not in `out` yet; returns how many pictures that were.

    Args:
        share: (number of this process, how many there are): each draws its part.

    Raises:
        ValueError: two pairs have one file name, perhaps in other case.
    """
    pictures, count = renderer.pictures, 0
    names = [pair_file(pictures, *pair) for pair in pictures.pairs.tolist()]
    _check_names(pictures, names)
    mine = range(len(names))[share[0] :: share[1]]
    for folder in renderer.settings.folders:
        todo = [number for number in mine if not (out / folder / names[number]).is_file()]
        step = batch if folder == "single" else 1
        for start in _bar(range(0, len(todo), step), folder, progress):
            numbers = todo[start : start + step]
            single = folder == "single"
            results = renderer.single(numbers) if single else renderer.best(numbers[0])
            for number, picture in zip(numbers, results, strict=True):
                save_picture(renderer.output(number, picture), out / folder / names[number])
            count += len(numbers)
    return count


def _check_names(pictures: PictureSet, names: Sequence[str]) -> None:
    """Refuse pairs of which one picture would take the other's place."""
    owners: dict[str, list[int]] = {}
    for name, pair in zip(names, pictures.pairs.tolist(), strict=True):
        other = owners.setdefault(folded(name), pair)
        if other != pair:
            first, second = (" to ".join(pictures.names[row] for row in p) for p in (other, pair))
            raise ValueError(
                f"The pairs {first} and {second} would both be written to {name}. Rename the "
                f"pictures of one of them."
            )


def _bar(items: range, what: str, visible: bool) -> Iterator[int]:
    if not visible:
        return iter(items)
    from tqdm import tqdm

    return iter(tqdm(items, desc=what, unit="batch", file=sys.stderr))
