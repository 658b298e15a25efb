"""What a denoiser sees besides the noisy sample and the timestep, as one value.

The four fields of `Conditioning` are the only ways anything enters a latent UNet: tokens
(cross-attention), concatenated channels, features added after the first convolution, and an
embedding added to the time embedding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

# typing.Self is newer than the oldest Python that the pack supports.
R = TypeVar("R", bound="Rows")


@dataclass(frozen=True)
class Rows:
    """Tensors that share their first axis (one row a picture); other fields go along."""

    def _tensors(self) -> dict[str, Tensor]:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def _map(self: R, function: Callable[[Tensor], Tensor]) -> R:
        return replace(self, **{name: function(v) for name, v in self._tensors().items()})

    def __len__(self) -> int:
        return max(len(v) for v in self._tensors().values())

    @classmethod
    def _misfit(cls, rows: int, batch: int) -> str:
        return f"Conditioning of {rows} rows does not fit a batch of {batch}."

    def to(
        self: R, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> R:
        """The same rows on another device or in another floating type."""
        return self._map(lambda v: v.to(device=device, dtype=dtype))

    def expand(self: R, batch: int) -> R:
        """One row repeated to `batch` rows; `batch` rows stay as they are.

        Raises:
            ValueError: some tensor has neither 1 nor `batch` rows.
        """

        def widen(v: Tensor) -> Tensor:
            if len(v) not in (1, batch):
                raise ValueError(self._misfit(len(v), batch))
            return v.expand(batch, *v.shape[1:])

        return self._map(widen)

    def select(self: R, rows: Tensor | slice) -> R:
        """Some of the rows."""
        return self.expand(len(self))._map(lambda v: v[rows])

    def cat(self: R, other: R) -> R:
        """The rows of `self`, then those of `other`."""
        mine, theirs = (rows.expand(len(rows))._tensors() for rows in (self, other))
        for name in mine.keys() ^ theirs.keys():
            raise ValueError(f"Only one of the two conditionings has {name!r}.")
        return replace(self, **{name: torch.cat([mine[name], theirs[name]]) for name in mine})


@dataclass(frozen=True)
class Conditioning(Rows):
    """All that a stage-2 or stage-3 UNet sees besides x_t and t."""

    tokens: Tensor  # [B, L, D]      image tokens (+1 target embedding in stage 2)
    concat: Tensor  # [B, C, h, w]   stage 2: mask and source latents; stage 3: coarse latents
    pose: Tensor | None = None  # [B, C0, h, w]  added after conv_in; stage 2 only
    embed: Tensor | None = None  # [B, E]         class embedding; stage 2 with a prior only


@dataclass(frozen=True)
class PriorConditioning(Rows):
    """All that the prior sees besides the noisy target embedding and t."""

    image_embeds: Tensor  # [B, E]      source picture, as the encoder gives it
    source_pose: Tensor  # [B, 1, 36]  x, y interleaved, in [0, 1]; missing joints by code
    target_pose: Tensor  # [B, 1, 36]
