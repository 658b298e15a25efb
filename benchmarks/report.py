"""The figures of a benchmark as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STAGES = ("source", "prior", "inpainting", "refining")
GIB = 2**30


def markdown(report: Mapping[str, Any]) -> str:
    """Tables of every model, below a line that says where and how."""
    lines = [
        f"{where(report)}. Medians of {report['rounds']} rounds in which every row "
        "ran once; ratios are medians of the rounds' ratios, with the least and the most. CPU s: "
        "processor time, to which others' work on the machine adds nothing.",
        "",
    ]
    for name, model in report["models"].items():
        lines += _steps(name, model) if model["one_step"] else _pictures(name, model)
    return "\n".join(lines) + "\n"


def where(report: Mapping[str, Any]) -> str:
    """The machine in general words."""
    about = report["machine"]
    cores = f"{about['cores']} CPU cores ({about['cpu']}, {about['vector instructions']})"
    device = f"{about['threads']} threads" if about["threads"] != 1 else "one thread"
    if about["device"] != "cpu":
        device = f"{about['device']}, {about['device memory GiB']} GiB"
    return f"{cores}, {device}; torch {about['torch']}"


def compact(report: Mapping[str, Any]) -> list[str]:
    """Lines of the tables that the README shows: without stages, which the whole tables have."""
    lines: list[str] = []
    for name, model in report["models"].items():
        lines += _steps(name, model) if model["one_step"] else _overview(name, model)
    return lines


def _overview(name: str, model: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name}, {model['size']}:",
        "",
        "| | steps | guidance | s a picture | of plain | CPU s | of plain | peak GiB |",
        "|---" * 8 + "|",
    ]
    for arm in model["arms"]:
        ratio = model["of_plain"].get(arm["name"])
        cells = [
            arm["name"],
            str(arm["steps"]),
            f"{arm['guidance_scale']:g}",
            _seconds(arm["seconds_a_picture"]),
            "1" if ratio is None else _ratio(ratio),
            _seconds(arm["processor_seconds_a_picture"]),
            "1" if ratio is None else _ratio(ratio["processor"]),
            _gib(arm["peak_bytes"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", _precision(model["precision_alone"]), ""]


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
            _gib(arm["peak_bytes"]),
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


def host_table(report: Mapping[str, Any]) -> str:
    """Workflows in a real host beside the pipeline."""
    lines = ["| | s | of Python | CPU s | of Python |", "|---" * 5 + "|"]
    for row in report["rows"]:
        wall, processor = row["of_python"], row["of_python_processor"]
        cells = [row["name"], f"{row['seconds']['median']:.2f}"]
        cells += [f"{wall['median']:.2f} [{wall['least']:.2f}, {wall['most']:.2f}]"]
        cells += [f"{row['processor_seconds']:.2f}"]
        cells += [f"{processor['median']:.2f} [{processor['least']:.2f}, {processor['most']:.2f}]"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _steps(name: str, model: Mapping[str, Any]) -> list[str]:
    lines = [
        f"{name} size, {model['size']}, random weights, fp32: **one step of each stage**, not a "
        "picture.",
        "",
        "| stage | s a step | plain | ratio | CPU s | plain | ratio | TF a step | plain | "
        "prepared once, s | peak GiB | weights GiB |",
        "|---" * 12 + "|",
    ]
    for row in model["stages"]:
        cells = [
            row["stage"],
            _seconds(row["seconds"]["pack"]["median"]),
            _seconds(row["seconds"]["plain"]["median"]),
            _ratio(row["ratio"]),
            _seconds(row["processor_seconds"]["pack"]["median"]),
            _seconds(row["processor_seconds"]["plain"]["median"]),
            _ratio(row["processor_ratio"]),
            f"{row['tflop']['pack']:.3f}",
            f"{row['tflop']['plain']:.3f}",
            _seconds(row["seconds_to_prepare"]),
            f"{row['peak_bytes']['pack'] / GIB:.2f}",
            f"{row['weight_bytes'] / GIB:.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _gib(value: int | None) -> str:
    return "-" if value is None else f"{value / GIB:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _ratio(found: Mapping[str, float]) -> str:
    return f"{found['median']:.2f} [{found['least']:.2f}, {found['most']:.2f}]"
