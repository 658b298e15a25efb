"""The judges with weights of their own: perceptual distance, backbone features, key points.

Each is optional. A judge that is not installed or not trained leaves its columns out, and the
sentence that says how to get it stands below the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from pcdm_core.images import from_uint8
from pcdm_core.pose.pck import box_height, pck, sides_swapped

from . import efficientnet as backbone
from . import st_lpips as perceptual
from .held_out_pairs import Shot
from .pose_judges import Kind, PoseJudge, load_pose_judge

T = TypeVar("T")
REPORTED = 0.5
"""Probability above which the key-point judge reports a joint."""


@dataclass
class Judges:
    """Those that there are.

    Attributes:
        names: of each, for the report.
        missing: column to the sentence that says what to do.
    """

    perceptual: perceptual.STLPIPS | None = None
    backbone: backbone.Backbone | None = None
    keypoints: PoseJudge | None = None
    names: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, pose_judge: Kind, regressor: Path, device: torch.device | str = "cpu") -> Judges:
        """All that can be had; nothing is downloaded."""
        judges = cls()

        def attempt(column: str, name: str, load: Callable[[], T]) -> T | None:
            try:
                loaded = load()
            except (ImportError, FileNotFoundError) as error:
                judges.missing[column] = str(error)
                return None
            judges.names[column] = name
            return loaded

        def on_device(module: Any) -> Any:
            return module.to(device)

        judges.perceptual = attempt(
            "ST-LPIPS", perceptual.NAME, lambda: on_device(perceptual.STLPIPS.from_package())
        )
        judges.backbone = attempt(
            "FD and KD", backbone.NAME, lambda: on_device(backbone.Backbone.from_package())
        )
        judges.keypoints = attempt("PCK", "", lambda: load_pose_judge(pose_judge, regressor))
        if judges.keypoints is not None:
            judges.names["PCK"] = judges.keypoints.name
        return judges

    def measure(
        self, pictures: Mapping[str, np.ndarray], truth: Shot
    ) -> tuple[dict[str, dict[str, float]], np.ndarray | None]:
        """Figures of every method's picture of one pair, and features float32 [methods, D]."""
        stack = np.stack(list(pictures.values()))
        figures: dict[str, dict[str, float]] = {name: {} for name in pictures}
        if self.keypoints is not None:
            _add(figures, keypoint_figures(self.keypoints, stack, truth))
        tensor = from_uint8(stack)
        if self.perceptual is not None:
            tensor = tensor.to(next(self.perceptual.parameters()).device)
            _add(figures, perceptual_figures(self.perceptual, tensor, truth))
        features = None
        if self.backbone is not None:
            tensor = tensor.to(next(self.backbone.parameters()).device)
            features = self.backbone(tensor).cpu().numpy()
        return figures, features


def keypoint_figures(judge: PoseJudge, pictures: np.ndarray, truth: Shot) -> list[dict[str, float]]:
    """PCK over joints that the truth shows and the judge reports, how many it reports, and whether
    it reads left for right.

    A picture without any of them shows the pose to nobody: its PCK is 0, not left out.
    """
    found, seen = judge(pictures)
    height = box_height(truth.mask)
    figures: list[dict[str, float]] = []
    for places, shown in zip(found, seen > REPORTED, strict=True):
        counted = truth.seen & shown
        lost = not counted.any() and bool(truth.seen.any())
        figures.append(
            {
                "pck": 0.0 if lost else pck(places, truth.xy, counted, height, 0.1),
                "pck_05": 0.0 if lost else pck(places, truth.xy, counted, height, 0.05),
                "joints": float(counted.sum() / max(truth.seen.sum(), 1)),
                # The true order of hidden joints is known too; few pairs show all four.
                "swapped": sides_swapped(places, truth.xy, truth.inside & shown, height),
            }
        )
    return figures


def perceptual_figures(
    judge: perceptual.STLPIPS, pictures: Tensor, truth: Shot
) -> list[dict[str, float]]:
    """ST-LPIPS over the picture and, from its map, inside the target's person mask."""
    target = from_uint8(truth.picture).to(pictures.device)
    whole, local = judge(pictures, target)
    inside = torch.from_numpy(truth.mask).to(pictures.device)
    return [
        {"st_lpips": float(one), "st_lpips_person": float(places[inside].mean())}
        for one, places in zip(whole, local, strict=True)
    ]


def _add(figures: dict[str, dict[str, float]], rows: list[dict[str, float]]) -> None:
    for found, row in zip(figures.values(), rows, strict=True):
        found |= row
