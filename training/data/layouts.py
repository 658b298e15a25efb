"""The layouts of DeepFashion In-shop, Market-1501, and a plain folder of people.

pcdms      train_data.json (source_image, target_image), all_data_png/ or train_all_png/,
           normalized_pose_txt/ (18 lines of x y as fractions)
patn       fasion-resize-pairs-train.csv (from,to), fasion-resize-annotation-train.csv (y before x,
           pixels of 256x176), train_highres/ or train/   (PATN, DPTN, PISE, CFLD)
gfla       train_pairs.txt (target,source,...), img/<...>.jpg, pose/<...>.txt (pixels of 256x256
           with margins of 40)   (GFLA, NTED, PIDM)
market     market-pairs-train.csv, market-annotation-train.csv (pixels of 128x64),
           bounding_box_train/ or train/
original   img/WOMEN/<kind>/id_<number>/<outfit>_<n>_<view>.jpg, list_eval_partition.txt, and poses
           as gfla, as patn, or as a pose file beside the picture
folder     <person>/<picture> with a pose file of the same name beside it

Pose files are read by `pose.formats`; here is only where they lie and what picture their
numbers belong to. The data set's own spelling `fasion` is right, `fashion` is read too.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pcdm_core.pose.canvas import in_frame
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.quoting import short

from .pictures import Collector, PictureSet
from .rendered import read_synthetic

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
POSES = (".json", "_keypoints.json", ".txt")
GFLA_MARGIN, GFLA_SIDE, GFLA_WIDTH = 40, 256, 176

PoseReader = Callable[[tuple[int, int]], Keypoints]
Layout = tuple[Callable[[Path, str], bool], Callable[[Path, str], PictureSet]]
"""Whether a folder has a split's files, and how they are read."""

# The list of a split's pairs -> the layout that it belongs to.
PAIR_FILES = (
    (re.compile(r"(?P<split>train|test)_data\.json"), "pcdms"),
    (re.compile(r"fash?ion-resize-pairs-(?P<split>train|test)\.csv"), "patn"),
    (re.compile(r"market-pairs-(?P<split>train|test)\.csv"), "market"),
    (re.compile(r"(?P<split>train|test)_pairs\.txt"), "gfla"),
)


def open_pictures(
    root: Path,
    layout: str = "auto",
    split: str = "train",
) -> PictureSet:
    """Read a data set; files that are missing or broken are in its `problems`.

    Args:
        layout: one of `LAYOUTS`, or `auto`: the first whose files are there.
        split: `train` or `test`.

    Raises:
        FileNotFoundError: no folder, or no layout's files in it.
        ValueError: an unknown layout, a list that cannot be read, or no usable pair.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder; give the data set's own folder.")
    if layout == "auto":
        layout = next((name for name, (fits, _) in LAYOUTS.items() if fits(root, split)), "")
        if not layout:
            raise FileNotFoundError(
                f"{root}: none of the known layouts ({', '.join(LAYOUTS)}) has its {split} files "
                f"there. The layouts are described in docs/training.md."
            )
    if layout not in LAYOUTS:
        raise ValueError(f"Unknown layout {layout!r}. Known: auto, {', '.join(LAYOUTS)}.")
    return LAYOUTS[layout][1](root, split)


def open_pairs(path: Path) -> PictureSet:
    """The pictures and pairs of a list of pairs, which lies in the data set's folder.

    Raises:
        FileNotFoundError: no such file.
        ValueError: its name is not that of a known list, or it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the data set's list of pairs.")
    for pattern, layout in PAIR_FILES:
        if match := pattern.fullmatch(path.name):
            return open_pictures(path.parent, layout, match["split"])
    raise ValueError(
        f"{path}: not the name of a list of pairs. Known: test_data.json (pcdms), "
        f"fasion-resize-pairs-test.csv (patn), test_pairs.txt (gfla), market-pairs-test.csv "
        f"(market)."
    )


# --- what several layouts do ----------------------------------------------------------------------


def _first(root: Path, names: list[str]) -> Path | None:
    return next((root / name for name in names if (root / name).exists()), None)


def _needed(root: Path, names: list[str]) -> Path:
    path = _first(root, names)
    if path is None:
        raise FileNotFoundError(f"{root}: no {' or '.join(names)} there.")
    return path


def _picture(bases: list[Path], name: str) -> Path:
    """A picture by its name, whatever the ending it was converted to."""
    for base in bases:
        path = base / name
        for candidate in (path, *(path.with_suffix(ending) for ending in PICTURES)):
            if candidate.is_file():
                return candidate
    places = " or ".join(base.name for base in bases)
    raise FileNotFoundError(f"{name}: no such picture in {places}")


def _rows_of_csv(path: Path) -> Iterator[tuple[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"from", "to"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: expected the columns from,to; found {reader.fieldnames}.")
        for row in reader:
            if row["from"] and row["to"]:
                yield row["from"].strip(), row["to"].strip()


def _annotations(path: Path) -> Mapping[str, PoseReader]:
    """Readers of a table's rows by picture name; each row is understood when it is asked for."""
    header, *lines = path.read_text(encoding="utf-8-sig").splitlines()

    def reader(line: str) -> PoseReader:
        return lambda _: read_pose(f"{header}\n{line}")

    return {line.split(":", 1)[0].strip(): reader(line) for line in lines if line.strip()}


def _pose_of(annotations: Mapping[str, PoseReader], name: str, path: Path) -> PoseReader:
    if name not in annotations:
        raise ValueError(f"{name}: no pose in {path.name}")
    return annotations[name]


def _gfla_pose(path: Path) -> Keypoints:
    """As published (`trans_keypoins`): the 256x176 picture lies in the middle of 256x256."""
    pose = read_pose(path, size=(GFLA_SIDE, GFLA_SIDE), units="pixels")
    pixels = pose.to_pixels(GFLA_SIDE, GFLA_SIDE)
    pixels[..., 0] -= GFLA_MARGIN
    return Keypoints.from_pixels(pixels, pose.visible, GFLA_SIDE, GFLA_WIDTH)


# --- DeepFashion ----------------------------------------------------------------------------------


def _read_pcdms(root: Path, split: str) -> PictureSet:
    path = _needed(root, [f"{split}_data.json"])
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
        listed = [(row["source_image"], row["target_image"]) for row in rows]
        if not all(isinstance(name, str) for pair in listed for name in pair):
            raise TypeError("a name is no text")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{path}: expected a list of source_image and target_image ({short(str(error))})."
        ) from error
    folders = [f"{split}_all_png", "all_data_png", "train_all_png", "test_all_png"]
    bases = [root / name for name in folders if (root / name).is_dir()] or [root]
    poses = root / "normalized_pose_txt"

    def find(name: str) -> tuple[Path, PoseReader]:
        pose = poses / Path(name).with_suffix(".txt")
        return _picture(bases, name), lambda _: read_pose(pose, units="fractions")

    collector = Collector("pcdms", find)
    for source, target in listed:
        collector.pair(source, target)
    return collector.finish()


def _read_table(root: Path, split: str, layout: str, stem: str, folders: list[str]) -> PictureSet:
    """PATN's kind: a table of pairs and one of annotations."""
    stems = [stem, stem.replace("fasion", "fashion")]
    pairs = _needed(root, [f"{name}-pairs-{split}.csv" for name in stems])
    table = _needed(root, [f"{name}-annotation-{split}.csv" for name in stems])
    annotations = _annotations(table)
    bases = [root / name for name in folders if (root / name).is_dir()] or [root]

    def find(name: str) -> tuple[Path, PoseReader]:
        return _picture(bases, name), _pose_of(annotations, name, table)

    collector = Collector(layout, find)
    for source, target in _rows_of_csv(pairs):
        collector.pair(source, target)
    return collector.finish()


def _read_patn(root: Path, split: str) -> PictureSet:
    return _read_table(root, split, "patn", "fasion-resize", [f"{split}_highres", split])


def _read_market(root: Path, split: str) -> PictureSet:
    return _read_table(root, split, "market", "market", [f"bounding_box_{split}", split])


def _read_gfla(root: Path, split: str) -> PictureSet:
    path = _needed(root, [f"{split}_pairs.txt"])

    def find(name: str) -> tuple[Path, PoseReader]:
        inside = name.split("img/", 1)[-1]
        pose = root / "pose" / Path(inside).with_suffix(".txt")
        bases = [root / folder for folder in ("img", "img_highres")]
        return _picture(bases, inside), lambda _: _gfla_pose(pose)

    collector = Collector("gfla", find)
    for line in path.read_text(encoding="utf-8-sig").splitlines():
        # As published: the target comes first, then its sources.
        target, *sources = (word.strip() for word in line.split(","))
        for source in sources:
            collector.pair(source, target)
    return collector.finish()


def flat_name(name: str) -> str:
    """`WOMEN/Dresses/id_00000002/02_1_front.jpg` as PATN's tables name it."""
    *folders, file = name.split("/")
    number, *rest = file.split("_")
    return "fashion" + "".join(folders).replace("_", "") + f"{number}_{''.join(rest)}"


def _partition(root: Path) -> Mapping[str, str] | None:
    """Picture names to `train` or `test`, where the data set's list is there."""
    path = _first(root, ["list_eval_partition.txt", "Eval/list_eval_partition.txt"])
    if path is None:
        return None
    words = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
    return {
        row[0].split("img/", 1)[-1]: "train" if row[2] == "train" else "test"
        for row in words
        if len(row) == 3 and row[0].startswith("img/")
    }


def _read_original(root: Path, split: str) -> PictureSet:
    base = _needed(root, ["img", "img_highres"])
    partition = _partition(root)
    table = _first(
        root, [f"{name}-resize-annotation-{split}.csv" for name in ("fasion", "fashion")]
    )
    annotations = {} if table is None else _annotations(table)

    def find(name: str) -> tuple[Path, PoseReader]:
        path, pose = base / name, root / "pose" / Path(name).with_suffix(".txt")
        if pose.is_file():
            return path, lambda _: _gfla_pose(pose)
        if table is not None:
            return path, _pose_of(annotations, flat_name(name), table)
        return path, _beside(path)

    groups: dict[tuple[str, str], list[str]] = {}
    for path in sorted(base.rglob("id_*/*")):
        name = path.relative_to(base).as_posix()
        in_split = partition is None or partition.get(name) == split
        if in_split and path.suffix.lower() in PICTURES:
            # One outfit of one person: the item's number and the number that the name begins with.
            groups.setdefault((path.parent.as_posix(), path.name.split("_")[0]), []).append(name)
    collector = Collector("original", find)
    collector.all_pairs(groups.values())
    return collector.finish()


# --- others ---------------------------------------------------------------------------------------


def _beside(path: Path) -> PoseReader:
    """The pose file that has a picture's name, in whatever format."""
    for ending in POSES:
        pose = path.with_name(path.stem + ending)
        if pose.is_file():
            return lambda size: in_frame(read_pose(pose, size=size), size).select(0)
    raise ValueError(
        f"{path}: no pose beside it ({path.stem}{POSES[0]} or .txt); detect one with a pose tool"
    )


def _read_folder(root: Path, split: str) -> PictureSet:
    base = root / split if (root / split).is_dir() else root
    groups: dict[str, list[str]] = {}
    for path in sorted(base.glob("*/*")):
        if path.suffix.lower() in PICTURES:
            name = path.relative_to(base).as_posix()
            groups.setdefault(path.parent.name, []).append(name)
    collector = Collector("folder", lambda name: (base / name, _beside(base / name)))
    collector.all_pairs(groups.values())
    return collector.finish()


def has_files(*patterns: str) -> Callable[[Path, str], bool]:
    """Whether a folder has a file for each of the patterns."""

    def fits(root: Path, split: str) -> bool:
        return all(any(root.glob(pattern.format(split=split))) for pattern in patterns)

    return fits


LAYOUTS: Mapping[str, Layout] = {
    "pcdms": (has_files("{split}_data.json"), _read_pcdms),
    "market": (has_files("market-pairs-{split}.csv"), _read_market),
    "patn": (has_files("fas*ion-resize-pairs-{split}.csv"), _read_patn),
    "gfla": (has_files("{split}_pairs.txt"), _read_gfla),
    "original": (has_files("img*/*/*/id_*"), _read_original),
    "synthetic": (has_files("{split}/[0-9]*/people.npz"), read_synthetic),
    "folder": (has_files("*/*.*"), _read_folder),  # fits most folders, so it is asked last
}
