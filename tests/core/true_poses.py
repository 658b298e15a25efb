"""True poses by the thousand: library, examples, and people of the generator, posed anew."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from pcdm_core.pose.editor import library
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from training.synthetic import Identity, identity_seed, make_identity
from training.synthetic.body import load_asset, pose_bones
from training.synthetic.camera import Camera, keypoints_3d, openpose_visibility
from training.synthetic.pose import ARMS, sample_pose

EXAMPLES = Path(__file__).resolve().parents[2] / "pcdm_core" / "weights" / "examples"
HEIGHT, WIDTH = 768, 512
KINDS = ("standing", "seated", "lying", "foreshortened", "cut", "seated and cut", "bent")


@lru_cache(maxsize=8)
def identity(number: int) -> Identity:
    return make_identity(identity_seed(0, "train", number))


def file_poses() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """The poses of files: library and examples."""
    for pose in library():
        yield pose.name, *pixels(pose.keypoints)
    for file in sorted(EXAMPLES.glob("*/*.json")):
        yield f"{file.parent.name}/{file.stem}", *pixels(read_pose(file))


def pixels(keypoints: Keypoints) -> tuple[np.ndarray, np.ndarray]:
    return keypoints.to_pixels(HEIGHT, WIDTH)[0].numpy(), keypoints.visible[0].numpy()


def random_pose(seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Kind, places `[18, 2]` in pixels, and which joints a detector would give `[18]`."""
    rng = np.random.default_rng([21, seed])
    kind = KINDS[seed % len(KINDS)]
    person = identity(int(rng.integers(6)))
    bones = bones_of(person, kind, rng)
    joints = keypoints_3d(load_asset(), person.points, bones)
    elevation = rng.uniform(-0.1, 0.18)
    if kind == "foreshortened":
        elevation = rng.choice([-1, 1]) * rng.uniform(0.5, 1.2)
    middle = (joints.min(axis=0) + joints.max(axis=0)) / 2
    camera = Camera(rng.uniform(-np.pi, np.pi), float(elevation), middle, 20.0)
    xy = camera.project(joints, HEIGHT, WIDTH)[0].astype(np.float64)
    if kind == "lying":
        turn = rng.choice([-1, 1]) * rng.uniform(1.1, 2.0)
        cosine, sine = np.cos(turn), np.sin(turn)
        xy = (xy - xy.mean(axis=0)) @ np.array([[cosine, sine], [-sine, cosine]])
        xy += (WIDTH / 2, HEIGHT / 2)
    codes = np.full(18, 2, dtype=np.uint8)
    codes[rng.random(18) < 0.12] = 1  # what a limb or a chair hides
    if "cut" in kind:
        lowest, highest = np.quantile(xy[:, 1], sorted(rng.choice([0.0, 0.3, 0.6, 1.0], 2, False)))
        codes[(xy[:, 1] < lowest - 1) | (xy[:, 1] > highest + 1)] = 0
    return kind, xy, openpose_visibility(xy, codes, rng)


def bones_of(person: Identity, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Posed bones; of what stands as the generator poses it, else with other legs and trunk."""
    skeleton = person.skeleton
    pose = sample_pose(skeleton, person.torso, rng)
    if kind in ("standing", "cut"):
        return pose.bones
    for side in "LR":
        if "seated" in kind or (kind == "lying" and rng.random() < 0.5):
            bend = rng.uniform(0.9, 2.0)
            turn = float(rng.uniform(-0.2, 0.8))
            skeleton.leg(side, bend, rng.uniform(0, 0.5), rng.uniform(0.3, 2.2), turn)
        if kind in ("bent", "foreshortened") and rng.random() < 0.7:
            upper, fore, roll, curl = ARMS[rng.choice(list(ARMS))]
            mirror = np.array([1.0 if side == "L" else -1.0, 1.0, 1.0])
            skeleton.arm(side, np.array(upper) * mirror, np.array(fore) * mirror, roll, curl)
    if kind == "bent":
        angle = rng.uniform(0.3, 1.2) / 5
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)],
                         [0, np.sin(angle), np.cos(angle)]])  # fmt: skip
        for bone in ("spine05", "spine04", "spine03", "spine02", "spine01"):
            skeleton.turn(bone, turn)
    return pose_bones(skeleton.asset, skeleton.heads, skeleton.rotations)
