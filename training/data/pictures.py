"""Pictures of people with poses and pairs, and what is wrong with some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from pcdm_core.file_names import stays_inside
from pcdm_core.images import Fit, FitMode
from pcdm_core.picture_files import picture_size
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.quoting import short


@dataclass(frozen=True)
class Problem:
    """A file that takes no part, and why."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


@dataclass(frozen=True)
class PictureSet:
    """One row a picture; pairs are rows of source and target.

    `sizes` are (height, width) of the files; `poses` are fractions of them.
    """

    layout: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]
    poses: Keypoints
    pairs: Tensor  # int64 [P, 2]
    problems: tuple[Problem, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def fitted_poses(self, height: int, width: int, mode: FitMode) -> Keypoints:
        """The poses in pictures that were brought to another size (see `images.fit`)."""
        if mode == "squash" or not len(self):
            return self.poses
        moved = [
            self.poses.select(row).moved(Fit.of(*size, height, width, mode).points)
            for row, size in enumerate(self.sizes)
        ]
        return Keypoints.cat(moved)

    def without(self, problems: Sequence[tuple[int, Problem]]) -> PictureSet:
        """The set without some rows and the pairs that they are in.

        Raises:
            ValueError: no pair is left.
        """
        if not problems:
            return self
        keep = torch.ones(len(self), dtype=torch.bool)
        keep[[row for row, _ in problems]] = False
        rows = keep.nonzero()[:, 0].tolist()
        renumbered = torch.cumsum(keep, 0) - 1
        pairs = renumbered[self.pairs[keep[self.pairs].all(dim=1)]]
        all_problems = (*self.problems, *(problem for _, problem in problems))
        if not len(pairs):
            raise ValueError(no_pairs(self.layout, all_problems))
        return PictureSet(
            self.layout,
            tuple(self.names[row] for row in rows),
            tuple(self.paths[row] for row in rows),
            tuple(self.sizes[row] for row in rows),
            self.poses.select(rows),
            pairs,
            all_problems,
        )

    def report(self, most: int = 10) -> str:
        """How many pictures and pairs there are, and the first problems."""
        lines = [f"{self.layout}: {len(self)} pictures, {len(self.pairs)} pairs"]
        if self.problems:
            lines.append(f"{len(self.problems)} files take no part:")
            lines += [f"  {problem}" for problem in self.problems[:most]]
        if len(self.problems) > most:
            lines.append(f"  and {len(self.problems) - most} others")
        return "\n".join(lines)


def no_pairs(layout: str, problems: Sequence[Problem]) -> str:
    """The message of a set that is of no use."""
    examples = "; ".join(map(str, problems[:3]))
    why = f"{len(problems)} files take no part: {examples}" if problems else "no pair is listed"
    return f"The {layout} data set has no usable pair of pictures. {why}"


@dataclass
class Collector:
    """Gathers rows by name; a name that cannot be used is said once, and its pairs left out."""

    layout: str
    find: Callable[[str], tuple[Path, Callable[[tuple[int, int]], Keypoints]]]
    names: list[str] = field(default_factory=list[str])
    paths: list[Path] = field(default_factory=list[Path])
    sizes: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    poses: list[Keypoints] = field(default_factory=list[Keypoints])
    problems: list[Problem] = field(default_factory=list[Problem])
    pairs: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _rows: dict[str, int | None] = field(default_factory=dict[str, "int | None"])

    def row(self, name: str) -> int | None:
        """The row of a name, or None where its picture or pose cannot be used."""
        if name not in self._rows:
            self._rows[name] = self._add(name)
        return self._rows[name]

    def _add(self, name: str) -> int | None:
        place: str | Path = short(name)
        try:
            if not stays_inside(name):
                raise ValueError("the list names a file outside the data set's folder")
            place = name
            path, pose = self.find(name)
            place = path
            size = picture_size(path)
            keypoints = pose(size)
        except (OSError, ValueError) as error:
            text = str(error)
            self.problems.append(Problem(str(place), text.removeprefix(f"{place}: ")))
            return None
        self.names.append(name)
        self.paths.append(path)
        self.sizes.append(size)
        self.poses.append(keypoints.without_hands())
        return len(self.names) - 1

    def pair(self, source: str, target: str) -> None:
        """A source and a target by name."""
        rows = self.row(source), self.row(target)
        if rows[0] is not None and rows[1] is not None:
            self.pairs.append((rows[0], rows[1]))

    def all_pairs(self, groups: Iterable[Sequence[str]]) -> None:
        """Every ordered pair of different pictures of each group."""
        for group in groups:
            for name in group:
                self.row(name)
            for source in group:
                for target in group:
                    if source != target:
                        self.pair(source, target)

    def finish(self) -> PictureSet:
        """The set.

        Raises:
            ValueError: there is no pair in it; the first problems are named.
        """
        if not self.pairs:
            raise ValueError(no_pairs(self.layout, self.problems))
        return PictureSet(
            self.layout,
            tuple(self.names),
            tuple(self.paths),
            tuple(self.sizes),
            Keypoints.cat(self.poses),
            torch.tensor(self.pairs, dtype=torch.int64),
            tuple(self.problems),
        )


def flat_stem(name: str) -> str:
    """A picture's name as part of a file's: without ending, folders joined by `-`."""
    inside = name.split("img/", 1)[-1]
    return Path(inside).with_suffix("").as_posix().replace("/", "-")


def pair_file(pictures: PictureSet, source: int, target: int) -> str:
    """`<source>_to_<target>.png` of two rows."""
    return f"{flat_stem(pictures.names[source])}_to_{flat_stem(pictures.names[target])}.png"
