"""Compare weights of two sizes on the same pairs, at both sizes.

`python -m training.evaluation.two_sizes --reports out/old.json out/new.json --json out/both.json`
takes two finished runs of `run.py evaluate` with the same seed. At the smaller size the larger
pictures are reduced (mean of the area), at the larger one the smaller are enlarged (Lanczos); the
truth is the larger run's, reduced likewise. Differences are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from pcdm_core.cli import run
from pcdm_core.files import write_text
from pcdm_core.ranges import COUNT

from ..synthetic.shots import Shot
from .judges import Judges
from .measure_pairs import figures_of_pair, pictures_folder, workers
from .pictures import pictures_file, read_pictures
from .report import PERSON_COLUMNS, PICTURE_COLUMNS, markdown, summarise

Size = tuple[int, int]
SAME = ("seed", "people", "split")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="two_sizes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--reports", type=Path, nargs=2, required=True, help="of the smaller and of the larger size"
    )
    parser.add_argument(
        "--methods", nargs="+", default=["refined"], help="to compare (default refined)"
    )
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--workers", type=COUNT.parse, default=1, help="processes that measure")
    options = parser.parse_args(argv)
    return run(lambda: compare_sizes(options), "two_sizes")


def compare_sizes(options: argparse.Namespace) -> None:
    """Measure both runs at both sizes, print the tables and write them.

    Raises:
        ValueError: the runs are of other pairs, or not of a smaller and a larger size.
    """
    settings = [read_settings(report) for report in options.reports]
    differing = [name for name in SAME if settings[0].get(name) != settings[1].get(name)]
    if differing:
        raise ValueError(
            f"{options.reports[0]} and {options.reports[1]}: {', '.join(differing)} differ. "
            f"Evaluate both weights with the same options."
        )
    small, large = ((record["size"][0], record["size"][1]) for record in settings)
    if small >= large:
        raise ValueError(f"{options.reports[1]}: {large} is not larger than {small}; swap them.")
    folders = [pictures_folder(report) for report in options.reports]
    lines = options.reports[1].with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()[1:]
    people = {record["pair"]: record["identity"] for record in map(json.loads, lines)}
    people = {
        pair: who for pair, who in people.items() if pictures_file(folders[0], pair).is_file()
    }
    if not people:
        raise ValueError(f"{folders[0]} and {folders[1]} have no pair in common.")
    judges = Judges.load()
    differences = tuple((f"new {method}", f"old {method}") for method in options.methods)
    reports: dict[str, dict[str, Any]] = {}
    parts: list[str] = []
    with workers(options.workers) as pool:
        for size in (small, large):
            records, features = measure(folders, people, size, options.methods, judges, pool)
            about = {"size": list(size), "judges": judges.names, "settings": settings}
            name = f"{size[0]}x{size[1]}"
            reports[name] = summarise(records, features, about, differences)
            parts += table(name, reports[name])
    text = "\n\n".join(parts)
    write_text(options.json, json.dumps(reports, indent=1) + "\n")
    write_text(options.json.with_suffix(".md"), text + "\n")
    print(f"{text}\n\n{options.json}, {options.json.with_suffix('.md')}")


def read_settings(report: Path) -> dict[str, Any]:
    """What the pictures beside a report were made with."""
    return json.loads((pictures_folder(report) / "settings.json").read_text(encoding="utf-8"))


def measure(
    folders: Sequence[Path],
    people: Mapping[int, int],
    size: Size,
    methods: Sequence[str],
    judges: Judges,
    pool: Executor | None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """A record a pair of `people` (pair to identity), and the backbone's features by row."""
    records: list[dict[str, Any]] = []
    features: list[dict[str, np.ndarray]] = []
    for number, identity in tqdm(
        people.items(), desc=f"{size[0]}x{size[1]}", unit="pair", file=sys.stderr
    ):
        (old, _), (new, shot) = (read_pictures(folder, number) for folder in folders)
        truth = resized_shot(shot, size)
        pictures = {"truth": truth.picture}
        for method in methods:
            pictures[f"old {method}"] = resized(old[method], size)
            pictures[f"new {method}"] = resized(new[method], size)
        figures = figures_of_pair(judges, pictures, truth, pool)
        records.append({"pair": number, "identity": identity, "figures": figures})
        if judges.backbone is not None:
            features.append(dict(zip(pictures, judges.features(pictures), strict=True)))
    columns = features[0] if features else {}
    return records, {name: np.stack([row[name] for row in features]) for name in columns}


def resized(picture: np.ndarray, size: Size) -> np.ndarray:
    """uint8 [H, W, 3] at another size: means of areas downwards, Lanczos upwards."""
    if picture.shape[:2] == size:
        return picture
    kind = Image.Resampling.BOX if size[0] < len(picture) else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(picture).resize((size[1], size[0]), kind))


def resized_shot(shot: Shot, size: Size) -> Shot:
    """A truth, its mask and its joints at another size."""
    scale = np.divide(size, shot.mask.shape)[::-1]
    mask = np.repeat(shot.mask[..., None].astype(np.uint8) * 255, 3, axis=2)
    return replace(
        shot,
        picture=resized(shot.picture, size),
        mask=resized(mask, size)[..., 0] > 127,
        xy=(shot.xy * scale).astype(np.float32),
    )


def table(name: str, report: Mapping[str, Any]) -> list[str]:
    """Markdown of one size: the rows, then their paired differences."""
    parts = [f"{report['pairs']} pairs at {name}:"]
    for rows, signed in ((report["methods"], False), (report["differences"], True)):
        parts += [
            markdown(rows, columns, signed=signed) for columns in (PICTURE_COLUMNS, PERSON_COLUMNS)
        ]
    return parts


if __name__ == "__main__":
    sys.exit(main())
