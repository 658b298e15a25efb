"""`python -m training.tools.make_pose_library`: makes the pose library and what the editor's
script reads.

The poses are true projections of the synthetic people's skeleton, put into named stances by the
table below and seen by one camera. Written are `pcdm_core/pose/library.json` and
`web/pose_editor.json`; `--sheet FILE.png` draws all poses for the eye.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pcdm_core.files import write_text
from pcdm_core.pose.editor import LIBRARY_FILE, editor_tables, library
from pcdm_core.pose.render import draw_people, people_of

from ..synthetic.body import Asset, Floats, load_asset, pose_bones
from ..synthetic.camera import Camera, keypoints_3d
from ..synthetic.pose import ARMS, Skeleton, euler
from ..synthetic.shape import DETAILS, Macro

ROOT = Path(__file__).resolve().parents[2]
WEB_FILE = ROOT / "web" / "pose_editor.json"
HEIGHT, WIDTH = 768, 512  # of the poses' canvas
FLOOR, MARGIN = 0.94, 0.04  # where the feet stand, and the free border, as shares of the canvas
ELEVATION, SEATED_ELEVATION = 0.03, 0.20  # of the camera, in radians; lap and knees need the higher
STANDING_SHARE = 0.80  # of the canvas's height, from the eyes of a standing person to the ankles

# How far a point of the face may turn away from the camera (cosine) and still be found, as
# OpenPose does: the far eye goes in profile, the far ear before it, the nose in back views.
NOSE_FACES, EYE_FACES, EAR_FACES = -0.15, 0.15, -0.42

Triple = tuple[float, float, float]
Leg = tuple[float, float, float, float]
NONE: Triple = (0.0, 0.0, 0.0)

#: Per leg: hip flexion, spread outwards, knee, toe-out, in radians; left leg first.
STANCES: dict[str, tuple[Leg, Leg]] = {
    "stand": ((0.0, 0.04, 0.02, 0.15), (0.0, 0.04, 0.02, 0.15)),
    "wide": ((0.0, 0.20, 0.02, 0.30), (0.0, 0.20, 0.02, 0.30)),
    "leaning": ((0.0, -0.03, 0.0, 0.1), (0.26, 0.14, 0.42, 0.35)),
    "crossed": ((0.10, -0.14, 0.08, 0.0), (-0.05, -0.10, 0.12, 0.1)),
    "step": ((0.26, -0.03, 0.05, 0.05), (-0.15, -0.03, 0.18, 0.15)),
    "walk": ((0.45, -0.02, 0.10, 0.05), (-0.32, -0.02, 0.38, 0.05)),
    "stride": ((0.62, -0.07, 0.15, 0.05), (-0.45, -0.05, 0.45, 0.05)),
    "passing": ((-0.04, 0.0, 0.05, 0.05), (0.50, 0.0, 0.95, 0.05)),
    "run": ((1.00, 0.0, 1.10, 0.05), (-0.40, 0.0, 1.15, 0.05)),
    "knee": ((0.95, 0.06, 1.30, 0.1), (0.0, 0.0, 0.0, 0.1)),
    "sit": ((1.45, 0.10, 1.42, 0.1), (1.45, 0.10, 1.42, 0.1)),
    "sit_open": ((1.40, 0.32, 1.40, 0.3), (1.40, 0.32, 1.40, 0.3)),
    "sit_crossed": ((1.62, -0.22, 1.15, 0.1), (1.42, 0.04, 1.45, 0.1)),
    "sit_out": ((1.35, 0.08, 0.55, 0.1), (1.45, 0.12, 1.35, 0.1)),
    "crouch": ((1.75, 0.30, 2.30, 0.4), (1.75, 0.30, 2.30, 0.4)),
    "kneel": ((1.45, 0.10, 1.50, 0.1), (0.05, 0.06, 1.55, 0.1)),
}

#: More directions of the left upper arm and forearm than the generator's people need; see `ARMS`.
MORE_ARMS: dict[str, tuple[Triple, Triple, float, float]] = {
    "lap": ((0.22, -0.85, 0.48), (-0.30, -0.40, 0.87), 0.0, 0.4),
    "thigh": ((0.30, -0.88, 0.38), (0.00, -0.62, 0.78), 0.0, 0.4),
    "support": ((0.40, -0.85, -0.40), (0.20, -0.92, -0.30), 0.0, 0.2),
    "behind_head": ((0.80, 0.55, 0.05), (-0.75, 0.55, -0.30), 0.0, 0.4),
    "point": ((0.95, 0.10, 0.25), (0.90, 0.30, 0.30), 0.0, 0.2),
    "reach": ((0.20, -0.10, 0.97), (0.05, 0.15, 0.98), 0.0, 0.2),
    "run_front": ((0.20, -0.90, 0.40), (-0.15, 0.30, 0.94), 0.0, 0.8),
    "run_back": ((0.25, -0.75, -0.65), (0.10, -0.45, 0.88), 0.0, 0.8),
}


@dataclass(frozen=True)
class Recipe:
    """One pose: angles in degrees; `swap` exchanges the legs.

    `yaw` 0 sees the front, 90 the person's left side, 180 the back. `lean` and `head` are pitch
    (forwards), yaw (to the person's left) and roll of the whole spine and of the head.
    """

    name: str
    group: str
    yaw: float
    stance: str
    arms: tuple[str, str]
    lean: Triple = NONE
    head: Triple = NONE
    swap: bool = False


RECIPES: tuple[Recipe, ...] = (
    Recipe("Standing", "Front", 0, "stand", ("relaxed", "relaxed")),
    Recipe("Arms away from the body", "Front", 0, "wide", ("open", "open")),
    Recipe("Hand on the hip", "Front", 0, "leaning", ("hip", "relaxed")),
    Recipe("Hands on the hips", "Front", 0, "wide", ("hip", "hip")),
    Recipe("Hands in the pockets", "Front", 12, "crossed", ("pocket", "pocket"), lean=(0, 0, -5)),
    Recipe("Arms folded", "Front", 0, "stand", ("folded", "belly"), head=(0, 0, 5)),
    Recipe("Hand in the hair", "Front", -6, "leaning", ("hair", "relaxed"), lean=(0, 0, -6)),
    Recipe("Both arms up", "Front", 0, "stand", ("up", "up")),
    Recipe("Arms out", "Front", 0, "stand", ("out", "out")),
    Recipe("Waving", "Front", 0, "leaning", ("wave", "hip"), lean=(0, 0, 4)),
    Recipe("Hand at the chin", "Front", 8, "crossed", ("belly", "chin"), head=(6, -10, 4)),
    Recipe("Hands behind the back", "Front", -10, "stand", ("back", "back"), lean=(0, 0, 5)),
    Recipe("Legs crossed", "Front", 4, "crossed", ("down", "hip"), lean=(0, 0, 6)),
    Recipe("Knee raised", "Front", 0, "knee", ("out", "hip")),
    Recipe("Hands behind the head", "Front", 0, "stand", ("behind_head", "behind_head")),
    Recipe("Three-quarter left", "Turned", 42, "stand", ("relaxed", "relaxed")),
    Recipe("Three-quarter right", "Turned", -42, "stand", ("relaxed", "relaxed")),
    Recipe("Turned, hand on the hip", "Turned", 48, "step", ("hip", "down"), head=(0, -18, 0)),
    Recipe("Turned, hand on the strap", "Turned", -52, "step", ("belly", "strap"), head=(0, 20, 0)),
    Recipe("Turned, looking back", "Turned", 62, "step", ("relaxed", "strap"), head=(0, -38, 0)),
    Recipe("Turned, pointing", "Turned", -34, "wide", ("hip", "point"), head=(0, -20, 0)),
    Recipe("Turned, on the phone", "Turned", 40, "leaning", ("phone", "pocket")),
    Recipe("Side, left", "Side", 90, "stand", ("down", "down")),
    Recipe("Side, right", "Side", -90, "stand", ("down", "down")),
    Recipe("Side, hand on the hip", "Side", 84, "step", ("hip", "swing_front")),
    Recipe("Side, reaching out", "Side", -88, "step", ("reach", "reach")),
    Recipe("Side, leaning back", "Side", 90, "step", ("swing_back", "belly"), lean=(-14, 0, 0)),
    Recipe("Side, bending forwards", "Side", 90, "stand", ("reach", "reach"), lean=(52, 0, 0)),
    Recipe("Side, face to the camera", "Side", -82, "leaning", ("pocket", "strap"),
           head=(0, 52, 0)),
    Recipe("Back", "Back", 180, "stand", ("relaxed", "relaxed")),
    Recipe("Back, hands on the hips", "Back", 180, "wide", ("hip", "hip")),
    Recipe("Back, looking left", "Back", 168, "leaning", ("down", "hip"), head=(0, 55, 0)),
    Recipe("Back, looking right", "Back", -164, "step", ("pocket", "down"), head=(0, -55, 0)),
    Recipe("Back, arms up", "Back", 180, "wide", ("up", "up")),
    Recipe("Back, turned left", "Back", 132, "stand", ("relaxed", "relaxed")),
    Recipe("Back, turned right", "Back", -132, "leaning", ("hair", "relaxed"), swap=True),
    Recipe("Walking to the camera", "Walking", 0, "stride", ("swing_back", "swing_front"),
           lean=(4, 0, -4)),
    Recipe("Walking, other foot", "Walking", 20, "stride", ("swing_front", "swing_back"),
           swap=True),
    Recipe("Walking left", "Walking", 90, "stride", ("swing_back", "swing_front")),
    Recipe("Walking right", "Walking", -90, "stride", ("swing_front", "swing_back"), swap=True),
    Recipe("Walking right, passing", "Walking", -88, "passing", ("swing_front", "down")),
    Recipe("Walking, three-quarter", "Walking", -44, "walk", ("swing_back", "swing_front")),
    Recipe("Walking away", "Walking", 176, "stride", ("swing_front", "swing_back"), swap=True),
    Recipe("Walking away, turned", "Walking", -140, "walk", ("strap", "swing_back")),
    Recipe("Running", "Walking", 84, "run", ("run_back", "run_front"), lean=(14, 0, 0)),
    Recipe("Seated", "Seated", 0, "sit", ("thigh", "thigh")),
    Recipe("Seated, hands in the lap", "Seated", 34, "sit", ("lap", "lap")),
    Recipe("Seated, legs apart", "Seated", 0, "sit_open", ("hip", "thigh"), lean=(10, 0, 0)),
    Recipe("Seated, legs crossed", "Seated", -30, "sit_crossed", ("lap", "support")),
    Recipe("Seated, side", "Seated", 90, "sit", ("thigh", "thigh")),
    Recipe("Seated, side, leaning back", "Seated", -86, "sit_out", ("support", "support"),
           lean=(-18, 0, 0)),
    Recipe("Seated, chin in the hand", "Seated", -46, "sit_crossed", ("belly", "chin"),
           lean=(16, 0, 0), head=(8, 12, 6)),
    Recipe("Seated, from behind", "Seated", 150, "sit", ("support", "thigh"), head=(0, 40, 0)),
    Recipe("Crouching", "Seated", 26, "crouch", ("thigh", "lap"), lean=(14, 0, 0)),
    Recipe("On one knee", "Seated", -50, "kneel", ("thigh", "hip")),
)  # fmt: skip


def body() -> tuple[Asset, Floats]:
    """A body of average build, and its rest points."""
    asset = load_asset()
    return asset, asset.morph(
        Macro(0.5, 0.2, 0.5, 0.45, 0.6, 0.7, 0.5, (1 / 3, 1 / 3, 1 / 3)), np.zeros(len(DETAILS))
    )


def joints_of(recipe: Recipe, asset: Asset, points: Floats) -> Floats:
    """World positions [18, 3] of the key points."""
    skeleton = Skeleton(asset, points)
    legs = STANCES[recipe.stance]
    for side, leg in zip("LR", reversed(legs) if recipe.swap else legs, strict=True):
        skeleton.leg(side, *leg)
    for part, bones in (
        (recipe.lean, ("spine05", "spine04", "spine03", "spine02", "spine01")),
        (recipe.head, ("neck01", "neck03", "head")),
    ):
        for bone in bones:
            skeleton.turn(bone, euler(*(np.radians(part) / len(bones))))
    for side, preset in zip("LR", recipe.arms, strict=True):
        upper, fore, roll, curl = (ARMS | MORE_ARMS)[preset]
        mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
        skeleton.arm(side, np.array(upper) * mirror, np.array(fore) * mirror, roll, curl)
    return keypoints_3d(asset, points, pose_bones(asset, skeleton.heads, skeleton.rotations))


def detected(joints: Floats, towards: Floats) -> np.ndarray:
    """Which joints [18] a detector would report: all, less the face's that look away."""
    middle = (joints[16] + joints[17]) / 2
    facing = np.ones(18)
    for joint in (0, 14, 15, 16, 17):
        out = joints[joint] - middle
        facing[joint] = float(out @ towards) / float(np.linalg.norm(out))
    least = np.full(18, -1.0)
    least[[0]], least[[14, 15]], least[[16, 17]] = NOSE_FACES, EYE_FACES, EAR_FACES
    return facing > least


def project(recipe: Recipe, asset: Asset, points: Floats, span: float) -> tuple[Floats, np.ndarray]:
    """Pixels [18, 2] on the canvas and which joints are found."""
    joints = joints_of(recipe, asset, points)
    centre = (joints.max(axis=0) + joints.min(axis=0)) / 2
    elevation = SEATED_ELEVATION if recipe.group == "Seated" else ELEVATION
    camera = Camera(float(np.radians(recipe.yaw)), elevation, centre.astype(np.float32), span)
    pixels, _ = camera.project(joints, HEIGHT, WIDTH)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) * (1 - 2 * MARGIN)
    pixels = (pixels - low) * min(1.0, float((room / (high - low)).min()))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    top = HEIGHT * FLOOR - (high[1] - low[1])
    if recipe.group == "Seated":  # in the middle rather than at the bottom
        top = (HEIGHT - (high[1] - low[1])) / 2
    place = np.array([(WIDTH - high[0]) / 2, max(top, HEIGHT * MARGIN)])
    return pixels + place, detected(joints, camera.axes[2])


def make() -> dict[str, Any]:
    """The library as `library.json` has it."""
    asset, points = body()
    standing = joints_of(RECIPES[0], asset, points)
    span = float(standing[[14, 15], 1].mean() - standing[[10, 13], 1].mean()) / STANDING_SHARE
    poses = []
    for recipe in RECIPES:
        xy, visibility = project(recipe, asset, points, span)
        flat = [
            value
            for (x, y), visible in zip(xy.tolist(), visibility.tolist(), strict=True)
            for value in (round(x), round(y), int(visible))
        ]
        poses.append({"name": recipe.name, "group": recipe.group, "pose_keypoints_2d": flat})
    return {"version": 1, "canvas_height": HEIGHT, "canvas_width": WIDTH, "poses": poses}


def write(document: Any, path: Path) -> None:
    """JSON with one pose a line, whole or not at all."""
    text = json.dumps(document, indent=None, separators=(",", ":"))
    text = text.replace('{"name"', '\n{"name"').replace("}]", "}\n]") + "\n"
    write_text(path, text)


def sheet(path: Path, columns: int = 11) -> None:
    """All poses of the library with their names."""
    poses = library()
    height, width, line = 300, 200, 16
    rows = -(-len(poses) // columns)
    picture = Image.new("RGB", (columns * (width + 4), rows * (height + line + 4)), (52, 52, 52))
    draw = ImageDraw.Draw(picture)
    for number, pose in enumerate(poses):
        (person,) = people_of(pose.keypoints)
        skeleton = Image.fromarray(draw_people([person], height * 2, width * 2))
        x, y = number % columns * (width + 4), number // columns * (height + line + 4)
        picture.paste(skeleton.resize((width, height), Image.Resampling.LANCZOS), (x, y))
        label = f"{pose.group}: {pose.name}"
        draw.text((x + 2, y + height), label, (230, 230, 230), ImageFont.load_default(11))
    picture.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheet", type=Path, metavar="FILE.png", help="draw all poses")
    arguments = parser.parse_args()
    write(make(), LIBRARY_FILE)
    write(editor_tables(), WEB_FILE)
    print(f"{LIBRARY_FILE} and {WEB_FILE}: {len(library())} poses")
    if arguments.sheet is not None:
        sheet(arguments.sheet)
        print(arguments.sheet)


if __name__ == "__main__":
    main()
