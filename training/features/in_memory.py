"""Moments of people in memory, each computed once.

A learned autoencoder takes a quarter of stage 2's step on a CPU, and every picture comes back a
thousand times. The first batch that asks for a picture's moments fills its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pcdm_core.images import right_half, source_canvas

from .protocol import OnlineFeatures

Encode = Callable[[Tensor], Tensor]


@dataclass
class MomentsInMemory(OnlineFeatures):
    """`OnlineFeatures` whose moments are kept in fp16, 37 kB a picture for the recipe at 192x128.

    A canvas is its two halves beside black: within the convolutions' reach of the seam (some
    columns of latents) the moments of a learned code are not those of the two pictures side by
    side. A linear code's are. Pictures are encoded one by one, so that a row does not depend on
    the batch that asked for it first, and a resumed run computes the same.
    """

    tables: dict[str, Tensor] = field(default_factory=dict)

    def _rows(self, table: str, rows: Tensor, count: int, encode: Encode) -> Tensor:
        """[B, M, h, w] of a table with `count` rows; what it lacks is encoded now."""
        values = self.tables.get(table)
        if values is None or len(values) < count:
            first = encode(rows[:1])
            larger = first.new_full((count, *first.shape[1:]), torch.nan, dtype=torch.float16)
            if values is not None:
                larger[: len(values)] = values
            values = self.tables[table] = larger
        # A row is whole or NaN; its first number says which.
        missing = rows[values[rows].flatten(1)[:, 0].isnan()]
        for row in missing.unique():
            values[row] = encode(row[None])[0].half()
        return values[rows].float()

    def pair_moments(self, source: Tensor, target: Tensor) -> Tensor:
        def encode(rows: Tensor) -> Tensor:
            canvas = source_canvas(self._pictures(rows))
            black_first = torch.cat(canvas.chunk(2, dim=-1)[::-1], dim=-1)
            return right_half(self._autoencoder.moments(black_first))

        targets = self._rows("target", target, len(self.people), encode)
        sources = self.source_moments(source)
        return torch.cat([sources[..., : targets.shape[-1]], targets], dim=-1)

    def source_moments(self, source: Tensor) -> Tensor:
        return self._rows("source", source, len(self.people), super().source_moments)

    def picture_moments(self, rows: Tensor) -> Tensor:
        return self._rows("picture", rows, len(self.people), super().picture_moments)

    def coarse_moments(self, numbers: Tensor) -> Tensor:
        count = 0 if self.coarse is None else len(self.coarse.pictures)
        return self._rows("coarse", numbers, count, super().coarse_moments)
