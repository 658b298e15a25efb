"""Which pair a sample number stands for."""

from __future__ import annotations

import pytest
import torch

from training.data.pairs import PairOrder, batch_samples, ordered_pairs


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


@pytest.mark.parametrize("pairs", [1, 5, 48, 101])
@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_every_pair_is_seen_in_every_epoch_on_any_number_of_processes(
    pairs: int, processes: int
) -> None:
    share = 4
    order = PairOrder(pairs, seed=1, global_batch=share * processes)
    assert order.steps_per_epoch == -(-pairs // (share * processes))
    epochs = []
    for epoch in range(2):
        steps = range(epoch * order.steps_per_epoch, (epoch + 1) * order.steps_per_epoch)
        batches = [
            order.pair_numbers(batch_samples(step, share, rank, processes))
            for step in steps
            for rank in range(processes)
        ]
        numbers, counts = torch.cat(batches).unique(return_counts=True)
        assert torch.equal(numbers, torch.arange(pairs))
        assert int((counts - 1).sum()) == order.repeats < share * processes
        epochs.append(torch.cat(batches))
    assert pairs == 1 or not torch.equal(*epochs)


def test_repeats_fill_the_last_global_batch_of_an_epoch_and_are_counted() -> None:
    order = PairOrder(10, seed=3, global_batch=4)
    assert (order.steps_per_epoch, order.repeats) == (3, 2)
    numbers = order.pair_numbers(torch.arange(12))
    assert torch.equal(numbers[:10].sort().values, torch.arange(10))
    assert torch.equal(numbers[10:], numbers[:2])
    assert [order.repeats_until(samples) for samples in (10, 11, 12, 22, 24)] == [0, 1, 2, 2, 4]


def test_eight_processes_see_all_pairs_of_the_published_split() -> None:
    # The published scripts shard twice and show 12,800 of them, the same ones in each epoch.
    order = PairOrder(101_966, seed=0, global_batch=64)
    numbers = torch.cat(
        [
            order.pair_numbers(batch_samples(step, 8, rank, 8))
            for rank in range(8)
            for step in range(order.steps_per_epoch)
        ]
    )
    assert len(numbers.unique()) == 101_966
    assert len(numbers) == 101_966 + order.repeats
    assert order.repeats < 64


def test_the_joined_shares_of_the_processes_are_the_batch_of_one() -> None:
    alone = PairOrder(23, seed=2, global_batch=12)
    for step in range(5):
        whole = alone.pair_numbers(batch_samples(step, 12))
        parts = [alone.pair_numbers(batch_samples(step, 3, rank, 4)) for rank in range(4)]
        assert torch.equal(torch.cat(parts), whole)


def test_people_with_one_picture_are_refused_as_training_data() -> None:
    with pytest.raises(ValueError, match="at least two pictures"):
        PairOrder(len(ordered_pairs(torch.tensor([1, 2, 3]))), seed=0)
