"""The table behind the choice of the patch code: what a round trip through it keeps.

`python -m training.evaluation.code_study --train-data data/people --json out/codecs.json`. Codes of
every size are fitted to training people in closed form, and one of the preset's size is trained on;
unseen people go through each of them.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from pcdm_core.config import AutoencoderConfig
from pcdm_core.files import write_text
from pcdm_core.images import from_planes, from_uint8, to_uint8
from pcdm_core.presets import find_preset
from pcdm_core.ranges import COUNT, SEED
from pcdm_core.vae import PatchAutoencoder

from ..data.in_memory import load_people
from ..stages.closed_form import fit_code
from .held_out_pairs import Shot, choose_pairs, shots_of
from .pair_figures import figures_of

#: Patch side in pixels to the numbers of channels that are tried.
SIZES = {4: (4, 8, 12, 16, 20, 24, 32), 8: (32, 64)}
PICTURES = 4096  # of training people, for a fit
BATCH = 32


def fitted(config: AutoencoderConfig, pixels: Tensor) -> PatchAutoencoder:
    """The closed-form code."""
    code = PatchAutoencoder(config)
    fit_code(code, pixels)
    return code


def learned(code: PatchAutoencoder, pixels: Tensor, steps: int, seed: int) -> PatchAutoencoder:
    """The code after `steps` more of reconstruction (mean absolute plus mean squared error)."""
    draws = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(code.parameters(), lr=1e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(steps, 1))
    for _ in tqdm(range(steps), desc="learned code", leave=False):
        batch = pixels[torch.randint(len(pixels), (BATCH,), generator=draws)]
        error = code.decode(code.encode(batch)) - batch
        optimiser.zero_grad()
        (error.abs().mean() + error.square().mean()).backward()
        optimiser.step()
        schedule.step()
    return code


@torch.no_grad()
def round_trip(code: PatchAutoencoder, shots: Sequence[Shot]) -> dict[str, float]:
    """Means over pictures; `laplacian` is the garment's energy as a share of the truth's."""
    pictures = from_uint8(np.stack([shot.picture for shot in shots]))
    made = to_uint8(code.decode(code.encode(pictures)))
    rows = [figures_of(picture, shot) for picture, shot in zip(made, shots, strict=True)]
    truths = [figures_of(shot.picture, shot)["laplacian"] for shot in shots]
    found = {
        name: float(np.nanmean([row[name] for row in rows]))
        for name in ("psnr", "psnr_person", "ssim_person", "colour", "band")
    }
    energy = np.array([row["laplacian"] for row in rows])
    return {**found, "laplacian": float(np.nansum(energy) / np.nansum(truths))}


def compare(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Name of a code to its figures."""
    preset = find_preset(options.preset)
    size = (preset.height, preset.width)
    names = choose_pairs(options.seed, options.pairs, None, "test")
    shots = [shots_of(pair, None, "test", size)[1] for pair in tqdm(names, desc="unseen people")]
    people = load_people(options.train_data, "train", preset, workers=1, limit=PICTURES // 8)
    pixels = from_planes(people.pictures)
    report: dict[str, dict[str, float]] = {}
    for side, counts in SIZES.items():
        for channels in counts:
            config = replace(preset.autoencoder, downscale=side, latent_channels=channels)
            code = fitted(config, pixels)
            report[f"{side}x{side} patches, {channels} channels"] = round_trip(code, shots)
            if config == preset.autoencoder and options.steps:
                name = f"{side}x{side} patches, {channels} channels, {options.steps} steps learned"
                code = learned(code, pixels, options.steps, options.seed)
                report[name] = round_trip(code, shots)
    return report


def table(report: dict[str, dict[str, float]]) -> str:
    """Markdown."""
    head = ["code", "PSNR", "PSNR person", "SSIM person", "colour", "band correlation", "Laplacian"]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, row in report.items():
        lines.append(
            f"| {name} | {row['psnr']:.2f} | {row['psnr_person']:.2f} | {row['ssim_person']:.3f} | "
            f"{row['colour']:.2f} | {row['band']:.3f} | {100 * row['laplacian']:.0f} % |"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="code_study", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--train-data", type=Path, required=True, help="rendered people to fit to")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument(
        "--pairs", type=COUNT.parse, default=128, help="unseen pictures (default 128)"
    )
    parser.add_argument("--seed", type=SEED.parse, default=0, help="which unseen people")
    parser.add_argument("--steps", type=COUNT.parse, default=1000, help="of the learned code")
    parser.add_argument("--preset", default="mini", help="whose picture size and code")
    options = parser.parse_args(argv)
    try:
        report: dict[str, Any] = compare(options)
    except (OSError, ValueError) as error:
        print(f"code_study: {error}", file=sys.stderr)
        return 2
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    print(table(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
