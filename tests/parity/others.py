"""Encoders, skeleton pictures, figures of pictures, and files that must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pcdm_core.checkpoints import CheckpointError, load_model
from pcdm_core.checkpoints.files import SUFFIXES
from pcdm_core.images import encoder_pixels, load_picture, to_uint8
from pcdm_core.pose.keypoints import HAND_POINTS, HAND_SIDES, Keypoints
from pcdm_core.pose.render import draw_people, people_of, render_pose
from training.evaluation.folders import read_pixels
from training.evaluation.protocols import PROTOCOLS, reconstruction

from . import configs
from .fixtures import BadFolderError, Fixture, load_stated


@torch.no_grad()
def compare_encoders(fixture: Fixture) -> None:
    """DINOv2 at and off its table's size, and what CLIP's processor makes of a picture."""
    tensors = fixture.tensors
    model = load_stated(
        fixture,
        "patch_encoder",
        "transformers",
        configs.patch_encoder(fixture.stated("dino_config")),
        {"": fixture.stated("weight_seeds", "dino")},
        fixture.path / "dino.safetensors",
        "dino",
    )
    for name in sorted(key for key in tensors if key.startswith("dino.") and key.endswith(".out")):
        out = model(tensors[name.removesuffix("out") + "in"])
        fixture.compare(name, out, fixture.tolerance("dino"))
    for name in sorted(key for key in tensors if key.startswith("clip_processor.out_")):
        picture = load_picture(fixture.path / f"img_{name.removeprefix('clip_processor.out_')}.png")
        pixels = encoder_pixels(picture, tensors[name].shape[-1])
        fixture.compare(name, pixels, fixture.tolerance("clip_processor"), absolute=True)


def people(stated: list[dict[str, Any]]) -> Keypoints:
    """One row a person; a missing point is null."""

    def points(values: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
        visible = torch.tensor([value is not None for value in values])
        xy = torch.tensor([value or [0.0, 0.0] for value in values], dtype=torch.float64)
        return xy, visible

    rows = []
    for person in stated:
        xy, visible = points(person["body"])
        hands = person.get("hands") or {}
        sides = [points(hands.get(side) or [None] * HAND_POINTS) for side in HAND_SIDES]
        hands_xy, hands_visible = (torch.stack(values)[None] for values in zip(*sides, strict=True))
        rows.append(Keypoints(xy[None], visible[None], hands_xy, hands_visible))
    return Keypoints.cat(rows)


def compare_skeletons(fixture: Fixture) -> None:
    """Pixels that differ, of which there may be none."""
    for item in fixture.stated("items"):
        height, width = item["height"], item["width"]
        with Image.open(fixture.path / item["file"]) as image:
            reference = np.asarray(image.convert("RGB"))
        keypoints = people(item["people"])
        pictures = {"": draw_people(people_of(keypoints), height, width)}
        if len(keypoints) == 1:
            pictures[" as a picture tensor"] = to_uint8(render_pose(keypoints, height, width))[0]
        for way, picture in pictures.items():
            if picture.shape != reference.shape:
                raise BadFolderError(f"{fixture.path / item['file']} is not {height}x{width}.")
            differing = int((picture != reference).any(-1).sum())
            fixture.add(item["file"] + way, float(differing), 0.0)


def compare_metrics(fixture: Fixture) -> None:
    """SSIM, PSNR, L1 and MAE of pairs under the published protocol, as absolute differences."""
    width, height = fixture.stated("size")
    # A tolerance may carry its unit: "1e-3 dB".
    tolerances = {
        name: float(str(value).split()[0]) for name, value in fixture.stated("tolerance").items()
    }
    for item in fixture.stated("items"):
        pixels = [read_pixels(fixture.path / item[name]) for name in ("generated", "gt")]
        figures = reconstruction(pixels[0], pixels[1], PROTOCOLS["pcdms"], (height, width))
        for name, tolerance in tolerances.items():
            error = abs(figures[name] - item[name])
            fixture.add(f"{Path(item['generated']).stem} {name}", error, tolerance)


def compare_refusals(fixture: Fixture) -> None:
    """Each broken file is refused with an error that names it: 0 for refused, 1 for not."""
    files = sorted(p for p in fixture.path.iterdir() if p.suffix in SUFFIXES)
    for path in files:
        fixture.add(f"{path.name} is refused", 0.0 if refused(path) else 1.0, 0.0)


def refused(path: Path) -> bool:
    """Whether loading fails as it should."""
    try:
        load_model(path)
    except CheckpointError as error:
        return path.name in str(error)
    return False
