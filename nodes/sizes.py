"""How many pictures the stages give, and at which size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from comfy_api.latest import io
from torch import Tensor

from ..pcdm_core.config import Preset
from ..pcdm_core.images import Fit, fit
from ..pcdm_core.inputs import fitted_pose
from ..pcdm_core.pose.body_mask import body_mask
from ..pcdm_core.pose.keypoints import Keypoints
from ..pcdm_core.ranges import PICTURES
from .cancel import cancellable, draw_each
from .newer import ADVANCED

_SMALL = "mini"  # the preset whose weights ship
_FOR_PHOTOGRAPHS = (
    "Photographs need the published weights: see Weights for photographs in the README."
)


def pictures_input() -> io.Input:
    """The widget that the three stages share."""
    return io.Int.Input(
        "pictures",
        default=1,
        **PICTURES.bounds,
        tooltip="How many pictures to draw of each pose, each from its own noise. Set "
        "the same number in all stages.",
    )


def every(batch: Tensor, rows: Sequence[int]) -> Tensor:
    """The rows of a batch that goes with the poses; a single row stays one."""
    return batch if len(batch) == 1 else batch[list(rows)]


def size_inputs(more: str = "") -> list[io.Input]:
    """The widgets that choose the size of the result; `more` is what else to say of it."""
    return [
        io.Int.Input(
            name,
            default=0,
            min=0,
            max=4096,
            step=8,
            tooltip=f"{name.title()} of the result in pixels, a multiple of 8. Set {other} too, or "
            f"leave both at 0 for the weights' own size. {more}".rstrip(),
            **ADVANCED,
        )
        for name, other in (("width", "height"), ("height", "width"))
    ] + [
        io.Boolean.Input(
            "restore_size",
            default=False,
            tooltip="Gives the result the size and shape of the source picture; width and height "
            f"no longer count. Enlarging adds no detail. {more}".rstrip(),
            **ADVANCED,
        )
    ]


def check_size(width: int, height: int, *, restore_size: bool) -> None:
    """Refuse half a size and sizes that are no multiples of 8."""
    if restore_size or (width, height) == (0, 0):
        return
    if not width or not height or width % 8 or height % 8:
        raise ValueError(
            f"The result cannot be {height}x{width} (height x width). Give both as multiples of 8, "
            f"or 0 and 0 for the preset's own size."
        )


def note_small_weights(
    preset: Preset, how: Fit, *, width: int = 0, height: int = 0, restore_size: bool = False
) -> str:
    """What to tell of a picture that the shipped weights draw; empty for all others.

    Args:
        how: the source came to the preset's size.
    """
    if preset.name != _SMALL:
        return ""
    scale, frame = 1.0, (preset.height, preset.width)
    if restore_size:
        scale, frame = how.source_height / how.box_height, how.source
    elif width and height:
        frame = (height, width)
        scale = min(height / preset.height, width / preset.width)
    larger = f", enlarged {scale:.3g} times to {frame[0]}x{frame[1]}," if scale > 1 else ""
    return (
        f"Drawn at {preset.height}x{preset.width}{larger} by the {preset.name} weights, which know "
        f"rendered people in front of plain walls only. {_FOR_PHOTOGRAPHS}"
    )


def sized(
    picture: Tensor,
    pose: Keypoints | None,
    how: Fit,
    preset: Preset,
    *,
    width: int,
    height: int,
    restore_size: bool,
) -> tuple[Tensor, Tensor]:
    """Pictures [B, 3, h, w] at the size asked for, and the body's area [B, 1, H, W] in them.

    Args:
        pose: the target poses, fitted unless the size is restored; None takes the whole area.
        how: the source came to the preset's size.
    """
    if restore_size:
        picture = _each(how.undo, picture, how.source)
    elif pose is not None:
        pose = fitted_pose(pose, how)
    if width and height and not restore_size:
        # The preset's own way between sizes: published squashes, mini pads.
        again = Fit.of(*picture.shape[-2:], height, width, preset.fit)
        picture = _each(
            lambda row: fit(row, height, width, preset.fit)[0], picture, (height, width)
        )
        pose = None if pose is None else pose.moved(again.points)
    if pose is None:
        return picture, torch.ones(len(picture), 1, *picture.shape[-2:])
    return picture, draw_each(lambda row: body_mask(row, *picture.shape[-2:]), pose)


def _each(resize: Callable[[Tensor], Tensor], picture: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures [B, 3, *size], one at a time: large ones take their time."""
    resized = picture.new_empty(*picture.shape[:2], *size)
    for row, one in enumerate(cancellable(picture.split(1))):
        resized[row] = resize(one)
    return resized
