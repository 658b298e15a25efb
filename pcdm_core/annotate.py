"""`pcdm annotate`: the poses of all pictures in a folder, as training and evaluation read them.

Each picture's pose is written as soon as it is known, whole or not at all, and what is there is
read the next time: a run that was killed goes on. The other layouts and the lists are made of
these files at the end.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .files import atomic_file, write_text
from .ranges import COUNT

if TYPE_CHECKING:
    from PIL import Image

    from .pose.formats.read import Person
    from .pose.keypoints import Keypoints

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
POSES = (".json", "_keypoints.json", ".txt", ".csv", ".npy")
"""What a pose file beside a picture adds to its name."""

LAYOUTS = ("folder", "pcdms", "openpose")
SHEET, FAILURES = "annotated_sheet.png", "annotated_failures.csv"
POSE_TEXTS, OPENPOSE = "normalized_pose_txt", "openpose"
_SHEET_PICTURES, _SHEET_COLUMNS, _CELL = 48, 8, 320
_MISSING = "-1 -1"


class Task(NamedTuple):
    """One picture, and the file that its pose goes to."""

    picture: Path
    pose: Path
    person: Person
    max_pixels: int


class Outcome(NamedTuple):
    """What became of a picture: where its pose came from, or why it has none."""

    picture: Path
    origin: str = ""
    fault: str = ""


def add_annotate_options(parser: argparse.ArgumentParser) -> None:
    """The options of `pcdm annotate`, but for those of pictures."""
    parser.add_argument("folder", type=Path, help="pictures, in folders of people or all in one")
    parser.add_argument("--output", type=Path, help="where everything goes (default: FOLDER)")
    parser.add_argument(
        "--layouts",
        choices=LAYOUTS,
        nargs="+",
        default=["folder"],
        help="folder: a pose file beside each picture (always); pcdms: normalized_pose_txt and a "
        "list of pairs; openpose: OpenPose's file names",
    )
    parser.add_argument(
        "--pairs",
        choices=("folder", "name"),
        default="folder",
        help="pictures of one person are in one folder (default), or begin with one name "
        "(anna_1.png, anna_2.png)",
    )
    parser.add_argument("--split", choices=("train", "test"), default="train", help="of the pairs")
    parser.add_argument("--workers", type=COUNT.parse, help="processes (default: all cores)")


def annotate(options: argparse.Namespace, progress: Callable[[str, int, int], None]) -> list[str]:
    """Every picture's pose, then the layouts, the pairs, the sheet and the failures.

    Returns:
        What was done, a line each.

    Raises:
        FileNotFoundError: no such folder, or no picture in it.
        ValueError: no picture has a pose.
    """
    output = options.output or options.folder
    pictures = _pictures_in(options.folder, output)
    tasks: list[Task] = []
    outcomes: list[Outcome] = []
    owners: dict[Path, Path] = {}
    for picture in pictures:
        pose = output / picture.relative_to(options.folder).with_suffix(".json")
        if (owner := owners.setdefault(pose, picture)) != picture:
            fault = f"{owner.name} has the same name, and {pose.name} is its pose; rename one"
            outcomes.append(Outcome(picture, fault=fault))
        else:
            tasks.append(Task(picture, pose, options.person, options.max_pixels))
    for number, outcome in enumerate(_outcomes(tasks, options.workers or os.cpu_count() or 1)):
        outcomes.append(outcome)
        progress("poses", number + 1, len(tasks))
    faults = {outcome.picture: outcome.fault for outcome in outcomes if outcome.fault}
    _write_failures(output / FAILURES, faults, options.folder)
    tasks = [task for task in tasks if task.picture not in faults]
    if not tasks:
        raise ValueError(f"{options.folder}: no pose in any picture; {next(iter(faults.values()))}")
    names = [task.picture.relative_to(options.folder) for task in tasks]
    lines = _write_layouts(tasks, names, output, options)
    sheet = _sheet(tasks, names, f"{len(tasks)} poses, {len(faults)} failures")
    with atomic_file(output / SHEET) as file:
        sheet.save(file, "PNG")
    origins = [outcome.origin for outcome in outcomes if outcome.origin]
    counts = ", ".join(f"{origins.count(origin)} {origin}" for origin in sorted(set(origins)))
    lines.append(f"{len(tasks)} poses ({counts}) in {output}; {SHEET} shows them.")
    if faults:
        lines.append(f"{len(faults)} pictures have none: {output / FAILURES} says why.")
    return lines


def _pictures_in(folder: Path, output: Path) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder of pictures")
    pictures = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in PICTURES
        and not path.name.startswith(".")
        and path != output / SHEET
    )
    if not pictures:
        raise FileNotFoundError(f"{folder}: holds no pictures ({', '.join(PICTURES)})")
    return pictures


# --- poses ---------------------------------------------------------------------------------------


def _outcomes(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    if min(workers, len(tasks)) < 2:
        yield from map(find_pose, tasks)
        return
    context = multiprocessing.get_context("spawn")  # threads of the networks do not survive a fork
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _one_thread) as pool:
        yield from pool.map(find_pose, tasks)


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def find_pose(task: Task) -> Outcome:
    """Read the pose that lies beside a picture, or detect it, and write it in the picture's frame.

    Returns:
        Where it came from; whatever is wrong with this one picture is its fault.
    """
    from .picture_files import picture_size
    from .pose.canvas import in_frame
    from .pose.formats import write_openpose
    from .pose.read_any import read_pose_file

    try:
        size = picture_size(task.picture, max_pixels=task.max_pixels)
        beside = (task.picture.with_name(task.picture.stem + ending) for ending in POSES)
        file = next((path for path in (task.pose, *beside) if path.is_file()), None)
        reading = read_pose_file(
            file or task.picture, assumed=size, person=task.person, max_pixels=task.max_pixels
        )
        if file == task.pose and reading.sizes == (size,):
            return Outcome(task.picture, "read")
        pose = in_frame(reading.keypoints, size)
        if len(pose) != 1:
            raise ValueError(f"{file}: holds {len(pose)} frames; give the picture's one")
        if file != task.pose:  # a file of the user's stays as it is
            write_openpose(pose, task.pose, *size)
        return Outcome(task.picture, "detected" if file is None else "read")
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        return Outcome(task.picture, fault=str(error))


def _pose_of(task: Task) -> Keypoints:
    from .picture_files import picture_size
    from .pose.canvas import in_frame
    from .pose.read_any import read_pose_file

    size = picture_size(task.picture, max_pixels=task.max_pixels)
    pose = read_pose_file(task.pose, assumed=size, person=task.person).keypoints
    return in_frame(pose, size).with_canvas(size)


# --- what is made of them ------------------------------------------------------------------------


def _write_failures(path: Path, faults: dict[Path, str], folder: Path) -> None:
    if not faults:
        path.unlink(missing_ok=True)
        return
    lines = io.StringIO()
    rows = csv.writer(lines, lineterminator="\n")
    rows.writerow(["picture", "reason"])
    rows.writerows([picture.relative_to(folder).as_posix(), why] for picture, why in faults.items())
    write_text(path, lines.getvalue())


def _write_layouts(
    tasks: Sequence[Task], names: Sequence[Path], output: Path, options: argparse.Namespace
) -> list[str]:
    """The layouts that are asked for, and a line where pairs were counted."""
    from .pose.formats import write_openpose

    for task, name in zip(tasks, names, strict=True):
        if "pcdms" in options.layouts:
            pose = _pose_of(task)
            places = zip(pose.xy[0].tolist(), pose.visible[0].tolist(), strict=True)
            lines = [f"{x:.8f} {y:.8f}" if visible else _MISSING for (x, y), visible in places]
            write_text(output / POSE_TEXTS / name.with_suffix(".txt"), "\n".join(lines) + "\n")
        if "openpose" in options.layouts:
            file = name.with_name(f"{name.stem}_keypoints.json")
            write_openpose(_pose_of(task), output / OPENPOSE / file)
    if "pcdms" not in options.layouts:
        return []
    pairs = pairs_of(names, options.pairs)
    rows = [{"source_image": s.as_posix(), "target_image": t.as_posix()} for s, t in pairs]
    path = output / f"{options.split}_data.json"
    write_text(path, json.dumps(rows, indent=1))
    return [f"{len(pairs)} pairs in {path}"]


def pairs_of(names: Sequence[Path], rule: str) -> list[tuple[Path, Path]]:
    """All ordered pairs of two pictures of one person.

    Args:
        names: of pictures, relative to the data set's folder.
        rule: `folder`: a person is a folder; `name`: a folder and what comes before the last part
            of a name, or before the number at its end.
    """
    people: dict[tuple[Path, str], list[Path]] = {}
    for name in names:
        shared = re.match(r"(.+)[_\-. ]|(.+?)\d+$|", name.stem)
        begin = (shared[1] or shared[2] or name.stem) if shared else name.stem
        people.setdefault((name.parent, begin if rule == "name" else ""), []).append(name)
    return [pair for person in people.values() for pair in permutations(person, 2)]


def _sheet(tasks: Sequence[Task], names: Sequence[Path], title: str) -> Image.Image:
    """Evenly many of the pictures with their poses over them."""
    from PIL import Image

    from .sheet import GROUND, contact_sheet

    step = max(-(-len(tasks) // _SHEET_PICTURES), 1)
    cells = [_cell(task, name) for task, name in list(zip(tasks, names, strict=True))[::step]]
    columns = min(_SHEET_COLUMNS, len(cells))
    cells += [Image.new("RGB", (_CELL, _CELL), GROUND)] * (-len(cells) % columns)
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    return contact_sheet([], [""] * columns, rows, title=title)


def _cell(task: Task, name: Path) -> Image.Image:
    from PIL import Image, ImageDraw, ImageFont

    from .images import as_picture, load_image, to_uint8
    from .picture_files import FREE_PIXELS
    from .pose.overlay import overlay
    from .sheet import GROUND, LABEL_INK

    source = load_image(task.picture, max_pixels=task.max_pixels, shown=FREE_PIXELS)
    picture = as_picture(source)
    image = Image.fromarray(to_uint8(overlay(picture, [_pose_of(task)]))[0])
    image.thumbnail((_CELL, _CELL - 20))
    cell = Image.new("RGB", (_CELL, _CELL), GROUND)
    cell.paste(image, ((_CELL - image.width) // 2, 0))
    label = name.as_posix()[-44:]
    ImageDraw.Draw(cell).text((4, _CELL - 17), label, LABEL_INK, ImageFont.load_default(12))
    return cell
