"""What weights worth shipping must reach, as lines that pass or fail with their figures.

"Beats" means that the whole 95 % interval of the paired difference lies on the better side; "is not
worse" that it does not lie wholly on the worse side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .report import FRECHET_PAIRS, PERSON_COLUMNS, PICTURE_COLUMNS, cell

BETTER = {  # +1: more is better
    "ssim": 1, "psnr": 1, "st_lpips": -1, "ssim_person": 1, "psnr_person": 1,
    "st_lpips_person": -1, "pck": 1, "colour": -1, "band": 1, "kernel_distance": -1,
}  # fmt: skip
SSIM_LOSS = 0.01
ENERGY = (0.6, 1.4)
PCK_LOSS = 0.05
_COLUMNS = {**PICTURE_COLUMNS, **PERSON_COLUMNS}


@dataclass(frozen=True)
class Verdict:
    """One line: True, False, or None where a figure is missing."""

    text: str
    passed: bool | None
    figures: str

    def __str__(self) -> str:
        word = {True: "pass", False: "FAIL", None: "not measured"}[self.passed]
        return f"- {word}: {self.text} ({self.figures})"


def verdicts(report: Mapping[str, Any]) -> list[Verdict]:
    """Every required line for a report of `summarise`."""
    differences = report["differences"]

    def compare(a: str, b: str, figures: Sequence[str], *, beats: bool) -> tuple[bool | None, str]:
        row = differences.get(f"{a} - {b}", {})
        judge = _beats if beats else _not_worse
        return (
            _all(None if row.get(f) is None else judge(f, row[f]) for f in figures),
            ", ".join(_told(f, row.get(f)) for f in figures),
        )

    def line(text: str, found: tuple[bool | None, str]) -> Verdict:
        return Verdict(text, *found)

    inside = ("ssim_person", "psnr_person", "st_lpips_person")
    return [
        line(
            "coarse beats copy-the-source on SSIM, PSNR, ST-LPIPS inside the mask and on PCK",
            compare("coarse", "copy", (*inside, "pck"), beats=True),
        ),
        line(
            "refined beats coarse on ST-LPIPS",
            compare("refined", "coarse", ("st_lpips",), beats=True),
        ),
        _set_distance(report),
        line(
            "refined is not worse than coarse on PCK and colour",
            compare("refined", "coarse", ("pck", "colour"), beats=False),
        ),
        _ssim_loss(differences),
        _energy(report),
        line(
            "refined's garment texture correlates with the truth's more than copy-the-source's",
            compare("refined", "copy", ("band",), beats=True),
        ),
        _pck_of_truth(differences),
        _predicted_beats_null(differences),
        _share_of_gain(report),
    ]


def _beats(figure: str, found: Sequence[float]) -> bool:
    return found[1] > 0 if BETTER[figure] > 0 else found[2] < 0


def _not_worse(figure: str, found: Sequence[float]) -> bool:
    return found[2] >= 0 if BETTER[figure] > 0 else found[1] <= 0


def _all(values: Any) -> bool | None:
    found = list(values)
    if False in found:
        return False
    return None if None in found or not found else True


def _told(figure: str, found: Sequence[float] | None) -> str:
    heading, digits, factor = _COLUMNS[figure]
    return f"{heading} {cell(found, digits, factor, signed=True)}"


def _set_distance(report: Mapping[str, Any]) -> Verdict:
    text = "refined beats coarse on the distance between sets of pictures"
    if report["pairs"] >= FRECHET_PAIRS:
        rows = [
            report["methods"].get(name, {}).get("frechet_distance")
            for name in ("refined", "coarse")
        ]
        if None in rows:
            return Verdict(text, None, "FD -")
        (a,), (b,) = rows
        return Verdict(text, a < b, f"FD {a:.2f} against {b:.2f}")
    found = report["differences"].get("refined - coarse", {}).get("kernel_distance")
    passed = None if found is None else _beats("kernel_distance", found)
    return Verdict(text, passed, _told("kernel_distance", found))


def _ssim_loss(differences: Mapping[str, Any]) -> Verdict:
    found = differences.get("refined - coarse", {}).get("ssim")
    passed = None if found is None else bool(found[0] >= -SSIM_LOSS)
    return Verdict(f"refined wins SSIM or loses at most {SSIM_LOSS}", passed, _told("ssim", found))


def _energy(report: Mapping[str, Any]) -> Verdict:
    found = report["methods"].get("refined", {}).get("laplacian_ratio")
    passed = None if found is None else ENERGY[0] <= found[0] <= ENERGY[1]
    return Verdict(
        "refined's Laplacian energy on the garment is 60 to 140 % of the truth's",
        passed,
        f"{cell(found, 0, 100.0)} %",
    )


def _pck_of_truth(differences: Mapping[str, Any]) -> Verdict:
    found = differences.get("refined - truth", {}).get("pck")
    passed = None if found is None else bool(found[0] >= -PCK_LOSS)
    return Verdict(
        "PCK of refined within 5 points of the true pictures'", passed, _told("pck", found)
    )


def _predicted_beats_null(differences: Mapping[str, Any]) -> Verdict:
    text = (
        "the predicted embedding beats the null embedding by more than two standard errors on "
        "SSIM, ST-LPIPS or colour, and is worse on none"
    )
    figures = ("ssim", "st_lpips", "colour")
    row = differences.get("coarse - coarse_null", {})
    found = [row.get(figure) for figure in figures]
    told = ", ".join(_told(f, row.get(f)) for f in figures)
    if None in found:
        return Verdict(text, None, told)
    gains = [BETTER[f] * row[f][0] / _standard_error(row[f]) for f in figures]
    return Verdict(text, max(gains) > 2 and min(gains) > -2, told)


def _standard_error(found: Sequence[float]) -> float:
    return max((found[2] - found[1]) / 3.92, 1e-12)


def _share_of_gain(report: Mapping[str, Any]) -> Verdict:
    text = (
        "the predicted embedding keeps at least the share of the true embedding's gain that a "
        "linear regression keeps"
    )
    differences = report["differences"]
    gain = differences.get("coarse_true - coarse_null", {})
    against = differences.get("coarse - coarse_regression", {})
    kept = differences.get("coarse - coarse_null", {})
    told: list[str] = []
    passed: list[bool | None] = []
    for figure in ("ssim", "st_lpips", "colour"):
        rows = [row.get(figure) for row in (gain, against, kept)]
        if None in rows:
            passed.append(None)
            continue
        whole, difference, mine = (row[0] for row in rows)
        passed.append(_not_worse(figure, against[figure]))
        heading = _COLUMNS[figure][0]
        if _beats(figure, gain[figure]):
            theirs = (mine - difference) / whole
            told.append(f"{heading} {mine / whole:.0%} against {theirs:.0%} of {whole:+.3f}")
        else:
            told.append(f"{heading}: the true embedding gains nothing sure, {whole:+.3f}")
    return Verdict(text, _all(passed), "; ".join(told) or "-")
