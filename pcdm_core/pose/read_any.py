"""A pose from any file: key points, a skeleton picture, or a picture of people."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..images import load_picture
from ..picture_files import MAX_PIXELS
from .describe import part_of, view_of
from .editor import library
from .formats.frame import Context, Findings, Frame, Report
from .formats.read import Gaps, Order, Person, Reading, choose_people, read_pose_with_report
from .formats.sources import files_in_order
from .keypoints import Keypoints
from .skeleton_image.read import SkeletonError, read_skeleton
from .smooth import smooth_poses

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def read_pose_file(
    path: str | os.PathLike[str],
    *,
    person: Person = "largest",
    order: Order = "file",
    frame: int | str | None = None,
    gaps: Gaps | None = None,
    smooth: float = 0.0,
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> Reading:
    """`read_pose_with_report`, for pictures as well; see there for the options.

    A picture's skeleton is read by its colours; where there is none, people are detected. A folder
    of pictures without pose files is a clip, in the order of the numbers in its files' names.

    Args:
        path: of a pose file, of a picture by its ending, or of a folder of either; or the name of
            a pose of the library.
        person: see `read_pose`.
        order: see `read_pose`.
        frame: see `read_pose`; a folder's frames have the names of their files.
        gaps: see `read_pose`; None holds, and interpolates in a clip that is smoothed.
        smooth: the strength of `smooth_poses` for several frames; 0 leaves them as they are.
        max_pixels: height times width of a picture that is still read.
        options: of `read_pose_with_report`, for pose files alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the picture cannot be read.
        PoseError: the pose cannot be used.
        SkeletonError: a drawing that cannot be read as a skeleton.
        DetectionError: nobody was found in a photograph, or the detector is not installed.
    """
    gaps = gaps or ("interpolate" if smooth else "hold")
    reading = _read(Path(path), person, order, frame, gaps, max_pixels, options)
    if not smooth or len(reading.keypoints) == 1:
        return reading
    size = options.get("size") or options.get("assumed")
    smoothed = smooth_poses(reading.keypoints, strength=smooth, size=size)
    report = reading.report
    report = replace(report, recognised=(*report.recognised, f"Smoothed: {smoothed.report}"))
    return Reading(smoothed.pose, report)


def _read(
    path: Path,
    person: Person,
    order: Order,
    frame: int | str | None,
    gaps: Gaps,
    max_pixels: int,
    options: Mapping[str, Any],
) -> Reading:
    if path.suffix.lower() in PICTURES and not path.is_dir():
        picture = load_picture(path, max_pixels=max_pixels)
        return read_pose_of_picture(picture, person=person, order=order, origin=os.fspath(path))
    pictures = files_in_order(path, PICTURES) if path.is_dir() else []
    if pictures and not files_in_order(path):
        context = Context(os.fspath(path), only=frame)
        frames = [_frame_of_file(file, max_pixels, context) for file in context.select(pictures)]
        return choose_people(frames, person, order, context, gaps)
    for pose in () if path.exists() else library():
        if pose.name.lower() == os.fspath(path).lower():
            return Reading(pose.keypoints, Report((f"Pose of the library: {pose.name}.",), ()))
    return read_pose_with_report(
        path, person=person, order=order, frame=frame, gaps=gaps, **options
    )


def _frame_of_file(path: Path, max_pixels: int, context: Context) -> Frame:
    """The people of one picture of a folder; one without people says why."""
    from .detect import DetectorMissingError

    try:
        return _frame_of_picture(load_picture(path, max_pixels=max_pixels), context)
    except DetectorMissingError:
        raise
    except ValueError as error:
        nobody = Keypoints(torch.zeros(0, 18, 2), torch.zeros(0, 18, dtype=torch.bool))
        return Frame(nobody, None, path.name, context.error(f"{path.name}: {error}"))


def read_pose_of_picture(
    picture: Tensor,
    *,
    person: Person = "largest",
    order: Order = "file",
    origin: str = "the picture",
) -> Reading:
    """The pose in a skeleton picture or a photograph, `[1, 3, H, W]` in [-1, 1]."""
    context = Context(origin)
    return choose_people([_frame_of_picture(picture, context)], person, order, context)


def _frame_of_picture(picture: Tensor, context: Context) -> Frame:
    findings = context.findings
    try:
        return _frame_of_skeleton(picture, findings)
    except SkeletonError as error:
        from .detect import DrawingError, detect_people  # its networks are only needed here

        try:
            people = detect_people(picture[0])
        except DrawingError:
            raise error from None
        findings.fact(f"No skeleton picture ({str(error).split(':')[0]}); people were detected.")
        for number, one in enumerate(people):
            findings.fact(f"Person {number}: {part_of(one)}, view: {view_of(one)}.")
        height, width = picture.shape[-2:]
        return Frame(Keypoints.cat(people), (height, width))


def read_skeletons(
    pictures: Iterable[Tensor], *, person: Person = "largest", order: Order = "file"
) -> Reading:
    """The poses in skeleton pictures, `[3, H, W]` in [-1, 1] each, a row each.

    Raises:
        SkeletonError: one of them is no skeleton that can be read.
        PoseError: there is no such person in one of them.
    """
    context = Context("the picture")
    frames = [_frame_of_skeleton(picture, context.findings) for picture in pictures]
    return choose_people(frames, person, order, context)


def _frame_of_skeleton(picture: Tensor, findings: Findings) -> Frame:
    skeleton = read_skeleton(picture)
    for line in skeleton.report.recognised:
        if not line.startswith("Missing"):  # said again of the person that is chosen
            findings.fact(line)
    for warning in skeleton.warnings:
        findings.fact(f"Unlike the models' skeletons: {warning}.")
    for line in skeleton.report.guessed:
        findings.guess(line)
    return Frame(skeleton.people, skeleton.size)
