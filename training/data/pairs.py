"""Which (source, target) pair a sample number stands for.

Sample numbers count from 0 over the whole run. Every pair comes at least once in each epoch, in an
order reshuffled each epoch; only the last global batch of an epoch is filled up with repeats.
Process r of n takes its own slice of every global batch, so that the union over processes is the
same for any n. (The published scripts shard twice: on 8 processes with batches of 8 they show
12,800 of 101,966 pairs, the same ones in each epoch.)
"""

from __future__ import annotations

import torch
from torch import Tensor


def ordered_pairs(identities: Tensor) -> Tensor:
    """Identity of each picture [N] -> all ordered pairs of two pictures of one identity [P, 2]."""
    order = torch.argsort(identities, stable=True)
    _, counts = torch.unique_consecutive(identities[order], return_counts=True)
    pairs: list[Tensor] = []
    for rows in torch.split(order, counts.tolist()):
        grid = torch.cartesian_prod(rows, rows) if len(rows) > 1 else rows.new_zeros(0, 2)
        pairs.append(grid[grid[:, 0] != grid[:, 1]] if len(grid) else grid)
    return torch.cat(pairs) if pairs else torch.zeros(0, 2, dtype=torch.int64)


def numbered(pairs: Tensor) -> Tensor:
    """Pairs [P, 2] -> [P, 3], each with the number of its coarse picture: what stage 3 takes."""
    return torch.cat([pairs, torch.arange(len(pairs))[:, None]], dim=1)


class PairOrder:
    """Sample numbers to pair numbers, an epoch's permutation at a time.

    An epoch is a whole number of global batches. Where they have more places than there are pairs,
    the last global batch is filled up with the epoch's first pairs: `repeats` of them.
    """

    def __init__(self, pairs: int, seed: int, global_batch: int = 1) -> None:
        """`global_batch` is what one optimiser step sees, over all processes."""
        if pairs < 1:
            raise ValueError("There is no pair to train on: a person needs at least two pictures.")
        if global_batch < 1:
            raise ValueError(f"A global batch has at least one sample, got {global_batch}.")
        self.pairs = pairs
        self.seed = seed
        self.global_batch = global_batch
        self.steps_per_epoch = -(-pairs // global_batch)
        self.samples_per_epoch = self.steps_per_epoch * global_batch
        self._epoch = -1
        self._order = torch.zeros(0, dtype=torch.int64)

    @property
    def repeats(self) -> int:
        """How many samples of each epoch show a pair for another time."""
        return self.samples_per_epoch - self.pairs

    def repeats_until(self, samples: int) -> int:
        """How many of the first `samples` sample numbers are such repeats."""
        epochs, places = divmod(samples, self.samples_per_epoch)
        return epochs * self.repeats + max(places - self.pairs, 0)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator("cpu").manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(self.pairs, generator=generator)
            self._epoch = epoch
        return self._order

    def pair_numbers(self, samples: Tensor) -> Tensor:
        """Sample numbers [B] (CPU) -> pair numbers [B]."""
        epochs = samples // self.samples_per_epoch
        result = torch.empty_like(samples)
        for epoch in epochs.unique().tolist():
            rows = epochs == epoch
            places = samples[rows] - epoch * self.samples_per_epoch
            result[rows] = self._permutation(epoch)[places % self.pairs]
        return result


def batch_samples(step: int, batch_size: int, process: int = 0, processes: int = 1) -> Tensor:
    """The sample numbers of one process at one step; `batch_size` is a process's share."""
    start = (step * processes + process) * batch_size
    return torch.arange(start, start + batch_size)
