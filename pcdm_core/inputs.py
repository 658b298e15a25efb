"""What goes into the stages: features of source pictures, fitted poses, and rows of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .conditioning import Rows
from .config import Preset
from .images import Fit
from .pose.canvas import canvas_notes, in_frame
from .pose.keypoints import Keypoints
from .ranges import check_settings
from .sampling import draw_noise

Seed = int | Sequence[int]
"""One seed for all rows, or one a row."""

# What is not finite, in the words of an error.
SEEN_BY_PATCHES = "What the patch encoder sees of the source"
SEEN_BY_GLOBAL = "The global encoder's embedding of the source"


@dataclass(frozen=True, eq=False)
class FittedPose(Keypoints):
    """Key points in the frame of the fitted source, which is the frame that the stages work in.

    A pose is fitted once; every stage takes the same value.

    Attributes:
        frame: height and width of that frame in pixels; coordinates are fractions of it.
    """

    frame: tuple[int, int] = field(kw_only=True)


def fitted_pose(pose: Keypoints, fit: Fit) -> FittedPose:
    """A pose in the source picture's frame after the picture's fit; a fitted one is itself."""
    if isinstance(pose, FittedPose):
        return pose
    there = in_frame(pose, fit.source).moved(fit.points)
    points = (there.xy, there.visible, there.hands_xy, there.hands_visible)
    return FittedPose(*points, frame=(fit.height, fit.width))


@dataclass(frozen=True)
class SourceFeatures(Rows):
    """All that the stages see of S source pictures; computed once, used for any number of poses.

    One source goes with any number of target poses; otherwise there are as many as poses.
    """

    patch_tokens: Tensor  # [S, L, P]
    image_embeds: Tensor | None  # [S, E], None where the preset has no prior
    canvas_latents: Tensor  # [S, C, h, 2w], latents of source|black
    fit: Fit  # how the pictures came to the preset's size; poses follow it

    def fitted(self, pose: Keypoints) -> FittedPose:
        """A pose of the source picture, in the frame that the stages work in."""
        return fitted_pose(pose, self.fit)

    @classmethod
    def _misfit(cls, rows: int, batch: int) -> str:
        return (
            f"There are {rows} source pictures for {batch} target poses. "
            f"Give one source, or as many as poses."
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
    check_draws(seed, batch, batch_index)
    indices = [0] * batch if batch_index is None else list(batch_index)
    if not isinstance(seed, Sequence):
        return draw_noise(shape, seed, indices, draws)
    rows = zip(seed, indices, strict=True)
    return torch.cat([draw_noise(shape, one, [index], draws) for one, index in rows], dim=1)


def draw_step_noise(
    shape: Sequence[int],
    seed: Seed,
    batch: int,
    batch_index: Sequence[int] | None = None,
    *,
    steps: int,
) -> Tensor:
    """Noise [steps - 1, B, *shape] of an ancestral sampler's steps.

    It is drawn as `draw_rows` draws, from the seed after the row's: the noise that a run starts
    from stays the same with any sampler, and ComfyUI's own samplers draw theirs so on a CPU.
    """
    check_draws(seed, batch, batch_index)
    several = isinstance(seed, Sequence)
    following = [(one + 1) % 2**64 for one in seed] if several else (seed + 1) % 2**64
    return draw_rows(shape, following, batch, batch_index, max(steps - 1, 1))[: steps - 1]


def check_draws(seed: Seed, batch: int, batch_index: Sequence[int] | None) -> None:
    """Refuse seeds and noise numbers that are none, or not one a row.

    Raises:
        ValueError: which of the two, what it is and what it may be.
    """
    check_settings(seed=seed, batch_index=batch_index)
    for name, numbers in (("seed", seed), ("batch_index", batch_index)):
        if isinstance(numbers, Sequence) and len(numbers) != batch:
            raise ValueError(
                f"{name} has {len(numbers)} numbers for {batch} target poses; give one for each."
            )


def repeat_rows(poses: int, pictures: int) -> tuple[list[int], list[int]]:
    """The rows of `pictures` pictures of each pose: which pose a row shows, and its `batch_index`.

    Two poses and three pictures: (0, 0, 0, 1, 1, 1) and (0, 1, 2, 0, 1, 2).

    Raises:
        ValueError: a number of pictures outside its range.
    """
    check_settings(pictures=pictures)
    rows = [pose for pose in range(poses) for _ in range(pictures)]
    return rows, list(range(pictures)) * poses


def fit_rows(
    source_pose: Keypoints, target_pose: Keypoints, fit: Fit, *, sources: int, pictures: int
) -> tuple[FittedPose, FittedPose, list[int], list[int]]:
    """Check poses of the source picture, and fit them once for `pictures` rows of each.

    Args:
        fit: of the source picture, of which there are `sources`.

    Returns:
        Source poses (1 or B rows), target poses [B], the target pose that each row shows, and the
        rows' `batch_index`.

    Raises:
        ValueError: batches that do not fit, or a pose without a visible joint in the picture.
    """
    check_poses(source_pose, target_pose)
    check_rows("source pictures", sources, len(target_pose))
    poses, batch_index = repeat_rows(len(target_pose), pictures)
    source, target = fitted_pose(source_pose, fit), fitted_pose(target_pose, fit)
    source = source if len(source) == 1 else source.select(poses)
    return source, target.select(poses), poses, batch_index


def check_rows(what: str, rows: int, poses: int) -> None:
    """Refuse batches that do not go with each other."""
    if rows not in (1, poses):
        raise ValueError(
            f"There are {rows} {what} for {poses} target poses. Give one, or as many as poses."
        )


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


def note_poses(
    preset: Preset, draws_hands: bool, fit: Fit, source: Keypoints, target: Keypoints
) -> list[str]:
    """What to tell of a run's poses: hands left out, and, as `canvas_notes`, of their pictures."""
    hands = note_hands(preset, draws_hands, source, target)
    notes = canvas_notes(fit.source, source, target)
    return [hands, *notes] if hands else notes


def note_hands(preset: Preset, draws_hands: bool, *poses: Keypoints) -> str:
    """What to tell a user whose hands are left out; empty where nobody's are."""
    if draws_hands or not any(pose.has_hands for pose in poses):
        return ""
    return f"The {preset.name} preset does not draw hands: hand key points were left out."
