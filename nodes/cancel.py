"""ComfyUI's Cancel in loops of our own; its samplers look for it by themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import comfy.model_management
import torch
from torch import Tensor

from ..pcdm_core.pose.keypoints import Keypoints

T = TypeVar("T")


def stop_where_cancelled() -> None:
    """End a run that was cancelled, by the host's own exception."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def cancellable(items: Iterable[T]) -> Iterator[T]:
    """The items one by one, until the run is cancelled."""
    for item in items:
        stop_where_cancelled()
        yield item


def draw_each(draw: Callable[[Keypoints], Tensor], pose: Keypoints) -> Tensor:
    """What `draw` makes of each of B poses, `[1, C, H, W]` each, as one batch."""
    rows = [draw(pose.select(row)) for row in cancellable(range(len(pose)))]
    return rows[0] if len(rows) == 1 else torch.cat(rows)
