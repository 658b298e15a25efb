"""`python -m training.tools.make_pose_library`: makes the pose library and what the editor's
script reads.

The poses are true projections of the synthetic people's skeleton, put into named stances by the
tables of `pose_recipes` and seen by one camera: they are the pack's own, and nobody's picture was
traced. Written are `pcdm_core/pose/library.json` and `web/pose_editor.json`; `--sheet FILE.png`
draws all poses for the eye.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pcdm_core.files import write_text
from pcdm_core.pose.bones import PARENT, TREE
from pcdm_core.pose.editor import LIBRARY_FILE, editor_tables, library
from pcdm_core.pose.keypoints import FACE
from pcdm_core.pose.render import draw_people, people_of

from ..synthetic.body import Asset, Floats, load_asset, pose_bones
from ..synthetic.camera import Camera, keypoints_3d
from ..synthetic.pose import ARMS, Skeleton, euler, rotation
from ..synthetic.shape import DETAILS, Macro
from .pose_recipes import MORE_ARMS, RECIPES, STANCES, Recipe

ROOT = Path(__file__).resolve().parents[2]
WEB_FILE = ROOT / "web" / "pose_editor.json"
HEIGHT, WIDTH = 768, 512  # of the poses' canvas
FLOOR, MARGIN = 0.94, 0.04  # where the feet stand, and the free border, as shares of the canvas
ELEVATION = (
    0.03  # of the camera, in radians; of a group that stands: lap and knees need a higher one
)
LOW_GROUPS = {"Seated": 0.20, "Floor": 0.25, "Kneeling": 0.12, "Lying": 0.25}  # no feet to stand on
NECK = 0.42  # where it is in a close-up, as a share of the canvas's height
STANDING_SHARE = 0.80  # of the canvas's height, from the eyes of a standing person to the ankles

# How far a point of the face may turn away from the camera (cosine) and still be found, as
# OpenPose does: the far eye goes in profile, the far ear before it, the nose in back views.
NOSE_FACES, EYE_FACES, EAR_FACES = -0.15, 0.15, -0.42


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
        skeleton.leg(side, *leg[:4])
        if len(leg) > 4:
            low, sign = side.lower(), 1.0 if side == "L" else -1.0
            thigh = skeleton.joint(f"{low}-knee") - skeleton.joint(f"{low}-upper-leg")
            bone = asset.bone(f"upperleg.{side}")
            skeleton.turn(
                f"upperleg.{side}", skeleton.rotations[bone] @ rotation(thigh, sign * leg[4])
            )
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
    joints = keypoints_3d(asset, points, pose_bones(asset, skeleton.heads, skeleton.rotations))
    return joints @ euler(*np.radians(recipe.turn)).T


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
    elevation = LOW_GROUPS.get(recipe.group, ELEVATION)
    camera = Camera(float(np.radians(recipe.yaw)), elevation, centre.astype(np.float32), span)
    pixels, _ = camera.project(joints, HEIGHT, WIDTH)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    room = np.array([WIDTH, HEIGHT]) * (1 - 2 * MARGIN)
    pixels = (pixels - low) * min(1.0, float((room / (high - low)).min()))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    top = HEIGHT * FLOOR - (high[1] - low[1])
    if recipe.group in LOW_GROUPS:  # in the middle rather than at the bottom
        top = (HEIGHT - (high[1] - low[1])) / 2
    pixels += np.array([(WIDTH - high[0]) / 2, max(top, HEIGHT * MARGIN)])
    visible = detected(joints, camera.axes[2])
    if recipe.zoom > 1:
        middle = np.array([pixels[[0, 1], 0].mean(), pixels[1, 1]])
        pixels = (pixels - middle) * recipe.zoom + np.array([WIDTH / 2, HEIGHT * NECK])
        visible &= ((pixels >= 0) & (pixels <= [WIDTH, HEIGHT])).all(axis=1)
        for joint in TREE[1:]:  # what hangs on nothing says little
            visible[joint] &= visible[PARENT[joint]] or joint in FACE
    return pixels, visible


def make() -> dict[str, Any]:
    """The library as `library.json` has it."""
    asset, points = body()
    standing = joints_of(RECIPES[0], asset, points)
    span = float(standing[[14, 15], 1].mean() - standing[[10, 13], 1].mean()) / STANDING_SHARE
    poses = []
    groups = list(dict.fromkeys(recipe.group for recipe in RECIPES))
    for recipe in sorted(RECIPES, key=lambda recipe: groups.index(recipe.group)):
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
