"""What global embeddings say of people whom no encoder saw: who it is, and what they look like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pcdm_core.encoders import GlobalEncoder
from pcdm_core.images import from_uint8

from ..data.labels import CHANNELS, CLASSES, NUMBERS, Labels, read_labels
from ..synthetic.shots import read_shots
from .report import markdown

PENALTY = 1e-2
"""Of the ridge regressions, times the number of pictures; embeddings have unit variance."""
EXPLAINED = ("top", "bottom", "shoes", "hair", "skin", "background")  # by three channels each
SINGLE = ("weight", "height", "facing")
NAMED = ("top", "bottom", "outer", "hair", "framing")
COLUMNS = {
    "person": ("same person found %", 1, 100.0),
    **{f"{name} colour": (f"colour of {name}, R² %", 0, 100.0) for name in EXPLAINED},
    **{name: (f"{name}, R² %", 0, 100.0) for name in SINGLE},
    **{f"{name} kind": (f"{name} %", 0, 100.0) for name in NAMED},
}
"""Of the table: heading, digits, factor."""


@torch.no_grad()
def embeddings(encoder: GlobalEncoder, people: Sequence[Path]) -> Tensor:
    """[people, views, E] of rendered people in as many views each."""
    rows = [np.stack([shot.picture for shot in read_shots(folder)]) for folder in people]
    return torch.stack([encoder(encoder.pixels(from_uint8(views))).float() for views in rows])


def probe(encoder: GlobalEncoder, fit: Sequence[Path], people: Sequence[Path]) -> dict[str, float]:
    """Figures of an encoder, see COLUMNS.

    Args:
        fit: folders of the people on whom the linear readings are fitted.
        people: folders of other people, on whom they and the search for a person are tried.
    """
    rows, others = embeddings(encoder, fit), embeddings(encoder, people)
    mean, deviation = rows.flatten(0, 1).mean(0), rows.flatten(0, 1).std(0).clamp(min=1e-6)
    rows, others = ((part - mean) / deviation for part in (rows, others))
    labels = read_labels(fit), read_labels(people)
    return {
        "person": found_again(others),
        **linear_readings(rows.flatten(0, 1), labels[0], others.flatten(0, 1), labels[1]),
    }


def found_again(embeds: Tensor) -> float:
    """How often a person's nearest in another view is the same person, of all ordered views.

    Args:
        embeds: [people, views, E]; chance is one over the number of people.
    """
    unit = functional.normalize(embeds, dim=2).transpose(0, 1)
    likeness = torch.einsum("vpe,wqe->vwpq", unit, unit)
    right = likeness.argmax(3) == torch.arange(embeds.shape[0])
    views = embeds.shape[1]
    return float(right[~torch.eye(views, dtype=torch.bool)].float().mean())


def linear_readings(
    rows: Tensor, labels: Labels, others: Tensor, truths: Labels
) -> dict[str, float]:
    """Explained variance of numbers and share of right classes by ridge regression.

    Args:
        rows: embeddings [N, E] with `labels` to fit on; `others` [M, E] with `truths` to try.
    """

    def answers(targets: Tensor, present: Tensor) -> Tensor:
        x, y = rows[present].double(), targets[present].double()
        centre = y.mean(0)
        ridge = PENALTY * len(x) * torch.eye(x.shape[1], dtype=torch.float64)
        weights = torch.linalg.solve(x.T @ x + ridge, x.T @ (y - centre))
        return others.double() @ weights + centre

    figures: dict[str, float] = {}
    for name in (*(f"{part} colour" for part in EXPLAINED), *SINGLE):
        columns = [f"{name.removesuffix('colour')}{c}" for c in CHANNELS]
        places = [NUMBERS.index(c) for c in ([name] if name in SINGLE else columns)]
        targets, truth = labels.numbers[:, places], truths.numbers[:, places].double()
        there = truth.isfinite().all(1)
        errors = (answers(targets, targets.isfinite().all(1)) - truth)[there].square().sum()
        spread = (truth[there] - truth[there].mean(0)).square().sum()
        figures[name] = float(1 - errors / spread)
    for name in NAMED:
        place, count = list(CLASSES).index(name), len(CLASSES[name])
        column, truth = labels.classes[:, place], truths.classes[:, place]
        targets = functional.one_hot(column.clamp(min=0), count)
        right = answers(targets, column >= 0).argmax(1) == truth
        figures[f"{name} kind"] = float(right[truth >= 0].float().mean())
    return figures


def table(figures: Mapping[str, Mapping[str, float]]) -> str:
    """Markdown: a row an encoder."""
    rows = {name: {k: [v] for k, v in row.items()} for name, row in figures.items()}
    return markdown(rows, COLUMNS)
