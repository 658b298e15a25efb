"""Figures of a folder of generated pictures under a named protocol."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import ImageOps
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from pcdm_core.checkpoints.write import weights_hash
from pcdm_core.files import atomic_file
from pcdm_core.picture_files import open_picture

from ..data import flat_stem
from .distances import frechet_distance
from .inception import WIDTH, InceptionV3
from .lpips import LPIPS
from .protocols import FILTERS, LPIPSRange, Protocol, brought_to, prepared, reconstruction

ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
RANGES: tuple[LPIPSRange, ...] = ("[-1,1]", "[0,1]")
BATCH = 16
# Between source and target in names of results: ours and CFLD's; GFLA's, DPTN's, NTED's, PISE's and
# CASD's; PATN's.
SEPARATORS = ("_to_", "_2_", "___")
_RESULT_END = "_vis"
_STRIP = 1.9  # times a truth's width over its height: several pictures side by side
T = TypeVar("T")


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
    notes: tuple[str, ...] = ()  # how pictures came to the sizes they were measured at

    def table(self) -> str:
        """For a terminal; `*` marks what the protocol's own script reports."""
        rows = [("column", "value", "pictures", "")]
        for column in self.columns:
            value = "-" if column.value is None else f"{column.value:.5f}"
            name = f"{column.name} ({self.protocol}){'*' if column.published else ''}"
            rows.append((name, value, str(column.count or "-"), column.note))
        a, b, c = (max(len(row[k]) for row in rows) for k in range(3))
        lines = [f"protocol {self.protocol}, {self.size[0]}x{self.size[1]} (height x width)"]
        for name, value, count, note in rows:
            cells = [f"{name:<{a}}  {value:>{b}}  {count:>{c}}", note]
            lines.append("  ".join(filter(None, cells)))
        lines += ["* as the protocol's own script reports it", *self.notes]
        if self.problems:
            lines.append(f"{len(self.problems)} pictures take no part:")
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def read_pixels(path: Path) -> np.ndarray:
    """uint8 [H, W, 3], upright.

    Raises:
        FileNotFoundError, ValueError: as `open_picture`.
    """
    with open_picture(path) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder and of those in it, by name.

    Raises:
        FileNotFoundError: no such folder, or none in it.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pictures.")
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".")
    )
    if not paths:
        raise FileNotFoundError(f"{folder}: holds no pictures ({', '.join(ENDINGS)}).")
    return paths


def pair_up(
    generated: Path, truths: Path, pattern: str | None = None
) -> tuple[list[tuple[Path, Path]], list[str]]:
    """Generated pictures with their truths: named by source and target, or as the target.

    Args:
        pattern: a regular expression for names without their ending, whose group is the target's;
            None tries those of known repositories.

    Returns:
        The pairs, and what has no truth.

    Raises:
        ValueError: no picture has a truth, or the pattern is none or has no group.
    """
    names_of = known_targets if pattern is None else _pattern_targets(pattern)
    paths = pictures_in(truths)
    counts = Counter(path.stem for path in paths)
    by_stem = {path.stem: path for path in paths if counts[path.stem] == 1}
    by_stem |= {flat_stem(path.relative_to(truths).as_posix()): path for path in paths}
    pairs: list[tuple[Path, Path]] = []
    problems: list[str] = []
    for path in pictures_in(generated):
        targets = names_of(path.stem)
        truth = next((by_stem[target] for target in targets if target in by_stem), None)
        if truth is not None:
            pairs.append((path, truth))
        else:
            problems.append(f"{path.name}: no {targets[0] if targets else 'target'} in {truths}")
    if not pairs:
        raise ValueError(
            f"{generated}: none of its {len(problems)} pictures has a truth in {truths}. They are "
            f"named <source>_to_<target>.png, <source>_2_<target>_vis.png or by --pattern, and the "
            f"truths <target>.png or .jpg."
        )
    return pairs, problems


def known_targets(stem: str) -> list[str]:
    """What the target of a result may be called, by a name as known repositories write it."""
    targets: list[str] = []
    for separator in SEPARATORS:
        parts = stem.split(separator)
        for start in range(len(parts) - 1, 0, -1):
            target = separator.join(parts[start:])
            targets += [target, _without_ending(target.removesuffix(_RESULT_END))]
    return [*targets, stem]


def _pattern_targets(pattern: str) -> Callable[[str], list[str]]:
    """The same by a regular expression of the user's.

    Raises:
        ValueError: it is none, or has no group.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--pattern {pattern!r} is no regular expression: {error}.") from error
    if compiled.groups < 1:
        raise ValueError(f"--pattern {pattern!r} has no group (...) for the target's name.")
    return lambda stem: [_without_ending(m[1])] if (m := compiled.fullmatch(stem)) else []


def _without_ending(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in ENDINGS else name


def _check_shape(picture: np.ndarray, truth: np.ndarray) -> None:
    """Refuses what shows more than the result.

    Raises:
        ValueError: of that.
    """
    height, width, _ = picture.shape
    if width / height > _STRIP * truth.shape[1] / truth.shape[0]:
        raise ValueError(f"{height}x{width}: several pictures side by side; cut the result out")


def evaluate_folders(
    generated: Path,
    truths: Path,
    protocol: Protocol,
    *,
    size: tuple[int, int] = (256, 176),
    train: Path | None = None,
    lpips: LPIPS | None = None,
    inception: InceptionV3 | None = None,
    features: Path | None = None,
    pattern: str | None = None,
    progress: bool = False,
) -> Report:
    """Every column of a protocol; those of a network that is None stay empty.

    Args:
        generated: pictures to judge. truths: pictures of the test split.
        size: height x width at which the paper measured.
        train: pictures of the training split, which the published FID compares with.
        features: folder where its features stay; None: the one that `train` lies in.
        pattern: of the names of `generated`, see `pair_up`.

    Raises:
        FileNotFoundError, ValueError: a folder without pictures, or no picture with a truth.
        ImportError: scikit-image is missing.
    """
    pairs, problems = pair_up(generated, truths, pattern)
    first = read_pixels(pairs[0][0]).shape
    reader = _Reader(protocol, size, (first[0], first[1]), problems, progress)
    sizes: dict[str, set[tuple[int, int]]] = {"pictures": set(), "truths": set()}
    rows: list[dict[str, float]] = []
    measured: list[tuple[Path, Path]] = []
    for path, truth in reader.bar(pairs, "pairs"):
        try:
            pixels = {"pictures": read_pixels(path), "truths": read_pixels(truth)}
            _check_shape(pixels["pictures"], pixels["truths"])
            rows.append(reconstruction(pixels["pictures"], pixels["truths"], protocol, size))
            for kind, picture in pixels.items():
                sizes[kind].add((picture.shape[0], picture.shape[1]))
            measured.append((path, truth))
        except ValueError as error:
            problems.append(f"{path.name}: {error}")
    if not rows:
        raise ValueError(f"{generated}: no pair could be measured. {problems[0]}")
    columns = [
        Column(k, float(np.mean([row[k] for row in rows])), len(rows), k in protocol.reports)
        for k in rows[0]
    ]
    columns += _lpips_columns(lpips, measured, reader)
    columns += _fid_columns(
        inception, generated, {"train": train, "test": truths}, reader, features
    )
    notes = tuple(_resizes(protocol, size, sizes))
    return Report(protocol.name, size, tuple(columns), tuple(dict.fromkeys(problems)), notes)


def _resizes(
    protocol: Protocol, size: tuple[int, int], sizes: Mapping[str, set[tuple[int, int]]]
) -> Iterator[str]:
    """A sentence on each folder: the sizes in it, and how these came to the one measured at."""
    for kind, shapes in sizes.items():
        places = ", ".join(f"{height}x{width}" for height, width in sorted(shapes)[:3])
        places += " and others" if len(shapes) > 3 else ""
        how = protocol.resize if kind == "pictures" else protocol.truth_resize
        steps = f"to {size[0]}x{size[1]} by {FILTERS[how]}"
        if protocol.as_they_are:
            steps = f"as they are; for LPIPS and FID {steps}"
            if kind == "truths":
                script = f"{FILTERS['pillow']} (data/prepare_data.py)"
                steps = f"to the pictures' size by {script}; {steps.partition('; ')[2]}"
        elif shapes == {size}:
            steps = "as they are"
        yield f"{kind} of {places}: {steps}"


def whole_batches(count: int, batch: int | None) -> int:
    """As published: how many of `count` are used; fewer than one batch are used as they are."""
    return count if batch is None or count < batch else count // batch * batch


@dataclass(frozen=True)
class _Reader:
    """Reads pictures at one size, in batches; files that are no pictures go to `problems`."""

    protocol: Protocol
    size: tuple[int, int]
    generated: tuple[int, int]  # height and width of the generated pictures
    problems: list[str]
    progress: bool

    def bar(self, items: Iterable[T], name: str) -> Iterable[T]:
        return tqdm(items, desc=name, file=sys.stderr, disable=not self.progress)

    def batches(self, paths: Sequence[Path], name: str, truths: bool = True) -> Iterator[Tensor]:
        """[B, 3, h, w] in [0, 1]; generated pictures are no `truths`."""
        protocol = self.protocol
        how = protocol.truth_resize if truths else protocol.resize
        for start in self.bar(range(0, len(paths), BATCH), name):
            rows: list[np.ndarray] = []
            for path in paths[start : start + BATCH]:
                try:
                    pixels = read_pixels(path)
                    if truths:
                        pixels = prepared(pixels, protocol, self.generated)
                    rows.append(brought_to(pixels, self.size, how))
                except ValueError as error:
                    self.problems.append(f"{path.name}: {error}")
            if rows:
                yield torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).contiguous()


def _lpips_columns(
    network: LPIPS | None, pairs: Sequence[tuple[Path, Path]], reader: _Reader
) -> Iterator[Column]:
    published = reader.protocol.lpips_range
    if network is None:
        for span in RANGES:
            note = "needs --alexnet and --lpips"
            yield Column(f"lpips {span}", None, 0, span == published, note)
        return
    device = next(network.parameters()).device
    pairs = pairs[: whole_batches(len(pairs), reader.protocol.lpips_batch)]
    distances: dict[str, list[float]] = {span: [] for span in RANGES}
    ours, truths = zip(*pairs, strict=True)
    batches = (
        reader.batches(ours, "LPIPS", False),
        replace(reader, progress=False).batches(truths, ""),
    )
    for a, b in zip(*batches, strict=True):
        a, b = a.to(device), b.to(device)
        distances["[0,1]"] += network(a, b).tolist()
        distances["[-1,1]"] += network(2 * a - 1, 2 * b - 1).tolist()
    for span, values in distances.items():
        yield Column(f"lpips {span}", float(np.mean(values)), len(values), span == published)


def _fid_columns(
    network: InceptionV3 | None,
    generated: Path,
    folders: Mapping[str, Path | None],
    reader: _Reader,
    store: Path | None,
) -> Iterator[Column]:
    """As published: against the training split; against the test split too."""
    if network is None:
        for kind in folders:
            yield Column(f"fid {kind}", None, 0, kind == "train", "needs --inception")
        return
    device = next(network.parameters()).device

    def features(paths: Sequence[Path], kind: str) -> Tensor:
        batches = reader.batches(paths, f"FID, {kind}", kind != "generated")
        rows = [network(x.to(device)).cpu() for x in batches]
        return torch.cat(rows) if rows else torch.zeros(0, WIDTH)

    def whole(folder: Path) -> list[Path]:
        paths = pictures_in(folder)
        return paths[: whole_batches(len(paths), reader.protocol.fid_batch)]

    ours = features(whole(generated), "generated")
    for kind, folder in folders.items():
        if folder is None:
            yield Column(f"fid {kind}", None, 0, kind == "train", f"needs --{kind}")
            continue
        paths = whole(folder)
        if kind == "train":
            path = _features_file(network, folder, paths, reader, store)
            theirs = _stored(path, lambda paths=paths: features(paths, "train"), reader)
        else:
            theirs = features(paths, kind)
        fewest = min(len(ours), len(theirs))
        value = frechet_distance(ours.numpy(), theirs.numpy()) if fewest > 1 else None
        note = f"too few pictures for a FID: {fewest} for {WIDTH} features; the field has 8,570"
        yield Column(
            f"fid {kind}", value, len(ours), kind == "train", note if fewest <= WIDTH else ""
        )


def _features_file(
    network: InceptionV3, folder: Path, paths: Sequence[Path], reader: _Reader, store: Path | None
) -> Path:
    """Where the features of a training split stay: its name says all that they depend on."""
    files = [(path.relative_to(folder).as_posix(), path.stat()) for path in paths]
    about = [
        weights_hash(dict(network.state_dict())),
        *(reader.size, reader.protocol.truth_resize),
        reader.generated if reader.protocol.as_they_are else None,
        [(name, status.st_size, status.st_mtime_ns) for name, status in files],
    ]
    digest = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    return (store or folder.resolve().parent) / f"{folder.resolve().name}.{digest}.fid.safetensors"


def _stored(path: Path, compute: Callable[[], Tensor], reader: _Reader) -> Tensor:
    """The features in a file, or computed and written there."""
    if path.is_file():
        return load_file(path)["features"]
    before = len(reader.problems)
    result = compute()
    if len(reader.problems) == before:  # a broken picture is said again, and may be mended
        try:
            with atomic_file(path) as file:
                file.write(save({"features": result}))
        except OSError as error:
            reader.problems.append(f"{path}: the training split's features do not stay ({error})")
    return result
