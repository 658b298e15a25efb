"""Thumbnails of the templates: the person before, and what a run has made of them.

    python -m tests.workflows.thumbnails 127.0.0.1:8188 [--only pcdm_sequence]

The address is that of a ComfyUI with the pack installed. Workflows that need the published weights
show what goes in: a person, and the pose of another.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.images import to_uint8
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.render import render_pose
from tests.hosts import ROOT
from tests.workflows.conftest import Server
from tests.workflows.graph import Workflow
from tests.workflows.templates import workflows
from tests.workflows.test_workflows import PUBLISHED

SIDE = 720
BADGE = 110  # pixels at the top left that a word of the front end covers
QUALITY = 82
EXAMPLES = WEIGHTS_FOLDER / "examples"


def run(server: Server, workflow: Workflow) -> tuple[Image.Image, list[Image.Image]]:
    """The picture of the person that a workflow begins with, and those that it saves."""
    graph = workflow.api()
    size = graph.get("2", {})
    before = "2" if size.get("class_type") == "ImageScale" else "1"
    graph["before"] = {"class_type": "PreviewImage", "inputs": {"images": [before, 0]}}
    outputs = server.run(graph)
    (end,) = (key for key, node in graph.items() if node["class_type"] == "SaveImage")
    return pictures(server, outputs["before"])[0], pictures(server, outputs[end])


def pictures(server: Server, output: dict[str, Any]) -> list[Image.Image]:
    """The pictures of a node."""
    opened = [Image.open(io.BytesIO(server.picture(image))) for image in output["images"]]
    return [picture.convert("RGB") for picture in opened]


def unrun() -> tuple[Image.Image, list[Image.Image]]:
    """A rendered person, and the pose of another: nothing has run."""
    views = [EXAMPLES / view for view in ("000007/00", "000008/06")]
    person = Image.open(views[0].with_suffix(".png")).convert("RGB")
    pose = render_pose(read_pose(views[1].with_suffix(".json")), 768, 512)
    return person, [Image.fromarray(to_uint8(pose)[0])]


def thumbnail(before: Image.Image, after: list[Image.Image]) -> Image.Image:
    """A square: the left half before, the right half after, four of a batch."""
    sheet = Image.new("RGB", (SIDE, SIDE))
    half = SIDE // 2
    person = np.asarray(fitted(before, (half, SIDE - BADGE)))
    below = np.pad(person, ((BADGE, 0), (0, 0), (0, 0)), mode="edge")  # a plain wall goes on
    sheet.paste(Image.fromarray(below), (0, 0))
    if len(after) == 1:
        sheet.paste(fitted(after[0], (half, SIDE)), (half, 0))
        return sheet
    for place in range(4):
        picture = after[round(place * (len(after) - 1) / 3)]
        tile = fitted(picture, (half // 2, half))
        sheet.paste(tile, (half + place % 2 * half // 2, place // 2 * half))
    return sheet


def fitted(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """A part of the picture as high as it is, around the person."""
    busy = np.flatnonzero(np.asarray(picture.convert("L"), float).std(axis=0) > 12)
    wide = picture.height * size[0] / size[1]
    left = (busy[0] + busy[-1] - wide) / 2 / max(picture.width - wide, 1)
    centre = (float(np.clip(left, 0, 1)), 0.5)
    return ImageOps.fit(picture, size, Image.Resampling.BICUBIC, centering=centre)


def main() -> None:
    """Write a picture beside every workflow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="host:port of a running ComfyUI")
    parser.add_argument("--only", nargs="*", default=[], metavar="STEM")
    options = parser.parse_args()
    server = Server(options.address, Path(), Path())
    for workflow in workflows():
        if options.only and workflow.stem not in options.only:
            continue
        parts = unrun() if workflow.stem in PUBLISHED else run(server, workflow)
        file = ROOT / "workflows" / f"{workflow.title}.jpg"
        thumbnail(*parts).save(file, quality=QUALITY)
        print(file)


if __name__ == "__main__":
    main()
