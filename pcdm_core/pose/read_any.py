"""A pose from any file: key points, a skeleton picture, or a picture of people."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from torch import Tensor

from ..images import load_picture
from ..picture_files import MAX_PIXELS
from .describe import part_of, view_of
from .formats.frame import Findings, Frame, Units
from .formats.read import Order, Reading, choose_people, read_pose_with_report
from .keypoints import Keypoints
from .skeleton_image.read import SkeletonError, read_skeleton

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def read_pose_file(
    path: str | os.PathLike[str],
    *,
    size: tuple[int, int] | None = None,
    person: int | Literal["largest"] = "largest",
    order: Order = "file",
    frame: int | str | None = None,
    units: Units = "auto",
    threshold: float | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Reading:
    """`read_pose_with_report`, for pictures as well; see there for the arguments.

    A picture's skeleton is read by its colours; where there is none, people are detected.

    Args:
        max_pixels: height times width of a picture that is still read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the picture cannot be read.
        PoseError: the pose cannot be used.
        DetectionError: nobody was found in a photograph, or the detector is not installed.
    """
    path = Path(path)
    if path.suffix.lower() in PICTURES:
        picture = load_picture(path, max_pixels=max_pixels)
        return read_pose_of_picture(picture, person=person, order=order, where=os.fspath(path))
    return read_pose_with_report(
        path,
        size=size,
        person=person,
        order=order,
        frame=frame,
        units=units,
        threshold=threshold,
    )


def read_pose_of_picture(
    picture: Tensor,
    *,
    person: int | Literal["largest"] = "largest",
    order: Order = "file",
    where: str = "the picture",
) -> Reading:
    """The pose in a skeleton picture or a photograph, `[1, 3, H, W]` in [-1, 1]."""
    height, width = picture.shape[-2:]
    findings = Findings()
    try:
        frame = _frame_of_skeleton(picture, findings)
    except SkeletonError as error:
        from .detect import detect_people  # its networks are only needed here

        findings.found(f"No skeleton picture ({str(error).split(':')[0]}); people were detected.")
        people = detect_people(picture[0])
        for number, found in enumerate(people):
            findings.found(f"Person {number}: {part_of(found)}, view: {view_of(found)}.")
        frame = Frame(Keypoints.cat(people), (height, width))
    return choose_people([frame], person, order, where, findings)


def read_skeletons(
    pictures: Tensor,
    *,
    person: int | Literal["largest"] = "largest",
    order: Order = "file",
) -> Reading:
    """The poses in skeleton pictures `[B, 3, H, W]` in [-1, 1], a row each.

    Raises:
        SkeletonError: one of them is no skeleton that can be read.
        PoseError: there is no such person in one of them.
    """
    findings = Findings()
    frames = [_frame_of_skeleton(picture, findings) for picture in pictures]
    return choose_people(frames, person, order, "the picture", findings)


def _frame_of_skeleton(picture: Tensor, findings: Findings) -> Frame:
    skeleton = read_skeleton(picture)
    for line in skeleton.report.recognised:
        if not line.startswith("Missing"):  # said again of the person that is chosen
            findings.found(line)
    for warning in skeleton.warnings:
        findings.found(f"Unlike the models' skeletons: {warning}.")
    for line in skeleton.report.guessed:
        findings.guess(line)
    return Frame(skeleton.people, skeleton.size)
