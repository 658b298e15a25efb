"""Draw the pictures of the help pages, with the weights and the example people that ship.

`python -m tests.contract.help_pictures --out web/docs/pictures`

`editor.jpg` is not among them: it is a screenshot of the pose editor.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pcdm_core import stages
from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.images import load_picture, to_pil
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.body_mask import body_mask
from pcdm_core.pose.detect import detect_people
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.interpolate import interpolate_poses
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.overlay import overlay
from pcdm_core.pose.render import render_pose
from pcdm_core.pose.retarget import retarget
from pcdm_core.pose.smooth import smooth_poses

EXAMPLES = WEIGHTS_FOLDER / "examples"
PERSON, SOURCE, TARGET = "000001", 0, 3
OTHER, OTHER_VIEW = "000008", 6
HEIGHT, GAP, GROUND = 240, 6, (52, 52, 52)
SKELETON = (HEIGHT, HEIGHT * 2 // 3)
QUALITY = 85


def main(argv: Sequence[str] | None = None) -> int:
    """Write the files; returns the exit status."""
    parser = argparse.ArgumentParser(prog="help_pictures", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for name, rows in pictures(PCDMsPipeline.from_folder()).items():
        sheet(rows).save(out / f"{name}.jpg", quality=QUALITY)
        print(out / f"{name}.jpg")
    return 0


def view(person: str, number: int) -> tuple[Tensor, Keypoints]:
    """A picture [1, 3, H, W] of an example person, and its pose."""
    file = EXAMPLES / person / f"{number:02d}.png"
    return load_picture(file), read_pose(file.with_suffix(".json"))


def pictures(pipeline: PCDMsPipeline) -> dict[str, list[list[Tensor]]]:
    """The rows of every file, by its name."""
    source, source_pose = view(PERSON, SOURCE)
    truth, target_pose = view(PERSON, TARGET)
    size = (source.shape[-2], source.shape[-1])
    result = pipeline(source, source_pose, target_pose, seed=0)
    assert result.coarse is not None
    features = pipeline.encode_source(source)
    embeds = pipeline.predict_embedding(features, source_pose, target_pose, seed=0)

    def canvas(steps: int) -> Tensor:
        latents = pipeline.inpaint_latents(
            features, source_pose, target_pose, embeds, seed=0, steps=steps
        )
        return stages.decode(pipeline.autoencoder, latents, "inpainting")

    drawn = [canvas(steps)[..., size[1] :] for steps in (2, 4, 8, 20)]
    other, other_pose = view(OTHER, OTHER_VIEW)
    fitted = retarget(other_pose, source_pose, size).pose
    movement = interpolate_poses(Keypoints.cat([source_pose, target_pose]), 6, size)
    jitter = torch.randn(movement.xy.shape, generator=torch.Generator().manual_seed(0)) * 0.02
    rough = replace(movement, xy=movement.xy + jitter)
    calm = smooth_poses(rough).pose
    moving = pipeline(source, source_pose, movement, seed=0)
    skeletons = [render_pose(pose, *SKELETON) for pose in (source_pose, target_pose)]
    mask = body_mask(target_pose, *SKELETON).expand(-1, 3, -1, -1) * 2 - 1
    found = overlay(truth, detect_people(truth)[:1])
    return {
        "stages": [[source, skeletons[1], result.coarse, result.image, truth]],
        "embedding": [[source, *skeletons]],
        "canvas": [[canvas(20), result.coarse]],
        "refining": [[source, result.coarse, result.image]],
        "steps": [drawn],
        "example": [[source, *(view(PERSON, number)[0] for number in range(1, 5))]],
        "skeleton": [[overlay(truth, [target_pose]), skeletons[1], mask]],
        "detect": [[truth, found]],
        "retarget": [
            [overlay(other, [other_pose]), source, overlay(source, [fitted], source_pose)],
        ],
        "movement": [
            [render_pose(movement.select(row), *SKELETON) for row in range(len(movement))],
            list(moving.image.split(1)),
        ],
        "smooth": [
            [render_pose(pose.select(row), *SKELETON) for row in range(len(pose))]
            for pose in (rough, calm)
        ],
    }


def sheet(rows: list[list[Tensor]]) -> Image.Image:
    """Pictures of one height beside each other, row below row."""
    lines = [[enlarged(picture) for picture in row] for row in rows]
    width = max(sum(image.width + GAP for image in line) for line in lines) - GAP
    ground = Image.new("RGB", (width, len(lines) * (HEIGHT + GAP) - GAP), GROUND)
    for number, line in enumerate(lines):
        x = 0
        for image in line:
            ground.paste(image, (x, number * (HEIGHT + GAP)))
            x += image.width + GAP
    return ground


def enlarged(picture: Tensor) -> Image.Image:
    """A picture [1, 3, h, w] at the height of the rows."""
    image = to_pil(picture.float().clamp(-1, 1).cpu())[0].convert("RGB")
    width = round(image.width * HEIGHT / image.height)
    return image.resize((width, HEIGHT), Image.Resampling.BICUBIC)


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
