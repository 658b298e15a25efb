"""The pose files of one run: a source and any number of targets, in the source picture's frame."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..picture_files import MAX_PIXELS
from .canvas import canvas_notes, in_frame
from .formats.limits import PixelsError
from .keypoints import Keypoints
from .read_any import read_pose_file


class Poses(NamedTuple):
    """What a run's pose files hold, normalised to the source picture."""

    source: Keypoints  # one row
    targets: Keypoints  # one row a target
    names: list[str]  # one a target
    notes: list[str]  # what was guessed, of files and of the pictures that they belong to


def read_source_and_targets(
    source_path: Path,
    target_paths: Sequence[Path],
    height: int,
    width: int,
    *,
    pose_size: tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> Poses:
    """Read pose files, skeleton pictures or photographs; several frames give several targets.

    Args:
        height: of the source picture, in pixels.
        width: of the source picture, in pixels.
        pose_size: (height, width) of the pictures that targets belong to which do not say it; of
            the source's too, where its pixels cannot be those of the source picture.
        max_pixels: height times width of a picture that is still read.
        options: `person`, `order`, `frame`, `gaps` and `smooth` of the targets, see
            `read_pose_file`.

    Returns:
        Poses in the source picture's frame, see `canvas`.

    Raises:
        ValueError: a file is no pose, the source's has several frames, or pixels without a size
            cannot be those of the source picture.
    """
    frame = height, width
    notes: list[str] = []

    def rows_of(path: Path, size: tuple[int, int] | None, **options: Any) -> Keypoints:
        limits = {"assumed": frame, "max_pixels": max_pixels}
        reading = read_pose_file(path, size=size, **limits, **options)
        notes.extend(f"{path}: guessed: {guess}" for guess in reading.report.guessed)
        return reading.keypoints

    try:
        source = rows_of(source_path, None)
    except PixelsError:
        if pose_size is None:
            raise
        source = rows_of(source_path, pose_size)
    if len(source) != 1:
        raise ValueError(f"{source_path}: holds {len(source)} frames; give the source's one.")
    targets = [rows_of(path, pose_size, **options) for path in target_paths]
    names = [
        path.stem + (f"_{row:04d}" if len(rows) > 1 else "")
        for path, rows in zip(target_paths, targets, strict=True)
        for row in range(len(rows))
    ]
    target = Keypoints.cat(targets)
    notes += canvas_notes(frame, source, target)
    source, target = (in_frame(pose, frame).with_canvas(frame) for pose in (source, target))
    return Poses(source, target, names, notes)
