"""A contact sheet: labelled columns of pictures on a neutral ground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

GROUND = (52, 52, 52)  # neutral grey: shifts no colour, parts black skeletons from pale pictures
TITLE_INK = (240, 240, 240)
LABEL_INK = (214, 214, 214)
NOTE_INK = (160, 160, 160)

SMALLEST_CELL = 320  # pixels of height; smaller pictures are enlarged by a whole factor

Labelled = tuple[str, Image.Image]


class _Measures(NamedTuple):
    """Lengths in pixels, all derived from the height of a cell."""

    cell_height: int
    cell_width: int
    margin: int
    gap: int
    label: int  # height of the letters
    title: int


def contact_sheet(
    lead: Sequence[Labelled],
    columns: Sequence[str],
    rows: Sequence[Sequence[Image.Image]],
    *,
    title: str,
    note: str = "",
) -> Image.Image:
    """Draw a sheet.

    Args:
        lead: what all rows share (source, source pose). With one row they stand at its left; with
            more rows they stand enlarged above each other, as high as the rows together.
        columns: names of the columns of `rows`.
        rows: one picture a column, all of one shape; the smallest gives the cells' size, which is
            a whole multiple of it.
        title: one line above.
        note: one line below, wrapped at the sheet's width.

    Returns:
        An RGB image.

    Raises:
        ValueError: no row, or a row without exactly one picture a column.
    """
    if not rows or any(len(row) != len(columns) for row in rows):
        raise ValueError(f"A sheet needs rows of {len(columns)} pictures: {', '.join(columns)}.")
    width, height = min(picture.size for row in rows for picture in row)
    factor = max(1, -(-SMALLEST_CELL // height))
    height, width = height * factor, width * factor
    label_height = max(height // 22, 12)
    size = _Measures(
        height, width, height // 8, max(height // 32, 4), label_height, label_height * 3 // 2
    )
    lead_boxes, start = _place_lead(lead, len(rows), size)
    top = size.margin + 2 * size.title + size.label + size.gap
    sheet_width = start + len(columns) * (size.cell_width + size.gap) - size.gap + size.margin
    note_font = ImageFont.load_default(size.label)
    lines = _wrap(note, note_font, sheet_width - 2 * size.margin)
    grid_height = len(rows) * (size.cell_height + size.gap) - size.gap
    below = len(lines) * size.label * 3 // 2 + (2 * size.gap if lines else 0)
    sheet = Image.new("RGB", (sheet_width, top + grid_height + below + size.margin), GROUND)
    draw = ImageDraw.Draw(sheet)
    title_font = ImageFont.load_default(size.title)
    draw.text((size.margin, size.margin), title, TITLE_INK, title_font, "ls")
    for (label, picture), (x, y, w, h) in zip(lead, lead_boxes, strict=True):
        _paste(sheet, draw, picture, label, (x, top + y, w, h), size)
    for column, name in enumerate(columns):
        x = start + column * (size.cell_width + size.gap)
        for number, row in enumerate(rows):
            y = top + number * (size.cell_height + size.gap)
            label = name if number == 0 else ""
            box = (x, y, size.cell_width, size.cell_height)
            _paste(sheet, draw, row[column], label, box, size)
    y = top + grid_height + 2 * size.gap
    for number, line in enumerate(lines):
        draw.text((size.margin, y + number * size.label * 3 // 2), line, NOTE_INK, note_font)
    return sheet


def _place_lead(
    lead: Sequence[Labelled], rows: int, size: _Measures
) -> tuple[list[tuple[int, int, int, int]], int]:
    """Boxes (x, y, width, height) below the labels' line, and where the columns begin."""
    if not lead:
        return [], size.margin
    pitch = size.cell_width + size.gap
    if rows == 1:
        boxes = [
            (size.margin + number * pitch, 0, size.cell_width, size.cell_height)
            for number in range(len(lead))
        ]
        return boxes, size.margin + len(lead) * pitch + size.gap * 2
    # Each lead picture carries its own label, so all but the first need a line for it.
    grid = rows * (size.cell_height + size.gap) - size.gap
    line = size.label + 2 * size.gap
    height = min((grid - (len(lead) - 1) * line) // len(lead), 2 * size.cell_height)
    width = round(height * size.cell_width / size.cell_height)
    boxes = [(size.margin, number * (height + line), width, height) for number in range(len(lead))]
    return boxes, size.margin + width + size.gap * 4


def _paste(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    picture: Image.Image,
    label: str,
    box: tuple[int, int, int, int],
    size: _Measures,
) -> None:
    x, y, width, height = box
    sheet.paste(picture.convert("RGB").resize((width, height), Image.Resampling.LANCZOS), (x, y))
    font = ImageFont.load_default(size.label)
    # Baselines at one height above the pictures, whatever letters a label has.
    draw.text((x, y - size.gap), label, LABEL_INK, font, "ls")


def _wrap(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
