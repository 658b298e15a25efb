"""Filling the tables of a data set: a picture is decoded once, for all that is made of it.

Work goes person by person (pictures that pairs connect lie together), so that few pictures are in
memory at a time. Threads decode ahead of the encoders, and every process takes a stretch.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pcdm_core.images import fit, from_planes, load_picture, source_canvas, to_uint8

from ..data.prefetch import prefetched, reader_threads
from ..loop.distributed import agreed
from ..loop.precision import encoder_precision
from .store import KEY_BYTES, CacheError

if TYPE_CHECKING:
    from .cached import FeatureCache

logger = logging.getLogger(__name__)

PIXELS = ("embeds", "tokens")  # kinds whose encoder has an input of its own, made while decoding


@dataclass(frozen=True)
class Task:
    """One feature, and the numbers of the pictures it is made of: none for an input of zeros."""

    kind: str
    key: bytes
    pictures: tuple[int, ...]


@dataclass
class Filling:
    """How many features were made, and what is wrong with pictures that cannot be decoded."""

    features: int = 0
    faults: dict[int, str] = field(default_factory=dict[int, str])


def missing_tasks(cache: FeatureCache, kinds: Iterable[str]) -> list[Task]:
    """What the tables of these kinds lack, person by person; the same list in every process."""
    tasks: list[Task] = []
    gaps: list[int] = []
    places: set[tuple[Path, bytes]] = set()  # coarse and plain pictures share a table
    for kind in kinds:
        table, inputs = cache.table(kind), cache.inputs(kind)
        absent = set(table.missing(inputs))
        for key, pictures in inputs.items():
            if (place := (table.folder, key)) not in places:
                places.add(place)
                gaps += [len(tasks)] if key in absent else []
                tasks.append(Task(kind, key, pictures))
    # Other processes may see files a moment later.
    tasks = [tasks[number] for number in agreed(gaps)]
    people = _people(len(cache.paths), tasks)
    return sorted(tasks, key=lambda task: people[task.pictures[0]] if task.pictures else -1)


def _people(count: int, tasks: Sequence[Task]) -> list[int]:
    """A number for each picture, which those that tasks connect share."""
    links = np.array([t.pictures for t in tasks if len(t.pictures) > 1], np.int64).reshape(-1, 2)
    numbers = np.arange(count)
    while True:
        lowest = numbers[links].min(1)
        before = numbers.copy()
        for column in links.T:
            np.minimum.at(numbers, column, lowest)
        numbers = numbers[numbers]
        if np.array_equal(numbers, before):
            return numbers.tolist()


def check_room(cache: FeatureCache, tasks: Sequence[Task]) -> None:
    """Say how large the cache will be.

    Raises:
        CacheError: larger than what is free on its disk.
    """
    itemsize = np.dtype(cache.dtype).itemsize
    each: dict[str, int] = {}
    for kind in dict.fromkeys(task.kind for task in tasks):
        shape = cache.table(kind).shape or encode(cache, kind, [_zeros(cache, kind)]).shape[1:]
        each[kind] = math.prod(shape) * itemsize + KEY_BYTES
    total = sum(each[task.kind] for task in tasks)
    folder = next(place for place in (cache.folder, *cache.folder.parents) if place.is_dir())
    free = agreed(shutil.disk_usage(folder).free)
    sizes = f"{len(tasks)} features take {total / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"
    logger.info("%s: %s", cache.folder, sizes)
    if total > free:
        raise CacheError(
            f"{cache.folder}: {sizes}. Make room, give another folder (--cache), or store halves "
            f"(--cache-dtype float16)."
        )


@torch.no_grad()
def encode(cache: FeatureCache, kind: str, inputs: Sequence[Tensor]) -> Tensor:
    """The encoder's answers [N, ...] to inputs [1, 3, H, W]."""
    encoder = cache.encoders.of(kind)
    device = next((t.device for t in encoder.state_dict().values()), torch.device("cpu"))
    function = encoder if kind in PIXELS else encoder.moments
    with encoder_precision(cache.precision, device):
        return function(torch.cat(list(inputs)).to(device))


def _zeros(cache: FeatureCache, kind: str) -> Tensor:
    width = cache.preset.width * (2 if kind in ("source", "pair") else 1)
    zeros = torch.zeros(1, 3, cache.preset.height, width)
    return torch.zeros_like(cache.encoders.of(kind).pixels(zeros)) if kind in PIXELS else zeros


Picture = Mapping[str, Tensor] | str


def _decode(cache: FeatureCache, kinds: Sequence[str], number: int) -> Picture:
    """A picture's planes in 8 bits and its encoders' inputs; or what is wrong with its file."""
    preset, path = cache.preset, cache.paths[number]
    try:
        picture = fit(load_picture(path), preset.height, preset.width, preset.fit)[0]
    except (OSError, ValueError) as error:
        return str(error).removeprefix(f"{path}: ")
    pixels = {kind: cache.encoders.of(kind).pixels(picture) for kind in kinds if kind in PIXELS}
    planes = torch.from_numpy(to_uint8(picture).transpose(0, 3, 1, 2).copy())
    return {"planes": planes, **pixels}


def _input(cache: FeatureCache, task: Task, parts: Sequence[Mapping[str, Tensor]]) -> Tensor:
    if not parts:
        return _zeros(cache, task.kind)
    if task.kind in PIXELS:
        return parts[0][task.kind]
    pictures = [from_planes(part["planes"]) for part in parts]
    return source_canvas(pictures[0]) if task.kind == "source" else torch.cat(pictures, dim=-1)


def fill(
    cache: FeatureCache,
    tasks: Sequence[Task],
    *,
    batch: int = 16,
    rows_per_file: int = 1024,
    share: tuple[int, int] = (0, 1),
) -> Filling:
    """Compute and write features.

    Args:
        tasks: of `missing_tasks`, the same in every process.
        batch: how many an encoder sees at once.
        rows_per_file: how many of a kind an interruption may lose.
        share: (number of this process, how many there are): each takes its stretch.

    Raises:
        OSError: the disk is full; what was written stays.
    """
    rank, count = share
    tasks = tasks[len(tasks) * rank // count : len(tasks) * (rank + 1) // count]
    last = {number: place for place, task in enumerate(tasks) for number in task.pictures}
    order = list(dict.fromkeys(number for task in tasks for number in task.pictures))
    decode = partial(_decode, cache, list(dict.fromkeys(task.kind for task in tasks)))
    stream = zip(order, prefetched(decode, order, reader_threads()), strict=True)
    filling, pictures = Filling(), dict[int, Picture]()
    queues: dict[str, list[tuple[bytes, Tensor]]] = {}
    answers: dict[str, list[tuple[bytes, Tensor]]] = {}
    bar = tqdm(total=len(tasks), desc="features", unit="feature", disable=rank > 0)

    def compute(kind: str) -> None:
        keys, inputs = zip(*queues.pop(kind), strict=True)
        features = encode(cache, kind, inputs).cpu()
        answers.setdefault(kind, []).extend(zip(keys, features, strict=True))
        bar.update(len(keys))
        if len(answers[kind]) >= rows_per_file:
            write(kind)

    def write(kind: str) -> None:
        keys, features = zip(*answers.pop(kind), strict=True)
        cache.table(kind).append(keys, torch.stack(features), rank)
        filling.features += len(keys)

    for place, task in enumerate(tasks):
        while not all(number in pictures for number in task.pictures):
            number, pictures[number] = next(stream)
            if isinstance(outcome := pictures[number], str):
                filling.faults[number] = outcome
        parts = [part for n in task.pictures if not isinstance(part := pictures[n], str)]
        if len(parts) == len(task.pictures):
            queues.setdefault(task.kind, []).append((task.key, _input(cache, task, parts)))
        for number in {n for n in task.pictures if last[n] == place}:
            del pictures[number]
        if len(queues.get(task.kind, ())) == batch:
            compute(task.kind)
    for kind in list(queues):
        compute(kind)
    for kind in list(answers):
        write(kind)
    bar.close()
    return filling
