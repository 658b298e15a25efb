"""The people of pictures, from the points that a file has to key points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..keypoints import FARTHEST, HAND_POINTS, WRISTS, Keypoints
from .frame import Context, Frame
from .joint_maps import SCORED_COUNTS, Skeleton, hands_of, to_body_18
from .limits import GIVE_SIZE, PixelsError, PoseError
from .plausible import choose_skeleton
from .points import NO_POINTS, Points, is_missing, missing_points

# Above this a coordinate cannot be a fraction of the picture: people reach a little way out of the
# frame, but not a whole picture's width.
LARGEST_FRACTION = 2.0

# As published: detectors that score every point count one as seen from here (DWPose, mmpose).
SCORE_THRESHOLD = 0.3

# Coordinates from -1 to 1 put half of a body below 0. A body in fractions with so many points out
# of the picture would hardly show.
_SIGNED_SHARE = 0.4
_LARGEST_SPAN = 1.5  # of a person in pictures, seen with so much of it outside

_SCALES = (100.0, 255.0, 1000.0)  # of confidences beyond 0 to 10


@dataclass(frozen=True)
class RawPerson:
    """One person's points as a file has them.

    Attributes:
        body: 17, 18, 25, 133 or 134 points, or none.
        hands: left and right, 21 points or none each; they go before hands in the body's list.
        scored: whether every point has a score, also those that are not seen.
        sure_of_sides: False where the producer is known to swap the hands.
        joint_names: of the body's points, where the file says them.
        fault: why the person cannot be read; there are no points then.
    """

    body: Points
    hands: tuple[Points, Points] = (NO_POINTS, NO_POINTS)
    scored: bool = False
    sure_of_sides: bool = True
    joint_names: tuple[str, ...] = ()
    fault: PoseError | None = None


@dataclass(frozen=True)
class RawFrame:
    """One picture's people as a file has them.

    Attributes:
        people: in the file's order.
        size: (height, width) that the file says; `context.size` counts where this is None.
        context: how to read, and where in the file this is.
        name: of the picture.
        fault: why nobody is in it.
    """

    people: Sequence[RawPerson]
    size: tuple[int, int] | None
    context: Context
    name: str | None = None
    fault: PoseError | None = None


def fault_frame(fault: PoseError, context: Context, name: str | None = None) -> RawFrame:
    """A frame that cannot be used, in the place of one that can."""
    return RawFrame((), None, context, name, fault)


def assemble(frames: Sequence[RawFrame], context: Context) -> list[Frame]:
    """Frames of key points. A frame that cannot be used says why, unless all of them are such.

    What the whole file tells is told by all of its frames: whose skeleton it is, and the size of
    the picture for a frame that lacks it.

    Raises:
        PoseError: nobody is in any frame, or no frame can be used.
    """
    clear = [_without_unsure(frame) for frame in frames]
    skeletons = _skeletons(clear, context)
    sizes = {frame.size for frame in clear if frame.size}
    if len(sizes) == 1 and context.size is None and any(not frame.size for frame in clear):
        clear = [replace(frame, size=frame.size or min(sizes)) for frame in clear]
        context.findings.guess("a frame that does not say its picture's size has the others'.")
    result: list[Frame] = []
    for frame in clear:
        try:
            result.append(_frame(frame, skeletons))
        except PixelsError:  # which is so of the whole clip
            raise
        except PoseError as error:
            result.append(_nobody(replace(frame, fault=error)))
    faults = [frame.fault for frame in result if frame.fault is not None]
    if len(faults) == len(result):
        raise faults[0]
    return result


def _nobody(frame: RawFrame) -> Frame:
    people = Keypoints(torch.zeros(0, 18, 2, dtype=torch.float64), torch.zeros(0, 18).bool())
    return Frame(people, frame.size or frame.context.size, frame.name, frame.fault)


def _without_unsure(frame: RawFrame) -> RawFrame:
    """The same with NaN for all points that the file or the threshold calls missing."""
    if not frame.people:
        return frame
    certainty = _certainty(frame.people, frame.context)
    people: list[RawPerson] = []
    for person in frame.people:
        threshold = _threshold(person, certainty, frame.context)
        body, left_hand, right_hand = (
            np.where(is_missing(part, threshold)[:, None], np.nan, part)
            for part in (person.body, *person.hands)
        )
        people.append(replace(person, body=body, hands=(left_hand, right_hand)))
    return replace(frame, people=people)


Kind = tuple[int, tuple[str, ...]]
"""How many points a body has, and their names where the file says them."""


def _kind(person: RawPerson) -> Kind:
    return len(person.body), person.joint_names


def _skeletons(frames: Sequence[RawFrame], context: Context) -> dict[Kind, Skeleton | PoseError]:
    """Whose skeleton the points of each kind are, or why they are nobody's."""
    bodies: dict[Kind, list[Points]] = {}
    for frame in frames:
        for person in frame.people:
            if len(person.body):
                bodies.setdefault(_kind(person), []).append(person.body)
    skeletons: dict[Kind, Skeleton | PoseError] = {}
    for kind, points in bodies.items():
        try:
            skeletons[kind] = choose_skeleton(np.stack(points), kind[1], context)
        except PoseError as error:
            skeletons[kind] = error
    return skeletons


def _frame(frame: RawFrame, skeletons: dict[Kind, Skeleton | PoseError]) -> Frame:
    """The people of a picture as key points, whether the file has fractions or pixels.

    Raises:
        PoseError: nobody is there, or pixels, and nobody knows the picture's size.
        PointError: points that fit neither pixels nor fractions, or lie pictures away.
    """
    if frame.fault is not None:
        raise frame.fault
    people, context = frame.people, frame.context
    faults = {row: one.fault for row, one in enumerate(people) if one.fault is not None}
    source, size = ("given", context.size) if frame.size is None else ("the file says", frame.size)
    if size is not None:
        context.findings.fact(f"Picture: {size[0]} high, {size[1]} wide, as {source}.")
    points = np.stack([_row(one, skeletons.get(_kind(one)), context) for one in people])
    points = points[..., :2]
    visible = ~np.isnan(points[..., 0])
    scale, shift = _units(points, visible, size, context)
    xy = np.where(visible[..., None], points, 0.0) / scale + shift
    farthest = np.where(visible, np.abs(xy).max(axis=-1), 0.0)
    if (farthest > FARTHEST).any():
        row, point = np.argwhere(farthest == farthest.max())[0]
        picture = "" if size is None else f" (its picture is taken to be {size[0]}x{size[1]})"
        raise context.at(f"person {row}").point_error(
            f"point {point} lies {farthest.max():.3g} pictures away{picture}; give "
            "the size of the picture that the pose belongs to, or mend the point"
        )
    tensors = [torch.from_numpy(array[:, :18].copy()) for array in (xy, visible)]
    if visible[:, 18:].any():
        shape = (len(xy), 2, HAND_POINTS)
        tensors.append(torch.from_numpy(xy[:, 18:].reshape(*shape, 2)))
        tensors.append(torch.from_numpy(visible[:, 18:].reshape(shape)))
    return Frame(Keypoints(*tensors), size, frame.name, faults=faults)


def _row(person: RawPerson, skeleton: Skeleton | PoseError | None, context: Context) -> Points:
    """`[60, 3]`: 18 joints, 21 points of the left hand, 21 of the right one."""
    if isinstance(skeleton, PoseError):
        raise skeleton
    body = missing_points(18) if skeleton is None else to_body_18(person.body, skeleton)
    hands = [
        hand if len(hand) else other if len(other) else missing_points(HAND_POINTS)
        for hand, other in zip(person.hands, hands_of(person.body), strict=True)
    ]
    if not person.sure_of_sides and _are_swapped(body, hands):
        hands.reverse()
        context.findings.guess(
            "the hands' names are swapped: each lies at the other side's wrist, so it was moved."
        )
    return np.concatenate([body, *hands])


def _threshold(person: RawPerson, certainty: float, context: Context) -> float:
    """Above which a confidence counts, where `certainty` is the highest one."""
    if context.threshold is not None:
        return context.threshold * certainty
    if not person.scored and len(person.body) not in SCORED_COUNTS:
        return 0.0
    context.findings.fact(f"Seen: points that score more than {SCORE_THRESHOLD:g}.")
    return SCORE_THRESHOLD * certainty


def _certainty(people: Sequence[RawPerson], context: Context) -> float:
    """1, or what stands for certainty; judged by most points, because one may be damaged."""
    parts = [part[:, 2] for person in people for part in (person.body, *person.hands)]
    confidences = np.concatenate(parts)
    confidences = confidences[confidences > 0]
    middle = float(np.median(confidences)) if len(confidences) else 1.0
    if middle <= 10:
        return 1.0
    scale = next((s for s in _SCALES if middle <= s), middle)
    context.findings.guess(f"confidences run from 0 to {scale:g}.")
    return scale


def _units(
    points: Points, visible: np.ndarray, size: tuple[int, int] | None, context: Context
) -> tuple[tuple[float, float], float]:
    """What coordinates `[P, 60, 2]` are divided by, x and y, and what is added then."""
    places = points[visible]
    beyond = np.abs(places).max(axis=1) > LARGEST_FRACTION
    units = context.units
    if units == "auto" and beyond.any():
        if beyond.sum() * 2 <= len(places):
            # Most points decide: pixels would throw them all into the picture's corner.
            row, number = np.argwhere(visible)[beyond][0]
            x, y = places[beyond][0]
            raise context.at(f"person {row}").point_error(
                f"point {number} lies at {x:g}, {y:g}, but "
                "the others are fractions of the picture (0 to 1). Mend the point, or say "
                "that the units are pixels."
            )
        units = "pixels"
    elif units == "auto" and _look_signed(places):
        context.findings.guess("coordinates run from -1 to 1; say if the units are fractions.")
        units = "signed"
    if units == "pixels":
        size = size or _assumed(places, context)
        context.findings.fact("Coordinates: pixels.")
        return (float(size[1]), float(size[0])), 0.0
    if units == "signed":
        return (2.0, 2.0), 0.5
    if context.units == "auto" and _lie_round_the_middle(places):
        low, high = places.min(), places.max()
        raise context.error(
            f"coordinates run from {low:.2f} to {high:.2f}, round the middle of a picture, and "
            "are neither pixels nor fractions of it; export them before they are normalised"
        )
    if len(places):
        context.findings.fact("Coordinates: fractions of the picture.")
    return (1.0, 1.0), 0.0


def _assumed(places: Points, context: Context) -> tuple[int, int]:
    """The picture that pixels are taken for where nobody says its size.

    Raises:
        PixelsError: there is none, or they lie beyond it and must be another's.
    """
    size = context.assumed
    far = places.max(axis=0, initial=0.0)
    if size is not None and (far <= np.add(size[::-1], 1)).all():
        return size
    more = "" if size is None else f", and not of the {size[0]}x{size[1]} that it is used with"
    raise PixelsError(
        f"{context.origin}: the coordinates are pixels (up to {far[0]:g}, {far[1]:g}) of a picture "
        f"whose size it does not say{more}; {GIVE_SIZE}"
    )


def _look_signed(places: Points) -> bool:
    negative = (places < 0).any(axis=1).sum()
    within = np.less_equal(np.abs(places), 1).all()
    return bool(within and len(places) >= 5 and negative >= _SIGNED_SHARE * len(places))


def _lie_round_the_middle(places: Points) -> bool:
    """Whether a picture's middle is 0 and its width 2, but not its height (VideoPose3D)."""
    if len(places) < 5 or (places < 0).any(axis=1).mean() < _SIGNED_SHARE:
        return False
    return bool((np.ptp(places, axis=0) > _LARGEST_SPAN).any())


def _are_swapped(body: Points, hands: Sequence[Points]) -> bool:
    """Whether every hand that can be judged lies far nearer to the other side's wrist."""
    roots, wrists = np.stack([hand[0] for hand in hands]), body[list(WRISTS)]
    here, there = (np.hypot(*(roots - ends)[:, :2].T) for ends in (wrists, wrists[::-1]))
    judged = ~np.isnan(here + there)
    return bool(judged.any() and (there * 2 < here)[judged].all())
