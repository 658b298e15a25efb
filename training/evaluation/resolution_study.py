"""The table behind the choice of picture size: what a size can show at best.

`python -m training.evaluation.resolution_study --json out/sizes.json`. At every size the code of
the preset is fitted to people of the training split in closed form. Pictures of unseen people, as
they are and after a round trip through it, are read by the pose detector: no model can be read
better than they are. What a size costs in training is counted by `python -m
benchmarks.training_flops`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pcdm_core.config import AutoencoderConfig
from pcdm_core.files import write_text
from pcdm_core.images import from_uint8, to_uint8
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, SEED

from .code_study import fitted, round_trip
from .held_out_pairs import Shot, choose_pairs, shots_of
from .judges import keypoint_figures
from .pose_judges import BlazePoseJudge, PoseJudge

SIZES = ("64x44", "96x64", "128x88", "160x112", "256x176")
FIGURES = {"pck": "PCK@0.1 %", "pck_05": "PCK@0.05 %"}


def pictures_of(size: tuple[int, int], count: int, seed: int, split: str) -> list[Shot]:
    """One picture of each of `count` people, the same people and views at every size."""
    names = choose_pairs(seed, count, None, split)
    told = f"{size[0]}x{size[1]}, {split}"
    return [shots_of(pair, None, split, size)[1] for pair in tqdm(names, desc=told, leave=False)]


def poses_read(judge: PoseJudge, pictures: np.ndarray, shots: Sequence[Shot]) -> dict[str, float]:
    """Mean shares of the joints that the detector places right."""
    rows = [
        keypoint_figures(judge, picture[None], shot)[0]
        for picture, shot in zip(pictures, shots, strict=True)
    ]
    return {name: float(np.nanmean([row[name] for row in rows])) for name in FIGURES}


@torch.no_grad()
def measure(
    size: tuple[int, int], config: AutoencoderConfig, judge: PoseJudge, options: argparse.Namespace
) -> dict[str, float]:
    """All figures of one size."""
    learnt = pictures_of(size, options.fit, options.seed, "train")
    code = fitted(config, from_uint8(np.stack([shot.picture for shot in learnt])))
    shots = pictures_of(size, options.pictures, options.seed, "test")
    truth = np.stack([shot.picture for shot in shots])
    made = to_uint8(code.decode(code.encode(from_uint8(truth))))
    return {
        "latents": size[0] * size[1] // config.downscale**2,
        **{f"truth_{name}": value for name, value in poses_read(judge, truth, shots).items()},
        **{f"code_{name}": value for name, value in poses_read(judge, made, shots).items()},
        **round_trip(code, shots),
    }


def table(report: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    read = [f"{what}: {name}" for what in ("truth", "round trip") for name in FIGURES.values()]
    head = ["size", "latents", *read, "PSNR person", "SSIM person", "Laplacian"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for size, row in report.items():
        shares = [100 * row[f"{what}_{name}"] for what in ("truth", "code") for name in FIGURES]
        cells = [size, f"{row['latents']:.0f}", *(f"{share:.1f}" for share in shares)]
        cells += [f"{row['psnr_person']:.2f}", f"{row['ssim_person']:.3f}"]
        lines.append(f"| {' | '.join(cells)} | {100 * row['laplacian']:.0f} % |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="sizes", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--sizes", nargs="+", default=SIZES, metavar="HEIGHTxWIDTH")
    parser.add_argument("--pictures", type=COUNT.parse, default=200, help="of unseen people")
    parser.add_argument(
        "--fit", type=COUNT.parse, default=300, help="pictures that the code is fitted to"
    )
    parser.add_argument("--seed", type=SEED.parse, default=0, help="which people")
    parser.add_argument("--preset", default="mini", help="whose code")
    options = parser.parse_args(argv)
    report: dict[str, Any] = {}
    try:
        config, judge = find_preset(options.preset).autoencoder, BlazePoseJudge()
        for size in options.sizes:
            height, width = (int(side) for side in size.split("x"))
            report[size] = measure((height, width), config, judge, options)
    except (ImportError, OSError, ValueError) as error:
        print(f"sizes: {error}", file=sys.stderr)
        return 2
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
