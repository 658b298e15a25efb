"""What a stage sees of pictures: features by row number, computed on line or read from a cache.

A row is a picture of `People`. Stages ask for features and never for pixels of frozen encoders, so
that nothing but `Features` tells a run with a cache from one without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from pcdm_core.encoders import PatchImageEncoder
from pcdm_core.images import from_planes, source_canvas
from pcdm_core.pose.render import pose_canvas
from pcdm_core.vae import Autoencoder

from ..data.in_memory import CoarsePictures, People


class Features(Protocol):
    """Rows int64 [B] of pictures, from `place` -> tensors on the training device, no gradients.

    Moments are those of `Autoencoder.moments`. The null features are the encoders' answers to an
    input of zeros, which the published scripts train on where a condition is dropped.
    """

    def read(self, pairs: Tensor) -> Any:
        """What lies on the host for pairs [B, k] (CPU); a thread asks for it ahead of the step."""
        ...

    def place(self, pairs: Tensor, inputs: Any) -> Tensor:
        """The pairs where the other methods want them, which answer from `read`'s `inputs`."""
        ...

    def embeds(self, rows: Tensor) -> Tensor:
        """[B, E] global embeddings."""
        ...

    def pose_vectors(self, rows: Tensor) -> Tensor:
        """[B, 1, 36] the prior's pose tokens."""
        ...

    def patch_tokens(self, rows: Tensor) -> Tensor:
        """[B, L, P] tokens of the frozen patch encoder."""
        ...

    def patch_pixels(self, rows: Tensor) -> Tensor:
        """[B, 3, S, S] input of a patch encoder that is being trained."""
        ...

    def pair_moments(self, source: Tensor, target: Tensor) -> Tensor:
        """[B, M, h, 2w] of the canvases source | target."""
        ...

    def source_moments(self, source: Tensor) -> Tensor:
        """[B, M, h, 2w] of the canvases source | black."""
        ...

    def picture_moments(self, rows: Tensor) -> Tensor:
        """[B, M, h, w] of the pictures alone."""
        ...

    def coarse_moments(self, numbers: Tensor) -> Tensor:
        """[B, M, h, w] of coarse pictures, by their own numbers."""
        ...

    def pose_maps(self, source: Tensor, target: Tensor) -> Tensor:
        """[B, 3, H, 2W] in [-1, 1]: skeletons source | target."""
        ...

    def person_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """[B, 1, h, w] in [0, 1]: how much of each latent's area is the person."""
        ...

    def head_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        """[B, 1, h, w] in [0, 1]: how much of each latent's area is around the head."""
        ...

    def joints(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 18, 2] in [0, 1] and [B, 18] bool: the joints, and which of them are seen."""
        ...

    def null_embed(self) -> Tensor:
        """[1, E] of an input of zeros."""
        ...

    def null_tokens(self) -> Tensor:
        """[1, L, P] of an input of zeros."""
        ...

    def null_moments(self) -> Tensor:
        """[1, M, h, w] of a picture of zeros, which is grey."""
        ...


@dataclass
class OnlineFeatures:
    """Every feature computed when it is asked for, from people in memory."""

    people: People
    autoencoder: Autoencoder | None = None
    patch_encoder: PatchImageEncoder | None = None
    global_encoder: nn.Module | None = None
    coarse: CoarsePictures | None = None

    def read(self, pairs: Tensor) -> Any:
        """Nothing: people are on the device."""

    def place(self, pairs: Tensor, inputs: Any) -> Tensor:
        return pairs.to(self.people.pictures.device, non_blocking=True)

    def embeds(self, rows: Tensor) -> Tensor:
        if self.global_encoder is None:
            return self.people.embeds[rows]
        return self.global_encoder(self.people.global_pixels(rows))

    def pose_vectors(self, rows: Tensor) -> Tensor:
        return self.people.pose_vectors[rows]

    def patch_tokens(self, rows: Tensor) -> Tensor:
        return self._patch_encoder(self.people.patch_pixels(rows))

    def patch_pixels(self, rows: Tensor) -> Tensor:
        return self.people.patch_pixels(rows)

    def _pictures(self, rows: Tensor) -> Tensor:
        # Rows may lie channels last in memory; group norms of flat areas are inexact there (1e-3).
        return from_planes(self.people.pictures[rows]).contiguous()

    def pair_moments(self, source: Tensor, target: Tensor) -> Tensor:
        canvas = torch.cat([self._pictures(source), self._pictures(target)], dim=-1)
        return self._autoencoder.moments(canvas)

    def source_moments(self, source: Tensor) -> Tensor:
        return self._autoencoder.moments(source_canvas(self._pictures(source)))

    def picture_moments(self, rows: Tensor) -> Tensor:
        return self._autoencoder.moments(self._pictures(rows))

    def coarse_moments(self, numbers: Tensor) -> Tensor:
        if self.coarse is None:
            raise ValueError("Stage 3 needs coarse pictures; make them with stage 2 first.")
        return self._autoencoder.moments(from_planes(self.coarse.pictures[numbers]))

    def pose_maps(self, source: Tensor, target: Tensor) -> Tensor:
        maps = [from_planes(self.people.skeletons[rows]) for rows in (source, target)]
        return pose_canvas(*maps)

    def person_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        return self.people.person_shares(rows, height, width)

    def head_shares(self, rows: Tensor, height: int, width: int) -> Tensor:
        return self.people.head_shares(rows, height, width)

    def joints(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return self.people.xy[rows], self.people.visible[rows]

    def null_embed(self) -> Tensor:
        if self.global_encoder is None:
            raise ValueError("The null embedding needs the global encoder.")
        return self.global_encoder(torch.zeros_like(self.people.global_pixels(slice(0, 1))))

    def null_tokens(self) -> Tensor:
        return self._patch_encoder(torch.zeros_like(self.people.patch_pixels(slice(0, 1))))

    def null_moments(self) -> Tensor:
        grey = torch.zeros_like(self._pictures(torch.zeros(1, dtype=torch.int64)))
        return self._autoencoder.moments(grey)

    @property
    def _autoencoder(self) -> Autoencoder:
        if self.autoencoder is None:
            raise ValueError("This feature needs the autoencoder.")
        return self.autoencoder

    @property
    def _patch_encoder(self) -> PatchImageEncoder:
        if self.patch_encoder is None:
            raise ValueError("This feature needs the frozen patch encoder.")
        return self.patch_encoder
