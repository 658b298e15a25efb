"""The demo: one person in other poses, as a contact sheet, on the weights that ship.

`python -m pcdm_core.demo [--seed N]` takes a rendered person that the weights never saw;
`--image`, `--source-pose` and `--pose` take a person of your own.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .cli import add_sampling_options, load_pipeline, print_notes, progress_bar, run
from .picture_files import add_picture_options

if TYPE_CHECKING:
    from PIL import Image

    from .output import PCDMsOutput
    from .pipeline import PCDMsPipeline
    from .pose.keypoints import Keypoints
    from .pose.source_and_targets import Poses

EXAMPLES = Path(__file__).parent / "weights" / "examples"
"""People of the test split: `<person>/<view>.png` with key points in `<person>/<view>.json`."""

RENDERED_ONLY = (
    "The shipped weights know rendered people only; photographs need the published weights."
)
SKELETON_HEIGHT = 256
TARGETS_MAX = 4


@dataclass(frozen=True)
class Subject:
    """What the demo draws: files of one source and its targets, and the truth where it is known."""

    image: Path
    source_pose: Path
    poses: tuple[Path, ...]
    truths: tuple[Path, ...]  # as many as poses, or none
    title: str


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one plain sentence on standard error."""
    parser = argparse.ArgumentParser(
        prog="demo", description="One person in other poses, as a contact sheet."
    )
    parser.add_argument("--image", type=Path, help="a picture of your own")
    parser.add_argument("--source-pose", type=Path, help="its key points (OpenPose JSON)")
    parser.add_argument("--pose", type=Path, nargs="+", help="key points of one or more targets")
    parser.add_argument(
        "--output", type=Path, default=Path("out/demo.png"), help="the sheet (default %(default)s)"
    )
    add_picture_options(parser)
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: draw_demo(options), "demo")


def draw_demo(options: argparse.Namespace) -> None:
    """Choose the person, run the three stages on all poses at once, write the sheet."""
    from .images import as_picture, load_image, save_picture
    from .pose.source_and_targets import read_source_and_targets

    if options.output.suffix.lower() != ".png":
        raise ValueError(f"--output {options.output}: the sheet is a PNG; end the name in .png.")
    subject = choose_subject(options)
    source = load_image(subject.image, max_pixels=options.max_pixels)
    size = source.height, source.width
    poses = read_source_and_targets(subject.source_pose, subject.poses, *size)
    print_notes(poses.notes)
    print(f"{subject.title}, all in one batch.")
    with progress_bar() as bar:
        pipeline = load_pipeline(options, bar)
        result = pipeline(
            source,
            poses.source,
            poses.targets,
            seed=options.seed,
            steps=options.steps,
            guidance_scale=options.guidance_scale,
            callback=bar,
            fast=options.fast,
        )
    for note in result.notes:
        print(f"Note: {note}")
    sheet = draw_sheet(pipeline, subject, source, poses, result)
    path = save_picture(as_picture(sheet), options.output)
    print(RENDERED_ONLY)
    print(f"Contact sheet: {path.resolve()}")


def choose_subject(options: argparse.Namespace) -> Subject:
    """The user's own person, or the example that the seed picks.

    Raises:
        ValueError: only some of the three options for an own person are given.
        FileNotFoundError: the examples are missing.
    """
    files = (options.image, options.source_pose, options.pose)
    if all(files):
        title = f"{options.image.stem} in {_count(len(options.pose), 'new pose')}"
        return Subject(options.image, options.source_pose, tuple(options.pose), (), title)
    if any(files):
        raise ValueError("A person of your own needs --image, --source-pose and --pose together.")
    people = sorted(p for p in EXAMPLES.glob("*") if p.is_dir() and p.name.isdigit())
    if not people:
        raise FileNotFoundError(
            f"{EXAMPLES}: the example people are missing. Restore the folder from the repository, "
            f"or give --image, --source-pose and --pose."
        )
    person = people[options.seed % len(people)]
    views = sorted(person.glob("*.png"))
    # The first round through the people starts from their first view, the next from the second.
    first = options.seed // len(people) % len(views)
    targets = (views[:first] + views[first + 1 :])[:TARGETS_MAX]
    return Subject(
        image=views[first],
        source_pose=views[first].with_suffix(".json"),
        poses=tuple(view.with_suffix(".json") for view in targets),
        truths=tuple(targets),
        title=f"Unseen rendered person {int(person.name)} in {_count(len(targets), 'other pose')}",
    )


def draw_sheet(
    pipeline: PCDMsPipeline,
    subject: Subject,
    source: Image.Image,
    poses: Poses,
    result: PCDMsOutput,
) -> Image.Image:
    """The contact sheet, every picture at the size that the models work at."""
    from . import images
    from .pose.render import render_pose
    from .sheet import contact_sheet

    preset = pipeline.preset
    height, width = preset.height, preset.width
    fitted, fit = images.fit(source, height, width, preset.fit)

    def skeletons(pose: Keypoints) -> list[Image.Image]:
        # Larger than the models see them: lines have one width in pixels at every size.
        factor = -(-SKELETON_HEIGHT // height)
        hands = preset.inpainting.draws_hands
        pose = pose.moved(fit.points)
        return images.to_pil(render_pose(pose, factor * height, factor * width, draw_hands=hands))

    columns = {"Target pose": skeletons(poses.targets)}
    if result.coarse is not None:
        columns["Coarse"] = images.to_pil(result.coarse)
    if pipeline.refining is not None:
        columns["Refined"] = images.to_pil(result.image)
    if subject.truths:
        truths = (images.load_picture(path) for path in subject.truths)
        columns["Truth"] = [
            images.to_pil(images.fit(truth, height, width, preset.fit)[0])[0] for truth in truths
        ]
    return contact_sheet(
        [("Source", images.to_pil(fitted)[0]), ("Source pose", skeletons(poses.source)[0])],
        list(columns),
        list(zip(*columns.values(), strict=True)),
        title=subject.title,
        note=RENDERED_ONLY,
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    sys.exit(main())
