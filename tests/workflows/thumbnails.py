"""Thumbnails of the shipped workflows: what each of them shows once it has run.

    python -m tests.workflows.thumbnails 127.0.0.1:8188 [--only pcdm_sequence] [--out workflows]

The address is that of a ComfyUI with the pack installed. Workflows that need the published weights
show what goes in, and say that nothing has run.
"""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path

from PIL import Image

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.images import to_uint8
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.render import render_pose
from pcdm_core.sheet import contact_sheet
from tests.hosts import ROOT
from tests.workflows.conftest import Server

WIDTH = 1080
QUALITY = 82
NEED_PUBLISHED = ("pcdm_published", "pcdm_simplified")


def pictures_of(server: Server, path: Path) -> dict[str, list[Image.Image]]:
    """The pictures of every titled node, in the order in which the nodes stand."""
    graph = json.loads(path.read_text(encoding="utf-8"))
    outputs = server.run(graph)
    pictures: dict[str, list[Image.Image]] = {}
    for key, node in sorted(graph.items(), key=lambda item: int(item[0])):
        images = outputs.get(key, {}).get("images", [])
        if images:
            opened = [Image.open(io.BytesIO(server.picture(image))) for image in images]
            pictures[node["_meta"]["title"]] = [picture.convert("RGB") for picture in opened]
    return pictures


def thumbnail(pictures: dict[str, list[Image.Image]], title: str) -> Image.Image:
    """One row of all that is single; where there are batches, a row a batch beside what is single.

    Raises:
        ValueError: two batches differ in length.
    """
    single = {name: images[0] for name, images in pictures.items() if len(images) == 1}
    batches = {name: images for name, images in pictures.items() if len(images) > 1}
    if not batches:
        sheet = contact_sheet([], list(single), [list(single.values())], title=title)
    else:
        (count,) = {len(images) for images in batches.values()}
        rows = f"{', '.join(batches)} (from top to bottom)"
        columns = [str(number + 1) for number in range(count)]
        sheet = contact_sheet(
            list(single.items()), columns, list(batches.values()), title=title, note=rows
        )
    return sheet.resize(
        (WIDTH, round(sheet.height * WIDTH / sheet.width)), Image.Resampling.LANCZOS
    )


def unrun() -> Image.Image:
    """What goes into a workflow whose weights are not here, and an empty place for what comes out.

    People and poses are the pack's rendered examples.
    """
    views = [WEIGHTS_FOLDER / "examples" / view for view in ("000007/00", "000008/06")]
    person, other = (Image.open(view.with_suffix(".png")).convert("RGB") for view in views)
    pose = render_pose(read_pose(views[1].with_suffix(".json")), *person.size[::-1])
    skeleton = Image.fromarray(to_uint8(pose)[0])
    empty = Image.new("RGB", person.size, (200, 200, 200))
    columns = ["the person", "somebody in the pose", "the pose", "the result: yours"]
    note = "not run: needs the published weights, and is for photographs; the people are rendered"
    title = "PCDM: published weights"
    sheet = contact_sheet([], columns, [[person, other, skeleton, empty]], title=title, note=note)
    size = (WIDTH, round(sheet.height * WIDTH / sheet.width))
    return sheet.resize(size, Image.Resampling.LANCZOS)


def main() -> None:
    """Write `NAME.jpg` beside every workflow."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address", help="host:port of a running ComfyUI")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--out", type=Path, default=ROOT / "workflows")
    options = parser.parse_args()
    server = Server(options.address, Path(), Path())
    for path in sorted((ROOT / "workflows" / "api").glob("*.json")):
        if options.only and path.stem not in options.only:
            continue
        title = path.stem.replace("_", " ").replace("pcdm", "PCDM:")
        file = options.out / f"{path.stem}.jpg"
        if path.stem in NEED_PUBLISHED:
            image = unrun()
        else:
            image = thumbnail(pictures_of(server, path), title)
        image.save(file, quality=QUALITY)
        print(file)


if __name__ == "__main__":
    main()
