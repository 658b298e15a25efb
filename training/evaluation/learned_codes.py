"""The table behind the choice of the learned code: its round trip, and what stage 2 learns on it.

`python -m training.evaluation.learned_codes --config training/configs/mini-192x128.yaml --data
data/people --channels 16 24 32 48 --steps 2000 --stage-2-steps 1000 --out runs/codes` trains the
autoencoder of a configuration with each number of channels, then stage 2 on it, the same steps
each, and measures both on the last people of the folder. Interrupted runs resume.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pcdm_core.files import write_text
from pcdm_core.images import from_planes, from_uint8, save_picture
from pcdm_core.ranges import COUNT, NUMBER
from pcdm_core.vae import PatchAutoencoder

from ..commands.train_mini import MiniRun
from ..config import TrainConfig, load_config
from ..data.in_memory import People, identity_folders, load_people
from ..loop.run_log import locked_run
from ..loop.sample_sheets import draw_sheet
from ..stages import InpaintingStage
from .code_study import fitted, round_trip, table
from .held_out_pairs import PairName, Shot, shots_of
from .pair_figures import figures_of

FIGURES = ("psnr", "psnr_person", "ssim", "ssim_person", "colour", "band")


def configured(config: TrainConfig, channels: int, options: argparse.Namespace) -> TrainConfig:
    """The configuration with so many channels, and the steps and people asked for."""
    stages = {
        **config.stages,
        "autoencoder": replace(config.stage("autoencoder"), steps=options.steps, minutes=None),
        "inpainting": replace(
            config.stage("inpainting"), steps=options.stage_2_steps, minutes=None
        ),
    }
    return replace(
        config,
        stages=stages,
        autoencoder={**config.autoencoder, "latent_channels": channels},
        identities=options.identities or config.identities,
    )


class Unseen:
    """The last people of a folder: one pair of views each."""

    def __init__(self, data: Path, count: int, mini: MiniRun) -> None:
        """`count` people, that the run must not train on.

        Raises:
            ValueError: it would.
        """
        last = identity_folders(data, "train")[-count:]
        if int(last[0].name) < mini.config.identities:
            raise ValueError(
                f"{data}: its last {count} people are among the {mini.config.identities} of the "
                f"run. Give fewer --identities or --pairs."
            )
        size = mini.preset.height, mini.preset.width
        number = mini.config.views
        views = [(n % number, (n + 1 + n // number % (number - 1)) % number) for n in range(count)]
        pairs = (
            PairName(place, int(folder.name), *both)
            for place, (folder, both) in enumerate(zip(last, views, strict=True))
        )
        self.shots: list[Shot] = [shots_of(pair, data, "train", size)[1] for pair in pairs]
        self.people: People = load_people(data, "train", mini.preset, skip=int(last[0].name))
        first = torch.arange(count)[:, None] * number
        self.rows: Tensor = first + torch.tensor(views)


def drawn(mini: MiniRun, unseen: Unseen) -> np.ndarray:
    """Canvases source | truth | source | what stage 2 draws, with the truth's embedding."""
    stage = InpaintingStage(
        mini.part("inpainting"),  # type: ignore[arg-type]
        mini.part("patch_encoder"),  # type: ignore[arg-type]
        mini.frozen(),
        unseen.people.with_embeds(mini.part("global_encoder")),
        mini.config.stage("inpainting"),
        mini.config.seed,
    )
    sheets = [draw_sheet(stage, rows, guidance_scale=1.0) for rows in unseen.rows.split(20)]
    return np.concatenate([sheet for sheet in sheets if sheet is not None])


def stage_2_figures(canvases: np.ndarray, shots: Sequence[Shot]) -> dict[str, float]:
    """Means over pairs; `laplacian` is the garment's energy as a share of the truth's."""
    height, width = shots[0].mask.shape
    pictures = canvases.reshape(len(shots), height, 4, width, 3)[:, :, 3]
    rows = [figures_of(picture, shot) for picture, shot in zip(pictures, shots, strict=True)]
    truths = [figures_of(shot.picture, shot)["laplacian"] for shot in shots]
    energy = np.nansum([row["laplacian"] for row in rows]) / np.nansum(truths)
    means = {name: float(np.nanmean([row[name] for row in rows])) for name in FIGURES}
    return {**means, "laplacian": float(energy)}


def compare(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Name of a code, and of stage 2 on it, to the figures; each code has a run's folder."""
    config = load_config(options.config)
    people: People | None = None
    unseen: Unseen | None = None
    report: dict[str, dict[str, float]] = {}
    for channels in options.channels:
        own = configured(config, channels, options)
        mini = MiniRun(own, options.data, options.out / str(channels))
        unseen = unseen or Unseen(options.data, options.pairs, mini)
        people = people or load_people(
            options.data, "train", mini.preset, workers=2, limit=own.identities
        )
        mini.people, mini.read = people, own.identities
        code = mini.preset.autoencoder
        side, fit = code.downscale, own.stage("autoencoder").fit_pictures
        linear = fitted(replace(code, kind="patch"), from_planes(people.pictures[:fit]))
        report[f"{side}x{side} linear, {channels} channels"] = round_trip(linear, unseen.shots)
        with locked_run(mini.out):
            mini.fit_encoders()
            learned = mini.part("autoencoder")
            assert isinstance(learned, PatchAutoencoder)
            name = f"{side}x{side} learned, {channels} channels"
            report[name] = round_trip(learned, unseen.shots)
            if options.stage_2_steps:
                if not mini.has("inpainting"):
                    mini.train_inpainting()
                canvases = drawn(mini, unseen)
                report[f"{name}: stage 2"] = stage_2_figures(canvases, unseen.shots)
                save_picture(from_uint8(canvases), options.out / f"stage-2-{channels}.png")
        print(table(report), flush=True)
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="learned_codes", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--config", type=Path, required=True, help="of the runs to compare")
    parser.add_argument("--data", type=Path, required=True, help="rendered people")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--channels", type=COUNT.parse, nargs="+", default=[16, 24, 32, 48])
    parser.add_argument("--steps", type=COUNT.parse, default=2000, help="of each autoencoder")
    parser.add_argument(
        "--stage-2-steps", type=NUMBER.parse, default=0, help="of stage 2 (default none)"
    )
    parser.add_argument(
        "--identities", type=COUNT.parse, help="people to train on (the configuration's)"
    )
    parser.add_argument(
        "--pairs", type=COUNT.parse, default=100, help="unseen people, the folder's last"
    )
    options = parser.parse_args(argv)
    try:
        report = compare(options)
    except (OSError, ValueError) as error:
        print(f"learned_codes: {error}", file=sys.stderr)
        return 2
    name = "-".join(map(str, options.channels))
    write_text(options.out / f"{name}.json", json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
