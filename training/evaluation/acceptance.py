"""What weights worth shipping must reach, as lines that pass or fail with their figures.

"Beats" means that the whole 95 % interval of the paired difference lies on the better side; "is not
worse" that it does not lie wholly on the worse side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
INSIDE = ("ssim_person", "psnr_person", "st_lpips_person")
EMBEDDING = ("ssim", "st_lpips", "colour")
"""Figures in which the embedding of stage 1 may show."""
_COLUMNS = {**PICTURE_COLUMNS, **PERSON_COLUMNS}

Difference = Sequence[float]  # mean, low, high
Outcome = tuple[bool | None, str]


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

    def compare(
        methods: str, figures: Sequence[str], holds: Callable[[str, Difference], bool]
    ) -> Outcome:
        row = report["differences"].get(methods, {})
        return (
            _all(None if row.get(f) is None else holds(f, row[f]) for f in figures),
            _cells(row, figures),
        )

    def loses_at_most(loss: float) -> Callable[[str, Difference], bool]:
        return lambda _, difference: bool(difference[0] >= -loss)

    distance = (
        _frechet(report["methods"])
        if report["pairs"] >= FRECHET_PAIRS
        else compare("refined - coarse", ("kernel_distance",), _beats)
    )
    lines = {
        "coarse beats copy-the-source on SSIM, PSNR, ST-LPIPS inside the mask and on PCK": compare(
            "coarse - copy", (*INSIDE, "pck"), _beats
        ),
        "refined beats coarse on ST-LPIPS": compare("refined - coarse", ("st_lpips",), _beats),
        "refined beats coarse on the distance between sets of pictures": distance,
        "refined is not worse than coarse on PCK and colour": compare(
            "refined - coarse", ("pck", "colour"), _not_worse
        ),
        f"refined wins SSIM or loses at most {SSIM_LOSS}": compare(
            "refined - coarse", ("ssim",), loses_at_most(SSIM_LOSS)
        ),
        "refined's Laplacian energy on the garment is 60 to 140 % of the truth's": _energy(
            report["methods"]
        ),
        "refined's garment texture correlates with the truth's more than copy-the-source's": (
            compare("refined - copy", ("band",), _beats)
        ),
        "PCK of refined within 5 points of the true pictures'": compare(
            "refined - truth", ("pck",), loses_at_most(PCK_LOSS)
        ),
        "the predicted embedding beats the null embedding by more than two standard errors on "
        "SSIM, ST-LPIPS or colour, and is worse on none": _predicted(report["differences"]),
        "the predicted embedding keeps at least the share of the true embedding's gain that a "
        "linear regression keeps": _share_of_gain(report["differences"]),
    }
    return [Verdict(text, *outcome) for text, outcome in lines.items()]


def _beats(figure: str, difference: Difference) -> bool:
    return difference[1] > 0 if BETTER[figure] > 0 else difference[2] < 0


def _not_worse(figure: str, difference: Difference) -> bool:
    return difference[2] >= 0 if BETTER[figure] > 0 else difference[1] <= 0


def _all(outcomes: Any) -> bool | None:
    outcomes = list(outcomes)
    if False in outcomes:
        return False
    return None if None in outcomes or not outcomes else True


def _cells(row: Mapping[str, Any], figures: Sequence[str]) -> str:
    columns = ((_COLUMNS[f], row.get(f)) for f in figures)
    return ", ".join(f"{head} {cell(v, d, x, signed=True)}" for (head, d, x), v in columns)


def _frechet(methods: Mapping[str, Any]) -> Outcome:
    rows = [methods.get(name, {}).get("frechet_distance") for name in ("refined", "coarse")]
    if None in rows:
        return None, "FD -"
    (a,), (b,) = rows
    return a < b, f"FD {a:.2f} against {b:.2f}"


def _energy(methods: Mapping[str, Any]) -> Outcome:
    ratio = methods.get("refined", {}).get("laplacian_ratio")
    passed = None if ratio is None else ENERGY[0] <= ratio[0] <= ENERGY[1]
    return passed, f"{cell(ratio, 0, 100.0)} %"


def _predicted(differences: Mapping[str, Any]) -> Outcome:
    row = differences.get("coarse - coarse_null", {})
    text = _cells(row, EMBEDDING)
    if None in [row.get(figure) for figure in EMBEDDING]:
        return None, text
    gains = [BETTER[f] * row[f][0] / _standard_error(row[f]) for f in EMBEDDING]
    return max(gains) > 2 and min(gains) > -2, text


def _standard_error(difference: Difference) -> float:
    return max((difference[2] - difference[1]) / 3.92, 1e-12)


def _share_of_gain(differences: Mapping[str, Any]) -> Outcome:
    names = ("coarse_true - coarse_null", "coarse - coarse_regression", "coarse - coarse_null")
    gain, lead, predicted = (differences.get(name, {}) for name in names)
    shares: list[str] = []
    passed: list[bool | None] = []
    for figure in EMBEDDING:
        rows = [row.get(figure) for row in (gain, lead, predicted)]
        if None in rows:
            passed.append(None)
            continue
        whole, ahead, ours = (row[0] for row in rows)
        passed.append(_not_worse(figure, lead[figure]))
        heading = _COLUMNS[figure][0]
        if _beats(figure, gain[figure]):
            theirs = (ours - ahead) / whole
            shares.append(f"{heading} {ours / whole:.0%} against {theirs:.0%} of {whole:+.3f}")
        else:
            shares.append(f"{heading}: the true embedding gains nothing sure, {whole:+.3f}")
    return _all(passed), "; ".join(shares) or "-"
