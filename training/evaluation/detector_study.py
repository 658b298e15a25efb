"""How well the pose detector reads rendered people: the model card's figures.

`python -m training.evaluation.detector_study` looks at the example people that ship; with `--data
DIR` at people that `python -m training.synthetic` wrote. The largest person found counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.files import write_text
from pcdm_core.images import load_picture
from pcdm_core.pose.describe import FACE, view_of
from pcdm_core.pose.detect import DetectionError, NoPersonError, detect_people
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import MIRROR, Keypoints
from pcdm_core.ranges import COUNT

from ..data.in_memory import identity_folders
from ..synthetic.camera import OUTSIDE, VISIBLE

EXAMPLES = WEIGHTS_FOLDER / "examples"
VIEWS = ("front", "left side", "right side", "back", "unknown")
LIMBS = [joint for joint in range(2, 14)]  # those with a side, without the face


@dataclass(frozen=True)
class Reading:
    """One picture: what is there and what was found; pixels and joints in `Keypoints`' order."""

    picture: str
    truth: np.ndarray  # float64 [18, 2]
    inside: np.ndarray  # bool [18], joints within the picture
    seen: np.ndarray  # bool [18], the same, but of the face what nothing hides
    view: str
    people: int
    found: np.ndarray  # float64 [18, 2]
    reported: np.ndarray  # bool [18]


def cases(data: Path | None, split: str) -> Iterator[tuple[Path, Keypoints, np.ndarray]]:
    """Picture, true pose as a person would draw it, and the joints `[18]` within the picture.

    Raises:
        FileNotFoundError: there are no people.
    """
    if data is None:
        for picture in sorted(EXAMPLES.glob("*/*.png")):
            pose = read_pose(picture.with_suffix(".json"))
            # The examples tell nothing of hidden points of the face.
            yield picture, pose, pose.visible[0].numpy()
        return
    folders = identity_folders(data, split)
    if not folders:
        raise FileNotFoundError(
            f"{data / split}: no rendered people. Make some with "
            f"`python -m training.synthetic --out {data} --split {split}`."
        )
    for folder in folders:
        with np.load(folder / "people.npz") as table:
            places, codes, size = table["xy"], table["visible"], table["size"]
        for view, (xy, code) in enumerate(zip(places, codes, strict=True)):
            drawn = code != OUTSIDE
            drawn[list(FACE)] &= code[list(FACE)] == VISIBLE
            pose = Keypoints.from_pixels(
                torch.from_numpy(xy), torch.from_numpy(drawn), int(size[0]), int(size[1])
            )
            yield folder / f"{view:02d}.png", pose, code != OUTSIDE


def read(picture: Path, pose: Keypoints, inside: np.ndarray) -> Reading:
    """The detector on one picture."""
    pixels = load_picture(picture)
    height, width = pixels.shape[-2:]
    try:
        people = detect_people(pixels, "blazepose")
    except NoPersonError:
        people = []
    shown = people[0] if people else Keypoints(torch.zeros(1, 18, 2), torch.zeros(1, 18) > 0)
    return Reading(
        picture=f"{picture.parent.name}/{picture.name}",
        truth=pose.to_pixels(height, width)[0].numpy(),
        inside=inside,
        seen=pose.visible[0].numpy(),
        view=view_of(pose),
        people=len(people),
        found=shown.to_pixels(height, width)[0].numpy(),
        reported=shown.visible[0].numpy(),
    )


def distances(reading: Reading, order: Sequence[int] = tuple(range(18))) -> np.ndarray:
    """From every true joint to the one found, as shares of the person's height in the picture."""
    places = reading.truth[reading.inside]
    height = max(float(np.ptp(places, axis=0).max()), 1e-6)
    return np.linalg.norm(reading.found[list(order)] - reading.truth, axis=1) / height


def sides_swapped(reading: Reading) -> bool:
    """Whether the limbs fit better with left and right exchanged."""
    limbs = [joint for joint in LIMBS if reading.inside[joint]]
    as_said, exchanged = (distances(reading, way)[limbs] for way in (range(18), MIRROR))
    return bool(limbs) and float(exchanged.mean()) < float(as_said.mean())


def summarise(readings: Sequence[Reading]) -> dict[str, Any]:
    """The figures, as the model card has them."""
    found = [reading for reading in readings if reading.people]
    near = np.concatenate([distances(one)[one.inside] for one in found])
    body = [joint for joint in range(18) if joint not in FACE]
    outside = [(one.reported & ~one.inside)[body] for one in found]
    left_out = [(one.inside & ~one.reported)[body] for one in found]
    views: dict[str, dict[str, int]] = {}
    for view in VIEWS:
        rows = [one for one in found if one.view == view]
        if rows:
            views[view] = {
                "pictures": len(rows),
                "sides swapped": sum(map(sides_swapped, rows)),
                "nose hidden": sum(not one.seen[0] for one in rows),
                "nose hidden, reported": sum(one.reported[0] & ~one.seen[0] for one in rows),
                "nose seen, left out": sum(one.seen[0] & ~one.reported[0] for one in rows),
            }
    return {
        "pictures": len(readings),
        "found": len(found),
        "with further people": sum(one.people > 1 for one in found),
        "pck@0.1": float((near <= 0.1).mean()),
        "pck@0.05": float((near <= 0.05).mean()),
        "joints outside": int(sum((~one.inside)[body].sum() for one in found)),
        "joints outside, reported inside": int(np.sum(outside)),
        "joints inside": int(sum(one.inside[body].sum() for one in found)),
        "joints inside, left out": int(np.sum(left_out)),
        "views": {view: {k: int(v) for k, v in row.items()} for view, row in views.items()},
        "sides swapped in": [one.picture for one in found if sides_swapped(one)],
    }


def table(report: dict[str, Any]) -> str:
    """In words, and markdown for the views."""
    lines = [
        f"A person in {report['found']} of {report['pictures']} pictures, in "
        f"{report['with further people']} of them more than one.",
        f"PCK@0.1 {100 * report['pck@0.1']:.1f} %, PCK@0.05 {100 * report['pck@0.05']:.1f} %.",
        f"Of the body's joints {report['joints outside, reported inside']} of "
        f"{report['joints outside']} outside the picture were reported inside it, "
        f"{report['joints inside, left out']} of {report['joints inside']} inside it left out.",
        "",
        "| seen from | pictures | left and right swapped | nose reported, of those without one "
        "| nose left out |",
        "|---|---|---|---|---|",
    ]
    for view, row in report["views"].items():
        lines.append(
            f"| {view} | {row['pictures']} | {row['sides swapped']} | "
            f"{row['nose hidden, reported']} of {row['nose hidden']} | "
            f"{row['nose seen, left out']} |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="detector", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", type=Path, help="rendered people; without it the examples")
    parser.add_argument("--split", default="test", help="of --data (default test)")
    parser.add_argument("--limit", type=COUNT.parse, help="take the first so many pictures")
    parser.add_argument("--json", type=Path, help="where the figures go")
    options = parser.parse_args(argv)
    try:
        chosen = list(cases(options.data, options.split))[: options.limit]
        report = summarise([read(*case) for case in tqdm(chosen, desc="pictures", leave=False)])
    except (OSError, DetectionError) as error:
        print(f"detector: {error}", file=sys.stderr)
        return 2
    if options.json:
        write_text(options.json, json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
