"""One way in for every pose format."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, get_args

import torch

from ...ranges import SHARE, SIDE
from ..interpolate import between
from ..keypoints import HAND_SIDES, Joint, Keypoints
from .assemble import assemble
from .frame import Context, Findings, Frame, Report, Units
from .limits import PoseError, brief
from .sources import Source, frames_of_source, name_of

Person = int | Literal["largest"]
Order = Literal["file", "left to right", "largest first"]
"""How a frame's people are counted."""

Gaps = Literal["hold", "interpolate", "refuse"]
"""What stands for frames of a clip in which the person is not: the pose before, one between, or an
error."""


@dataclass(frozen=True)
class Reading:
    """A pose as it was read.

    Attributes:
        keypoints: one row a frame; the canvas of each is its picture's size where it is known.
        report: what was recognised and what was guessed.
    """

    keypoints: Keypoints
    report: Report

    @property
    def sizes(self) -> tuple[tuple[int, int] | None, ...]:
        """(height, width) of each frame's picture where it is known."""
        return tuple(self.keypoints.canvases)


def read_pose(source: Source, **options: Any) -> Keypoints:
    """One person's key points, one row per frame of the file.

    Reads the formats of docs/pose-formats.md. Joints may be missing, but not all.

    Args:
        source: a file, a folder of them with one a frame, a file's text, or what its JSON holds
            (lists, mappings, arrays).
        options: those of `read_pose_with_report`, for what the file leaves open.
            size: (height, width) of the picture the pose belongs to, for pixel coordinates in
                files that do not say it.
            assumed: (height, width) of the picture that pixels are taken for where neither the
                file nor `size` says it; refused where they cannot be its pixels.
            person: which one, where a frame shows several: a number from 0, or the largest.
            order: what the number counts.
            frame: of several frames only this one, by its number from 0 or its name.
            units: what coordinates mean; auto-detected by default.
            gaps: what stands for frames of a clip in which the person is not, or that cannot be
                read: the pose of the frame before (the next one's at the start), a movement from
                there to the next one, or an error. The report names these frames.
            threshold: confidences above it count, as a share of certainty. By default 0.3 where
                the producer scores every point, and 0 elsewhere.

    Returns:
        `Keypoints` of B rows, B the number of frames (1 unless the file is a list); float64.

    Raises:
        FileNotFoundError: there is no such file.
        PoseError: the pose cannot be used; the message names the file, what was found and what to
            do.
    """
    return read_pose_with_report(source, **options).keypoints


def read_pose_with_report(
    source: Source,
    *,
    size: tuple[int, int] | None = None,
    assumed: tuple[int, int] | None = None,
    person: Person = "largest",
    order: Order = "file",
    frame: int | str | None = None,
    units: Units = "auto",
    threshold: float | None = None,
    gaps: Gaps = "hold",
) -> Reading:
    """`read_pose`, and in plain sentences how it was done."""
    context = Context(name_of(source), size, assumed, units, threshold, frame)
    if gaps not in get_args(Gaps):
        raise context.error(f"gaps is one of {', '.join(get_args(Gaps))}; got {brief(gaps)}")
    return choose_people(_frames(source, context), person, order, context, gaps)


def choose_people(
    frames: Sequence[Frame],
    person: Person,
    order: Order,
    context: Context,
    gaps: Gaps = "refuse",
) -> Reading:
    """One person of each frame.

    Raises:
        PoseError: there is no such person in any frame, or in one where gaps are refused, or none
            of their joints is seen.
    """
    many = len(frames) > 1
    if many:
        context.findings.fact(f"Frames: {len(frames)}.")
    _check_choice(person, order, context)
    rows: list[Keypoints | None] = []
    faults: list[PoseError] = []
    for number, one in enumerate(frames):
        try:
            place = context.at(f"frame {number}") if many else context
            rows.append(_choose(one, person, order, place).with_canvas(one.size))
        except PoseError as error:
            rows.append(None)
            faults.append(error)
    if faults and (gaps == "refuse" or len(faults) == len(rows)):
        raise faults[0]
    keypoints = Keypoints.cat(fill_gaps(rows, gaps, context.findings))
    _describe(keypoints, context.findings)
    return Reading(keypoints, context.findings.report())


def read_frames(
    source: Source,
    *,
    size: tuple[int, int] | None = None,
    units: Units = "auto",
    threshold: float | None = None,
) -> list[Frame]:
    """All people of all frames, with the size of each frame's picture where it is known.

    See `read_pose` for arguments and errors. At least one frame with people; of several, one that
    cannot be used has nobody in it and says why.
    """
    return _frames(source, Context(name_of(source), size, None, units, threshold))


def fill_gaps(rows: Sequence[Keypoints | None], gaps: Gaps, findings: Findings) -> list[Keypoints]:
    """A pose for every frame, of which at least one has its own."""
    places = [number for number, row in enumerate(rows) if row is not None]
    full: list[Keypoints] = []
    before = 0  # among the places
    for number, row in enumerate(rows):
        while before + 1 < len(places) and places[before + 1] <= number:
            before += 1
        first, second = places[before], places[min(before + 1, len(places) - 1)]
        start, end = rows[first], rows[second]
        assert start is not None
        assert end is not None
        if row is None and gaps == "interpolate" and first < number < second:
            share = (number - first) / (second - first)
            row = between(start, end, share, start.canvases[0] or (1, 1))
            row = row.with_canvas(*start.canvases)
        full.append(start if row is None else row)
    absent = [number for number, row in enumerate(rows) if row is None]
    if absent:
        filler = "lie between the poses round them" if gaps == "interpolate" else "are held"
        findings.guess(
            f"no usable pose in {len(absent)} of {len(rows)} frames ({_runs(absent)}); theirs "
            f"{filler}."
        )
    return full


def _runs(numbers: Sequence[int]) -> str:
    """Rising numbers in words: 3, 7 to 9; the first few of many."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    words = [" to ".join(map(str, run)) for run in runs[:8]]
    return ", ".join(words) + (", ..." if len(runs) > 8 else "")


def _check_choice(person: Person, order: Order, context: Context) -> None:
    if order not in get_args(Order):
        raise context.error(f"order is one of {', '.join(get_args(Order))}; got {brief(order)}")
    if person != "largest" and (isinstance(person, bool) or not isinstance(person, Integral)):
        raise context.error(f"person is a number or 'largest', got {brief(person)}")


def _row_of(people: Keypoints, person: Person, order: Order, context: Context) -> int:
    """The row of one person.

    Raises:
        PoseError: there is no such person.
    """
    areas = _areas(people)
    if person == "largest":
        return int(areas.argmax())
    if not 0 <= person < len(people):
        raise context.error(
            f"person {person} was asked for, but there are {len(people)} (0 to {len(people) - 1})"
        )
    if order == "largest first":
        return int(areas.argsort(descending=True, stable=True)[person])
    if order == "left to right":
        visible = people.visible
        middle = (people.xy[..., 0] * visible).sum(dim=1) / visible.sum(dim=1).clamp(min=1)
        middle = torch.where(visible.any(dim=1), middle, torch.inf)
        return int(middle.argsort(stable=True)[person])
    return person


def _frames(source: Source, context: Context) -> list[Frame]:
    """All frames, or the one of that name or number."""
    size = context.size
    if size is not None and not all(side in SIDE for side in size):
        raise context.error(f"size is (height, width), each {SIDE}; got {size}")
    if context.threshold is not None and context.threshold not in SHARE:
        raise context.error(f"threshold is {SHARE}; got {context.threshold}")
    if context.units not in get_args(Units):
        raise context.error(
            f"units is one of {', '.join(get_args(Units))}; got {brief(context.units)}"
        )
    try:
        return assemble(frames_of_source(source, context), context)
    except RecursionError as error:
        raise context.error("its lists are nested too deep; export the pose again") from error


def _choose(frame: Frame, person: Person, order: Order, context: Context) -> Keypoints:
    if frame.fault is not None:
        raise frame.fault
    people = frame.people
    row = _row_of(people, person, order, context)
    if len(people) > 1:
        rule = "the largest" if person == "largest" else f"number {person}, counted {order}"
        context.findings.fact(f"People: {len(people)}; taken: {row} of the file, {rule}.")
    if row in frame.faults:
        raise frame.faults[row]
    pose = people.select(row)
    if not bool(pose.visible.any()):
        raise context.error("all 18 joints are missing; detect the pose again or draw it by hand")
    return pose if pose.has_hands else pose.without_hands()


def _describe(keypoints: Keypoints, findings: Findings) -> None:
    """What a person would like to know of the joints."""
    if len(keypoints) == 1:
        visible = keypoints.visible[0].tolist()
        absent = [joint.words for joint in Joint if not visible[joint]]
        findings.fact(f"Missing: {', '.join(absent)}." if absent else "All 18 joints are seen.")
        if keypoints.hands_visible is not None:
            shows = keypoints.hands_visible[0].any(dim=-1).tolist()
            findings.fact(f"Hands: {' and '.join(itertools.compress(HAND_SIDES, shows))}.")
    if None in keypoints.canvases:
        findings.fact(
            "The size of its picture is not said: the pose is taken to be drawn for the picture "
            "that it is used with."
        )
    outside = ((keypoints.xy < 0) | (keypoints.xy > 1)).any(dim=-1) & keypoints.visible
    if bool(outside.any()):
        findings.fact(
            f"Outside the picture: {int(outside.sum())} of {int(keypoints.visible.sum())} joints."
        )


def _areas(people: Keypoints) -> torch.Tensor:
    """Of the boxes that visible joints span, in pictures."""
    visible = people.visible[..., None]
    high = torch.where(visible, people.xy, -torch.inf).amax(dim=1)
    low = torch.where(visible, people.xy, torch.inf).amin(dim=1)
    # A line of joints spans no area, and a single joint not even a length; both beat nobody.
    area = ((high - low).clamp(min=0.0) + 1e-3).prod(dim=-1)
    return torch.where(people.visible.any(dim=1), area, -1.0)
