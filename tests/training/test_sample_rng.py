"""Random numbers as a function of the sample number."""

from __future__ import annotations

import torch

from training.loop import sample_rng


def test_a_sample_draws_the_same_noise_in_any_batch() -> None:
    together = sample_rng.normal(3, 1, torch.arange(8), (4, 5))
    alone = sample_rng.normal(3, 1, torch.tensor([6]), (4, 5))
    assert torch.equal(together[6], alone[0])


def test_normal_numbers_have_zero_mean_unit_variance_and_no_correlation() -> None:
    numbers = sample_rng.normal(0, 0, torch.arange(64), (4001,)).double()
    assert abs(numbers.mean()) < 0.01
    assert abs(numbers.var() - 1) < 0.02
    correlation = torch.corrcoef(numbers) - torch.eye(64)
    assert correlation.abs().max() < 0.08  # 5 deviations of 1 / sqrt(4001)
    assert numbers.isfinite().all()


def test_uniform_numbers_lie_in_the_half_open_interval_and_fill_it() -> None:
    numbers = sample_rng.uniform(0, 0, torch.arange(1000), 50)
    assert numbers.min() >= 0
    assert numbers.max() < 1
    counts = torch.histc(numbers, 10, 0, 1)
    assert (counts - 5000).abs().max() < 400


def test_seeds_and_streams_and_samples_draw_different_numbers() -> None:
    samples = torch.arange(4)
    draws = [sample_rng.uniform(seed, stream, samples, 6) for seed in (0, 1) for stream in (0, 1)]
    flat = torch.cat([d.flatten() for d in draws])
    assert len(flat.unique()) == len(flat)
