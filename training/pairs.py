"""Which (source, target) pair a sample number stands for.

Sample numbers count from 0 over the whole run. Every ordered pair of two views of one person comes
exactly once in each epoch, in an order reshuffled each epoch. Process r of n takes its own slice of
every global batch, so that the union over processes is the same for any n.
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


class PairOrder:
    """Sample numbers to pair numbers, an epoch's permutation at a time."""

    def __init__(self, pairs: int, seed: int) -> None:
        if pairs < 1:
            raise ValueError("There is no pair to train on: a person needs at least two pictures.")
        self.pairs = pairs
        self.seed = seed
        self._epoch = -1
        self._order = torch.zeros(0, dtype=torch.int64)

    def _permutation(self, epoch: int) -> Tensor:
        if epoch != self._epoch:
            generator = torch.Generator("cpu").manual_seed(self.seed * 1_000_003 + epoch)
            self._order = torch.randperm(self.pairs, generator=generator)
            self._epoch = epoch
        return self._order

    def pair_numbers(self, samples: Tensor) -> Tensor:
        """Sample numbers [B] (CPU) -> pair numbers [B]."""
        epochs = samples // self.pairs
        result = torch.empty_like(samples)
        for epoch in epochs.unique().tolist():
            rows = epochs == epoch
            result[rows] = self._permutation(epoch)[samples[rows] % self.pairs]
        return result


def batch_samples(step: int, batch_size: int, process: int = 0, processes: int = 1) -> Tensor:
    """The sample numbers of one process at one step; `batch_size` is a process's share."""
    start = (step * processes + process) * batch_size
    return torch.arange(start, start + batch_size)
