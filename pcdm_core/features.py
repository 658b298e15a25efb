"""What the stages see of source pictures, as one value."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from .images import Fit


@dataclass(frozen=True)
class SourceFeatures:
    """All that the stages see of S source pictures; computed once, used for any number of poses."""

    patch_tokens: Tensor  # [S, L, P]
    image_embeds: Tensor | None  # [S, E], None where the preset has no prior
    canvas_latents: Tensor  # [S, C, h, 2w], latents of source|black
    fit: Fit  # how the pictures came to the preset's size; poses follow it

    def __len__(self) -> int:
        return len(self.patch_tokens)

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
