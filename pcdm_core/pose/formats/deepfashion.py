"""DeepFashion's annotation tables: `fashion-resize-annotation-{train,test}.csv` and Market-1501's.

Lines of `name: keypoints_y: keypoints_x`, each key point list 18 integers in JSON; y before x, and
-1 for a missing joint. Pixels of 256x176 (Market-1501: 128x64). Source: CFLD `pose_utils.py`,
`load_pose_cords_from_strings`; used by PATN, DPTN, PISE and CFLD.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from .frame import Frame, Settings
from .limits import PoseError, brief, parse_json
from .people import RawPerson, assemble, is_missing
from .points import is_list, points_of

FASHION_SIZE, MARKET_SIZE = (256, 176), (128, 64)

_ROW = re.compile(r"^[^:\[\]{}]+:\s*\[[^\[\]]*\]\s*:\s*\[[^\[\]]*(\]\s*)?$")
_MARKET_NAME = re.compile(r"-?\d+_c\ds\d_")


def looks_like_table(text: str) -> bool:
    """Whether a text begins like such a table, with or without its header."""
    lines = text.lstrip().splitlines()[:2]
    return bool(lines) and (_header(lines[0]) is not None or any(map(_ROW.match, lines)))


def frames_of_table(
    text: str, settings: Settings, where: str, only: str | int | None = None
) -> list[Frame]:
    """A frame a row; with `only`, the row of that name or number alone (these tables are long).

    Raises:
        PoseError: a row cannot be read, or there is none.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    columns = _header(lines[0])
    settings.findings.found("Format: DeepFashion's annotation table (PATN, DPTN, CFLD).")
    if columns is None:
        settings.findings.guess("no header: the first list is y, the second x.")
        columns = (1, 2)
    else:
        lines = lines[1:]
    frames: list[Frame] = []
    for number, line in enumerate(lines):
        name = line.split(":", 1)[0].strip()
        if only is None or only in (number, name):
            frames.append(_frame(line, columns, settings, f"{where}, row {number} ({brief(name)})"))
    if not frames:
        what = "no rows" if only is None else f"no row {brief(only)} among its {len(lines)}"
        raise PoseError(f"{where}: the table has {what}")
    return frames


def _header(line: str) -> tuple[int, int] | None:
    """Where y and x stand, or None where the line is no header."""
    titles = [title.strip().lower() for title in line.split(":")]
    if "keypoints_y" not in titles or "keypoints_x" not in titles:
        return None
    return titles.index("keypoints_y"), titles.index("keypoints_x")


def _frame(line: str, columns: tuple[int, int], settings: Settings, where: str) -> Frame:
    cells = line.split(":")
    if len(cells) != 3:
        raise PoseError(f"{where}: {len(cells)} cells; expected name, keypoints_y, keypoints_x")
    ys, xs = (_numbers(cells[column], where) for column in columns)
    if len(ys) != len(xs):
        raise PoseError(f"{where}: {len(ys)} y, but {len(xs)} x; expected 18 of each")
    points = points_of([list(pair) for pair in zip(xs, ys, strict=True)], (18,), where, "the row")
    name = cells[0].strip()
    size = MARKET_SIZE if _MARKET_NAME.match(name) else FASHION_SIZE
    seen = [point for point in points if point is not None and not is_missing(point, 0.0)]
    if settings.size and any(x > size[1] or y > size[0] for x, y, _ in seen):
        size = settings.size
    settings.findings.guess(f"the pixels are those of a {size[0]}x{size[1]} picture.")
    own = replace(settings, size=None, units="pixels")
    return assemble([RawPerson(points)], size, own, where, name)


def _numbers(cell: str, where: str) -> list[Any]:
    try:
        numbers = parse_json(cell)
    except ValueError as error:
        raise PoseError(f"{where}: {brief(cell.strip())} is no list ({error})") from error
    if not is_list(numbers):
        raise PoseError(f"{where}: {brief(numbers)} is no list of 18 numbers")
    return numbers
