"""Random catalogue poses as rotations of the skeleton's bones.

Arms are set by two directions, upper arm and forearm, in the frame of the torso; legs by angles.
Poses in which a hand or forearm would sink into the torso are opened until it does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .body import Asset, Floats, pose_bones

Vector = NDArray[np.float64]

#: Directions of upper arm and forearm for the left arm: x outwards, y up, z forwards; then the
#: turn of the hand about the forearm in radians (positive turns the thumb outwards) and the curl
#: of the fingers.
ARMS: dict[str, tuple[tuple[float, float, float], tuple[float, float, float], float, float]] = {
    "down": ((0.20, -1.0, -0.02), (0.14, -1.0, 0.20), 0.0, 0.35),
    "relaxed": ((0.27, -1.0, -0.10), (0.12, -1.0, 0.40), 0.0, 0.45),
    "open": ((0.50, -0.9, -0.05), (0.45, -0.9, 0.25), 0.2, 0.25),
    "hip": ((0.66, -0.72, -0.28), (-0.62, -0.55, 0.50), -0.4, 0.5),
    "pocket": ((0.42, -0.9, -0.28), (0.02, -0.95, 0.36), -0.2, 0.35),
    "folded": ((0.22, -0.90, 0.38), (-0.85, 0.10, 0.52), 0.0, 0.4),
    "belly": ((0.32, -0.92, 0.10), (-0.66, -0.12, 0.74), 0.0, 0.4),
    "hair": ((0.85, 0.35, 0.25), (-0.42, 0.90, -0.10), 0.0, 0.5),
    "chin": ((0.20, -0.85, 0.50), (-0.22, 0.88, 0.42), 0.6, 0.8),
    "strap": ((0.25, -0.95, 0.12), (0.02, 0.72, 0.70), 0.0, 0.9),
    "back": ((0.45, -0.85, -0.45), (-0.55, -0.72, -0.42), 0.3, 0.4),
    "swing_front": ((0.17, -0.95, 0.42), (0.04, -0.72, 0.72), 0.0, 0.5),
    "swing_back": ((0.20, -0.95, -0.38), (0.15, -1.0, 0.02), 0.0, 0.5),
    "up": ((0.50, 0.85, 0.15), (0.12, 1.0, 0.15), 0.3, 0.2),
    "out": ((1.0, -0.12, 0.05), (0.95, 0.05, 0.25), 0.0, 0.15),
    "wave": ((0.85, -0.25, 0.15), (0.30, 0.90, 0.30), 0.4, 0.15),
    "phone": ((0.25, -0.88, 0.32), (-0.12, 0.30, 0.92), 0.5, 0.9),
}

#: Pairs of arm presets (left, right; mirrored at random) and their weights.
ARM_PAIRS: tuple[tuple[str, str, float], ...] = (
    ("down", "down", 4.0), ("relaxed", "relaxed", 4.0), ("open", "open", 2.0),
    ("hip", "relaxed", 3.0), ("hip", "hip", 2.5), ("pocket", "relaxed", 2.5),
    ("pocket", "pocket", 2.0), ("belly", "down", 1.5), ("folded", "belly", 1.0),
    ("hair", "relaxed", 1.5), ("hair", "hip", 1.0), ("chin", "belly", 1.0),
    ("chin", "down", 1.0), ("strap", "relaxed", 1.5), ("back", "back", 1.0),
    ("back", "relaxed", 1.0), ("up", "relaxed", 0.3), ("out", "relaxed", 0.5),
    ("wave", "hip", 0.5), ("wave", "down", 0.5), ("phone", "pocket", 1.0),
    ("phone", "down", 1.0), ("open", "hip", 1.5),
)  # fmt: skip

#: Stances: per leg (hip flexion, spread outwards, knee, toe-out) for left and right.
STANCES: dict[str, tuple[tuple[float, ...], tuple[float, ...], float]] = {
    "stand": ((0.0, 0.04, 0.02, 0.15), (0.0, 0.04, 0.02, 0.15), 4.0),
    "wide": ((0.0, 0.16, 0.02, 0.30), (0.0, 0.16, 0.02, 0.30), 1.5),
    "relaxed_leg": ((0.0, -0.02, 0.0, 0.1), (0.22, 0.10, 0.38, 0.35), 3.0),
    "walk": ((0.38, -0.02, 0.10, 0.05), (-0.26, -0.02, 0.30, 0.05), 2.5),
    "step": ((0.22, -0.03, 0.05, 0.05), (-0.12, -0.03, 0.14, 0.15), 2.0),
    "crossed": ((0.06, -0.10, 0.05, 0.0), (-0.04, -0.08, 0.10, 0.1), 1.0),
    "knee": ((0.75, 0.05, 1.05, 0.1), (0.0, 0.0, 0.0, 0.1), 0.5),
}


@dataclass(frozen=True)
class Pose:
    """Bone transforms [B, 3, 4] and the name of the pose."""

    bones: Floats
    name: str


def _unit(vector: Vector) -> Vector:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def rotation(axis: Vector, angle: float) -> Vector:
    """The rotation matrix [3, 3] about ``axis`` by ``angle`` radians."""
    x, y, z = _unit(np.asarray(axis, np.float64))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def euler(x: float, y: float, z: float) -> Vector:
    """Rotation by z, then x, then y (roll, pitch, yaw)."""
    return (
        rotation(np.array([0.0, 1, 0]), y)
        @ rotation(np.array([1.0, 0, 0]), x)
        @ rotation(np.array([0.0, 0, 1]), z)
    )


def _frame(along: Vector, hinge: Vector) -> Vector:
    first = _unit(along)
    third = _unit(hinge - first * float(hinge @ first))
    return np.stack([first, np.cross(third, first), third], axis=1)


def _twist(turn: Vector, axis: Vector) -> float:
    """The angle of the part of ``turn`` that rotates about ``axis``."""
    swing_trace = np.array(
        [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
    )
    real = 1 + float(np.trace(turn))
    return 2 * float(np.arctan2(swing_trace @ axis, real))


class Skeleton:
    """One body's rest joints, and the rotations that put its limbs where a pose wants them."""

    def __init__(self, asset: Asset, points: Floats) -> None:
        self.asset = asset
        self.points = points
        self.heads = asset.heads(points)
        self.rotations = np.repeat(np.eye(3)[None], len(self.heads), axis=0)

    def joint(self, name: str) -> Vector:
        return self.asset.joint(self.points, name).astype(np.float64)

    def reset(self) -> None:
        self.rotations[:] = np.eye(3)

    def turn(self, bone: str, matrix: Vector) -> None:
        self.rotations[self.asset.bone(bone)] = matrix

    def arm(self, side: str, upper: Vector, fore: Vector, roll: float, curl: float) -> None:
        """Point an arm; directions are in rest axes of the torso with x to the person's left."""
        low, sign = side.lower(), 1.0 if side == "L" else -1.0
        shoulder, elbow = self.joint(f"{low}-shoulder"), self.joint(f"{low}-elbow")
        hand = self.joint(f"{low}-hand")
        rest_upper, rest_fore = _unit(elbow - shoulder), _unit(hand - elbow)
        upper, fore = _unit(upper), _unit(fore)
        lift = np.clip((upper[1] + 0.25) * 0.45, 0.0, 0.5)
        raise_collar = rotation(np.array([0.0, 0, 1]), sign * float(lift))
        self.turn(f"clavicle.{side}", raise_collar)
        upper, fore = raise_collar.T @ upper, raise_collar.T @ fore
        hinge = np.cross(upper, fore)
        # A nearly straight arm has no hinge of its own: lean on the natural one.
        natural = np.cross(upper, np.array([0.15 * -sign, 0.1, 1.0]))
        hinge = _unit(hinge + 0.25 * _unit(natural))
        rest_hinge = np.cross(rest_upper, rest_fore)
        whole = _frame(upper, hinge) @ _frame(rest_upper, rest_hinge).T
        angle = float(np.clip(_twist(whole, rest_upper), -2.2, 2.2))
        swing = whole @ rotation(rest_upper, -angle)
        self.turn(f"upperarm01.{side}", swing @ rotation(rest_upper, 0.4 * angle))
        self.turn(f"upperarm02.{side}", rotation(rest_upper, 0.6 * angle))
        whole = swing @ rotation(rest_upper, angle)
        local = _unit(whole.T @ fore)
        bend_axis = np.cross(rest_fore, local)
        bend = float(np.arctan2(np.linalg.norm(bend_axis), rest_fore @ local))
        fold = rotation(bend_axis, bend) if bend > 1e-6 else np.eye(3)
        self.turn(f"lowerarm01.{side}", fold @ rotation(rest_fore, 0.3 * sign * roll))
        self.turn(f"lowerarm02.{side}", rotation(rest_fore, 0.7 * sign * roll))
        knuckle = self.joint(f"{low}-finger-2-1") - self.joint(f"{low}-finger-5-1")
        axis = _unit(knuckle) * sign
        for finger in range(2, 6):
            amount = curl * (0.75 + 0.1 * finger)
            self.turn(f"finger{finger}-1.{side}", rotation(axis, -0.8 * amount))
            self.turn(f"finger{finger}-2.{side}", rotation(axis, -1.1 * amount))

    def leg(self, side: str, hip: float, spread: float, knee: float, out: float) -> None:
        """Bend a leg; the foot stays level."""
        sign = 1.0 if side == "L" else -1.0
        low = side.lower()
        thigh = self.joint(f"{low}-knee") - self.joint(f"{low}-upper-leg")
        # The rest pose stands with open legs: spread counts from the vertical.
        rest_spread = float(np.arctan2(abs(thigh[0]), -thigh[1]))
        side_turn = rotation(np.array([0.0, 0, 1]), sign * (spread - rest_spread))
        yaw = rotation(np.array([0.0, 1, 0]), sign * out)
        upper = yaw @ rotation(np.array([1.0, 0, 0]), -hip) @ side_turn
        lower = rotation(np.array([1.0, 0, 0]), knee)
        self.turn(f"upperleg.{side}", upper)
        self.turn(f"lowerleg.{side}", lower)
        level = yaw @ rotation(np.array([1.0, 0, 0]), 0.12 if knee > 0.25 else 0.0)
        self.turn(f"foot.{side}", (upper @ lower).T @ level)


class Torso:
    """Elliptic sections of the clothed trunk in rest pose, to keep hands out of it."""

    def __init__(self, asset: Asset, points: Floats, shell: Floats) -> None:
        self.asset = asset
        self.low, self.step = -2.0, 0.4
        rows = np.floor((shell[:, 1] - self.low) / self.step).astype(int)
        self.sections = np.zeros((20, 3))  # half width, front, back
        for row in range(20):
            ring = shell[rows == row]
            if len(ring):
                self.sections[row] = (
                    np.abs(ring[:, 0]).max(), ring[:, 2].max(), ring[:, 2].min()
                )  # fmt: skip

    def depth(self, bones: Floats, probes: Vector) -> float:
        """How far [dm] the deepest of the world points ``probes`` [n, 3] is inside."""
        deepest = 0.0
        for bone in ("root", "spine03", "spine01"):
            frame = bones[self.asset.bone(bone)].astype(np.float64)
            local = (probes - frame[:, 3]) @ frame[:, :3]
            row = np.floor((local[:, 1] - self.low) / self.step).astype(int)
            split = {"root": (0, 8), "spine03": (8, 13), "spine01": (13, 19)}[bone]
            inside = (row >= split[0]) & (row < split[1])
            if not inside.any():
                continue
            width, front, back = self.sections[row[inside]].T
            middle, half = (front + back) / 2, np.maximum((front - back) / 2, 1e-3)
            x = local[inside, 0] / np.maximum(width, 1e-3)
            z = (local[inside, 2] - middle) / half
            radius = np.sqrt(x * x + z * z)
            deepest = max(deepest, float(((1 - radius) * np.minimum(width, half)).max()))
        return deepest


def sample_pose(skeleton: Skeleton, torso: Torso, rng: np.random.Generator) -> Pose:
    """A random pose; draws from ``rng`` the same number of values whatever the body."""
    asset = skeleton.asset
    weights = np.array([pair[2] for pair in ARM_PAIRS])
    left, right, _ = ARM_PAIRS[rng.choice(len(ARM_PAIRS), p=weights / weights.sum())]
    names = list(STANCES)
    weights = np.array([STANCES[name][2] for name in names])
    stance = names[rng.choice(len(names), p=weights / weights.sum())]
    if rng.random() < 0.5:
        left, right = right, left
    legs = STANCES[stance][:2]
    if rng.random() < 0.5:
        legs = (legs[1], legs[0])
    noise = rng.normal(size=(2, 4))
    spine = rng.normal(size=(6, 3))
    arm_noise = rng.normal(size=(2, 2, 3)) * 0.06
    roll_noise, curl_noise = rng.normal(size=2) * 0.15, rng.random(2) * 0.3
    skeleton.reset()
    for side, values, extra in zip("LR", legs, noise, strict=True):
        hip, spread, knee, out = np.array(values) + extra * (0.04, 0.02, 0.03, 0.08)
        skeleton.leg(
            side, float(np.clip(hip, -0.4, 0.9)), float(spread), float(np.clip(knee, 0, 1.3)),
            float(out),
        )  # fmt: skip
    sway = 0.05 if stance in ("stand", "wide") else 0.09
    for index, bone in enumerate(("spine05", "spine04", "spine03", "spine02", "spine01")):
        skeleton.turn(bone, euler(*(spine[index] * (0.02, 0.03, 0.02) * (sway / 0.05))))
    head = spine[5] * (0.08, 0.22, 0.05)
    for bone, share in (("neck01", 0.25), ("neck03", 0.35), ("head", 0.4)):
        skeleton.turn(bone, euler(*(head * share)))
    bones = pose_bones(asset, skeleton.heads, skeleton.rotations)
    for opening in range(6):  # wider until the hands are clear of the body
        for row, (side, preset) in enumerate((("L", left), ("R", right))):
            upper, fore, roll, curl = ARMS[preset]
            mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
            wider = np.array([0.10, 0.0, 0.03 if fore[2] > 0 else -0.03]) * opening
            skeleton.arm(
                side,
                (np.array(upper) + arm_noise[row, 0] + wider * 0.8) * mirror,
                (np.array(fore) + arm_noise[row, 1] + wider) * mirror,
                roll + float(roll_noise[row]),
                curl + float(curl_noise[row]),
            )
        bones = pose_bones(asset, skeleton.heads, skeleton.rotations)
        if torso.depth(bones, _probes(skeleton, bones)) < 0.08:
            break
    return Pose(bones, f"{stance}/{left}-{right}")


def _probes(skeleton: Skeleton, bones: Floats) -> Vector:
    """World positions of the wrists, knuckles, finger tips and the lower half of the forearms."""
    asset, points = skeleton.asset, []
    for side in "LR":
        low = side.lower()
        frame = bones[asset.bone(f"wrist.{side}")].astype(np.float64)
        elbow, hand = skeleton.joint(f"{low}-elbow"), skeleton.joint(f"{low}-hand")
        marks = [hand, 0.5 * (elbow + hand)]
        marks += [skeleton.joint(f"{low}-finger-{i}-{k}") for i in (1, 2, 3, 5) for k in (1, 3)]
        points += [frame[:, :3] @ mark + frame[:, 3] for mark in marks]
    return np.array(points)
