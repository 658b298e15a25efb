"""Make the example people that ship: a few of the test split, pictures and key points.

`python -m training.tools.export_examples --out pcdm_core/weights/examples`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pcdm_core.files import write_text
from pcdm_core.images import from_uint8, save_picture
from pcdm_core.pose.formats import write_openpose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, NUMBER

from ..synthetic import View, identity_seed, make_identity, render_view
from ..synthetic.camera import FACE, OUTSIDE, VISIBLE

SPLIT = "test"
DATA_SEED = 0
RENDERED = 8  # views to choose from; further ones follow in their own order


def main(argv: Sequence[str] | None = None) -> int:
    """Write the folder; returns the exit status."""
    parser = argparse.ArgumentParser(prog="export_examples", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=COUNT.parse, default=12)
    parser.add_argument("--first", type=NUMBER.parse, default=0, help="number of the first person")
    parser.add_argument("--views", type=COUNT.parse, default=9)
    parser.add_argument("--preset", default="mini", help="whose picture size they get")
    options = parser.parse_args(argv)
    preset = find_preset(options.preset)
    size = (preset.height, preset.width)
    for number in range(options.first, options.first + options.people):
        folder = export_person(options.out / f"{number:06d}", number, options.views, size)
        print(folder)
    origin = {
        "made by": "python -m training.tools.export_examples",
        "split": SPLIT,
        "seed": DATA_SEED,
        "identities": [options.first, options.first + options.people - 1],
        "licence": "CC0-1.0",
    }
    write_text(options.out / "origin.json", json.dumps(origin, indent=1) + "\n")
    return 0


def export_person(folder: Path, number: int, count: int, size: tuple[int, int]) -> Path:
    """Write `count` views of a person of the test split, the most frontal whole figure first."""
    person = make_identity(identity_seed(DATA_SEED, SPLIT, number))
    views = [render_view(person, view, *size) for view in range(max(RENDERED, count))]
    order = choose_views(views[:RENDERED], count)
    order += range(RENDERED, RENDERED + count - len(order))
    for place, view in enumerate(order):
        shot = views[view]
        save_picture(from_uint8(shot.picture), folder / f"{place:02d}.png")
        visible = torch.from_numpy(drawn_joints(shot))
        pose = Keypoints.from_pixels(torch.from_numpy(shot.xy), visible, *size)
        write_openpose(pose, folder / f"{place:02d}.json", *size)
    return folder


def drawn_joints(shot: View) -> np.ndarray:
    """bool [18]: all joints in the frame, as a person would draw them; of the face what is seen.

    A hidden face is how a back view is told from a front view.
    """
    joints = shot.visible != OUTSIDE
    joints[list(FACE)] &= shot.visible[list(FACE)] == VISIBLE
    return joints


def choose_views(views: Sequence[View], count: int) -> list[int]:
    """A frontal whole figure, then each time the view turned farthest from those chosen."""
    yaw = np.array([view.info["yaw"] for view in views])
    whole = np.array([view.info["framing"] == "full" for view in views])
    order = [int(np.argmin(np.abs(yaw) + 10 * ~whole))]
    while len(order) < min(count, len(views)):
        turn = np.abs((yaw[:, None] - yaw[order] + np.pi) % (2 * np.pi) - np.pi).min(1)
        turn[order] = -1
        order.append(int(np.argmax(turn)))
    return order


if __name__ == "__main__":
    sys.exit(main())
