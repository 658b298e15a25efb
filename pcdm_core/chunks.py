"""The rows of a run in chunks that go through a stage at once: memory is that of one chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .inputs import Seed, SourceFeatures
from .pose.keypoints import Keypoints
from .ranges import check_settings

Progress = Callable[[str, int, int], None]
"""Called after each step with the stage's name, the steps done and the steps there are."""


@dataclass(frozen=True)
class Part:
    """What goes through the stages at once, and the arguments of a stage that belong to it."""

    features: SourceFeatures
    source: Keypoints
    target: Keypoints
    run: dict[str, Any]


def parts_of(
    features: SourceFeatures,
    source_pose: Keypoints,
    target_pose: Keypoints,
    *,
    size: int,
    seed: Seed,
    batch_index: Sequence[int] | None,
    callback: Progress | None,
    run: dict[str, Any],
) -> list[Part]:
    """The rows of a call in parts of at most `size`; what there is one of goes with every part."""
    rows = chunks_of(len(target_pose), size)
    return [
        Part(
            features if len(features) == 1 else features.select(part),
            source_pose if len(source_pose) == 1 else source_pose.select(part),
            target_pose.select(part),
            {
                "seed": list(seed)[part] if isinstance(seed, Sequence) else seed,
                "batch_index": None if batch_index is None else list(batch_index)[part],
                "callback": _of_chunk(callback, index, len(rows)),
                **run,
            },
        )
        for index, part in enumerate(rows)
    ]


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
