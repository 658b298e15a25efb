"""A pose from any file: key points, a skeleton picture, or a picture of people."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..images import as_picture, load_image
from ..picture_files import FREE_PIXELS, MAX_PIXELS, picture_size
from .describe import part_of, view_of
from .formats.frame import Context, Findings, Frame
from .formats.read import Order, Person, Reading, choose_people, read_pose_with_report
from .keypoints import Keypoints
from .skeleton_image.read import SkeletonError, read_skeleton

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def read_pose_file(
    path: str | os.PathLike[str],
    *,
    person: Person = "largest",
    order: Order = "file",
    max_pixels: int = MAX_PIXELS,
    **options: Any,
) -> Reading:
    """`read_pose_with_report`, for pictures as well; see there for the options.

    A picture's skeleton is read by its colours; where there is none, people are detected.

    Args:
        path: of a pose file, or of a picture by its ending.
        person: see `read_pose`.
        order: see `read_pose`.
        max_pixels: height times width of a picture that is still read.
        options: of `read_pose_with_report`, for pose files alone.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the picture cannot be read.
        PoseError: the pose cannot be used.
        SkeletonError: a drawing that cannot be read as a skeleton.
        DetectionError: nobody was found in a photograph, or the detector is not installed.
    """
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        return read_pose_with_report(path, person=person, order=order, **options)
    size = picture_size(path, max_pixels=max_pixels)
    # Smaller where it is very large: no skeleton and no person needs more than phones showed.
    picture = as_picture(load_image(path, max_pixels=max_pixels, shown=FREE_PIXELS))
    return read_pose_of_picture(
        picture, person=person, order=order, size=size, origin=os.fspath(path)
    )


def read_pose_of_picture(
    picture: Tensor,
    *,
    person: Person = "largest",
    order: Order = "file",
    size: tuple[int, int] | None = None,
    origin: str = "the picture",
) -> Reading:
    """The pose in a skeleton picture or a photograph, `[1, 3, H, W]` in [-1, 1].

    Args:
        picture: that is searched.
        person: see `read_pose`.
        order: see `read_pose`.
        size: (height, width) of the picture that it is a smaller copy of.
        origin: begins error messages.
    """
    context = Context(origin)
    findings = context.findings
    try:
        frame = _frame_of_skeleton(picture, findings)
    except SkeletonError as error:
        from .detect import DrawingError, detect_people  # its networks are only needed here

        try:
            people = detect_people(picture[0])
        except DrawingError:
            raise error from None
        findings.fact(f"No skeleton picture ({str(error).split(':')[0]}); people were detected.")
        for number, one in enumerate(people):
            findings.fact(f"Person {number}: {part_of(one)}, view: {view_of(one)}.")
        frame = Frame(Keypoints.cat(people), (picture.shape[-2], picture.shape[-1]))
    frame = replace(frame, size=size or frame.size)
    return choose_people([frame], person, order, context)


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
