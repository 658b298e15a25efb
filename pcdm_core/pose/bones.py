"""The body as bones: who hangs on whom, how long bones are, and how long they look.

A picture flattens a body: a bone that points towards the viewer looks shorter than it is, and none
looks longer. So the true length of a bone is estimated from the longer of its two sides and from
what bodies are like.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Parent of each joint; the neck is the root. Parents come before children in TREE.
PARENT = (1, -1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12, 0, 0, 14, 15)
TREE = (1, 0, 2, 5, 8, 11, 3, 6, 9, 12, 4, 7, 10, 13, 14, 15, 16, 17)

# Kinds of bones by their child joints, both sides of the body, with their length as a multiple of
# the trunk (neck to the middle of the hips); rounded means of anthropometric tables.
KINDS = (
    ((0,), 0.42), ((2, 5), 0.37), ((8, 11), 1.02), ((3, 6), 0.58), ((4, 7), 0.52),
    ((9, 12), 0.86), ((10, 13), 0.84),
)  # fmt: skip
KIND_OF = {joint: kind for kind, (joints, _) in enumerate(KINDS) for joint in joints}
FACE = (14, 15, 16, 17)
HEAD_KIND = 0  # the face is as large as the neck and the head together say

# Bones along which a longest look tells how large a body is; shoulders look broad or narrow as the
# body turns, and the neck is short.
_SCALE_KINDS = (2, 3, 4, 5, 6)

# A bone that looks longer than this share of the usual is believed; below the second share it is
# taken to point out of the picture, and the usual length counts.
_BELIEVED, _TURNED = 0.8, 0.5


def ancestor(joint: int, seen: Sequence[bool] | Bools) -> int:
    """The nearest joint towards the neck that is seen, or -1."""
    joint = PARENT[joint]
    while joint >= 0 and not seen[joint]:
        joint = PARENT[joint]
    return joint


def trunk_length(xy: Floats, seen: Bools) -> float | None:
    """How long the trunk really is, in the unit of `xy` [18, 2]; None where no bone tells."""
    estimates = [
        float(np.linalg.norm(xy[joint] - xy[PARENT[joint]])) / KINDS[kind][1]
        for kind in _SCALE_KINDS
        for joint in KINDS[kind][0]
        if seen[joint] and seen[PARENT[joint]]
    ]
    if not estimates and seen[0] and seen[1]:
        estimates = [float(np.linalg.norm(xy[0] - xy[1])) / KINDS[HEAD_KIND][1]]
    if not estimates and seen[1] and (seen[2] or seen[5]):
        sides = [joint for joint in (2, 5) if seen[joint]]
        estimates = [max(float(np.linalg.norm(xy[j] - xy[1])) for j in sides) / KINDS[1][1]]
    longest = max(estimates, default=0.0)
    return longest if longest > 0 else None


def bone_lengths(bodies: Sequence[tuple[Floats, Bools]]) -> dict[int, float]:
    """The true length of each kind of bone of which a side is seen, in the unit of `xy`.

    Args:
        bodies: `xy` [18, 2] and `seen` [18] of one body, in one pose or in several.
    """
    trunks = [trunk for body in bodies if (trunk := trunk_length(*body)) is not None]
    if not trunks:
        return {}
    lengths: dict[int, float] = {}
    for kind, (joints, share) in enumerate(KINDS):
        looks = [
            float(np.linalg.norm(xy[joint] - xy[PARENT[joint]]))
            for xy, seen in bodies
            for joint in joints
            if seen[joint] and seen[PARENT[joint]]
        ]
        if looks:
            usual = max(trunks) * share
            lengths[kind] = usual * _believed(max(looks) / usual)
    return lengths


def _believed(look: float) -> float:
    """The length that a look tells, both as shares of the usual length."""
    turned = (_BELIEVED - look) / (_BELIEVED - _TURNED)
    turned = min(max(turned, 0.0), 1.0)
    return max(look, _BELIEVED) * (1 - turned) + turned


def rebuild(
    xy: Floats, seen: Bools, bone: Callable[[int, int, Floats], Floats], root: Floats
) -> Floats:
    """A body put together again from changed bones.

    Args:
        xy: `[18, 2]`; where a joint is not seen its place is ignored.
        seen: bool `[18]`.
        bone: from a joint, its nearest seen ancestor (-1 for none) and the vector between them
            (from the first joint that is seen, without an ancestor) to the new vector.
        root: where the first seen joint goes.

    Returns:
        `[18, 2]`; joints that are not seen lie at `root`.
    """
    built = np.tile(root, (18, 1))
    order = [joint for joint in TREE if seen[joint]]
    for joint in order[1:]:
        parent = ancestor(joint, seen)
        start = parent if parent >= 0 else order[0]
        built[joint] = built[start] + bone(joint, parent, xy[joint] - xy[start])
    return built
