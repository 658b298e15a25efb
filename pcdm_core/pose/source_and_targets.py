"""The pose files of one run: a source and any number of targets, in the source picture's frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..images import Fit
from .formats import read_pose_with_report
from .keypoints import Keypoints


class Poses(NamedTuple):
    """What a run's pose files hold, normalised to the source picture."""

    source: Keypoints  # one row
    targets: Keypoints  # one row a target
    names: list[str]  # one a target
    notes: list[str]  # what was guessed, with the file's name


def read_source_and_targets(
    source_path: Path, target_paths: Sequence[Path], height: int, width: int
) -> Poses:
    """Read pose files; one with several frames gives several targets.

    The frame of a pose file is fitted into the source's as a whole, so that bodies keep their
    proportions where the two have different shapes.

    Args:
        height: of the source picture, in pixels.
        width: of the source picture, in pixels.

    Raises:
        ValueError: a file is no pose, or the source's has several frames.
    """
    notes: list[str] = []

    def frames_of(path: Path) -> list[Keypoints]:
        reading = read_pose_with_report(path, size=(height, width))
        notes.extend(f"{path}: guessed: {guess}" for guess in reading.report.guessed)
        sizes = [size or (height, width) for size in reading.sizes]
        fits = [Fit.of(*size, height, width, "pad") for size in sizes]
        return [reading.keypoints.select(row).moved(fit.points) for row, fit in enumerate(fits)]

    sources = frames_of(source_path)
    if len(sources) != 1:
        raise ValueError(f"{source_path}: holds {len(sources)} frames; give the source's one.")
    targets: list[Keypoints] = []
    names: list[str] = []
    for path in target_paths:
        frames = frames_of(path)
        numbers = [f"_{row:04d}" for row in range(len(frames))] if len(frames) > 1 else [""]
        targets += frames
        names += [path.stem + number for number in numbers]
    return Poses(sources[0], Keypoints.cat(targets), names, notes)
