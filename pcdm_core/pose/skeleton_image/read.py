"""Skeleton pictures back to key points, and in words where a picture is not what the models saw.

The models were trained on ControlNet's palette: 18 discs in full colour over 17 dimmed limbs on
black, hands as fine lines, no face. Colours tell the joints apart, left from right as well.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ...images import to_uint8
from ..bones import LIMBS
from ..formats.frame import Findings, Report
from ..formats.limits import PoseError
from ..keypoints import HAND_POINTS, HIPS, SHOULDERS, Joint, Keypoints
from ..render import JOINT_RADIUS
from .conventions import convention_of
from .covered import find_under_face, says_headless
from .hands import Hand, describe_hands, read_hands
from .marks import LARGEST_RADIUS, NOTHING, Disc, Marks, disc_radii, find_discs, mark, unblended

_MOST_PEOPLE = 8
_SUPPORT = 0.5  # of a limb's middle line in its colour
_COVERED_SUPPORT = 0.8
_WHOLE = 0.5  # what whole discs are worth, in shares of a limb's middle line
_ALONE = 0.5  # of a disc must show where no limb speaks for it
_LEAST_JOINTS = 3
_STRANGE = 0.35  # more than this in other colours is another convention
_PHOTOGRAPH = 0.5  # a picture of which more has none of the colours is no skeleton
_TRUNK = (*SHOULDERS, *HIPS)
_FACE_PIXELS = 12
_LIMB_PIXELS = 8


class SkeletonError(PoseError):
    """A picture that is no skeleton which can be read; the message says what it looks like."""


@dataclass(frozen=True)
class SkeletonReading:
    """What a skeleton picture shows.

    Attributes:
        people: one row a person, the one with most joints first; places are pixels' middles.
        size: (height, width) of the picture.
        warnings: how it differs from the pictures that the models were trained on.
        report: what was recognised, and what could not be told.
    """

    people: Keypoints
    size: tuple[int, int]
    warnings: tuple[str, ...]
    report: Report


def read_skeleton(picture: Tensor) -> SkeletonReading:
    """The people of one skeleton picture.

    Args:
        picture: `[3, H, W]` or `[1, 3, H, W]`, RGB in [-1, 1].

    Raises:
        SkeletonError: no skeleton, or one in other colours; the message says what was found.
    """
    if picture.ndim == 4 and len(picture) == 1:
        picture = picture[0]
    if picture.ndim != 3 or picture.shape[0] != 3 or 0 in picture.shape:
        raise SkeletonError(f"a skeleton picture is [3, H, W], got {list(picture.shape)}")
    # A plane for each channel in memory: numpy compares these several times as fast.
    rgb = np.moveaxis(np.ascontiguousarray(np.moveaxis(to_uint8(picture[None])[0], -1, 0)), 0, -1)
    try:
        return _read(rgb)
    except SkeletonError as error:
        try:
            reading = _read(rgb[..., ::-1])
        except SkeletonError:
            raise error from None
    warning = "red and blue are swapped (BGR); the models saw RGB"
    return replace(reading, warnings=(warning, *reading.warnings))


def _read(rgb: np.ndarray) -> SkeletonReading:
    height, width = rgb.shape[:2]
    marks = mark(rgb)
    marks = unblended(rgb, marks) or marks
    radii = disc_radii(marks)
    radius = max(round(float(np.median(list(radii.values())))), 1) if radii else 1
    warnings = list(_warnings(marks, radius))
    unlike = f" It also looks unlike the models' skeletons: {'; '.join(warnings)}."
    about = unlike if warnings else ""
    if (convention := convention_of(rgb, marks, radius)) is not None:
        raise SkeletonError(
            f"a skeleton in {convention}; ControlNet's are read. Use the key points that it was "
            "drawn from, or draw them in ControlNet's colours."
        )
    if marks.other > _PHOTOGRAPH or radius > LARGEST_RADIUS:
        raise SkeletonError(
            f"no skeleton in ControlNet's colours: {marks.other:.0%} of the picture has others. A "
            "photograph needs a detector; a skeleton of another kind, the key points that it was "
            "drawn from."
        )
    discs = [_discs_of(marks, joint, radius, radii.get(joint, 0.0)) for joint in Joint]
    joints = sum(map(bool, discs))
    if joints < _LEAST_JOINTS:
        raise SkeletonError(
            f"{joints} joints in ControlNet's colours are in this picture; give the key points "
            f"that it was drawn from, or detect the pose.{about}"
        )
    limbs, tested = _limbs(marks, discs, radius)
    if len({limb for limb, *_ in limbs}) * 2 < tested or (not limbs and marks.other > _STRANGE):
        raise SkeletonError(
            "there are spots in ControlNet's colours, but no limbs of theirs between them: this is "
            "another convention, such as OpenPose's own, and left and right cannot be told. Use "
            f"the key points that it was drawn from.{about}"
        )
    findings = Findings()
    people = _group(marks, discs, limbs, radius, findings)
    people = [person for person in people if _has_trunk(person)]
    if not people:
        raise SkeletonError(
            f"{joints} kinds of joints in ControlNet's colours are in this picture, but no trunk: "
            "not two of neck, shoulders and hips. Use the key points that it was drawn "
            f"from, or a picture of the whole figure.{about}"
        )
    if len(people) == 1:
        if int(marks.white.sum()) >= _FACE_PIXELS:
            for joint in find_under_face(marks, people[0], radius):
                findings.guess(f"the {Joint(joint).words} lies under the face's points.")
        _find_covered(marks, people[0], radius, findings)
    _describe(people, findings)
    for person in people:
        if says_headless(person):
            findings.guess(
                "the figure faces the viewer, but has neither nose nor eyes: it is headless. "
                "Draw or detect the head, or it will be made up."
            )
    hands, unread = read_hands(rgb, marks, people, radius)
    describe_hands(hands, unread, len(people), findings)
    keypoints = _keypoints(people, hands, height, width)
    return SkeletonReading(keypoints, (height, width), tuple(warnings), findings.report())


def _discs_of(marks: Marks, joint: int, radius: int, longest: float) -> list[Disc]:
    """A joint's discs, of the figure's usual radius or of the joint's own, whichever fit better.

    Near the camera discs are larger; a joint that is partly covered has no radius of its own.
    """
    discs = find_discs(marks, joint, radius, _MOST_PEOPLE)
    other = min(round(longest), LARGEST_RADIUS)
    if abs(other - radius) <= 1:
        return discs
    discs += find_discs(marks, joint, max(other, 1), _MOST_PEOPLE)
    best: list[Disc] = []
    for disc in sorted(discs, key=lambda one: -one.score):
        near = (max(abs(disc.x - one.x), abs(disc.y - one.y)) for one in best)
        if all(away > 2 * max(other, radius) for away in near):
            best.append(disc)
    return best[:_MOST_PEOPLE]


def _warnings(marks: Marks, radius: int) -> Iterator[str]:
    if max(marks.background) > 40:
        name = "white" if min(marks.background) > 215 else f"of colour {marks.background}"
        yield f"the background is {name}, not black"
    if int(marks.white.sum()) >= _FACE_PIXELS:
        yield "face points are drawn (white dots); the models saw no face"
    if marks.other > _STRANGE:
        yield f"{marks.other:.0%} of what is drawn has other colours"
    if abs(radius - JOINT_RADIUS) > 1:
        yield (
            f"joints have a radius of {radius} pixels instead of {JOINT_RADIUS}: it was drawn for "
            "another size or by another program"
        )
    if marks.dimming < 1 and int((marks.joints == Joint.LEFT_KNEE).sum()) > 8 * max(
        (3.2 * radius**2), 30
    ):
        yield "hands have large dots; the models saw fine lines"


def _limbs(
    marks: Marks, discs: list[list[Disc]], radius: int
) -> tuple[list[tuple[int, Disc, Disc]], int]:
    """The limbs that are drawn between discs, and how many kinds could be tested."""
    limbs: list[tuple[int, Disc, Disc]] = []
    tested = 0
    for limb, (a, b) in enumerate(LIMBS):
        supports = {
            (start, end): support
            for start, end in itertools.product(discs[a], discs[b])
            if (support := _support(marks, limb, start, end, radius)) is not None
        }
        tested += bool(supports)
        joined: set[Disc] = set()
        worth = {ends: support + _wholeness(marks, *ends) for ends, support in supports.items()}
        for (start, end), support in sorted(supports.items(), key=lambda item: -worth[item[0]]):
            if support >= _SUPPORT and start not in joined and end not in joined:
                joined |= {start, end}
                limbs.append((limb, start, end))
    return limbs, tested


def _wholeness(marks: Marks, start: Disc, end: Disc) -> float:
    """From 0 to `_WHOLE`, how much of a limb's discs shows, where limbs have their colours too.

    A part of such a limb looks like a disc that is partly covered.
    """
    if marks.dimming < 1:
        return 0.0
    shares = [min(disc.score / (3.2 * max(disc.radius, 1) ** 2), 1.0) for disc in (start, end)]
    return _WHOLE * sum(shares) / 2


def _support(marks: Marks, limb: int, start: Disc, end: Disc, radius: int) -> float | None:
    """The share of a limb's middle line in its colour, or None where too little of it shows.

    Limbs that are drawn later, joints and hands may cover it.
    """
    length = float(np.hypot(end.x - start.x, end.y - start.y))
    free = np.arange((start.radius or radius) + 2, length - (end.radius or radius) - 2)
    if len(free) < 3:
        return None
    height, width = marks.limbs.shape
    xs = np.rint(start.x + (end.x - start.x) * free / length).astype(np.int64).clip(0, width - 1)
    ys = np.rint(start.y + (end.y - start.y) * free / length).astype(np.int64).clip(0, height - 1)
    limbs = marks.limbs[ys, xs]
    counted = (limbs <= limb) & ~marks.covering[ys, xs]
    if int(counted.sum()) < 3:
        return None
    return float((limbs == limb)[counted].mean())


def _group(
    marks: Marks,
    discs: list[list[Disc]],
    limbs: list[tuple[int, Disc, Disc]],
    radius: int,
    findings: Findings,
) -> list[dict[int, Disc]]:
    """Discs by person: those that limbs join, then the single ones where there is one person."""
    group_of = {disc: number for number, disc in enumerate(itertools.chain(*discs))}
    for _, start, end in limbs:
        old, new = group_of[start], group_of[end]
        group_of = {disc: new if group == old else group for disc, group in group_of.items()}
    groups: dict[int, list[Disc]] = {}
    for disc, group in group_of.items():
        groups.setdefault(group, []).append(disc)
    joined = sorted((g for g in groups.values() if len(g) > 1), key=len, reverse=True)
    single = [group[0] for group in groups.values() if len(group) == 1]
    people: list[dict[int, Disc]] = []
    for group in joined or [[]]:
        person: dict[int, Disc] = {}
        for disc in sorted(group, key=lambda one: -one.score):
            person.setdefault(disc.joint, disc)
        people.append(person)
    people = _merge_parts(people)
    for disc in sorted(single, key=lambda one: -one.score):
        free = [
            person
            for person in people
            if disc.joint not in person and not _is_contradicted(marks, disc, person, radius)
        ]
        if not free or disc.score < _ALONE * 3.2 * disc.radius**2:
            continue
        free.sort(key=lambda person: _away(disc, person))
        free[0][disc.joint] = disc
        if len(people) > 1:
            findings.guess(f"the {Joint(disc.joint).words} without a limb is the nearest person's.")
    return people


def _has_trunk(person: dict[int, Disc]) -> bool:
    """Whether two corners of a trunk are there; limbs between them, or the neck, may be covered."""
    return sum(joint in person for joint in (Joint.NECK, *_TRUNK)) >= 2


def _is_contradicted(marks: Marks, disc: Disc, person: dict[int, Disc], radius: int) -> bool:
    """Whether a limb to a joint of the person would have to show, and does not."""
    for limb, (a, b) in enumerate(LIMBS):
        other = b if disc.joint == a else a if disc.joint == b else NOTHING
        if other in person:
            support = _support(marks, limb, disc, person[other], radius)
            if support is not None and support < _SUPPORT:
                return True
    return False


def _merge_parts(people: list[dict[int, Disc]]) -> list[dict[int, Disc]]:
    """Parts of one body whose link is hidden: together, as long as no joint comes twice.

    Of the rest, what is small beside the first is a stray mark and nobody.
    """
    merged: list[dict[int, Disc]] = []
    for person in people:
        home = next((other for other in merged if not other.keys() & person.keys()), None)
        if home is None:
            if not merged or len(person) * 4 >= len(merged[0]):
                merged.append(person)
        else:
            home.update(person)
    return merged


def _away(disc: Disc, person: dict[int, Disc]) -> float:
    distances = [np.hypot(disc.x - one.x, disc.y - one.y) for one in person.values()]
    return float(min(distances, default=0.0))


def _find_covered(marks: Marks, person: dict[int, Disc], radius: int, findings: Findings) -> None:
    """Joints whose disc is covered or cut off, from the far end of a limb that ends in them."""
    for limb, ends in enumerate(LIMBS):
        for near, lost in (ends, ends[::-1]):
            if near not in person or lost in person:
                continue
            end = _far_end(marks, limb, person, near, lost, radius)
            if end is not None:
                person[lost] = end
                name = Joint(lost).words
                findings.guess(f"the {name} is covered or cut off; it lies at the end of its limb.")


def _far_end(
    marks: Marks, limb: int, person: dict[int, Disc], near: int, lost: int, radius: int
) -> Disc | None:
    """Where a limb ends: under the disc of a joint that it runs to, or at the picture's border.

    Anywhere else the lost joint's own disc would show.
    """
    start = person[near]
    ys, xs = np.nonzero(marks.limbs == limb)
    if len(ys) < _LIMB_PIXELS:
        return None
    away = np.hypot(xs - start.x, ys - start.y)
    height, width = marks.limbs.shape
    for far in np.argsort(-away)[:: max(len(away) // 24, 1)]:
        if away[far] <= 2 * radius:
            return None
        end = Disc(lost, int(xs[far]), int(ys[far]), 0.0)
        if (_support(marks, limb, start, end, radius) or 0.0) < _COVERED_SUPPORT:
            continue
        if min(end.x, end.y, width - 1 - end.x, height - 1 - end.y) <= 1:
            return end
        covers = [
            disc
            for joint, disc in person.items()
            if joint != near
            and np.hypot(disc.x - start.x, disc.y - start.y) >= away[far] - 2 * radius
            and np.hypot(disc.x - end.x, disc.y - end.y) <= away[far]
            and (_support(marks, limb, start, disc, radius) or 0.0) >= _COVERED_SUPPORT
        ]
        covers.sort(key=lambda disc: float(np.hypot(disc.x - end.x, disc.y - end.y)))
        return Disc(lost, covers[0].x, covers[0].y, 0.0) if covers else None
    return None


def _describe(people: list[dict[int, Disc]], findings: Findings) -> None:
    counts = [len(person) for person in people]
    if len(people) > 1:
        findings.fact(f"Skeleton pictures of {len(people)} people, with {counts} joints.")
        return
    findings.fact(f"Skeleton picture in ControlNet's colours: {counts[0]} joints.")
    absent = [joint.words for joint in Joint if joint not in people[0]]
    if absent:
        findings.fact(f"Missing or covered: {', '.join(absent)}.")


def _keypoints(
    people: list[dict[int, Disc]], hands: list[Hand], height: int, width: int
) -> Keypoints:
    """Places of pixels are their middles."""
    xy, visible = np.zeros((len(people), 18, 2)), np.zeros((len(people), 18), dtype=bool)
    for row, person in enumerate(people):
        for joint, disc in person.items():
            xy[row, joint] = (disc.x + 0.5) / width, (disc.y + 0.5) / height
            visible[row, joint] = True
    if not hands:
        return Keypoints(torch.from_numpy(xy), torch.from_numpy(visible))
    hands_xy = np.zeros((len(people), 2, HAND_POINTS, 2))
    hands_visible = np.zeros((len(people), 2, HAND_POINTS), dtype=bool)
    for hand in hands:
        hands_xy[hand.person, hand.side] = (hand.xy + 0.5) / [width, height]
        hands_visible[hand.person, hand.side] = hand.visible
    return Keypoints(*map(torch.from_numpy, (xy, visible, hands_xy, hands_visible)))
