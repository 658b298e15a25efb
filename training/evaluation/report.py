"""From figures of pairs to the model card's tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .distances import KernelDistance, draws_of, frechet_distance
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
    "pck_05": ("PCK@0.05 %", 1, 100.0),
    "joints": ("joints reported %", 1, 100.0),
    "swapped": ("left and right swapped %", 1, 100.0),
    "colour": ("colour", 2, 1.0),
    "laplacian_ratio": ("Laplacian %", 0, 100.0),
    "band": ("band correlation", 3, 1.0),
    "band_print": ("of prints", 3, 1.0),
    "periods": ("prints' periods kept %", 1, 100.0),
    "kernel_distance": ("KD", 2, 1.0),
    "frechet_distance": ("FD", 2, 1.0),
}
AVERAGED = (
    "ssim", "psnr", "st_lpips", "ssim_person", "psnr_person", "st_lpips_person", "pck", "pck_05",
    "joints", "swapped", "colour", "band", "band_print", "periods",
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
    differences: Sequence[tuple[str, str]] = DIFFERENCES,
) -> dict[str, Any]:
    """Means with 95 % intervals over people, of each method and of paired differences.

    Args:
        results: a record a pair, with `identity` and `figures` (method to figure to number).
        features: method to backbone features [pairs, D]; empty without a backbone.
        about: goes into the report as it is.
        differences: methods that are compared, the second one taken from the first.
    """
    methods = dict.fromkeys(name for record in results for name in record["figures"])
    tables = {name: _columns(results, name) for name in methods}
    groups = np.array([record["identity"] for record in results])
    kernels = _kernel_distances(features, groups)
    return {
        **about,
        "pairs": len(results),
        "people": len(set(groups.tolist())),
        "methods": {
            name: {
                **{f: _mean(table[f], groups) for f in (*AVERAGED, "laplacian")},
                "laplacian_ratio": _energy_ratio(table, tables.get("truth"), groups),
                "kernel_distance": _percentiles(kernels.get(name)),
                "frechet_distance": [frechet_distance(features[name], features["truth"])]
                if name in kernels
                else None,
            }
            for name, table in tables.items()
        },
        "differences": {
            f"{a} - {b}": {
                **{f: _mean(tables[a][f] - tables[b][f], groups) for f in AVERAGED},
                "kernel_distance": _percentiles(
                    kernels[a] - kernels[b] if a in kernels and b in kernels else None
                ),
            }
            for a, b in differences
            if a in methods and b in methods
        },
    }


def _columns(results: Sequence[Mapping[str, Any]], method: str) -> dict[str, np.ndarray]:
    """Figure to [pairs], NaN where a pair lacks it."""
    rows = [record["figures"].get(method, {}) for record in results]
    return {
        figure: np.array([row.get(figure) for row in rows], dtype=np.float64)  # NaN for None
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
    groups = np.array([record["identity"] for record in results])
    return _mean(_columns(results, method)[figure] - _columns(others, method)[figure], groups)


def difference_of(
    terms: Sequence[tuple[Sequence[Mapping[str, Any]], str, int]], figure: str
) -> Triple:
    """Paired mean of a figure over a signed sum of (records, method, sign), of the same pairs."""
    groups = np.array([record["identity"] for record in terms[0][0]])
    columns = [sign * _columns(records, method)[figure] for records, method, sign in terms]
    return _mean(np.sum(columns, axis=0), groups)


def _mean(values: np.ndarray, groups: np.ndarray) -> Triple:
    if np.isnan(values).all():
        return None
    interval = bootstrap(values, groups=groups)
    return [interval.mean, interval.low, interval.high]


def _energy_ratio(
    table: Mapping[str, np.ndarray], truth: Mapping[str, np.ndarray] | None, groups: np.ndarray
) -> Triple:
    """Mean Laplacian energy on the garment over the truth's, a ratio of means."""
    if truth is None:
        return None
    energies = np.where(np.isnan(truth["laplacian"]), np.nan, table["laplacian"])
    if np.isnan(energies).all() or truth["laplacian"][~np.isnan(energies)].sum() == 0:
        return None
    interval = bootstrap(energies, weights=truth["laplacian"], groups=groups, draws=1000)
    return [interval.mean, interval.low, interval.high]


def _kernel_distances(
    features: Mapping[str, np.ndarray], groups: np.ndarray
) -> dict[str, np.ndarray]:
    """Of each method's set of pictures to the truths': [1 + draws], the estimate first."""
    if "truth" not in features or len(set(groups.tolist())) < 2:
        return {}
    weights = np.vstack([np.ones(len(groups)), draws_of(groups)])
    return {
        name: KernelDistance(rows, features["truth"])(weights)
        for name, rows in features.items()
        if name != "truth"
    }


def _percentiles(estimates: np.ndarray | None) -> Triple:
    """The first of [1 + draws] with the 95 % interval of the others."""
    if estimates is None:
        return None
    low, high = np.nanpercentile(estimates[1:], [2.5, 97.5])
    return [float(estimates[0]), float(low), float(high)]


# --- text -----------------------------------------------------------------------------------------


def cell(value: Sequence[float] | None, digits: int, factor: float, *, signed: bool = False) -> str:
    """`.272 [.252, .292]`; one number where there is no interval, a dash where there is nothing."""
    if value is None:
        return "-"

    def number(value: float, sign: str = "") -> str:
        text = f"{value * factor:{sign}.{digits}f}"
        return text.replace("0.", ".", 1) if text.lstrip("+-").startswith("0.") else text

    head = number(value[0], "+" if signed else "")
    return head if len(value) == 1 else f"{head} [{number(value[1])}, {number(value[2])}]"


def markdown(
    rows: Mapping[str, Mapping[str, Any]],
    columns: Mapping[str, tuple[str, int, float]],
    *,
    signed: bool = False,
) -> str:
    """A table of the columns that hold anything."""
    columns = {
        f: c for f, c in columns.items() if any(row.get(f) is not None for row in rows.values())
    }
    lines = ["| | " + " | ".join(heading for heading, _, _ in columns.values()) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name, row in rows.items():
        cells = (cell(row.get(f), d, x, signed=signed) for f, (_, d, x) in columns.items())
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def card(report: Mapping[str, Any]) -> str:
    """The report as Markdown, in the model card's form."""
    rows = {METHODS[name]: row for name, row in report["methods"].items()}
    oracle = rows.pop(METHODS["oracle"], None)
    if oracle is not None:
        first = min(report["settings"]["oracle_pairs"], report["pairs"])
        rows[f"{METHODS['oracle'][:-1]}, first {first} pairs)"] = oracle
    pictures = {name: row for name, row in rows.items() if name != METHODS["truth"]}
    differences = {
        " - ".join(METHODS[name] for name in key.split(" - ")): row
        for key, row in report["differences"].items()
        if not key.endswith("truth")
    }
    parts = [
        heading(report),
        markdown(pictures, PICTURE_COLUMNS),
        markdown(rows, PERSON_COLUMNS),
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
        "luma with the truth's; of prints: on pairs whose garment repeats (autocorrelation of that "
        "band, down or across), and how often the picture's period is within 15 % of the truth's.",
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
