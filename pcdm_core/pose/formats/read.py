"""One way in for every pose format."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, Literal, TypeGuard, get_args

import torch

from ...ranges import SHARE, SIDE
from ..keypoints import BODY_JOINTS, HAND_SIDES, Keypoints
from .deepfashion import frames_of_table, looks_like_table
from .documents import frames_of
from .frame import Findings, Frame, Report, Settings, Units
from .limits import LARGEST_FILE, PoseError, brief, check_length, parse_json
from .text import frame_of_text

Document = Mapping[str, Any] | Sequence[Any]

Order = Literal["file", "left to right", "largest first"]
"""How a frame's people are counted."""

_LONGEST_LINE = 4096  # no path is longer


@dataclass(frozen=True)
class Reading:
    """A pose as it was read.

    Attributes:
        keypoints: one row a frame.
        sizes: (height, width) of each frame's picture where it is known.
        report: what was recognised and what was guessed.
    """

    keypoints: Keypoints
    sizes: tuple[tuple[int, int] | None, ...]
    report: Report


def read_pose(
    source: str | os.PathLike[str] | Document,
    *,
    size: tuple[int, int] | None = None,
    person: int | Literal["largest"] = "largest",
    order: Order = "file",
    frame: int | str | None = None,
    units: Units = "auto",
    threshold: float | None = None,
) -> Keypoints:
    """One person's key points, one row per frame of the file.

    Reads OpenPose JSON (18 or 25 joints), every producer's POSE_KEYPOINT, COCO's 17 and
    COCO-WholeBody's 133 or 134 points, results of mmpose and AlphaPose, both families of
    DeepFashion's annotations, and PCDMs' 18 lines of `x y`. Joints may be missing, but not all.

    Args:
        source: a file, its text, or what its JSON holds (lists, mappings, arrays).
        size: (height, width) of the picture the pose belongs to, for pixel coordinates in files
            that do not say it.
        person: which one, where a frame shows several: a number from 0, or the largest.
        order: what the number counts.
        frame: of several frames only this one, by its number from 0 or its name.
        units: what coordinates mean; auto-detected by default.
        threshold: confidences above it count, as a share of certainty. By default 0.3 where the
            producer scores every point, and 0 elsewhere.

    Returns:
        `Keypoints` of B rows, B the number of frames (1 unless the file is a list); float64.

    Raises:
        FileNotFoundError: there is no such file.
        PoseError: the pose cannot be used; the message names the file, what was found and what to
            do.
    """
    return read_pose_with_report(
        source,
        size=size,
        person=person,
        order=order,
        frame=frame,
        units=units,
        threshold=threshold,
    ).keypoints


def read_pose_with_report(
    source: str | os.PathLike[str] | Document,
    *,
    size: tuple[int, int] | None = None,
    person: int | Literal["largest"] = "largest",
    order: Order = "file",
    frame: int | str | None = None,
    units: Units = "auto",
    threshold: float | None = None,
) -> Reading:
    """`read_pose`, and in plain sentences how it was done."""
    where = _name(source)
    findings = Findings()
    frames = _frames(source, where, Settings(size, units, threshold, findings), frame)
    return choose_people(frames, person, order, where, findings)


def choose_people(
    frames: Sequence[Frame],
    person: int | Literal["largest"],
    order: Order,
    where: str,
    findings: Findings,
) -> Reading:
    """One person of each frame; `where` begins error messages.

    Raises:
        PoseError: there is no such person, or none of their joints is seen.
    """
    many = len(frames) > 1
    if many:
        findings.found(f"Frames: {len(frames)}.")
    rows = [
        _choose(one, person, order, f"{where}, frame {number}" if many else where, findings)
        for number, one in enumerate(frames)
    ]
    keypoints = Keypoints.cat(rows)
    _describe(keypoints, findings)
    return Reading(keypoints, tuple(one.size for one in frames), findings.report())


def read_frames(
    source: str | os.PathLike[str] | Document,
    *,
    size: tuple[int, int] | None = None,
    units: Units = "auto",
    threshold: float | None = None,
) -> list[Frame]:
    """All people of all frames, with the size of each frame's picture where it is known.

    See `read_pose` for arguments and errors. At least one frame, and at least one person in each.
    """
    return _frames(source, _name(source), Settings(size, units, threshold), None)


def choose_person(
    people: Keypoints,
    person: int | Literal["largest"],
    order: Order,
    where: str,
) -> int:
    """The row of the person that is asked for.

    Raises:
        PoseError: there is no such person.
    """
    if order not in get_args(Order):
        raise PoseError(
            f"{where}: order is one of {', '.join(get_args(Order))}; got {brief(order)}"
        )
    if person == "largest":
        return int(_areas(people).argmax())
    if isinstance(person, bool) or not isinstance(person, Integral):
        raise PoseError(f"{where}: person is a number or 'largest', got {brief(person)}")
    if not 0 <= person < len(people):
        raise PoseError(
            f"{where}: person {person} was asked for, but there are {len(people)} "
            f"(0 to {len(people) - 1})"
        )
    if order == "largest first":
        return int(_areas(people).argsort(descending=True, stable=True)[person])
    if order == "left to right":
        seen = people.visible
        middle = (people.xy[..., 0] * seen).sum(dim=1) / seen.sum(dim=1).clamp(min=1)
        nobody = ~seen.any(dim=1)
        return int(torch.where(nobody, torch.inf, middle).argsort(stable=True)[person])
    return person


def _frames(
    source: str | os.PathLike[str] | Document,
    where: str,
    settings: Settings,
    only: int | str | None,
) -> list[Frame]:
    size = settings.size
    if size is not None and not all(side in SIDE for side in size):
        raise PoseError(f"{where}: size is (height, width), each {SIDE}; got {size}")
    if settings.threshold is not None and settings.threshold not in SHARE:
        raise PoseError(f"{where}: threshold is {SHARE}; got {settings.threshold}")
    if settings.units not in get_args(Units):
        raise PoseError(
            f"{where}: units is one of {', '.join(get_args(Units))}; got {brief(settings.units)}"
        )
    try:
        return _frames_of_source(source, where, settings, only)
    except RecursionError as error:
        raise PoseError(f"{where}: its lists are nested too deep; export the pose again") from error


def _frames_of_source(
    source: str | os.PathLike[str] | Document,
    where: str,
    settings: Settings,
    only: int | str | None,
) -> list[Frame]:
    if not isinstance(source, (str, os.PathLike)):
        return _only(frames_of(source, settings, where), only, where)
    if _is_content(source):
        text = source
        check_length(text, where)
    else:
        text = _text_of_file(Path(source), where)
    if looks_like_table(text):
        return frames_of_table(text, settings, where, only)
    if not text.lstrip().startswith(("{", "[", "null")):
        return _only([frame_of_text(text, settings, where)], only, where)
    try:
        document = parse_json(text)
    except ValueError as error:
        raise PoseError(f"{where}: damaged JSON ({error}); export the pose again") from error
    return _only(frames_of(document, settings, where), only, where)


def _only(frames: list[Frame], frame: int | str | None, where: str) -> list[Frame]:
    """All frames, or the one that is asked for."""
    if frame is None:
        return frames
    found = [one for number, one in enumerate(frames) if frame in (number, one.name)]
    if not found:
        raise PoseError(f"{where}: frame {brief(frame)} was asked for, but there are {len(frames)}")
    return found[:1]


def _choose(
    frame: Frame,
    person: int | Literal["largest"],
    order: Order,
    where: str,
    findings: Findings,
) -> Keypoints:
    people = frame.people
    row = choose_person(people, person, order, where)
    if len(people) > 1:
        how = "the largest" if person == "largest" else f"number {person}, counted {order}"
        findings.found(f"People: {len(people)}; taken: {row} of the file, {how}.")
    chosen = people.select(row)
    if not bool(chosen.visible.any()):
        raise PoseError(
            f"{where}: all 18 joints are missing; detect the pose again or draw it by hand"
        )
    return chosen if chosen.has_hands else chosen.without_hands()


def _describe(keypoints: Keypoints, findings: Findings) -> None:
    """What a person would like to know of the joints."""
    if len(keypoints) == 1:
        seen = keypoints.visible[0].tolist()
        absent = [name for name, is_seen in zip(BODY_JOINTS, seen, strict=True) if not is_seen]
        if absent:
            names = ", ".join(name.replace("_", " ") for name in absent)
            findings.found(f"Missing: {names}.")
        else:
            findings.found("All 18 joints are seen.")
        if keypoints.hands_visible is not None:
            hands = [
                side
                for side, points in zip(HAND_SIDES, keypoints.hands_visible[0], strict=True)
                if bool(points.any())
            ]
            findings.found(f"Hands: {' and '.join(hands)}.")
    outside = ((keypoints.xy < 0) | (keypoints.xy > 1)).any(dim=-1) & keypoints.visible
    if bool(outside.any()):
        findings.found(
            f"Outside the picture: {int(outside.sum())} of {int(keypoints.visible.sum())} joints."
        )


def _areas(people: Keypoints) -> torch.Tensor:
    """Of the boxes that visible joints span, in pictures."""
    seen = people.visible[..., None]
    high = torch.where(seen, people.xy, -torch.inf).amax(dim=1)
    low = torch.where(seen, people.xy, torch.inf).amin(dim=1)
    # A line of joints spans no area, and a single joint not even a length; both beat nobody.
    area = ((high - low).clamp(min=0.0) + 1e-3).prod(dim=-1)
    return torch.where(people.visible.any(dim=1), area, -1.0)


def _is_content(source: object) -> TypeGuard[str]:
    """Whether a text is a pose itself and not the path of a file."""
    if not isinstance(source, str):
        return False
    begins = source.lstrip().startswith(("{", "[")) or source.strip() in ("", "null")
    return begins or "\n" in source or len(source) > _LONGEST_LINE or looks_like_table(source)


def _name(source: object) -> str:
    if isinstance(source, (str, os.PathLike)) and not _is_content(source):
        return os.fspath(source)
    return "the pose"


def _text_of_file(path: Path, where: str) -> str:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{where}: {what}; give the path of a pose file")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise PoseError(
            f"{where}: {size} bytes, and at most {LARGEST_FILE} are read; give a smaller part of it"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PoseError(
            f"{where}: no text file; a pose is OpenPose JSON or 18 lines of x y, not a picture"
        ) from error
    if not text.strip():
        raise PoseError(f"{where}: the file is empty; export the pose again")
    return text
