"""Which pair a sample number stands for."""

from __future__ import annotations

import pytest
import torch

from training.pairs import PairOrder, batch_samples, ordered_pairs


def test_pairs_join_different_pictures_of_one_person_only() -> None:
    identities = torch.tensor([7, 3, 7, 3, 7, 9])
    pairs = ordered_pairs(identities)
    assert len(pairs) == 6 + 2
    assert (identities[pairs[:, 0]] == identities[pairs[:, 1]]).all()
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(pairs.unique(dim=0)) == len(pairs)


def test_every_pair_comes_exactly_once_in_an_epoch() -> None:
    order = PairOrder(23, seed=5)
    first = order.pair_numbers(torch.arange(23))
    second = order.pair_numbers(torch.arange(23, 46))
    assert torch.equal(first.sort().values, torch.arange(23))
    assert torch.equal(second.sort().values, torch.arange(23))
    assert not torch.equal(first, second)


def test_processes_share_the_pairs_of_an_epoch_without_loss_or_repetition() -> None:
    order = PairOrder(48, seed=1)
    for processes in (1, 2, 3):
        share = 12 // processes
        seen = [
            order.pair_numbers(batch_samples(step, share, rank, processes))
            for step in range(4)
            for rank in range(processes)
        ]
        assert torch.equal(torch.cat(seen).sort().values, torch.arange(48))


def test_a_batch_may_cross_the_end_of_an_epoch() -> None:
    order = PairOrder(5, seed=0)
    whole = order.pair_numbers(torch.arange(10))
    parts = torch.cat([order.pair_numbers(batch_samples(step, 2)) for step in range(5)])
    assert torch.equal(whole, parts)


def test_people_with_one_picture_are_refused_as_training_data() -> None:
    with pytest.raises(ValueError, match="at least two pictures"):
        PairOrder(len(ordered_pairs(torch.tensor([1, 2, 3]))), seed=0)
