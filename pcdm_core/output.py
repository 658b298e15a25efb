"""What the pipeline gives back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .images import Fit
from .pose.body_mask import body_mask
from .pose.keypoints import Keypoints


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

    def restored(self, fit: Fit, target_pose: Keypoints) -> PCDMsOutput:
        """At the size that the source had before its fit, where the target poses are as given."""
        image = fit.undo(self.image)
        coarse = None if self.coarse is None else fit.undo(self.coarse)
        mask = body_mask(target_pose, *image.shape[-2:]).to(image.device)
        return replace(self, image=image, coarse=coarse, mask=mask)
