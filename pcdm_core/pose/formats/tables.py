"""Tables of key points as documents: csv by its header, and YOLO's labels."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from .frame import Context
from .joint_maps import BODY_COUNTS, skeleton_of
from .people import by_column
from .points import number_of
from .python_text import documents_of

_DELIMITERS = ",;\t"
_DECIMAL_COMMA = re.compile(r"-?\d+,\d+")  # of spreadsheets in most of Europe
_NAMES = ("name", "file_name", "filename", "image", "image_name", "image_id", "frame", "frame_id",
          "frame_index", "frame_number", "path")  # fmt: skip
_JOINTS = ("joint", "keypoint", "landmark", "bodypart", "body_part", "part", "name", "label")
_PEOPLE = ("person", "person_id", "track_id", "id", "pid")
_SIZES = ("image_height", "image_width", "height", "width")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")

# class, box (4), then 17 points of x, y (and 2, 1 or 0), perhaps a confidence and a track's number
_YOLO_STEPS = {5 + 17 * step + more: step for step in (2, 3) for more in (0, 1, 2)}


def document_of_csv(text: str, context: Context) -> Any:
    """People with their pictures' names, from a csv whose header names joints; None for others.

    A row is a picture's person with columns `JOINT_x`, `JOINT_y` and perhaps `JOINT_score`, or one
    joint with the columns `x`, `y` and its name.

    Raises:
        PoseError: a list of pairs of pictures.
    """
    begin = text.lstrip().split("\n", 1)[0].strip()
    delimiter = max(_DELIMITERS, key=begin.count)
    titles = [title.strip().strip('"') for title in begin.split(delimiter)]
    if {"from", "to"} <= set(titles) or _are_pictures(titles):
        raise context.error("a list of pairs of pictures; give the table of their poses")
    by_name = {title.lower(): title for title in titles}
    in_cells = _people_in_cells(text, titles, delimiter, context)
    if in_cells is not None:
        return in_cells
    joint = next((by_name[key] for key in _JOINTS if key in by_name), None)
    if joint is not None and {"x", "y"} <= by_name.keys():
        rows = _rows(text, titles, delimiter)
        context.findings.format("csv, a joint a row")
        return _people_of_joints(rows, by_name, joint)
    columns = by_column(dict.fromkeys(titles, 0.0))
    if len(columns) not in BODY_COUNTS and skeleton_of("", list(columns)[:400]) is None:
        return None
    context.findings.format("csv, a person a row")
    picture = next((by_name[key] for key in _NAMES if key in by_name), None)
    people: list[Any] = []
    for number, row in enumerate(_rows(text, titles, delimiter)):
        name = number if picture is None or row[picture] is None else row[picture]
        sizes = {key: row[by_name[key]] for key in _SIZES if key in by_name}
        people.append({"image_id": name, "keypoints": by_column(row), **sizes})
    return people


def _people_in_cells(
    text: str, titles: Sequence[str], delimiter: str, context: Context
) -> list[Any] | None:
    """Ultralytics' `Results.to_csv()`: a person's points are a document in one cell."""
    if "keypoints" not in titles:
        return None
    rows = _rows(text, titles, delimiter)
    cells = [row["keypoints"] for row in rows]
    if not rows or not all(isinstance(cell, str) and cell.startswith(("{", "[")) for cell in cells):
        return None
    context.findings.format("csv, a person a row")
    return [{"keypoints": documents_of(cell, context)[0]} for cell in cells]


def document_of_labels(lines: Sequence[Sequence[str]], context: Context) -> Any:
    """One picture's people from lines of a YOLO pose label; None where the lines are none."""
    steps = {_YOLO_STEPS.get(len(words)) for words in lines}
    numbers = [[number_of(word) for word in words] for words in lines]
    step = next(iter(steps)) if len(steps) == 1 else None
    if step is None or any(number is None for row in numbers for number in row):
        return None
    context.findings.format("YOLO pose labels")
    return [{"keypoints": row[5 : 5 + 17 * step]} for row in numbers]


def _rows(text: str, titles: Sequence[str], delimiter: str) -> list[dict[str, Any]]:
    """Rows by title; numbers for texts, None for an empty cell."""
    reader = csv.reader(io.StringIO(text.lstrip()), delimiter=delimiter)
    next(reader)
    return [
        dict.fromkeys(titles)
        | {t: _cell(cell, delimiter) for t, cell in zip(titles, row, strict=False)}
        for row in reader
        if any(cell.strip() for cell in row)
    ]


def _cell(cell: str, delimiter: str) -> Any:
    cell = cell.strip()
    if delimiter != "," and _DECIMAL_COMMA.fullmatch(cell):
        cell = cell.replace(",", ".")
    number = number_of(cell)
    if number is None:
        return cell or None
    return int(number) if cell.isdecimal() else number


def _people_of_joints(rows: Sequence[dict[str, Any]], by_name: dict[str, str], joint: str) -> Any:
    keys = [k for k in (*_NAMES, *_PEOPLE) if k in by_name and by_name[k] != joint]
    pictures = [by_name[key] for key in keys if key in _NAMES][:1]
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        group = tuple(str(row[by_name[key]]) for key in keys)
        person = groups.setdefault(group, {"keypoints": {}})
        if pictures:
            person["image_id"] = row[pictures[0]]
        point = {title.lower(): value for title, value in row.items()}
        person["keypoints"][str(row[joint])] = point
    return list(groups.values())


def _are_pictures(titles: Sequence[str]) -> bool:
    return len(titles) > 1 and all(title.lower().endswith(_PICTURES) for title in titles)
