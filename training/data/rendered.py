"""Rendered people as a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from pcdm_core.pose.keypoints import Keypoints

from ..synthetic.shots import detectable_joints, read_joints
from .pictures import Collector, PictureSet

PoseReader = Callable[[tuple[int, int]], Keypoints]


def read_synthetic(root: Path, split: str) -> PictureSet:
    """`train/<number>/<view>.png` with `people.npz`, as `python -m training.synthetic` writes."""
    base = root / split

    def find(name: str) -> tuple[Path, PoseReader]:
        path = base / name

        def pose(size: tuple[int, int]) -> Keypoints:
            number, view = int(path.parent.name), int(path.stem)
            xy, codes = (column[view] for column in read_joints(path.parent))
            visible = detectable_joints(number, view, xy, codes)
            return Keypoints.from_pixels(torch.from_numpy(xy), torch.from_numpy(visible), *size)

        return path, pose

    groups = [
        [f"{folder.name}/{path.name}" for path in sorted(folder.glob("[0-9][0-9].png"))]
        for folder in sorted(base.glob("[0-9]*"))
    ]
    collector = Collector("synthetic", find)
    collector.all_pairs(groups)
    return collector.finish()
