"""The plain baseline of stage 1: ridge regression from source embedding and poses.

The fit uses rendered people of the training split and the weights' own image encoder. It lies
beside the evaluation's JSON file and is made again for other weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core.encoders import GlobalEncoder
from pcdm_core.files import atomic_file
from pcdm_core.images import from_uint8
from pcdm_core.pose.keypoints import Keypoints

from ..data.in_memory import identity_folders
from ..synthetic.shots import read_shots

PEOPLE = 1000  # of the training split; more change the fit of a few hundred numbers little
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Tried on people held out; times the number of pairs."""


@dataclass(frozen=True)
class EmbeddingRegression:
    """A linear map to the target's embedding.

    Attributes:
        weights: fp32 [F, E], the last row for the constant.
        people: how many it was fitted on.
        explained: share of the variance explained on people held out.
    """

    weights: Tensor
    people: int
    explained: float

    def __call__(self, embeds: Tensor, source_pose: Keypoints, target_pose: Keypoints) -> Tensor:
        """Source embeddings [B, E] and poses in the picture's frame -> embeddings [B, E]."""
        poses = [pose_numbers(pose.xy, pose.visible) for pose in (source_pose, target_pose)]
        return _inputs(embeds, *poses) @ self.weights


def pose_numbers(xy: Tensor, visible: Tensor) -> Tensor:
    """[B, 18, 2] in [0, 1], [B, 18] -> [B, 54]: centred places, 0 where missing, and presence."""
    present = visible.float()
    places = (xy.float() - 0.5) * present[..., None]
    return torch.cat([places.flatten(1), present], dim=1)


def _inputs(embeds: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return torch.cat([embeds, source, target, torch.ones(len(embeds), 1)], dim=1)


def fit(folders: Sequence[Path], encoder: GlobalEncoder) -> EmbeddingRegression:
    """Fit on all ordered pairs of views; a tenth of the people chooses the penalty.

    Raises:
        ValueError: there are fewer than ten people.
    """
    if len(folders) < 10:
        raise ValueError(
            f"{len(folders)} people are too few for the regression; render 10 or more."
        )
    people = [_pairs_of(folder, encoder) for folder in folders]
    first = len(people) - max(1, len(people) // 10)
    x, y, test_x, test_y = (
        torch.cat([pairs[k] for pairs in part]).double()
        for part in (people[:first], people[first:])
        for k in (0, 1)
    )
    moments, products = x.T @ x, x.T @ y
    spread = (test_y - y.mean(0)).square().sum()
    fits: list[tuple[float, Tensor]] = []
    for penalty in PENALTIES:
        ridge = torch.full((len(moments),), penalty * len(x), dtype=torch.float64)
        ridge[-1] = 0.0  # the constant goes free
        weights = torch.linalg.solve(moments + torch.diag(ridge), products)
        explained = 1 - float((test_x @ weights - test_y).square().sum() / spread)
        fits.append((explained, weights.float()))
    explained, weights = max(fits, key=lambda pair: pair[0])
    return EmbeddingRegression(weights, len(people), explained)


@torch.no_grad()
def _pairs_of(folder: Path, encoder: GlobalEncoder) -> tuple[Tensor, Tensor]:
    """Inputs and embeddings of all ordered pairs of one person's views."""
    shots = read_shots(folder)
    embeds = encoder(encoder.pixels(from_uint8(np.stack([s.picture for s in shots])))).float()
    xy, visible = (np.stack([getattr(s, name) for s in shots]) for name in ("xy", "detectable"))
    height, width = shots[0].mask.shape
    places = torch.from_numpy((xy / np.array([width, height])).astype(np.float32))
    poses = pose_numbers(places, torch.from_numpy(visible))
    rows = torch.arange(len(shots))
    source, target = torch.cartesian_prod(rows, rows)[(rows[:, None] != rows).flatten()].T
    return _inputs(embeds[source], poses[source], poses[target]), embeds[target]


def fit_or_read(
    path: Path, data: Path, encoder: GlobalEncoder, weights_sha256: str
) -> EmbeddingRegression:
    """The fit at `path` if it is of these weights, or a new one from `data`, written there.

    Raises:
        FileNotFoundError: neither is there; what to do is said.
    """
    if path.is_file():
        with np.load(path) as table:
            if str(table["weights_sha256"]) == weights_sha256:
                weights = torch.from_numpy(table["weights"])
                return EmbeddingRegression(weights, int(table["people"]), float(table["explained"]))
    folders = identity_folders(data, "train")[:PEOPLE]
    if not folders:
        raise FileNotFoundError(
            f"{data / 'train'}: no rendered people to fit the regression on. Render some with "
            f"`python -m training.synthetic --out {data} --split train` at the preset's size, or "
            "name the folder of the training run with --train-data."
        )
    regression = fit(folders, encoder)
    fields: dict[str, Any] = {**vars(regression), "weights": regression.weights.numpy()}
    with atomic_file(path) as file:
        np.savez(file, **fields, weights_sha256=weights_sha256)
    return regression
