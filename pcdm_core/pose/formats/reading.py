"""One way in for every pose format."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from ..keypoints import Keypoints
from .frame import Frame, PoseError
from .openpose import frame_of
from .text import frame_of_text

Document = Mapping[str, Any] | Sequence[Any]


def read_pose(
    path_or_document: str | os.PathLike[str] | Document,
    *,
    size: tuple[int, int] | None = None,
    person: int | Literal["largest"] = "largest",
) -> Keypoints:
    """One person's key points, one row per frame of the file.

    Reads OpenPose JSON (18 or 25 joints, with hands), ComfyUI's POSE_KEYPOINT, and 18 lines of
    `x y`. Joints may be missing, but not all of them.

    Args:
        path_or_document: a file, or what its JSON holds.
        size: (height, width) of the picture the pose belongs to, for pixel coordinates in files
            that do not say it.
        person: which one, where a frame shows several: a number from 0, or the largest.

    Returns:
        `Keypoints` of B rows, B the number of frames (1 unless the file is a list); float64.

    Raises:
        FileNotFoundError: there is no such file.
        PoseError: the pose cannot be used; the message names the file, what was found and what to
            do.
    """
    where = _name(path_or_document)
    frames = read_frames(path_or_document, size=size)
    rows = [
        _choose(frame.people, person, where if len(frames) == 1 else f"{where}, frame {number}")
        for number, frame in enumerate(frames)
    ]
    return Keypoints.cat(rows)


def read_frames(
    path_or_document: str | os.PathLike[str] | Document, *, size: tuple[int, int] | None = None
) -> list[Frame]:
    """All people of all frames, with the size of each frame's picture where it is known.

    See `read_pose` for arguments and errors. At least one frame, and at least one person in each.
    """
    where = _name(path_or_document)
    if size is not None and min(size) <= 0:
        raise PoseError(f"{where}: size is (height, width) and positive, got {size}")
    if isinstance(path_or_document, (str, os.PathLike)):
        text = _text(Path(path_or_document), where)
        if not text.lstrip().startswith(("{", "[")):
            return [frame_of_text(text, size, where)]
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise PoseError(f"{where}: damaged JSON ({error}); export the pose again") from error
    else:
        document = path_or_document
    if not isinstance(document, Sequence):
        return [frame_of(document, size, where)]
    if not document:
        raise PoseError(f"{where}: an empty list; the detector found no person in any frame")
    if len(document) == 1:
        return [frame_of(document[0], size, where)]
    return [
        frame_of(frame, size, f"{where}, frame {number}") for number, frame in enumerate(document)
    ]


def _choose(people: Keypoints, person: int | Literal["largest"], where: str) -> Keypoints:
    if isinstance(person, int):
        if not 0 <= person < len(people):
            raise PoseError(
                f"{where}: person {person} was asked for, but there are {len(people)} "
                f"(0 to {len(people) - 1})"
            )
        chosen = people.select(person)
    elif person == "largest":
        chosen = people.select(_largest(people))
    else:
        raise PoseError(f"{where}: person is a number or 'largest', got {person!r}")
    if not bool(chosen.visible.any()):
        raise PoseError(
            f"{where}: all 18 joints are missing; detect the pose again or draw it by hand"
        )
    return chosen if chosen.has_hands else chosen.without_hands()


def _largest(people: Keypoints) -> int:
    """The row whose visible joints span the largest box, in fractions of the picture."""
    seen = people.visible[..., None]
    high = torch.where(seen, people.xy, -torch.inf).amax(dim=1)
    low = torch.where(seen, people.xy, torch.inf).amin(dim=1)
    # A line of joints spans no area, and a single joint not even a length; both beat nobody.
    area = ((high - low).clamp(min=0.0) + 1e-3).prod(dim=-1)
    return int(torch.where(people.visible.any(dim=1), area, -1.0).argmax())


def _name(path_or_document: object) -> str:
    if isinstance(path_or_document, (str, os.PathLike)):
        return os.fspath(path_or_document)
    return "the pose"


def _text(path: Path, where: str) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{where}: {what}; give the path of a pose file")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PoseError(
            f"{where}: no text file; a pose is OpenPose JSON or 18 lines of x y, not a picture"
        ) from error
    if not text.strip():
        raise PoseError(f"{where}: the file is empty; export the pose again")
    return text
