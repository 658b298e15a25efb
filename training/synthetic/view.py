"""Pose, frame and draw one view of an identity."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .appearance import GLOSS, PAINTERS
from .body import load_asset, skin_points, transform
from .camera import Camera, keypoints_3d, visibility
from .identity import Identity
from .pose import sample_pose
from .render import interpolate, occlusion, rasterise, shade

SAMPLES = 2  # supersampling per axis
#: Where a spot of shadow ends, in radii: exp(-FAINT ** 2) is lost when it is taken from 1 in fp32.
FAINT = 4.5
#: The first eight views of every identity: (kind of yaw, framing); the order is shuffled.
MIX = (
    ("front", "full"), ("front", "three-quarter"), ("back", "full"), ("side", "full"),
    ("quarter", "full"), ("rear", "full"), ("quarter", "near"), ("any", "any"),
)  # fmt: skip
#: Tables of shares; a drawn name that is itself a table is drawn from again.
FRAMINGS = {
    "any": (("full", 0.60), ("three-quarter", 0.20), ("near", 0.20)),
    "near": (("upper", 0.65), ("close", 0.35)),
}
YAWS = {
    "any": (("front", 0.40), ("quarter", 0.22), ("side", 0.12), ("rear", 0.12), ("back", 0.14)),
}
#: Radians on either side; `rear` sees the back and one flank.
TURNS = {
    "front": (0.0, 0.33), "quarter": (0.35, 1.15), "side": (1.22, 1.88), "rear": (1.95, 2.6),
    "back": (2.61, np.pi),
}  # fmt: skip


@dataclass(frozen=True)
class View:
    """One picture of a person.

    Args:
        picture: uint8 [H, W, 3]. mask: uint8 [H, W], 0 or 255.
        xy: float32 [18, 2] in pixels (pixel centres at integer + 0.5).
        visible: uint8 [18]; 0 outside the frame, 1 occluded, 2 visible.
        info: yaw in radians, framing and pose.
    """

    picture: NDArray[np.uint8]
    mask: NDArray[np.uint8]
    xy: NDArray[np.float32]
    visible: NDArray[np.uint8]
    info: dict[str, Any]


@dataclass
class _Scene:
    """All pieces of an identity in one list of triangles."""

    points: np.ndarray
    normals: np.ndarray
    skin: np.ndarray
    faces: np.ndarray
    behind: np.ndarray
    cut: np.ndarray
    attributes: np.ndarray
    material: np.ndarray  # per face
    hanging: np.ndarray  # per vertex: hair outside of the clothes


def _scene(identity: Identity) -> _Scene:
    if "scene" not in identity.cache:
        parts, behind = [], []
        for piece in identity.pieces:
            part, back = piece.trimmed()
            parts.append(part)
            behind.append(back)
        kinds = [material.kind for material in identity.materials]
        starts = np.cumsum([0] + [len(p.points) for p in parts[:-1]])
        identity.cache["scene"] = _Scene(
            np.concatenate([p.points for p in parts]).astype(np.float32),
            np.concatenate([p.normals for p in parts]).astype(np.float32),
            np.concatenate([p.skin for p in parts]).astype(np.float32),
            np.concatenate([p.faces + s for p, s in zip(parts, starts, strict=True)]),
            np.concatenate(behind),
            np.concatenate([p.cut for p in parts]).astype(np.float32),
            np.concatenate([p.attributes for p in parts]).astype(np.float32),
            np.concatenate([np.full(len(p.faces), p.material) for p in parts]),
            np.concatenate([np.full(len(p.points), kinds[p.material] == "hair" and p.two_sided)
                            for p in parts]),
        )  # fmt: skip
    return identity.cache["scene"]


def _choose(table: tuple[tuple[str, float], ...], draw: float) -> str:
    total = 0.0
    for name, share in table:
        total += share
        if draw < total:
            return name
    return table[-1][0]


def _setting(identity: Identity, view: int, rng: np.random.Generator) -> tuple[float, str]:
    """Yaw and framing: shuffled ``MIX`` for each run of eight views."""
    lap, place = divmod(view, len(MIX))
    order = np.random.default_rng([identity.seed, 7, lap]).permutation(len(MIX))
    kind, framing = MIX[order[place]]
    draws = rng.random(5)
    if kind in YAWS:
        kind = _choose(YAWS[kind], float(draws[0]))
    if framing == "any":
        framing = _choose(FRAMINGS[framing], float(draws[1]))
    if framing == "near":
        framing = _choose(FRAMINGS[framing], float(draws[4]))
    sign = 1.0 if draws[2] < 0.5 else -1.0
    low, high = TURNS[kind]
    return sign * (low + (high - low) * float(draws[3])), framing


def render_view(identity: Identity, view: int, height: int = 256, width: int = 176) -> View:
    """Draw view number ``view``; the same arguments always give the same picture."""
    asset = load_asset()
    rng = np.random.default_rng([identity.seed, 1, view])
    yaw, framing = _setting(identity, view, rng)
    elevation = float(np.clip(rng.normal(0.03, 0.05), -0.1, 0.18))
    fill, lift, sway = rng.uniform(0.85, 0.92), rng.uniform(-0.25, 0.25), rng.normal() * 0.02
    light = np.array([rng.uniform(-0.6, 0.6), rng.uniform(0.35, 0.7), 0.8], np.float32)
    pose = sample_pose(identity.skeleton, identity.torso, rng)
    scene = _scene(identity)
    points, linear = skin_points(scene.points, scene.skin, pose.bones)
    normals = transform(linear, scene.normals)
    joints = keypoints_3d(asset, identity.points, pose.bones)
    camera = _frame(identity, points, joints, pose.bones, yaw, elevation, framing, fill, lift)
    camera = Camera(yaw, elevation, camera[0], camera[1], float(sway * width))
    rows, columns = height * SAMPLES, width * SAMPLES
    screen, distance = camera.project(points, rows, columns)
    # Seen from behind, long hair lies over whatever the pose has moved into it.
    distance = distance - np.float32(0.3 * max(0.0, -np.cos(yaw))) * scene.hanging
    hits = rasterise(screen, distance, scene.faces, scene.cut, scene.behind, rows, columns)
    values = interpolate(
        np.concatenate([scene.attributes, normals @ camera.axes.T], axis=1), scene.faces, hits
    )
    attributes, normal = values[:, :7], values[:, 7:]
    length = np.sqrt(normal[:, 0] ** 2 + normal[:, 1] ** 2 + normal[:, 2] ** 2)
    normal = normal / np.maximum(length, 1e-6)[:, None]
    inside = normal[:, 2] < -0.25  # the lining of cuffs, hems and necks lies in shadow
    normal[:, 2] = np.abs(normal[:, 2])
    kind = scene.material[hits.face]
    colour = np.zeros((len(kind), 3), np.float32)
    gloss = np.zeros((len(kind), 2), np.float32)
    step = camera.span / rows  # dm between samples
    for index, material in enumerate(identity.materials):
        mine = np.flatnonzero(kind == index)
        if len(mine):
            if material.kind == "skin":
                material = replace(material, values={**material.values, "step": step})
            colour[mine] = PAINTERS[material.kind](material, attributes[mine])
            gloss[mine] = GLOSS[material.kind]
    radius = max(2, round(rows * 0.016 * 17 / camera.span))
    ambient = occlusion(hits.depth, radius, 1.3).ravel()[hits.pixel]
    light /= np.linalg.norm(light)
    lit = shade(colour, normal, gloss, np.where(inside, 1.0, ambient), light)
    ramp = np.linspace(1.02, 0.97, rows, dtype=np.float32)
    feet = _soles(identity, pose.bones, float(points[:, 1].min()))
    floor = _contact_shadow(camera, feet, rows, columns)
    canvas = np.empty((3, rows, columns), np.float32)  # planes: long rows are what numpy is fast at
    for plane, ground, shaded in zip(canvas, identity.background, lit.T, strict=True):
        np.multiply(floor, (np.float32(ground) * ramp)[:, None], out=plane)
        plane.reshape(-1)[hits.pixel] = shaded
    small = np.stack([_shrink(plane) for plane in canvas], axis=2)
    cover = _shrink(np.isfinite(hits.depth).astype(np.float32))
    xy, away = camera.project(joints, height, width)
    return View(
        picture=np.round(np.clip(small, 0, 1) * 255).astype(np.uint8),
        mask=np.where(cover >= 0.5, 255, 0).astype(np.uint8),
        xy=xy,
        visible=visibility(xy, away, hits.depth, height, width),
        info={"yaw": round(yaw, 4), "framing": framing, "pose": pose.name},
    )


def _soles(identity: Identity, bones: np.ndarray, ground: float) -> np.ndarray:
    """[2, 4]: where the feet's shadows lie on the ground (x, y, z), and how high a foot is."""
    out = np.zeros((2, 4), np.float32)
    for row, side in enumerate("LR"):
        rest = identity.skeleton.joint(f"{side.lower()}-ankle")
        drop = rest[1] - float(identity.points[:, 1].min())
        frame = bones[load_asset().bone(f"foot.{side}")]
        sole = frame[:, :3] @ (rest + np.array([0.0, -drop, 0.55])) + frame[:, 3]
        out[row] = sole[0], ground, sole[2], max(0.0, float(sole[1]) - ground - 0.1)
    return out


def _contact_shadow(camera: Camera, feet: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Factor [rows, columns] of the floor's light: a soft spot below each foot, a wide one."""
    out = np.ones((rows, columns), np.float32)
    middle = np.append(feet[:, :3].mean(axis=0), 0.0)
    spots = [(*feet[0], 0.95, 0.45), (*feet[1], 0.95, 0.45), (*middle, 2.4, 0.20)]
    for x, y, z, height, radius, strength in spots:
        place = np.array([[x, y, z]], np.float32)
        screen, distance = camera.project(place, rows, columns)
        scale = rows / camera.span * 3.25 * camera.span / float(distance[0])
        # The floor is seen at the angle of the line of sight.
        line = camera.centre + 3.25 * camera.span * camera.axes[2] - place[0]
        slope = max(0.10, float(line[1]) / float(np.linalg.norm(line)))
        across, down = radius * scale, radius * scale * slope + 0.5 * SAMPLES
        u = (np.arange(columns, dtype=np.float32) + 0.5 - screen[0, 0]) / across
        low = max(0, int(screen[0, 1] - 3 * down))
        v = (np.arange(low, rows, dtype=np.float32) + 0.5 - screen[0, 1]) / down
        amount = strength * float(np.exp(-2.0 * height))
        near = np.flatnonzero(np.abs(u) < FAINT)
        if len(near):
            part = slice(int(near[0]), int(near[-1]) + 1)
            spot = amount * np.exp(-(v * v))[:, None] * np.exp(-(u[part] * u[part]))[None]
            out[low:, part] *= 1 - spot
    return out


def _shrink(image: np.ndarray) -> np.ndarray:
    """Mean over SAMPLES x SAMPLES blocks."""
    rows = np.add.reduce([image[i::SAMPLES] for i in range(SAMPLES)])
    return np.add.reduce([rows[:, i::SAMPLES] for i in range(SAMPLES)]) / SAMPLES**2


def _frame(
    identity: Identity, points: np.ndarray, joints: np.ndarray, bones: np.ndarray, yaw: float,
    elevation: float, framing: str, fill: float, lift: float,
) -> tuple[np.ndarray, float]:  # fmt: skip
    """Centre [3] and height [dm] of the frame: by the head, never by a raised hand."""
    asset = load_asset()
    head = bones[asset.bone("head")]
    crown = identity.skeleton.joint("head").astype(np.float32)
    crown[1] = identity.top
    top = float((head[:, :3] @ crown + head[:, 3])[1])
    low = {
        "full": float(points[:, 1].min()),
        "three-quarter": float(joints[[9, 12], 1].mean()) + 0.4,
        "upper": float(joints[[8, 11], 1].mean()) - 0.4,
        "close": float(joints[1, 1]) - 2.3,
    }[framing]
    if framing == "full":
        span = (top - low) / fill
        middle = (top + low) / 2 + lift * (span - (top - low)) * 0.5
    else:
        span = (top - low) / 0.95
        middle = top + 0.05 * span * (1 + lift) - span / 2
    across = (joints[1] + joints[8] + joints[11] + joints[0]) / 4
    return np.array([across[0], middle, across[2]], np.float32), span
