"""Figures of a folder of generated pictures under a named protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from pcdm_core.picture_files import open_picture

from ..data import flat_stem
from .distances import frechet_distance
from .inception import WIDTH, InceptionV3
from .lpips import LPIPS
from .protocols import LPIPSRange, Protocol, brought_to, reconstruction

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
RANGES: tuple[LPIPSRange, ...] = ("[-1,1]", "[0,1]")
BATCH = 16


@dataclass(frozen=True)
class Judges:
    """Networks for the learned figures; None leaves their columns empty."""

    lpips: LPIPS | None = None
    inception: InceptionV3 | None = None
    device: torch.device | str = "cpu"


@dataclass(frozen=True)
class Column:
    """One figure of the report.

    Attributes:
        value: None where it could not be had; `note` says why.
        count: pictures (or pairs) that it rests on.
        published: whether the protocol's own script reports it.
    """

    name: str
    value: float | None
    count: int
    published: bool = True
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All columns of one folder, and the files that took no part."""

    protocol: str
    size: tuple[int, int]  # height, width
    columns: tuple[Column, ...]
    problems: tuple[str, ...] = ()

    def table(self) -> str:
        """For a terminal; `*` marks what the protocol's own script reports."""
        head = f"protocol {self.protocol}, {self.size[0]}x{self.size[1]} (height x width)"
        rows = [("column", "value", "pictures", "")]
        for column in self.columns:
            value = "-" if column.value is None else f"{column.value:.5f}"
            name = f"{column.name} ({self.protocol}){'*' if column.published else ''}"
            rows.append((name, value, str(column.count) if column.count else "-", column.note))
        widths = [max(len(row[k]) for row in rows) for k in range(3)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), row[1].rjust(widths[1]), row[2].rjust(widths[2])])
            + (f"  {row[3]}" if row[3] else "")
            for row in rows
        ]
        tail = ["* as the protocol's own script reports it"]
        if self.problems:
            tail.append(f"{len(self.problems)} pictures take no part:")
            tail += [f"  {problem}" for problem in self.problems]
        return "\n".join([head, *lines, *tail])


def read_pixels(path: Path) -> np.ndarray:
    """uint8 [H, W, 3].

    Raises:
        FileNotFoundError, ValueError: as `open_picture`.
    """
    with open_picture(path) as image:
        return np.asarray(image.convert("RGB"))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder and of those in it, by name.

    Raises:
        FileNotFoundError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pictures.")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )
    if not found:
        raise FileNotFoundError(f"{folder}: holds no pictures ({', '.join(ENDINGS)}).")
    return found


def pair_up(generated: Path, truths: Path) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Generated pictures `<source>_to_<target>.png` (or named as the target) with their truths.

    Returns:
        The pairs, and what has no truth.
    """
    by_stem = {flat_stem(path.relative_to(truths).as_posix()): path for path in pictures_in(truths)}
    pairs: list[tuple[Path, Path]] = []
    problems: list[str] = []
    for path in pictures_in(generated):
        stem = path.stem.split("_to_")[-1]
        if stem in by_stem:
            pairs.append((path, by_stem[stem]))
        else:
            problems.append(f"{path.name}: no {stem} in {truths}")
    if not pairs:
        raise ValueError(
            f"{generated}: none of its {len(problems)} pictures has a truth in {truths}. They are "
            f"named <source>_to_<target>.png, and the truths <target>.png or .jpg."
        )
    return pairs, problems


def evaluate_folders(
    generated: Path,
    truths: Path,
    protocol: Protocol,
    *,
    size: tuple[int, int] = (256, 176),
    train: Path | None = None,
    judges: Judges | None = None,
    progress: bool = False,
) -> Report:
    """Every column of a protocol.

    Args:
        generated: pictures to judge. truths: pictures of the test split.
        size: height x width at which the paper measured.
        train: pictures of the training split, which the published FID compares with.

    Raises:
        FileNotFoundError, ValueError: a folder without pictures, or no picture with a truth.
        ImportError: scikit-image is missing.
    """
    judges = Judges() if judges is None else judges
    pairs, problems = pair_up(generated, truths)
    figures: dict[str, list[float]] = {}
    kept: list[tuple[Path, Path]] = []
    for path, truth in _bar(pairs, "pairs", progress):
        try:
            found = reconstruction(read_pixels(path), read_pixels(truth), protocol, size)
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
            continue
        kept.append((path, truth))
        for name, value in found.items():
            figures.setdefault(name, []).append(value)
    if not kept:
        raise ValueError(f"{generated}: no pair could be measured. {problems[0]}")
    columns = [Column(name, float(np.mean(v)), len(v)) for name, v in figures.items()]
    columns += _lpips_columns(kept, protocol, size, judges, progress)
    folders = {"generated": generated, "train": train, "test": truths}
    columns += _fid_columns(folders, protocol, size, judges, problems, progress)
    return Report(protocol.name, size, tuple(columns), tuple(dict.fromkeys(problems)))


def whole_batches(count: int, batch: int | None) -> int:
    """As published: how many of `count` are used; fewer than one batch are used as they are."""
    return count if batch is None or count < batch else count // batch * batch


def _planes(paths: Sequence[Path], protocol: Protocol, size: tuple[int, int]) -> Tensor:
    """[B, 3, h, w] in [0, 1]."""
    rows = [brought_to(read_pixels(path), size, protocol.resize) for path in paths]
    return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def _lpips_columns(
    pairs: Sequence[tuple[Path, Path]],
    protocol: Protocol,
    size: tuple[int, int],
    judges: Judges,
    progress: bool,
) -> Iterator[Column]:
    network = judges.lpips
    if network is None:
        for span in RANGES:
            note = "needs --alexnet and --lpips"
            yield Column(f"lpips {span}", None, 0, span == protocol.lpips_range, note)
        return
    network = network.to(judges.device)
    pairs = pairs[: whole_batches(len(pairs), protocol.lpips_batch)]
    distances: dict[str, list[float]] = {span: [] for span in RANGES}
    for start in _bar(range(0, len(pairs), BATCH), "LPIPS", progress):
        rows = pairs[start : start + BATCH]
        a, b = (
            _planes([pair[k] for pair in rows], protocol, size).to(judges.device) for k in (0, 1)
        )
        distances["[0,1]"] += network(a, b).tolist()
        distances["[-1,1]"] += network(2 * a - 1, 2 * b - 1).tolist()
    for span, values in distances.items():
        mean = float(np.mean(values))
        yield Column(f"lpips {span}", mean, len(values), span == protocol.lpips_range)


def _fid_columns(
    folders: Mapping[str, Path | None],
    protocol: Protocol,
    size: tuple[int, int],
    judges: Judges,
    problems: list[str],
    progress: bool,
) -> Iterator[Column]:
    """Files that are no pictures go to `problems`."""
    network = judges.inception
    if network is None:
        for kind in ("train", "test"):
            yield Column(f"fid {kind}", None, 0, kind == "train", "needs --inception")
        return
    network = network.to(judges.device)

    def features(folder: Path, what: str) -> np.ndarray:
        paths = pictures_in(folder)
        paths = paths[: whole_batches(len(paths), protocol.fid_batch)]
        rows: list[Tensor] = []
        for start in _bar(range(0, len(paths), BATCH), f"FID, {what}", progress):
            planes: list[Tensor] = []
            for path in paths[start : start + BATCH]:
                try:
                    planes.append(_planes([path], protocol, size))
                except ValueError as error:
                    problems.append(f"{path.name}: {error}")
            if planes:
                rows.append(network(torch.cat(planes).to(judges.device)).cpu())
        return torch.cat(rows).numpy() if rows else np.zeros((0, WIDTH), np.float32)

    generated = folders["generated"]
    assert generated is not None
    ours = features(generated, "generated")
    for kind in ("train", "test"):
        folder, published = folders[kind], kind == "train"  # As published: the training split
        if folder is None:
            yield Column(f"fid {kind}", None, 0, published, f"needs --{kind}")
            continue
        value = frechet_distance(ours, features(folder, kind))
        yield Column(f"fid {kind}", value, len(ours), published)


T = TypeVar("T")


def _bar(items: Sequence[T], what: str, shown: bool) -> Iterator[T]:
    if not shown:
        return iter(items)
    from tqdm import tqdm

    return iter(tqdm(items, desc=what, file=sys.stderr))
