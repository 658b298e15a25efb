"""From figures to tables and to the lines that weights must reach."""

from typing import Any

import numpy as np
import pytest

from training.evaluation.acceptance import verdicts
from training.evaluation.report import card, cell, summarise

PAIRS = 40
SETTINGS = {
    "split": "test", "preset": "mini", "size": [96, 64], "seed": 0, "steps": 20,
    "guidance_scale": 1.5, "protocol": "ssim-wang2004-rgb",
}  # fmt: skip
JUDGES = {"ST-LPIPS": "st-lpips-alex", "PCK": "regressor", "FD and KD": "EfficientNet-Lite0"}
# Method: SSIM, PSNR, ST-LPIPS, PCK, colour, Laplacian energy, band correlation of good weights.
GOOD = {
    "truth": (1.0, 100.0, 0.0, 0.98, 0.0, 50.0, 1.0),
    "copy": (0.40, 12.0, 0.40, 0.50, 20.0, 50.0, 0.1),
    "coarse_true": (0.70, 20.0, 0.20, 0.96, 4.0, 30.0, 0.3),
    "coarse": (0.68, 19.0, 0.22, 0.96, 5.0, 30.0, 0.3),
    "coarse_regression": (0.66, 18.5, 0.24, 0.96, 6.0, 30.0, 0.3),
    "coarse_null": (0.60, 17.0, 0.30, 0.95, 9.0, 30.0, 0.2),
    "refined": (0.68, 19.0, 0.18, 0.96, 5.0, 45.0, 0.4),
}


def report_of(levels: dict[str, tuple[float, ...]], worse: str = "") -> dict[str, Any]:
    """A report of pairs whose figures scatter around the levels."""
    generator = np.random.default_rng(0)
    results: list[dict[str, Any]] = []
    for pair in range(PAIRS):
        luck = generator.normal(0, 0.01, 2)
        figures: dict[str, dict[str, float]] = {}
        for name, (ssim, psnr, lpips, pck, colour, energy, band) in levels.items():
            shift = luck[0] + generator.normal(0, 0.002)
            figures[name] = {
                "ssim": ssim + shift, "psnr": psnr + 10 * shift, "st_lpips": lpips + shift,
                "ssim_person": ssim + shift, "psnr_person": psnr + 10 * shift,
                "st_lpips_person": lpips + shift, "pck": pck + shift, "pck_05": pck + shift,
                "joints": 0.9, "swapped": 0.1, "colour": colour + shift,
                "laplacian": energy * (1 + luck[1]), "band": band + shift,
            }  # fmt: skip
        results.append({"pair": pair, "identity": pair, "figures": figures})
    truth = generator.normal(0, 1, (PAIRS, 6))
    distance = {"copy": 0.1, "refined": 0.3, "coarse": 1.0} | ({worse: 2.0} if worse else {})
    features = {
        name: truth + generator.normal(distance.get(name, 1.0), 0.1, truth.shape) for name in levels
    }
    features["truth"] = truth
    return summarise(results, features, {"settings": SETTINGS, "judges": JUDGES, "missing": {}})


def failing(report: dict[str, Any]) -> list[str]:
    return [verdict.text for verdict in verdicts(report) if not verdict.passed]


def test_good_weights_pass_every_line():
    assert failing(report_of(GOOD)) == []


@pytest.mark.parametrize(
    ("method", "place", "value", "line"),
    [
        ("coarse", 3, 0.40, "coarse beats copy-the-source"),
        ("refined", 2, 0.25, "refined beats coarse on ST-LPIPS"),
        ("refined", 4, 7.0, "not worse than coarse"),
        ("refined", 0, 0.66, "loses at most 0.01"),
        ("refined", 5, 20.0, "60 to 140 %"),
        ("refined", 5, 90.0, "60 to 140 %"),
        ("refined", 6, 0.05, "correlates with the truth's more"),
        ("refined", 3, 0.92, "within 5 points"),
        ("coarse_null", 4, 3.0, "beats the null embedding"),
        ("coarse_regression", 0, 0.70, "a linear regression keeps"),
    ],
)
def test_each_line_fails_for_its_own_fault(method: str, place: int, value: float, line: str):
    levels = dict(GOOD)
    row = list(levels[method])
    row[place] = value
    levels[method] = tuple(row)
    assert any(line in text for text in failing(report_of(levels)))


def test_a_refined_set_farther_from_the_truths_fails():
    assert failing(report_of(GOOD, worse="refined")) == [
        "refined beats coarse on the distance between sets of pictures"
    ]


def test_a_figure_that_was_not_measured_is_neither_passed_nor_failed():
    report = report_of(GOOD)
    for row in (*report["methods"].values(), *report["differences"].values()):
        row["pck"] = None
    lines = {verdict.text: verdict for verdict in verdicts(report)}
    of_truth = lines["PCK of refined within 5 points of the true pictures'"]
    assert of_truth.passed is None
    assert str(of_truth).startswith("- not measured:")


def test_the_card_holds_every_method_and_says_how_it_was_measured():
    report = report_of({name: GOOD[name] for name in ("truth", "copy", "coarse", "refined")})
    report["missing"] = {"PCK": "train one"}
    text = card(report)
    for part in ("40 pairs of 40 people", "| refined | .68", "KD", "Missing: PCK. train one"):
        assert part in text
    first = text.split("\n\n")[1].splitlines()
    assert not any("the truth itself" in line for line in first)
    assert {line.count("|") for line in first} == {8}


def test_cells_drop_the_zero_and_show_signs_of_differences():
    assert cell([0.2721, 0.25, 0.29], 3, 1.0) == ".272 [.250, .290]"
    assert cell([0.132, -0.109, 0.157], 3, 1.0, signed=True) == "+.132 [-.109, .157]"
    assert cell([0.951, 0.94, 0.96], 1, 100.0) == "95.1 [94.0, 96.0]"
    assert cell([12.5], 2, 1.0) == "12.50"
    assert cell(None, 2, 1.0) == "-"
