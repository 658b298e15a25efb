"""A pose in words: which part of the body is there, and from where it is seen."""

from __future__ import annotations

from .keypoints import BODY_JOINTS, Keypoints

FACE = (0, 14, 15, 16, 17)
_BROAD = 0.25  # shoulders wider than this share of the trunk are seen from the front or the back


def view_of(person: Keypoints) -> str:
    """ "front", "back", "left side", "right side" or "unknown": from where one person is seen.

    The side is the person's own that is turned to the viewer. Tells from the order of the shoulders
    and from the points of the face, which OpenPose leaves out where they cannot be seen.
    """
    xy, seen = person.xy[0].tolist(), person.visible[0].tolist()
    right = [seen[joint] for joint in (14, 16)]
    left = [seen[joint] for joint in (15, 17)]
    if seen[2] and seen[5]:
        # Upright; a lying body is told by its face alone.
        broad = _BROAD * _trunk(xy, seen)
        shoulders = xy[5][0] - xy[2][0]
        if shoulders > broad:
            return "front"
        if shoulders < -broad:
            return "back"
    if all(right) and not seen[17]:
        return "right side"
    if all(left) and not seen[16]:
        return "left side"
    if seen[0] and seen[14] and seen[15]:
        return "front"
    if not seen[0] and (seen[16] or seen[17]):
        return "back"
    return "unknown"


def part_of(person: Keypoints) -> str:
    """ "whole body", "half body, above the hips", "head and shoulders" and the like."""
    seen = person.visible[0].tolist()
    head = any(seen[joint] for joint in FACE)
    shoulders = seen[2] or seen[5]
    knees, ankles = seen[9] or seen[12], seen[10] or seen[13]
    hips = seen[8] or seen[11]
    if (shoulders or head) and ankles:
        return "whole body" if head or view_of(person) == "back" else "body without a head"
    if (shoulders or head) and knees:
        return "body down to the knees"
    if hips:
        return "half body, down to the hips" if shoulders or head else "legs"
    if shoulders and (seen[3] or seen[6]):
        return "half body, above the hips"
    if shoulders:
        return "head and shoulders" if head else "shoulders and arms"
    return "head" if head else "single joints"


def describe_person(person: Keypoints) -> str:
    """One line about one person (a batch of one)."""
    seen = person.visible[0].tolist()
    view = view_of(person)
    text = f"{part_of(person)}, {int(sum(seen))} of 18 joints"
    text += f", seen from the {view}" if view != "unknown" else ", from an unknown side"
    # A face that is turned away is no news; missing limbs are.
    missing = [BODY_JOINTS[joint].replace("_", " ") for joint in range(1, 14) if not seen[joint]]
    if missing:
        text += f"; not seen: {', '.join(missing)}"
    if not all(seen[joint] for joint in FACE) and view in ("back", "left side", "right side"):
        text += "; points of the face that is turned away are left out"
    return text


def _trunk(xy: list[list[float]], seen: list[bool]) -> float:
    hips = [xy[joint] for joint in (8, 11) if seen[joint]]
    if not hips:
        # Shoulders to the nose is about half a trunk.
        return 2 * abs(xy[0][1] - xy[1][1]) if seen[0] and seen[1] else 0.0
    neck = ((xy[2][0] + xy[5][0]) / 2, (xy[2][1] + xy[5][1]) / 2)
    hip = (sum(x for x, _ in hips) / len(hips), sum(y for _, y in hips) / len(hips))
    return ((neck[0] - hip[0]) ** 2 + (neck[1] - hip[1]) ** 2) ** 0.5
