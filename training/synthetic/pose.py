"""Random catalogue poses as rotations of the skeleton's bones.

Arms are set by two directions, upper arm and forearm, in the frame of the torso; legs by angles.
Poses in which a hand or forearm would sink into the torso are opened until it does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .body import Asset, Flags, Floats, pose_bones

Vector = NDArray[np.float64]
Rows = NDArray[np.int64]

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
    return vector / max(math.sqrt(vector @ vector), 1e-9)


def _cross(first: Vector, second: Vector) -> Vector:
    """Of two vectors [3]: the numbers of ``np.cross`` without its care for shapes."""
    (a, b, c), (x, y, z) = first.tolist(), second.tolist()
    return np.array([b * z - c * y, c * x - a * z, a * y - b * x])


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
    return np.stack([first, _cross(third, first), third], axis=1)


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
        hinge = _cross(upper, fore)
        # A nearly straight arm has no hinge of its own: lean on the natural one.
        natural = _cross(upper, np.array([0.15 * -sign, 0.1, 1.0]))
        hinge = _unit(hinge + 0.25 * _unit(natural))
        rest_hinge = _cross(rest_upper, rest_fore)
        whole = _frame(upper, hinge) @ _frame(rest_upper, rest_hinge).T
        angle = float(np.clip(_twist(whole, rest_upper), -2.2, 2.2))
        swing = whole @ rotation(rest_upper, -angle)
        self.turn(f"upperarm01.{side}", swing @ rotation(rest_upper, 0.4 * angle))
        self.turn(f"upperarm02.{side}", rotation(rest_upper, 0.6 * angle))
        whole = swing @ rotation(rest_upper, angle)
        local = _unit(whole.T @ fore)
        bend_axis = _cross(rest_fore, local)
        bend = float(np.arctan2(math.sqrt(bend_axis @ bend_axis), rest_fore @ local))
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


@dataclass(frozen=True)
class _Section:
    """Rows of a part of the clothed body about an axis, in the rest frame of a bone."""

    bone: int
    low: float
    centres: Vector  # [rows, 2] x and z of the axis
    radius: Vector  # [rows, BINS] outermost cloth in each direction


class Torso:
    """Sections of the clothed trunk and thighs in rest pose, to keep hands out of them."""

    STEP, BINS = 0.4, 24

    def __init__(self, asset: Asset, points: Floats, shell: Floats) -> None:
        self.asset = asset
        shell = shell.astype(np.float64)
        self.sections: list[_Section] = []
        for bone, low, high in (
            ("root", -0.6, 1.2), ("spine03", 1.2, 3.2), ("spine01", 3.2, 5.2)
        ):  # fmt: skip
            rows = round((high - low) / self.STEP)
            centres = np.zeros((rows, 2))
            for row in range(rows):
                y = low + row * self.STEP
                z = shell[(shell[:, 1] >= y) & (shell[:, 1] < y + self.STEP), 2]
                centres[row, 1] = (z.max() + z.min()) / 2 if len(z) else 0.0
            self._add(bone, low, centres, shell)
        for side, sign in (("L", 1.0), ("R", -1.0)):
            hip = asset.joint(points, f"{side.lower()}-upper-leg").astype(np.float64)
            knee = asset.joint(points, f"{side.lower()}-knee").astype(np.float64)
            low, rows = float(hip[1]) - 3.2, 8
            heights = low + self.STEP * (np.arange(rows) + 0.5)
            along = ((hip[1] - heights) / (hip[1] - knee[1]))[:, None]
            centres = hip[[0, 2]] + along * (knee - hip)[[0, 2]]
            self._add(f"upperleg.{side}", low, centres, shell[shell[:, 0] * sign > 0])

    def _place(
        self, low: float, centres: Vector, points: Vector
    ) -> tuple[Rows, Rows, Vector, Flags]:
        """Row, bin and distance from the axis of ``points``; and which lie in the rows."""
        row = np.floor((points[:, 1] - low) / self.STEP).astype(np.int64)
        inside = (row >= 0) & (row < len(centres))
        row = np.clip(row, 0, len(centres) - 1)
        x, z = points[:, 0] - centres[row, 0], points[:, 2] - centres[row, 1]
        turn = np.arctan2(x, z) / (2 * np.pi) % 1.0
        return row, (turn * self.BINS).astype(np.int64) % self.BINS, np.hypot(x, z), inside

    def _add(self, bone: str, low: float, centres: Vector, shell: Vector) -> None:
        radius = np.zeros((len(centres), self.BINS))
        row, turn, reach, inside = self._place(low, centres, shell)
        np.maximum.at(radius, (row[inside], turn[inside]), reach[inside])
        for _ in range(3):  # directions without a vertex take their neighbours'
            either = np.maximum(np.roll(radius, 1, axis=1), np.roll(radius, -1, axis=1))
            radius = np.where(radius > 0, radius, either)
        self.sections.append(_Section(self.asset.bone(bone), low, centres, radius))

    def depth(self, bones: Floats, probes: Vector, thick: Vector) -> float:
        """How far [dm] the deepest of some balls is inside.

        Args:
            probes: [n, 3] centres in world axes. thick: [n] radii.
        """
        deepest = 0.0
        for section in self.sections:
            frame = bones[section.bone].astype(np.float64)
            local = (probes - frame[:, 3]) @ frame[:, :3]
            row, turn, reach, inside = self._place(section.low, section.centres, local)
            sunk = (section.radius[row, turn] + thick - reach)[inside]
            deepest = max(deepest, float(sunk.max(initial=0.0)))
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
    arms = []
    for row, (side, preset) in enumerate((("L", left), ("R", right))):
        arms.append(
            _place_arm(skeleton, torso, bones, side, preset, arm_noise[row],
                       (float(roll_noise[row]), float(curl_noise[row])))
        )  # fmt: skip
    bones = pose_bones(asset, skeleton.heads, skeleton.rotations)
    return Pose(bones, f"{stance}/{arms[0]}-{arms[1]}")


def _place_arm(
    skeleton: Skeleton, torso: Torso, bones: Floats, side: str, preset: str, noise: Vector,
    turns: tuple[float, float],
) -> str:  # fmt: skip
    """Open an arm until its hand is clear of body and clothes; returns the preset that was.

    A preset that would take more than six steps gives way to an arm that hangs.
    """
    mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
    best, least = (preset, 0), np.inf
    for name in (preset, *(other for other in ("relaxed", "open") if other != preset)):
        for opening in range(6):
            _set_arm(skeleton, side, name, opening, noise, turns, mirror)
            sunk = torso.depth(bones, *_probes(skeleton, bones, side))
            if sunk < 0.03:
                return name
            if sunk < least:
                best, least = (name, opening), sunk
    _set_arm(skeleton, side, *best, noise, turns, mirror)
    return best[0]


def _set_arm(
    skeleton: Skeleton, side: str, preset: str, opening: int, noise: Vector,
    turns: tuple[float, float], mirror: Vector,
) -> None:  # fmt: skip
    upper, fore, roll, curl = ARMS[preset]
    # An arm that crosses the body is lifted off it, any other is spread.
    out, off = (0.03, 0.09) if fore[0] < -0.3 else (0.10, 0.03)
    wider = np.array([out, 0.0, off if fore[2] > 0 else -off]) * opening
    skeleton.arm(
        side, (np.array(upper) + noise[0] + wider * 0.8) * mirror,
        (np.array(fore) + noise[1] + wider) * mirror, roll + turns[0], curl + turns[1],
    )  # fmt: skip


def _probes(skeleton: Skeleton, bones: Floats, side: str) -> tuple[Vector, Vector]:
    """Balls [n, 3] and radii [n] of a hand and the forearm, of the arm as it is set.

    ``bones`` need to be right up to the chest only.
    """
    asset, low = skeleton.asset, side.lower()
    chain = [asset.bone(f"wrist.{side}")]
    clavicle = asset.bone(f"clavicle.{side}")
    while chain[-1] != clavicle:
        chain.append(int(asset.bone_parents[chain[-1]]))
    frame = bones[asset.bone_parents[clavicle]].astype(np.float64)
    turn, shift = frame[:, :3], frame[:, 3]
    elbow, hand = skeleton.joint(f"{low}-elbow"), skeleton.joint(f"{low}-hand")
    points: list[Vector] = []
    for bone in reversed(chain):
        local = skeleton.rotations[bone]
        head = skeleton.heads[bone].astype(np.float64)
        turn, shift = turn @ local, turn @ (head - local @ head) + shift
        if bone == chain[2]:  # the first half of the forearm
            points.append(turn @ (0.6 * elbow + 0.4 * hand) + shift)
    marks = [hand, 0.35 * elbow + 0.65 * hand]
    marks += [skeleton.joint(f"{low}-finger-{i}-{k}") for i in (1, 2, 3, 5) for k in (1, 3)]
    points += [turn @ mark + shift for mark in marks]
    return np.array(points), np.array([0.15, 0.2, 0.2] + [0.10, 0.05] * 4)
