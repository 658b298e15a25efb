"""From figures of pairs to the model card's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .distances import KernelDistance, draws_of, frechet_distance, weighted_interval
from .metrics import bootstrap
from .pictures import METHODS

# figure: (heading, digits, factor)
PICTURE_COLUMNS = {
    "ssim": ("SSIM", 3, 1.0),
    "psnr": ("PSNR", 2, 1.0),
    "st_lpips": ("ST-LPIPS", 3, 1.0),
    "ssim_person": ("SSIM person", 3, 1.0),
    "psnr_person": ("PSNR person", 2, 1.0),
    "st_lpips_person": ("ST-LPIPS person", 3, 1.0),
}
PERSON_COLUMNS = {
    "pck": ("PCK@0.1 %", 1, 100.0),
    "joints": ("joints reported %", 1, 100.0),
    "swapped": ("left and right swapped %", 1, 100.0),
    "colour": ("colour", 2, 1.0),
    "laplacian_ratio": ("Laplacian %", 0, 100.0),
    "band": ("band correlation", 3, 1.0),
    "kernel_distance": ("KD", 2, 1.0),
    "frechet_distance": ("FD", 2, 1.0),
}
AVERAGED = (
    "ssim", "psnr", "st_lpips", "ssim_person", "psnr_person", "st_lpips_person", "pck", "pck_05",
    "joints", "swapped", "colour", "band",
)  # fmt: skip
DIFFERENCES = (
    ("coarse", "copy"),
    ("refined", "copy"),
    ("refined", "coarse"),
    ("refined", "truth"),
    ("coarse", "coarse_null"),
    ("coarse", "coarse_regression"),
    ("coarse_true", "coarse_null"),
    ("coarse_true", "coarse"),
    ("oracle", "refined"),
)
FRECHET_PAIRS = 2000
"""Below as many pictures a Frechet distance says little; the kernel distance is taken."""

Triple = list[float] | None


def summarise(
    results: Sequence[Mapping[str, Any]],
    features: Mapping[str, np.ndarray],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Means with 95 % intervals over people, of each method and of paired differences.

    Args:
        results: a record a pair, with `identity` and `figures` (method to figure to number).
        features: method to backbone features [pairs, D]; empty without a backbone.
        about: goes into the report as it is.
    """
    methods = [name for name in METHODS if any(name in r["figures"] for r in results)]
    tables = {name: _columns(results, name) for name in methods}
    groups = np.array([result["identity"] for result in results])
    sets = _Sets(features, groups)
    return {
        **about,
        "pairs": len(results),
        "people": len(set(groups.tolist())),
        "methods": {
            name: {
                **{f: _mean(column, groups) for f, column in tables[name].items()},
                "laplacian_ratio": _energy_ratio(tables, name, groups),
                "kernel_distance": sets.kernel(name),
                "frechet_distance": sets.frechet(name),
            }
            for name in methods
        },
        "differences": {
            f"{a} - {b}": {
                **{f: _mean(tables[a][f] - tables[b][f], groups) for f in AVERAGED},
                "kernel_distance": sets.kernel_difference(a, b),
            }
            for a, b in DIFFERENCES
            if a in methods and b in methods
        },
    }


def _columns(results: Sequence[Mapping[str, Any]], method: str) -> dict[str, np.ndarray]:
    """Figure to [pairs], NaN where a pair lacks it."""

    def value(result: Mapping[str, Any], figure: str) -> float:
        found = result["figures"].get(method, {}).get(figure)
        return float("nan") if found is None else found

    return {
        figure: np.array([value(result, figure) for result in results])
        for figure in (*AVERAGED, "laplacian")
    }


def mean_of(
    results: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    method: str,
    figure: str,
) -> Triple:
    """Paired difference of a figure between two runs on the same pairs; None for other figures."""
    if figure not in AVERAGED:
        return None
    groups = np.array([result["identity"] for result in results])
    return _mean(_columns(results, method)[figure] - _columns(others, method)[figure], groups)


def _mean(values: np.ndarray, groups: np.ndarray) -> Triple:
    if np.isnan(values).all():
        return None
    found = bootstrap(values, groups=groups)
    return [found.mean, found.low, found.high]


def _energy_ratio(
    tables: Mapping[str, Mapping[str, np.ndarray]], method: str, groups: np.ndarray
) -> Triple:
    """Mean Laplacian energy on the garment over the truth's, a ratio of means."""
    if "truth" not in tables:
        return None
    mine, truth = tables[method]["laplacian"], tables["truth"]["laplacian"]
    both = ~np.isnan(mine) & ~np.isnan(truth)
    if not both.any() or truth[both].sum() == 0:
        return None
    draws = draws_of(groups[both])
    ratios = (draws @ mine[both]) / np.maximum(draws @ truth[both], 1e-9)
    found = weighted_interval(float(mine[both].sum() / truth[both].sum()), ratios, int(both.sum()))
    return [found.mean, found.low, found.high]


class _Sets:
    """Distances between the set of a method's pictures and the set of the truths."""

    def __init__(self, features: Mapping[str, np.ndarray], groups: np.ndarray) -> None:
        self.features = features
        enough = bool(features) and len(set(groups.tolist())) > 1
        self.draws = draws_of(groups) if enough else None
        self.found: dict[str, tuple[float, np.ndarray]] = {}

    def _distance(self, method: str) -> tuple[float, np.ndarray] | None:
        if self.draws is None or method == "truth" or method not in self.features:
            return None
        if method not in self.found:
            distance = KernelDistance(self.features[method], self.features["truth"])
            ones = np.ones(len(self.features[method]))
            self.found[method] = float(distance(ones)), distance(self.draws)
        return self.found[method]

    def kernel(self, method: str) -> Triple:
        found = self._distance(method)
        return None if found is None else _triple(*found)

    def kernel_difference(self, a: str, b: str) -> Triple:
        one, other = self._distance(a), self._distance(b)
        return (
            None if one is None or other is None else _triple(one[0] - other[0], one[1] - other[1])
        )

    def frechet(self, method: str) -> Triple:
        if self._distance(method) is None:
            return None
        return [frechet_distance(self.features[method], self.features["truth"])]


def _triple(estimate: float, resampled: np.ndarray) -> list[float]:
    found = weighted_interval(estimate, resampled, len(resampled))
    return [found.mean, found.low, found.high]


# --- text -----------------------------------------------------------------------------------------


def cell(found: Sequence[float] | None, digits: int, factor: float, *, signed: bool = False) -> str:
    """`.272 [.252, .292]`; one number where there is no interval, a dash where there is nothing."""
    if found is None:
        return "-"

    def number(value: float, sign: bool) -> str:
        text = f"{value * factor:+.{digits}f}" if sign else f"{value * factor:.{digits}f}"
        return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text

    head = number(found[0], signed)
    if len(found) == 1:
        return head
    return f"{head} [{number(found[1], False)}, {number(found[2], False)}]"


def markdown(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, tuple[str, int, float]],
    *,
    signed: bool = False,
) -> str:
    """A table of the columns that hold anything."""
    kept = {
        f: c for f, c in columns.items() if any(row.get(f) is not None for row in rows.values())
    }
    lines = ["| | " + " | ".join(heading for heading, _, _ in kept.values()) + " |"]
    lines.append("|---" * (len(kept) + 1) + "|")
    for name, row in rows.items():
        cells = (cell(row.get(f), d, x, signed=signed) for f, (_, d, x) in kept.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(report: Mapping[str, Any]) -> str:
    """The report as Markdown, in the model card's form."""
    named = {METHODS[name]: row for name, row in report["methods"].items()}
    oracle = named.pop(METHODS["oracle"], None)
    if oracle is not None:
        first = min(report["settings"]["oracle_pairs"], report["pairs"])
        named[f"{METHODS['oracle'][:-1]}, first {first} pairs)"] = oracle
    pictures = {name: row for name, row in named.items() if name != METHODS["truth"]}
    differences = {
        " - ".join(METHODS[name] for name in key.split(" - ")): row
        for key, row in report["differences"].items()
        if not key.endswith("truth")
    }
    parts = [
        heading(report),
        markdown(pictures, PICTURE_COLUMNS),
        markdown(named, PERSON_COLUMNS),
        "Paired differences:",
        markdown(differences, PICTURE_COLUMNS, signed=True),
        markdown(differences, PERSON_COLUMNS, signed=True),
    ]
    parts += [f"Missing: {column}. {why}" for column, why in report["missing"].items()]
    return "\n\n".join(parts)


def heading(report: Mapping[str, Any]) -> str:
    """What was measured and how, in the words that stand above the tables."""
    settings, judges = report["settings"], report["judges"]
    lines = [
        f"{report['pairs']} pairs of {report['people']} people of the {settings['split']} split, "
        f"preset {settings['preset']} at {settings['size'][0]}x{settings['size'][1]} (height x "
        f"width); one sample, seed {settings['seed']}, {settings['steps']} steps, guidance "
        f"{settings['guidance_scale']:g}; mean and 95 % bootstrap interval over people.",
        f'SSIM: {settings["protocol"]}. "person": inside the target person\'s mask. Colour: CIE76 '
        "distance of mean garment colours (trunk, thighs), lower is better. Laplacian: energy on "
        "the garment in percent of the truth's. Band correlation: of the garment's band-passed "
        "luma with the truth's.",
    ]
    if "ST-LPIPS" in judges:
        lines.append(
            f"ST-LPIPS ({judges['ST-LPIPS']}): lower is better, not comparable with LPIPS."
        )
    if "PCK" in judges:
        lines.append(
            f"PCK: by {judges['PCK']}; within .1 of the height of the person's box, over joints "
            "that the truth shows and the judge reports. Left and right swapped: pairs whose "
            "shoulders and hips the judge reads in the reverse of their true order, of those where "
            "it reads an order and the person is not in profile; lower is better."
        )
    if "FD and KD" in judges:
        lines.append(
            f"KD: kernel distance x 1000, FD: Frechet distance, both on {judges['FD and KD']} "
            f"features of {report['pairs']} pictures against the truths."
        )
    return " ".join(lines)
