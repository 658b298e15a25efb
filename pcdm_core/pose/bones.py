"""The body as bones: who hangs on whom, how long bones are, and how long they look.

A picture flattens a body: a bone that points towards the viewer looks shorter than it is, and none
looks longer. So the true length of a bone is estimated from the longer of its two sides and from
what bodies are like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .keypoints import HIPS, SHOULDERS, Joint, Keypoints

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]
Body = tuple[Floats, Bools]
"""Places `[18, 2]` and whether each is visible, `[18]`."""

NO_JOINT = -1

# As published: the 17 limbs, in the order in which they are drawn: (parent, child), as in `Joint`.
LIMBS = (
    (1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10),
    (1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17),
)  # fmt: skip

# Parent of each joint; the neck is the root. Parents come before children in TREE.
PARENT = {child: parent for parent, child in LIMBS} | {Joint.NECK: NO_JOINT}
TREE = (1, 0, 2, 5, 8, 11, 3, 6, 9, 12, 4, 7, 10, 13, 14, 15, 16, 17)

# Kinds of bones by their child joints, both sides of the body, with their length as a multiple of
# the trunk (neck to the middle of the hips); rounded means of anthropometric tables.
KINDS = (
    ((Joint.NOSE,), 0.42),
    (SHOULDERS, 0.37),
    (HIPS, 1.02),
    ((Joint.RIGHT_ELBOW, Joint.LEFT_ELBOW), 0.58),
    ((Joint.RIGHT_WRIST, Joint.LEFT_WRIST), 0.52),
    ((Joint.RIGHT_KNEE, Joint.LEFT_KNEE), 0.86),
    ((Joint.RIGHT_ANKLE, Joint.LEFT_ANKLE), 0.84),
)
# Eyes and ears are of no kind.
KIND_OF = {int(joint): kind for kind, (joints, _) in enumerate(KINDS) for joint in joints}
HEAD_KIND = 0

# Bones whose longest look tells how large a body is, group by group as long as none is visible:
# shoulders look broad or narrow as the body turns, and the neck is short.
_SCALE_KINDS = ((2, 3, 4, 5, 6), (HEAD_KIND,), (1,))

# A bone that looks longer than this share of the usual is believed; below the second share it is
# taken to point out of the picture, and the usual length counts.
_BELIEVED, _TURNED = 0.8, 0.5


def body_of(pose: Keypoints, size: tuple[int, int]) -> Body:
    """The first row in pixels of a picture of `size` (height, width)."""
    return pose.to_pixels(*size)[0].cpu().numpy(), pose.visible[0].cpu().numpy()


def ancestor(joint: int, visible: Sequence[bool] | Bools) -> int:
    """The nearest visible joint towards the neck, or `NO_JOINT`."""
    joint = PARENT[joint]
    while joint != NO_JOINT and not visible[joint]:
        joint = PARENT[joint]
    return joint


def middle_of(joints: Iterable[int], xy: Floats, visible: Bools) -> Floats | None:
    """The middle `[2]` of those of the joints that are visible; None where none is."""
    rows = [joint for joint in joints if visible[joint]]
    return xy[rows].mean(axis=0) if rows else None


def trunk_length(
    xy: Floats,
    visible: Bools,
    kinds: Sequence[Sequence[int]] = _SCALE_KINDS,
    spine: Sequence[Joint] = (),
) -> float | None:
    """How long the trunk really is, in the unit of `xy`: the longest estimate of any bone.

    Args:
        xy: `[18, 2]`.
        visible: `[18]`.
        kinds: groups of kinds of bones; the first group of which a bone is visible counts.
        spine: joints whose middle's distance to that of the hips counts as well.

    Returns:
        None where no bone tells.
    """
    lengths: list[float] = []
    for group in kinds:
        lengths = lengths or [
            look / KINDS[kind][1] for kind in group for look in _looks(KINDS[kind][0], xy, visible)
        ]
    top, hips = middle_of(spine, xy, visible), middle_of(HIPS, xy, visible)
    if top is not None and hips is not None:
        lengths.append(float(np.linalg.norm(top - hips)))
    longest = max(lengths, default=0.0)
    return longest if longest > 0 else None


def _looks(joints: Iterable[int], xy: Floats, visible: Bools) -> Iterator[float]:
    """How long the bones look that end in these joints, as far as they are visible."""
    for joint in joints:
        if visible[joint] and visible[PARENT[joint]]:
            yield float(np.linalg.norm(xy[joint] - xy[PARENT[joint]]))


def bone_lengths(bodies: Sequence[Body]) -> dict[int, float]:
    """The true length of each kind of bone of which a side is visible, in the unit of `xy`.

    Args:
        bodies: of one person, in one pose or in several.
    """
    trunks = [trunk for body in bodies if (trunk := trunk_length(*body)) is not None]
    if not trunks:
        return {}
    lengths: dict[int, float] = {}
    for kind, (joints, share) in enumerate(KINDS):
        looks = [look for body in bodies for look in _looks(joints, *body)]
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
    xy: Floats, visible: Bools, bone: Callable[[int, int, Floats], Floats], root: Floats
) -> Floats:
    """A body put together again from changed bones.

    Args:
        xy: `[18, 2]`; the place of a missing joint is ignored.
        visible: bool `[18]`.
        bone: from a joint, its nearest visible ancestor (or `NO_JOINT`) and the vector between
            them (from the first visible joint, without an ancestor) to the new vector.
        root: where the first visible joint goes.

    Returns:
        `[18, 2]`; missing joints lie at `root`.
    """
    built = np.tile(root, (18, 1))
    order = [joint for joint in TREE if visible[joint]]
    for joint in order[1:]:
        parent = ancestor(joint, visible)
        start = parent if parent != NO_JOINT else order[0]
        built[joint] = built[start] + bone(joint, parent, xy[joint] - xy[start])
    return built
