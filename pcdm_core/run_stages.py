"""The three stages in a row, over the rows of a run in chunks: memory is that of one chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise, repeat
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .images import right_half
from .inputs import FittedPose, Seed, SourceFeatures
from .offload import Progress
from .options import SamplingOptions
from .output import PCDMsOutput
from .pose.body_mask import body_mask
from .ranges import check_settings

if TYPE_CHECKING:
    from .pipeline import PCDMsPipeline


@dataclass(frozen=True)
class Batch:
    """What goes through the stages: a source, poses, and which noise each row takes."""

    features: SourceFeatures
    source_pose: FittedPose  # 1 or B rows
    target_pose: FittedPose  # B rows
    seed: Seed
    batch_index: Sequence[int] | None = None

    def chunks(self, size: int) -> list[Batch]:
        """The rows in parts of at most `size`; what there is one of goes with every part."""
        return [self._select(rows) for rows in chunks_of(len(self.target_pose), size)]

    def _select(self, rows: slice) -> Batch:
        features, pose, index = self.features, self.source_pose, self.batch_index
        return Batch(
            features if len(features) == 1 else features.select(rows),
            pose if len(pose) == 1 else pose.select(rows),
            self.target_pose.select(rows),
            list(self.seed)[rows] if isinstance(self.seed, Sequence) else self.seed,
            None if index is None else list(index)[rows],
        )


@dataclass(frozen=True)
class Hooks:
    """What a caller does at the stages' ends; by default nothing.

    Attributes:
        during: of a stage's name, what holds while it computes, such as a clock.
        after: of the name of a result ("embeds", "latents" of the canvas, "coarse", "image") and a
            chunk of it, what goes on in its place.
    """

    during: Callable[[str], AbstractContextManager[Any]] = lambda _: nullcontext()
    after: Callable[[str, Tensor], Tensor] = lambda _, result: result


def run_stages(
    pipeline: PCDMsPipeline,
    batch: Batch,
    options: SamplingOptions,
    *,
    refining: bool = True,
    chunk: int = 16,
    callback: Progress | None = None,
    hooks: Hooks | None = None,
) -> PCDMsOutput:
    """Every stage over all chunks before the next one begins; pictures of the preset's size.

    Args:
        refining: False stops after stage 2, as a preset without stage 3 does.
        chunk: so many rows go through a stage at once. The results of several chunks wait in the
            host's memory.
    """
    hooks = hooks or Hooks()
    parts = batch.chunks(chunk)
    device = batch.features.patch_tokens.device
    home = device if len(parts) == 1 else torch.device("cpu")
    draws: list[dict[str, Any]] = [
        {
            "seed": part.seed,
            "batch_index": part.batch_index,
            "callback": _of_chunk(callback, index, len(parts)),
        }
        for index, part in enumerate(parts)
    ]
    poses = [(part.features, part.source_pose, part.target_pose) for part in parts]

    embeds: list[Tensor] = []
    if pipeline.prior is not None:
        with hooks.during("prior"):
            for pose, draw in zip(poses, draws, strict=True):
                predicted = pipeline.predict_embedding(*pose, steps=options.steps, **draw)
                assert predicted is not None  # there is a prior
                embeds.append(hooks.after("embeds", predicted))

    refining = refining and pipeline.refining is not None
    hands_over = refining and options.hand_over_latents
    stage2: list[Tensor] = []  # the coarse pictures, or what stage 3 takes in their place
    with hooks.during("inpainting"):
        for pose, embed, draw in zip(poses, embeds or repeat(None), draws, strict=False):
            latents = pipeline.inpaint_latents(*pose, embed, options=options, **draw)
            latents = hooks.after("latents", latents)
            if hands_over:
                stage2.append(right_half(latents).to(home))
            else:
                coarse = pipeline.decode_target(latents, options=options)
                stage2.append(hooks.after("coarse", coarse).to(home))
    images = stage2
    if refining:
        key = "coarse_latents" if hands_over else "coarse"
        images = []
        with hooks.during("refining"):
            for part, start, draw in zip(parts, stage2, draws, strict=True):
                inputs: dict[str, Any] = {key: start.to(device), "options": options, **draw}
                image = hooks.after("image", pipeline.refine(part.features, **inputs))
                images.append(image.to(home))
    return PCDMsOutput(
        image=torch.cat(images),
        coarse=None if hands_over else torch.cat(stage2),
        target_embeds=torch.cat(embeds) if embeds else None,
        mask=body_mask(batch.target_pose, *batch.target_pose.frame).to(home),
    )


def chunks_of(count: int, size: int) -> list[slice]:
    """`count` rows in slices of at most `size`, as equal as can be.

    Raises:
        ValueError: a size below 1.
    """
    check_settings(chunk=size)
    chunks = -(-count // size)
    bounds = [count * index // chunks for index in range(chunks + 1)]
    return [slice(a, b) for a, b in pairwise(bounds)]


def _of_chunk(callback: Progress | None, index: int, chunks: int) -> Progress | None:
    """Counts a stage's steps over all chunks."""
    if callback is None or chunks == 1:
        return callback
    return lambda stage, done, steps: callback(stage, index * steps + done, chunks * steps)


def report(callback: Progress | None, stage: str, steps: int) -> Callable[..., None] | None:
    """The loop's callback that tells a stage's progress."""
    if callback is None:
        return None
    return lambda index, _: callback(stage, index + 1, steps)
