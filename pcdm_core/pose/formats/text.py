"""Poses in plain text: lines of `x y`, and DeepFashion's tables; `frames_of_text` tells them apart.

PCDMs: 18 lines of `x y`, normalised; a missing joint is -1 -1. Source: `normalized_pose_txt` of the
published repository, which ships no example and nowhere says how a missing joint is written; -1 is
the habit of its family of data sets.

GFLA, NTED, PIDM: 18 lines, pixels of a 256x256 picture in which the 256x176 one lies between
margins of 40; a missing joint is -1 -1. Source: PIDM `data/fashion_data.py`, `trans_keypoins`.

PATN, DPTN, PISE, CFLD: tables `fashion-resize-annotation-{train,test}.csv` and Market-1501's, lines
of `name: keypoints_y: keypoints_x`, each key point list 18 integers in JSON; y before x, and -1 for
a missing joint. Pixels of 256x176 (Market-1501: 128x64). Source: CFLD `pose_utils.py`,
`load_pose_cords_from_strings`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from .assemble import RawFrame, RawPerson, fault_frame
from .documents import frames_of
from .frame import Context
from .limits import PoseError, brief, parse_json
from .points import Points, is_list, is_missing, points_of
from .tables import document_of_csv, document_of_labels

FASHION_SIZE, MARKET_SIZE = (256, 176), (128, 64)
_GFLA_MARGIN = 40

_ROW = re.compile(r"^[^:\[\]{}]+:\s*\[[^\[\]]*\]\s*:\s*\[[^\[\]]*(\]\s*)?$")
_MARKET_NAME = re.compile(r"-?\d+_c\ds\d_")


def frames_of_text(text: str, context: Context) -> list[RawFrame]:
    """All frames of a text that is no JSON; of a table, perhaps one row alone.

    Raises:
        PoseError: it cannot be read.
    """
    if looks_like_table(text):
        return _frames_of_table(text, context)
    if (document := _document_of(text, context)) is not None:
        return context.select(frames_of(document, context))
    return context.select([_frame_of_lines(text, context)])


def _document_of(text: str, context: Context) -> Any:
    """What `tables` reads of it, if anything."""
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    document = document_of_labels(lines, context) if lines else None
    return document_of_csv(text, context) if document is None else document


def _frame_of_lines(text: str, context: Context) -> RawFrame:
    """One person from 18 lines of x and y, perhaps with a confidence."""
    lines = [line.replace(",", " ").split() for line in text.splitlines() if line.strip()]
    if len(lines) != 18:
        raise context.error(
            f"{len(lines)} line{'s' * (len(lines) != 1)}; expected 18, one x y for each "
            "OpenPose joint, or OpenPose JSON"
        )
    numbers: list[list[float]] = []
    for number, words in enumerate(lines):
        try:
            values = [float(word) for word in words]
        except ValueError:
            values = []
        if len(values) not in (2, 3):
            line = brief(" ".join(words))
            raise context.error(f"joint {number} is {line}; expected two numbers, x y")
        numbers.append(values)
    points = points_of(numbers, (18,), context, "the file")
    if context.units == "auto" and _is_gfla(points):
        context.findings.fact("Format: 18 lines of x y, DeepFashion's (GFLA, NTED, PIDM).")
        context.findings.guess(
            "the pixels are those of a 256x256 picture with margins of 40 left and right."
        )
        points[is_missing(points, 0.0)] = np.nan
        points[:, 0] -= _GFLA_MARGIN
        return _frame_of_pixels(points, FASHION_SIZE, context)
    context.findings.fact("Format: 18 lines of x y, PCDMs' own.")
    return RawFrame([RawPerson(points)], None, context)


def _is_gfla(points: Points) -> bool:
    """Whether these are pixels between the margins, at least five of them."""
    x, y, _ = points[~is_missing(points, 0.0)].T
    height, width = FASHION_SIZE
    inside = (x >= _GFLA_MARGIN) & (x <= _GFLA_MARGIN + width) & (y >= 0) & (y <= height)
    return len(x) >= 5 and bool(inside.all())


def looks_like_table(text: str) -> bool:
    """Whether a text begins like DeepFashion's table, with or without its header."""
    lines = text.lstrip().splitlines()[:2]
    return bool(lines) and (_header(lines[0]) is not None or any(map(_ROW.match, lines)))


def _frames_of_table(text: str, context: Context) -> list[RawFrame]:
    """A frame a row; or the only row that is asked for: these tables are long."""
    lines = [line for line in text.splitlines() if line.strip()]
    columns = _header(lines[0])
    context.findings.fact("Format: DeepFashion's annotation table (PATN, DPTN, CFLD).")
    if columns is None:
        context.findings.guess("no header: the first list is y, the second x.")
        columns = (1, 2)
    else:
        lines = lines[1:]
    only, frames = context.only, list[RawFrame]()
    for number, line in enumerate(lines):
        name = line.split(":", 1)[0].strip()
        if only is None or only in (number, name):
            row = context.at(f"row {number} ({brief(name)})")
            try:
                frames.append(_frame_of_row(line, columns, row))
            except PoseError as error:
                frames.append(fault_frame(error, row, name))
    if not frames:
        rows = "no rows" if only is None else f"no row {brief(only)} among its {len(lines)}"
        raise context.error(f"the table has {rows}")
    return frames


def _header(line: str) -> tuple[int, int] | None:
    """Where y and x stand, or None where the line is no header."""
    titles = [title.strip().lower() for title in line.split(":")]
    if "keypoints_y" not in titles or "keypoints_x" not in titles:
        return None
    return titles.index("keypoints_y"), titles.index("keypoints_x")


def _frame_of_row(line: str, columns: tuple[int, int], context: Context) -> RawFrame:
    cells = line.split(":")
    if len(cells) != 3:
        raise context.error(f"{len(cells)} cells; expected name, keypoints_y, keypoints_x")
    ys, xs = (_numbers(cells[column], context) for column in columns)
    if len(ys) != len(xs):
        raise context.error(f"{len(ys)} y, but {len(xs)} x; expected 18 of each")
    points = points_of([list(pair) for pair in zip(xs, ys, strict=True)], (18,), context, "the row")
    name = cells[0].strip()
    size = MARKET_SIZE if _MARKET_NAME.match(name) else FASHION_SIZE
    places = points[~is_missing(points, 0.0), :2]
    if (context.size or context.assumed) and (places > size[::-1]).any():
        return RawFrame([RawPerson(points)], None, replace(context, units="pixels"), name)
    context.findings.guess(f"the pixels are those of a {size[0]}x{size[1]} picture.")
    return _frame_of_pixels(points, size, context, name)


def _numbers(cell: str, context: Context) -> list[Any]:
    try:
        numbers = parse_json(cell)
    except ValueError as error:
        raise context.error(f"{brief(cell.strip())} is no list ({error})") from error
    if not is_list(numbers):
        raise context.error(f"{brief(numbers)} is no list of 18 numbers")
    return numbers


def _frame_of_pixels(
    points: Points, size: tuple[int, int], context: Context, name: str | None = None
) -> RawFrame:
    context = replace(context, size=None, units="pixels")
    return RawFrame([RawPerson(points)], size, context, name)
