"""`pcdm pose`: what a pose file says, as OpenPose JSON and as pictures; and how poses are read."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from .ranges import NUMBER, SHARE, parse_size

DEFAULT_POSE_SIZE = (512, 512)  # height and width, where a pose says neither


def add_pose_options(parser: argparse.ArgumentParser) -> None:
    """The options of `pcdm pose`, but for those of pictures."""
    parser.add_argument(
        "file",
        type=Path,
        nargs="?",
        help="key points (JSON, csv, txt), a skeleton picture, a photograph, a folder of a clip's "
        "frames, or the name of a pose of the library",
    )
    parser.add_argument(
        "--list",
        nargs="*",
        metavar="WORD",
        help="the poses of the library whose names have all these words; without words all",
    )
    parser.add_argument("--size", type=parse_size, help="HEIGHTxWIDTH, for pixels without a size")
    parser.add_argument(
        "--units",
        choices=("auto", "pixels", "fractions", "signed"),
        default="auto",
        help="what coordinates mean (default: auto-detected)",
    )
    parser.add_argument("--json", type=Path, help="write OpenPose JSON, which is a POSE_KEYPOINT")
    parser.add_argument(
        "--render", type=Path, help="write the skeleton as the models see it (.png)"
    )
    add_reading_options(parser)


def add_person_option(parser: argparse.ArgumentParser, of_what: str = "") -> None:
    """Which of several people."""
    parser.add_argument(
        "--person",
        type=_person,
        default="largest",
        help=f"{of_what}which of several: a number from 0, or 'largest' (default)",
    )


def add_reading_options(parser: argparse.ArgumentParser, of_what: str = "") -> None:
    """What of a pose file is read, and how its frames become a clip."""
    add_person_option(parser, of_what)
    parser.add_argument(
        "--order",
        choices=("file", "left to right", "largest first"),
        default="file",
        help=f"{of_what}what the number counts (default: the file's order)",
    )
    parser.add_argument(
        "--frame", type=_frame, help=f"{of_what}only this one of several: number or name"
    )
    parser.add_argument(
        "--gaps",
        choices=("hold", "interpolate", "refuse"),
        help=f"{of_what}frames of a clip without the person: the pose before (default), a "
        "movement to the next one (default with --smooth), or an error",
    )
    parser.add_argument(
        "--smooth",
        type=SHARE.parse,
        default=0,
        metavar="STRENGTH",
        help=f"{of_what}calm the jitter of a clip, from 0 (not at all, default) to 1; try .5",
    )


def convert_pose(options: argparse.Namespace) -> Iterator[str]:
    """The report, then the names of what was written."""
    from .images import save_picture
    from .pose.editor import find_poses
    from .pose.formats import write_openpose
    from .pose.read_any import read_pose_file
    from .pose.render import render_pose

    if options.list is not None:
        yield "\n".join(pose.name for pose in find_poses(options.list))
        return
    if options.file is None:
        raise ValueError("Give a pose file, or --list for the names of the library's poses.")
    reading = read_pose_file(
        options.file,
        size=options.size,
        person=options.person,
        order=options.order,
        frame=options.frame,
        units=options.units,
        gaps=options.gaps,
        smooth=options.smooth,
        max_pixels=options.max_pixels,
    )
    yield str(reading.report)
    pose = reading.keypoints
    if None in pose.canvases and (options.json or options.render):
        height, width = DEFAULT_POSE_SIZE
        yield f"Guessed: a picture of {height}x{width}; give --size for another."
    pose = pose.with_canvas(*(size or DEFAULT_POSE_SIZE for size in pose.canvases))
    if options.json:
        yield str(write_openpose(pose, options.json))
    for row, size in enumerate(pose.canvases if options.render else []):
        name = options.render.with_suffix(".png")
        if len(pose) > 1:
            name = name.with_name(f"{name.stem}_{row:04d}.png")
        picture = render_pose(pose.select(row), *size or DEFAULT_POSE_SIZE)
        yield str(save_picture(picture, name))


def _person(text: str) -> int | str:
    return text if text == "largest" else NUMBER.parse(text)


def _frame(text: str) -> int | str:
    return int(text) if text.isdecimal() else text
