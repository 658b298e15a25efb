"""A pose in words: which part of the body is there, and from which side it shows."""

from __future__ import annotations

from collections.abc import Sequence

from .bones import trunk_length
from .keypoints import ANKLES, FACE, HIPS, KNEES, SHOULDERS, Joint, Keypoints

_BROAD = 0.25  # shoulders wider than this share of the trunk are a front or a back view


def view_of(person: Keypoints) -> str:
    """ "front", "back", "left side", "right side" or "unknown": from which side one person shows.

    The side is the person's own that is turned to the viewer. Tells from the order of the shoulders
    and from the points of the face, which OpenPose leaves out where they cannot be seen.
    """
    xy, visible = person.xy[0].cpu().numpy(), person.visible[0].cpu().numpy()
    nose, right_eye, left_eye, right_ear, left_ear = (visible[joint] for joint in FACE)
    if all(visible[joint] for joint in SHOULDERS):
        # Upright; a lying body is told by its face alone.
        trunk = trunk_length(xy, visible, (), spine=SHOULDERS) or _head_trunk(person)
        across = float(xy[Joint.LEFT_SHOULDER, 0] - xy[Joint.RIGHT_SHOULDER, 0])
        if abs(across) > _BROAD * trunk:
            return "front" if across > 0 else "back"
    if right_eye and right_ear and not left_ear:
        return "right side"
    if left_eye and left_ear and not right_ear:
        return "left side"
    if nose and right_eye and left_eye:
        return "front"
    return "back" if not nose and (right_ear or left_ear) else "unknown"


def _head_trunk(person: Keypoints) -> float:
    """Twice the height from the neck to the nose, which is about a trunk; 0 where it is hidden."""
    ends = [Joint.NOSE, Joint.NECK]
    height = person.xy[0, ends, 1].diff().abs().item()
    return 2 * height if bool(person.visible[0, ends].all()) else 0.0


def part_of(person: Keypoints) -> str:
    """ "whole body", "half body, above the hips", "head and shoulders" and the like."""
    visible = person.visible[0].tolist()

    def shows(joints: Sequence[Joint]) -> bool:
        return any(visible[joint] for joint in joints)

    head, shoulders = shows(FACE), shows(SHOULDERS)
    if (shoulders or head) and shows(ANKLES):
        return "whole body" if head or view_of(person) == "back" else "body without a head"
    if (shoulders or head) and shows(KNEES):
        return "body down to the knees"
    if shows(HIPS):
        return "half body, down to the hips" if shoulders or head else "legs"
    if shoulders and shows((Joint.RIGHT_ELBOW, Joint.LEFT_ELBOW)):
        return "half body, above the hips"
    if shoulders:
        return "head and shoulders" if head else "shoulders and arms"
    return "head" if head else "single joints"


def describe_person(person: Keypoints) -> str:
    """One line about one person (a batch of one)."""
    visible = person.visible[0].tolist()
    view = view_of(person)
    text = f"{part_of(person)}, {sum(visible)} of 18 joints"
    text += f", seen from the {view}" if view != "unknown" else ", from an unknown side"
    # A face that is turned away is no news; missing limbs are.
    missing = [joint.words for joint in Joint if joint not in FACE and not visible[joint]]
    if missing:
        text += f"; not seen: {', '.join(missing)}"
    if not all(visible[joint] for joint in FACE) and view in ("back", "left side", "right side"):
        text += "; points of the face that is turned away are left out"
    return text
