"""The figures of a benchmark as a table and a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

STAGES = ("source", "prior", "inpainting", "refining")
GIB = 2**30

# Of the plot, in pixels; drawn at twice the size and reduced, which smooths lines and letters.
SCALE, BAR, GAP, LABELS, WIDE, END = 2, 20, 10, 260, 400, 110
COLOURS = {
    "source": (148, 163, 184),
    "prior": (234, 179, 8),
    "inpainting": (37, 99, 235),
    "refining": (13, 148, 136),
}
INK, PAPER = (30, 30, 30), (255, 255, 255)


def markdown(report: Mapping[str, Any]) -> str:
    """Tables of every model, below a line that says where and how."""
    about = report["machine"]
    where = f"{about['cores']} cores ({about['cpu']}, {about['vector instructions']})"
    if about["device"] != "cpu":
        where = f"{about['device']}, {about['device memory GiB']} GiB; {where}"
    else:
        where += f", {about['threads']} threads"
    lines = [
        f"{where}; torch {about['torch']}. Medians of {report['rounds']} rounds in which every row "
        "ran once; ratios are medians of the rounds' ratios, with the least and the most. CPU s: "
        "processor time, to which others' work on the machine adds nothing.",
        "",
    ]
    for name, model in report["models"].items():
        lines += _steps(name, model) if model["one_step"] else _pictures(name, model)
    return "\n".join(lines) + "\n"


def _pictures(name: str, model: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name}, {model['size']}:",
        "",
        "| | steps | guidance | type | s a picture | of plain | CPU s | of plain | source | "
        "prior | inpainting | refining | steps/s, inpainting | peak GiB |",
        "|---" * 14 + "|",
    ]
    for arm in model["arms"]:
        ratio = model["of_plain"].get(arm["name"])
        stages = [arm["stages"].get(stage) for stage in STAGES]
        cells = [
            arm["name"],
            str(arm["steps"]),
            f"{arm['guidance_scale']:g}",
            arm["type"],
            _seconds(arm["seconds_a_picture"]),
            "1" if ratio is None else _ratio(ratio),
            _seconds(arm["processor_seconds_a_picture"]),
            "1" if ratio is None else _ratio(ratio["processor"]),
            *("-" if found is None else _seconds(found / arm["pictures"]) for found in stages),
            f"{arm['steps_a_second'].get('inpainting', 0):.1f}",
            f"{arm['peak_bytes'] / GIB:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _precision(model["precision_alone"]), ""]


def _precision(found: Mapping[str, Any]) -> str:
    share, text = found["share_of_gain"], "Share of the gain at one pose that precision alone makes"
    if share is None or "ratio" not in found:
        return f"{text}: {'unknown' if share is None else '0 %'} ({found.get('why', 'no gain')})."
    return (
        f"{text}: {100 * share:.0f} % (of its time as published the plain path takes "
        f"{found['ratio_by_precision']:.2f} in this type, this pack {found['ratio']:.2f})."
    )


def _steps(name: str, model: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name} size, {model['size']}, random weights, fp32: **one step of each stage**, not a "
        "picture.",
        "",
        "| stage | s a step | plain | ratio | TF a step | plain | prepared once, s | peak GiB | "
        "weights GiB |",
        "|---" * 9 + "|",
    ]
    for row in model["stages"]:
        cells = [
            row["stage"],
            _seconds(row["seconds"]["pack"]["median"]),
            _seconds(row["seconds"]["plain"]["median"]),
            _ratio(row["ratio"]),
            f"{row['tflop']['pack']:.3f}",
            f"{row['tflop']['plain']:.3f}",
            _seconds(row["seconds_to_prepare"]),
            f"{row['peak_bytes']['pack'] / GIB:.2f}",
            f"{row['weight_bytes'] / GIB:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _ratio(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} [{found['least']:.2f}, {found['most']:.2f}]"


# --- plot -----------------------------------------------------------------------------------------


def draw_plot(report: Mapping[str, Any]) -> bytes | None:
    """Seconds a picture of every arm, split by stage, as a PNG; None where nothing ran whole."""
    models = {n: m for n, m in report["models"].items() if not m["one_step"]}
    if not models:
        return None
    rows = sum(len(model["arms"]) for model in models.values())
    height = rows * (BAR + GAP) + len(models) * 40 + 40
    canvas = Image.new("RGB", ((LABELS + WIDE + END) * SCALE, height * SCALE), PAPER)
    pen = ImageDraw.Draw(canvas)
    top = 10
    for name, model in models.items():
        top = _draw_model(pen, top, f"{name}, {model['size']}: seconds a picture", model["arms"])
    _draw_legend(pen, top + 4)
    canvas = canvas.resize(
        (canvas.width // SCALE, canvas.height // SCALE), Image.Resampling.LANCZOS
    )
    stream = io.BytesIO()
    canvas.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _draw_model(pen: ImageDraw.ImageDraw, top: int, title: str, arms: Sequence[Any]) -> int:
    _text(pen, 10, top, title, 15)
    top += 28
    most = max(arm["seconds_a_picture"] for arm in arms)
    for arm in arms:
        _text(pen, 20, top + 3, arm["name"], 13)
        left = float(LABELS)
        for stage in STAGES:
            wide = WIDE * arm["stages"].get(stage, 0.0) / arm["pictures"] / most
            box = [left * SCALE, top * SCALE, (left + wide) * SCALE, (top + BAR) * SCALE]
            pen.rectangle(box, fill=COLOURS[stage])
            left += wide
        _text(pen, left + 6, top + 3, _seconds(arm["seconds_a_picture"]), 13)
        top += BAR + GAP
    return top + 12


def _draw_legend(pen: ImageDraw.ImageDraw, top: int) -> None:
    left = LABELS
    for stage, colour in COLOURS.items():
        box = [left * SCALE, top * SCALE, (left + 12) * SCALE, (top + 12) * SCALE]
        pen.rectangle(box, fill=colour)
        _text(pen, left + 17, top - 1, stage, 12)
        left += 100


def _text(pen: ImageDraw.ImageDraw, left: float, top: float, text: str, size: int) -> None:
    font = ImageFont.load_default(size * SCALE)
    pen.text((left * SCALE, top * SCALE), text, fill=INK, font=font)
