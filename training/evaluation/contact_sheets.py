"""Contact sheets from a finished evaluation: people chosen by seed, and the worst of all.

`python run.py sheets --json out/evaluation.json --out docs/pictures` writes `people.jpg` and
`worst.jpg` from the pictures that `evaluate` kept. The pairs of an evaluation are chosen by its
seed, so its first ten are too: nobody looks before choosing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pcdm_core import images
from pcdm_core.cli import run
from pcdm_core.files import atomic_file
from pcdm_core.pose.render import render_pose
from pcdm_core.ranges import NUMBER
from pcdm_core.sheet import contact_sheet

from .measure_pairs import pictures_folder
from .pictures import pictures_file, poses_of, read_pictures

COLUMNS = ("Source", "Pose", "Coarse", "Refined", "Truth")
PEOPLE = 10
WORST = 5
RANKED_BY = "st_lpips"


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="sheets", description="Contact sheets of an evaluation.")
    parser.add_argument("--json", type=Path, required=True, help="the report that evaluate wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder of the two sheets")
    parser.add_argument(
        "--people", type=NUMBER.parse, default=PEOPLE, help="how many chosen by seed"
    )
    parser.add_argument("--worst", type=NUMBER.parse, default=WORST, help="how many of the worst")
    options = parser.parse_args(argv)
    return run(lambda: write_sheets(options), "sheets")


def write_sheets(options: argparse.Namespace) -> None:
    """Both sheets.

    Raises:
        FileNotFoundError: there is no finished evaluation.
        ValueError: its figures lack ST-LPIPS.
    """
    lines = options.json.with_suffix(".jsonl")
    if not options.json.is_file() or not lines.is_file():
        raise FileNotFoundError(
            f"{options.json}: no finished evaluation. Make one with "
            f"`python run.py evaluate --pairs 500 --json {options.json}`."
        )
    settings = json.loads(options.json.read_text(encoding="utf-8"))["settings"]
    records = [json.loads(line) for line in lines.read_text(encoding="utf-8").splitlines()][1:]
    records.sort(key=lambda record: record["pair"])
    sampling = f"seed {settings['seed']}, {settings['steps']} steps"
    first = [record["pair"] for record in records[: options.people]]
    worst = worst_pairs(records, options.worst)
    title = f"{len(first)} unseen people chosen by seed ({sampling})"
    worst_title = f"The {len(worst)} worst of {len(records)} by ST-LPIPS ({sampling})"
    note = "ST-LPIPS, from above: " + ", ".join(f"{value:.3f}" for _, value in worst)
    folder = pictures_folder(options.json)
    for name, picture in (
        ("people.jpg", sheet(folder, first, title)),
        ("worst.jpg", sheet(folder, [pair for pair, _ in worst], worst_title, note)),
    ):
        with atomic_file(options.out / name) as file:
            picture.save(file, format="JPEG", quality=90, subsampling=0)
        print(options.out / name)


def worst_pairs(records: Sequence[Mapping[str, Any]], count: int) -> list[tuple[int, float]]:
    """Pairs with the largest distance of the refined (or else coarse) picture, and that distance.

    Raises:
        ValueError: the records lack ST-LPIPS.
    """
    figures = [r["figures"].get("refined", r["figures"]["coarse"]).get(RANKED_BY) for r in records]
    if None in figures:
        raise ValueError(
            "The evaluation has no ST-LPIPS to rank by. Install stlpips-pytorch==0.0.2 and run "
            "evaluate again; it measures the pictures that are there."
        )
    pairs = [record["pair"] for record in records]
    return sorted(zip(pairs, figures, strict=True), key=lambda item: -item[1])[:count]


def sheet(folder: Path, pairs: Sequence[int], title: str, note: str = "") -> Image.Image:
    """One pair a row; more than five stand in two blocks beside each other."""
    rows = [_row(folder, pair) for pair in pairs]
    blocks = 2 if len(rows) > WORST and len(rows) % 2 == 0 else 1
    half = len(rows) // blocks
    wide = [[cell for b in range(blocks) for cell in rows[k + half * b]] for k in range(half)]
    return contact_sheet([], COLUMNS * blocks, wide, title=title, note=note)


def _row(folder: Path, pair: int) -> list[Image.Image]:
    if not pictures_file(folder, pair).is_file():
        raise FileNotFoundError(f"{pictures_file(folder, pair)} is missing; run evaluate again.")
    pictures, truth = read_pictures(folder, pair)
    height, width = truth.mask.shape
    # Larger than the models see it: lines have one width in pixels at every size.
    skeleton = images.to_pil(render_pose(poses_of([truth]), 3 * height, 3 * width))[0]
    names = ("copy", "coarse", "refined" if "refined" in pictures else "coarse", "truth")
    source, *others = (Image.fromarray(pictures[name]) for name in names)
    return [source, skeleton, *others]


if __name__ == "__main__":
    sys.exit(main())
