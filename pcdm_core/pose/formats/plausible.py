"""Which skeleton a file's points are: counting them does not tell, a body's proportions do.

Every skeleton of that many points is tried on them. A limb's length, as a share of the diagonal of
the box round all points, is compared with what true poses have; a neck that is a point of its own
lies between the shoulders. A pose's strangeness is the mean square of these, in deviations.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bones import LIMBS
from ..keypoints import HIPS, SHOULDERS, Joint
from .frame import Context
from .joint_maps import POSE_TRACK, SKELETONS, Skeleton, skeleton_of, to_body_18
from .points import Points

# What is measured: the limbs, then across the shoulders and the hips. Logarithm's mean (as a
# length) and deviation over the poses of `tests/core/true_poses.py`, both sides of the body alike.
_BONES = np.array([*LIMBS, SHOULDERS, HIPS])
_SHOULDER, _UPPER_ARM, _FOREARM = (0.095, 0.62), (0.187, 0.35), (0.155, 0.37)
_HIP, _THIGH, _SHIN = (0.341, 0.19), (0.232, 0.34), (0.270, 0.20)
_NOSE, _EYE, _EAR = (0.139, 0.37), (0.046, 0.37), (0.059, 0.48)
_USUAL = np.array([
    _SHOULDER, _SHOULDER, _UPPER_ARM, _FOREARM, _UPPER_ARM, _FOREARM, _HIP, _THIGH, _SHIN,
    _HIP, _THIGH, _SHIN, _NOSE, _EYE, _EAR, _EYE, _EAR, (0.176, 0.68), (0.088, 0.62),
])  # fmt: skip
_LEAST_LENGTH = 0.01  # a limb that points at the viewer has no length

_FARTHEST = 4.0  # deviations; what is farther is wrong and not more wrong
_NECK_OFF = 0.03  # of the diagonal, the neck from the middle of the shoulders
_NECK_WEIGHT = 2.0
_FAR = 6.0  # medians of the points' distances from their middle

_ENOUGH = 0.6  # of the usual skeleton's bones another one has to have
_BODY_BONES = 13  # the first of them, without the face
_LEAST_BONES = 4  # of a body; fewer tell nothing
_MOST_POSES = 500  # of a file are looked at

# Over 2,000 true poses, seated, lying, foreshortened and cut ones among them, at most 1 % are
# stranger than the second line and none is than the third; both are for many bones, and each
# measured bone less makes chance larger.
# Another skeleton is taken from the first on, if it is so much less strange, and below the third.
_STRANGE, _MARGIN, _USUALLY = 2.5, 2.2, 3.2
_UNLIKELY = 3.7
_NO_BODY = 5.6
_CHANCE = 6.0


def choose_skeleton(points: Points, names: Sequence[str], context: Context) -> Skeleton:
    """The skeleton that people's points are, by their joints' names or by a body's proportions.

    Args:
        points: `[P, N, 3]`, N one of `SKELETONS`, or as many as the names; unsure ones are NaN.
        names: of the points, where the file says them; these win.
        context: gets what was found.

    Raises:
        PoseError: the joints are those of no skeleton of so many points.
    """
    if names and (skeleton := skeleton_of("the file's own", names)):
        context.findings.fact("Skeleton: by the joints' names in the file.")
        _say_neck(skeleton, context)
        return skeleton
    count = points.shape[1]
    skeletons = SKELETONS[count]
    usual = skeletons[0]
    width = 1 + max(place for one in skeletons for places in one.joints for place in places)
    sample = points[:: max(len(points) // _MOST_POSES, 1), :width]
    skeleton, (strange, bones) = usual, strangeness(sample, usual)
    if strange > _STRANGE:
        others = [(*strangeness(sample, one), one) for one in skeletons[1:]]
        others = [other for other in others if other[1] > _ENOUGH * bones]
        best = min(others, key=lambda other: other[0], default=(strange, bones, usual))
        if best[0] < min(_USUALLY, strange - _MARGIN):
            strange, bones, skeleton = best
    if skeleton is usual and count == 17 and _has_no_eyes(sample):
        skeleton = POSE_TRACK
    context.findings.fact(f"Skeleton: {skeleton.name}.")
    if skeleton is not usual:
        context.findings.guess(
            f"the {count} points are not {usual.name} but {skeleton.name}, by the body's "
            "proportions."
        )
    _say_neck(skeleton, context)
    beyond = strange - _CHANCE / max(bones, 1.0) ** 0.5
    orders = ", ".join(one.name for one in skeletons)
    if beyond > _NO_BODY and count != 18:
        raise context.error(
            f"the {count} points are no body in the order of {orders}. Export the pose as "
            "OpenPose JSON, or name the joints in the file (keypoint_names)"
        )
    if beyond > _UNLIKELY:
        context.findings.guess(
            f"the joints make no body that is like a person's, in the order of {orders}; "
            "look at the skeleton before it is used."
        )
    return skeleton


def strangeness(points: Points, skeleton: Skeleton) -> tuple[float, float]:
    """How unlike true poses `[P, N, 3]` are, and how many bones tell on average.

    Without enough bones nothing is strange: 0, 0.
    """
    places = to_body_18(points, skeleton)[..., :2]
    size = _sizes(points)[:, None]
    ends = places[:, _BONES]
    lengths = np.hypot(*np.moveaxis(ends[:, :, 0] - ends[:, :, 1], -1, 0)) / size
    usual, spread = _USUAL.T
    away = np.abs(np.log(lengths + _LEAST_LENGTH) - np.log(usual)) / spread
    there = ~np.isnan(away)
    squares = np.where(there, np.minimum(away, _FARTHEST) ** 2, 0.0).sum(axis=1)
    counts = there.sum(axis=1).astype(np.float64)
    if skeleton.has_neck:
        middle = places[:, list(SHOULDERS)].mean(axis=1)
        off = np.hypot(*(places[:, Joint.NECK] - middle).T) / size[:, 0] / _NECK_OFF
        weights = np.where(np.isnan(off), 0.0, _NECK_WEIGHT)
        squares += weights * np.minimum(np.nan_to_num(off), _FARTHEST) ** 2
        counts += weights
    enough = there[:, :_BODY_BONES].sum(axis=1) >= _LEAST_BONES
    if not enough.any():
        return 0.0, 0.0
    return float(squares[enough].sum() / counts[enough].sum()), float(counts[enough].mean())


def _has_no_eyes(points: Points) -> bool:
    """Whether COCO's eyes are a neck and a crown: no ears, the nose between them, all in a line.

    Of 859 true poses with eyes none has such a line, of as many in PoseTrack's order all but five.
    """
    if not np.isnan(points[:, 3:5, 0]).all():
        return False
    nose, left, right = np.moveaxis(points[:, :3, :2], 1, 0)
    shoulders = points[:, 5:7, :2].mean(axis=1)  # COCO's
    between = _cosines(left - nose, right - nose) < -0.5
    along = _cosines(left - right, shoulders - nose) > 0.8
    whole = ~np.isnan(nose + left + right + shoulders).any(axis=1)
    return bool(whole.any() and (between & along)[whole].mean() > 0.5)


def _cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`[P]`, of the angles between vectors `[P, 2]`."""
    products = np.hypot(*first.T) * np.hypot(*second.T)
    return (first * second).sum(axis=1) / np.where(products > 0, products, 1.0)


def _sizes(points: Points) -> np.ndarray:
    """`[P]`: diagonals of the boxes round people, without a point that lies far from the others."""
    places = np.where(np.isnan(points[..., 2:]), np.nan, points[..., :2])
    people = places[~np.isnan(places[..., 0]).all(axis=1)]
    sizes = np.full(len(points), np.nan)
    if len(people):
        away = np.hypot(*np.moveaxis(people - np.nanmedian(people, axis=1, keepdims=True), -1, 0))
        far = away > _FAR * np.nanmedian(away, axis=1, keepdims=True)
        near = np.where(far[..., None], np.nan, people)
        spans = np.fmax.reduce(near, axis=1) - np.fmin.reduce(near, axis=1)
        sizes[~np.isnan(places[..., 0]).all(axis=1)] = np.hypot(*spans.T)
    return np.where(sizes > 0, sizes, np.nan)


def _say_neck(skeleton: Skeleton, context: Context) -> None:
    if not skeleton.has_neck:
        context.findings.fact("Neck: the middle of the shoulders, where both are seen.")
