"""The judges with weights of their own: perceptual distance, backbone features, key points.

Each is optional. A judge that is not installed or not trained leaves its columns out, and the
sentence that says how to get it stands below the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pcdm_core.images import from_uint8
from pcdm_core.pose.pck import box_height, pck, sides_swapped

from ..synthetic.shots import Shot
from . import efficientnet, lpips
from .pose_judges import BlazePoseJudge, PoseJudge


@dataclass
class Judges:
    """Those that there are.

    Attributes:
        names: of each, for the report.
        missing: column to the sentence that says what to do.
    """

    perceptual: lpips.STLPIPS | None = None
    backbone: efficientnet.Backbone | None = None
    keypoints: PoseJudge | None = None
    names: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, device: torch.device | str = "cpu") -> Judges:
        """All that can be had; nothing is downloaded."""
        judges = cls()

        def attempt(column: str, load: Callable[[], Any]) -> Any:
            try:
                judge = load()
            except ImportError as error:
                judges.missing[column] = str(error)
                return None
            judges.names[column] = judge.name
            return judge.to(device) if isinstance(judge, torch.nn.Module) else judge

        judges.perceptual = attempt("ST-LPIPS", lpips.STLPIPS.from_package)
        judges.backbone = attempt("FD and KD", efficientnet.Backbone.from_package)
        judges.keypoints = attempt("PCK", BlazePoseJudge)
        return judges

    def figures(
        self, pictures: Mapping[str, np.ndarray], truth: Shot
    ) -> dict[str, dict[str, float]]:
        """Of every method's picture of one pair."""
        stack = np.stack(list(pictures.values()))
        rows: list[dict[str, float]] = [{} for _ in pictures]
        if self.keypoints is not None:
            rows = keypoint_figures(self.keypoints, stack, truth)
        if self.perceptual is not None:
            others = perceptual_figures(self.perceptual, stack, truth)
            rows = [row | other for row, other in zip(rows, others, strict=True)]
        return dict(zip(pictures, rows, strict=True))

    def features(self, pictures: Mapping[str, np.ndarray]) -> np.ndarray:
        """The backbone's, float32 [methods, D]."""
        assert self.backbone is not None
        stack = from_uint8(np.stack(list(pictures.values())))
        return self.backbone(_beside(self.backbone, stack)).cpu().numpy()


def _beside(module: torch.nn.Module, tensor: Tensor) -> Tensor:
    return tensor.to(next(module.parameters()).device)


def keypoint_figures(judge: PoseJudge, pictures: np.ndarray, truth: Shot) -> list[dict[str, float]]:
    """PCK over joints that the truth shows and the judge reports, how many it reports, and whether
    it reads left for right.

    A picture without any of them shows the pose to nobody: its PCK is 0, not left out.
    """
    height = box_height(truth.mask)
    figures: list[dict[str, float]] = []
    for places, reported in zip(*judge(pictures), strict=True):
        counted = truth.visible & reported
        lost = not counted.any() and bool(truth.visible.any())
        figures.append(
            {
                "pck": 0.0 if lost else pck(places, truth.xy, counted, height, 0.1),
                "pck_05": 0.0 if lost else pck(places, truth.xy, counted, height, 0.05),
                "joints": float(counted.sum() / max(truth.visible.sum(), 1)),
                # The true order of hidden joints is known too; few pairs show all four.
                "swapped": sides_swapped(places, truth.xy, truth.inside & reported, height),
            }
        )
    return figures


def perceptual_figures(
    judge: lpips.STLPIPS, pictures: np.ndarray, truth: Shot
) -> list[dict[str, float]]:
    """ST-LPIPS over the picture and, from its map, inside the target's person mask."""
    results, target = (_beside(judge, from_uint8(p)) for p in (pictures, truth.picture))
    whole, local = judge(results, target)
    inside = torch.from_numpy(truth.mask).to(local.device)
    return [
        {"st_lpips": float(one), "st_lpips_person": float(places[inside].mean())}
        for one, places in zip(whole, local, strict=True)
    ]
