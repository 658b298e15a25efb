"""What the pipeline gives back."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class PCDMsOutput:
    """What `PCDMsPipeline` returns; pictures are float32 [B, 3, H, W] in [-1, 1].

    Attributes:
        image: the result: refined, or the coarse picture where refining was left out.
        coarse: the picture after stage 2; None where its latents were handed to stage 3.
        target_embeds: [B, E] from the prior; None for a preset without one.
        mask: float32 [B, 1, H, W] in [0, 1], the target body's area, for compositing.
        notes: sentences a user should read, such as inputs that were left unused.
    """

    image: Tensor
    coarse: Tensor | None
    target_embeds: Tensor | None
    mask: Tensor
    notes: tuple[str, ...] = ()
