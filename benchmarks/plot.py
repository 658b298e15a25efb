"""The figures of a benchmark as a drawing (SVG), in a few lines of our own.

Left: seconds a picture against the number of target poses of a source, one line a model. Right:
every way's time over the plain path's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape

INK, PAPER = "#1e1e1e", "#ffffff"
PACK, FAST, PLAIN = "#2563eb", "#0d9488", "#94a3b8"
FONT = "font-family='Helvetica,Arial,sans-serif'"

# In units of the drawing: a curve's field, and the rows of the bars beside it.
CURVE_WIDE, CURVE_HIGH, LEFT, TOP = 250, 190, 60, 44
BARS_LEFT, NAMES, BAR_WIDE, ROW, WIDE = 350, 190, 220, 22, 830


def drawing(models: Mapping[str, Any]) -> str | None:
    """One block a model whose pictures were made whole; None where there is none."""
    whole = {name: model for name, model in models.items() if not model["one_step"]}
    if not whole:
        return None
    parts: list[str] = []
    top = 0
    for name, model in whole.items():
        block, high = _model(f"{name}, {model['size']}", model)
        parts.append(f"<g transform='translate(0 {top})'>{block}</g>")
        top += high
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDE} {top}' width='{WIDE}' "
        f"height='{top}' {FONT} font-size='12' fill='{INK}'>"
        f"<rect width='{WIDE}' height='{top}' fill='{PAPER}'/>{''.join(parts)}</svg>\n"
    )


def curve_of(model: Mapping[str, Any]) -> list[tuple[int, float]]:
    """Poses of a source and seconds a picture, of the pack's arms that keep the pictures."""
    arms = [arm for arm in model["arms"] if arm["name"] in model["of_plain"]]
    kept = [arm for arm in arms if arm["samples"] == 1 and arm["fast"] is None]
    kept = [arm for arm in kept if not arm.get("note")]
    return sorted((arm["poses"], arm["seconds_a_picture"]) for arm in kept)


def _model(title: str, model: Mapping[str, Any]) -> tuple[str, int]:
    rows = [(name, found["median"]) for name, found in model["of_plain"].items()]
    high = max(TOP + CURVE_HIGH + 50, TOP + ROW * (len(rows) + 1) + 30)
    plain = next(arm for arm in model["arms"] if arm["name"] == "plain")
    parts = [
        _text(LEFT, 20, f"{title}: seconds a picture", size=14),
        _text(BARS_LEFT, 20, "share of the plain path's time", size=14),
        *_curve(curve_of(model), plain["seconds_a_picture"]),
        *_bars(rows, {arm["name"] for arm in model["arms"] if arm.get("fast") is not None}),
    ]
    return "".join(parts), high


def _curve(points: Sequence[tuple[int, float]], plain: float) -> list[str]:
    most = max([plain, *(seconds for _, seconds in points)]) * 1.1
    first, last = math.log2(points[0][0]), math.log2(max(points[-1][0], points[0][0] * 2))

    def place(poses: int, seconds: float) -> tuple[float, float]:
        x = LEFT + (math.log2(poses) - first) / (last - first) * CURVE_WIDE
        return x, TOP + (1 - seconds / most) * CURVE_HIGH

    bottom, level = TOP + CURVE_HIGH, place(points[0][0], plain)[1]
    parts = [
        _line(LEFT, bottom, LEFT + CURVE_WIDE, bottom, INK),
        _line(LEFT, TOP, LEFT, bottom, INK),
        _line(LEFT, level, LEFT + CURVE_WIDE, level, PLAIN, dashes="5 4"),
        _text(LEFT + CURVE_WIDE, level - 5, f"plain path {_short(plain)}", anchor="end"),
        _text(LEFT + CURVE_WIDE / 2, bottom + 36, "target poses of a source", anchor="middle"),
        _text(LEFT - 6, bottom + 4, "0", anchor="end"),
    ]
    places = [place(*point) for point in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    parts.append(f"<polyline points='{path}' fill='none' stroke='{PACK}' stroke-width='2'/>")
    for (poses, seconds), (x, y) in zip(points, places, strict=True):
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='4' fill='{PACK}'/>")
        parts.append(_text(x + 6, y - 6, _short(seconds)))
        parts.append(_text(x, bottom + 18, str(poses), anchor="middle"))
    return parts


def _bars(rows: Sequence[tuple[str, float]], fast: set[str]) -> list[str]:
    start, unit = BARS_LEFT + NAMES, BAR_WIDE / max([1.0, *(ratio for _, ratio in rows)])
    parts: list[str] = []
    for index, (name, ratio) in enumerate([("plain path", 1.0), *rows]):
        y = TOP + index * ROW
        colour = PLAIN if index == 0 else FAST if name in fast else PACK
        parts.append(_text(start - 8, y + 12, name, anchor="end"))
        parts.append(
            f"<rect x='{start}' y='{y}' width='{ratio * unit:.1f}' height='{ROW - 6}' "
            f"fill='{colour}'/>"
        )
        parts.append(_text(start + ratio * unit + 6, y + 12, f"{ratio:.2f}"))
    y = TOP + (len(rows) + 1) * ROW + 12
    told = (("same pictures", PACK), ("a preset that changes them", FAST))
    for index, (name, colour) in enumerate(told if fast else told[:1]):
        x = start - NAMES + 20 + index * 130
        parts.append(f"<rect x='{x}' y='{y - 9}' width='10' height='10' fill='{colour}'/>")
        parts.append(_text(x + 15, y, name))
    return parts


def _short(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start") -> str:
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}'>"
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dashes: str = "none") -> str:
    return (
        f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' "
        f"stroke-dasharray='{dashes}'/>"
    )
