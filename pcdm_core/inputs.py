"""What goes into the stages: features of source pictures, rows of noise, and checked poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .config import Preset
from .finite import check_finite
from .images import Fit
from .pose.keypoints import Keypoints
from .ranges import check_settings
from .sampling import draw_noise

Seed = int | Sequence[int]
"""One seed for all rows, or one a row."""


@dataclass(frozen=True)
class SourceFeatures:
    """All that the stages see of S source pictures; computed once, used for any number of poses."""

    patch_tokens: Tensor  # [S, L, P]
    image_embeds: Tensor | None  # [S, E], None where the preset has no prior
    canvas_latents: Tensor  # [S, C, h, 2w], latents of source|black
    fit: Fit  # how the pictures came to the preset's size; poses follow it

    def __len__(self) -> int:
        return len(self.patch_tokens)

    def finite(self) -> SourceFeatures:
        """Itself.

        Raises:
            FloatingPointError: an encoder gave something that is not finite.
        """
        check_finite(self.patch_tokens, "What the patch encoder sees of the source")
        check_finite(self.canvas_latents, "The source's latent")
        if self.image_embeds is not None:
            check_finite(self.image_embeds, "The global encoder's embedding of the source")
        return self

    def select(self, rows: slice) -> SourceFeatures:
        """Some of the sources."""
        embeds = None if self.image_embeds is None else self.image_embeds[rows]
        return replace(
            self,
            patch_tokens=self.patch_tokens[rows],
            image_embeds=embeds,
            canvas_latents=self.canvas_latents[rows],
        )

    def expand(self, batch: int) -> SourceFeatures:
        """One source repeated to `batch` rows without copying; `batch` sources stay.

        Raises:
            ValueError: neither 1 nor `batch` sources.
        """
        if len(self) == batch:
            return self
        if len(self) != 1:
            raise ValueError(
                f"There are {len(self)} source pictures for {batch} target poses. "
                f"Give one source, or as many as poses."
            )

        def rows(tensor: Tensor) -> Tensor:
            return tensor.expand(batch, *tensor.shape[1:])

        embeds = None if self.image_embeds is None else rows(self.image_embeds)
        return replace(
            self,
            patch_tokens=rows(self.patch_tokens),
            image_embeds=embeds,
            canvas_latents=rows(self.canvas_latents),
        )


def draw_rows(
    shape: Sequence[int],
    seed: Seed,
    batch: int,
    batch_index: Sequence[int] | None = None,
    draws: int = 1,
) -> Tensor:
    """Noise [draws, B, *shape] of `batch` rows, see `draw_noise`; without indices all rows are 0.

    Raises:
        ValueError: not as many indices or seeds as rows, or one that is none (see `ranges`).
    """
    check_settings(seed=seed, batch_index=batch_index)
    indices = [0] * batch if batch_index is None else list(batch_index)
    if len(indices) != batch:
        raise ValueError(f"batch_index has {len(indices)} entries for {batch} target poses.")
    if not isinstance(seed, Sequence):
        return draw_noise(shape, seed, indices, draws)
    if len(seed) != batch:
        raise ValueError(f"There are {len(seed)} seeds for {batch} target poses.")
    rows = zip(seed, indices, strict=True)
    return torch.cat([draw_noise(shape, one, [index], draws) for one, index in rows], dim=1)


def repeat_rows(poses: int, pictures: int) -> tuple[list[int], list[int]]:
    """The rows of `pictures` pictures of each pose: which pose a row shows, and its `batch_index`.

    Two poses and three pictures: (0, 0, 0, 1, 1, 1) and (0, 1, 2, 0, 1, 2).

    Raises:
        ValueError: a number of pictures outside its range.
    """
    check_settings(pictures=pictures)
    shown = [pose for pose in range(poses) for _ in range(pictures)]
    return shown, list(range(pictures)) * poses


def check_poses(source_pose: Keypoints, target_pose: Keypoints) -> None:
    """Refuse batches that do not fit and poses without a visible joint inside the picture.

    Raises:
        ValueError: which pose it is, counted from 1.
    """
    if len(target_pose) == 0:
        raise ValueError("There is no target pose; give at least one.")
    if len(source_pose) not in (1, len(target_pose)):
        raise ValueError(
            f"There are {len(source_pose)} source poses for {len(target_pose)} target poses. "
            f"Give one source pose, or as many as target poses."
        )
    for name, pose in (("source", source_pose), ("target", target_pose)):
        inside = pose.visible & ((pose.xy >= 0) & (pose.xy <= 1)).all(-1)
        empty = (~inside.any(1)).nonzero().flatten().tolist()
        if empty:
            which = f" number {', '.join(str(row + 1) for row in empty)}" if len(pose) > 1 else ""
            raise ValueError(
                f"The {name} pose{which} has no visible joint inside the picture. Give the key "
                f"points of at least some of the 18 body joints."
            )


def note_hands(preset: Preset, draws_hands: bool, *poses: Keypoints) -> str:
    """What to tell a user whose hands are left out; empty where nobody's are."""
    if draws_hands or not any(pose.has_hands for pose in poses):
        return ""
    return f"The {preset.name} preset does not draw hands: hand key points were left out."
