"""Write people to disk: one folder per identity, in parallel, resumable."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from pcdm_core.files import replace_file

from .identity import Identity, identity_seed, make_identity
from .view import View, render_view

#: Version of the pictures: raised by every change after which a seed gives another picture.
#: People written before the number was kept count as version 1.
GENERATOR = 2


@dataclass(frozen=True)
class Job:
    """What to write; ``size`` is (height, width)."""

    out: Path
    split: str
    views: int
    size: tuple[int, int]
    seed: int


def folder(job: Job, number: int) -> Path:
    """The folder of an identity."""
    return job.out / job.split / f"{number:06d}"


def generator_version(person: Path) -> int:
    """The version of the generator that drew the identity in the folder ``person``."""
    record = json.loads((person / "identity.json").read_text(encoding="utf-8"))
    return int(record.get("generator", 1))


def check_generator(people: Iterable[Path]) -> None:
    """Refuse people that different versions of the generator drew.

    Raises:
        ValueError: two of the folders ``people`` differ in their version; both are named.
    """
    first: tuple[Path, int] | None = None
    for person in people:
        version = generator_version(person)
        if first is None:
            first = person, version
        elif version != first[1]:
            raise ValueError(
                f"{person}: drawn by version {version} of the generator of people, "
                f"{first[0]} by version {first[1]}; their pictures do not go together. "
                "Remove the older people and render them again, or use another folder."
            )


def check_identity(job: Job, number: int) -> None:
    """Refuse a finished identity whose pictures are not those that the job asks for.

    Raises:
        ValueError: another version of the generator drew it, or its seed, views or size differ.
    """
    person = folder(job, number)
    version = generator_version(person)
    if version != GENERATOR:
        raise ValueError(
            f"{person}: drawn by version {version} of the generator of people, this is version "
            f"{GENERATOR}. Give another folder, or remove {person.parent} first."
        )
    record = json.loads((person / "identity.json").read_text(encoding="utf-8"))
    with np.load(person / "people.npz") as table:
        height, width = map(int, table["size"])
    differences: list[str] = []
    if (height, width) != job.size:
        differences.append(f"pictures of {height}x{width}, not {job.size[0]}x{job.size[1]}")
    if len(record["views"]) != job.views:
        differences.append(f"{len(record['views'])} views, not {job.views}")
    if record["seed"] != identity_seed(job.seed, job.split, number):
        differences.append(f"people of another seed than {job.seed}")
    if differences:
        raise ValueError(
            f"{person}: it holds {', '.join(differences)}. Give the size, views and seed that this "
            f"folder was rendered with, or another folder."
        )


def missing_identities(job: Job, numbers: Iterable[int]) -> list[int]:
    """Which of the identities are still to be written.

    Raises:
        ValueError: as `check_identity`, for one that is there.
    """
    missing: list[int] = []
    for number in numbers:
        if folder(job, number).exists():
            check_identity(job, number)
        else:
            missing.append(number)
    return missing


def write_identity(job: Job, number: int) -> int:
    """Draw and write one identity; returns the number of new pictures (0 when it exists).

    Raises ``ValueError`` when it exists and is not what the job asks for (`check_identity`).

    The folder is filled under a temporary name and renamed when it is whole. Of two runs that draw
    the same identity at the same time the first keeps its folder; both would be the same.
    """
    final = folder(job, number)
    if final.exists():
        check_identity(job, number)
        return 0
    identity = make_identity(identity_seed(job.seed, job.split, number))
    views = [render_view(identity, view, *job.size) for view in range(job.views)]
    part = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        _write(part, job, number, identity, views)
        replace_file(part, final)
    except OSError:
        # Another run was first: it has put its own folder there, and cleared this one away.
        if not final.exists():
            raise
    for other in final.parent.glob(f".{final.name}.*.part"):  # of an interrupted or slower run
        shutil.rmtree(other, ignore_errors=True)
    return len(views)


def _write(part: Path, job: Job, number: int, identity: Identity, views: list[View]) -> None:
    shutil.rmtree(part, ignore_errors=True)  # of a killed process with the same number
    part.mkdir(parents=True)
    for index, view in enumerate(views):
        Image.fromarray(view.picture).save(part / f"{index:02d}.png", compress_level=1)
        Image.fromarray(view.mask).save(part / f"{index:02d}_mask.png", compress_level=1)
    np.savez(
        part / "people.npz",
        xy=np.stack([view.xy for view in views]),
        visible=np.stack([view.visible for view in views]),
        size=np.array(job.size, np.int32),
    )
    record = {
        "identity": number,
        "seed": identity.seed,
        "generator": GENERATOR,
        "attributes": identity.attributes,
        "views": [view.info for view in views],
    }
    (part / "identity.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _task(task: tuple[Job, int]) -> int:
    return write_identity(*task)


def write_dataset(job: Job, numbers: Iterable[int], workers: int, quiet: bool = False) -> int:
    """Write the identities ``numbers`` with ``workers`` processes; returns new pictures."""
    todo = [(job, number) for number in numbers]
    (job.out / job.split).mkdir(parents=True, exist_ok=True)
    bar = partial(tqdm, total=len(todo), desc="rendering", unit="person", disable=quiet)
    if workers <= 1:
        return sum(bar(map(_task, todo)))
    # Workers inherit the environment: one thread each, or the processes fight for the cores.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return sum(bar(pool.imap_unordered(_task, todo, chunksize=1)))


def contact_sheet(identities: list[Identity], views: int, size: tuple[int, int]) -> Image.Image:
    """A row of views per identity."""
    height, width = size
    sheet = Image.new("RGB", (views * width, len(identities) * height))
    for row, identity in enumerate(identities):
        for column in range(views):
            picture = Image.fromarray(render_view(identity, column, height, width).picture)
            sheet.paste(picture, (column * width, row * height))
    return sheet
