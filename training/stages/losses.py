"""The one denoising loss. It shares `Denoiser` and the noise table with the sampler."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pcdm_core.config import ScheduleConfig
from pcdm_core.sampling import C, Denoiser


def add_noise(x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) noise; alpha_bar [B]."""
    a = alpha_bar.view(-1, *[1] * (x0.ndim - 1))
    return a.sqrt() * x0 + (1 - a).sqrt() * noise


def target(schedule: ScheduleConfig, x0: Tensor, noise: Tensor, alpha_bar: Tensor) -> Tensor:
    """What the network is asked for under `schedule.prediction_type`."""
    if schedule.prediction_type == "sample":
        return x0
    if schedule.prediction_type == "epsilon":
        return noise
    a = alpha_bar.view(-1, *[1] * (x0.ndim - 1))
    return a.sqrt() * noise - (1 - a).sqrt() * x0


def clean_sample(
    prediction: Tensor, x_t: Tensor, alpha_bar: Tensor, schedule: ScheduleConfig
) -> Tensor:
    """What a network's prediction says of x0; alpha_bar [B]."""
    if schedule.prediction_type == "sample":
        return prediction
    a = alpha_bar.view(-1, *[1] * (x_t.ndim - 1))
    if schedule.prediction_type == "epsilon":
        return (x_t - (1 - a).sqrt() * prediction) / a.sqrt()
    return a.sqrt() * x_t - (1 - a).sqrt() * prediction


def denoising_loss(
    model: Denoiser[C],
    schedule: ScheduleConfig,
    table: Tensor,
    x0: Tensor,
    cond: C,
    *,
    noise: Tensor,
    timesteps: Tensor,
    weight: Tensor | None = None,
    max_snr_weight: float | None = None,
    start: Tensor | None = None,
    perceived: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Weighted mean squared error of the prediction.

    Args:
        table: `alphas_cumprod(schedule)` on the device of x0.
        x0: clean samples [B, ...]; `noise` like it; `timesteps` [B] int64.
        weight: broadcast to x0's shape, for instance 1 on the target half and 0.1 on the source;
            only its distribution within a sample counts, not its size.
        max_snr_weight: None for the published unweighted loss; otherwise each sample of an
            x0-prediction is weighted by min(1 / (1 - alpha_bar), max_snr_weight).
        start: like x0, what the noise is put over where that is not x0: a run that starts from
            another picture goes from there to x0.
        perceived: from the clean samples that the prediction stands for to a further loss [B].

    Returns:
        A scalar.
    """
    alpha_bar = table[timesteps]
    x_t = add_noise(x0 if start is None else start, noise, alpha_bar).to(x0.dtype)
    prediction = model(x_t, timesteps, cond)
    error = (prediction.float() - target(schedule, x0, noise, alpha_bar).float()).square()
    if weight is not None:
        # By its own mean, so that a sample's loss does not depend on its neighbours.
        mean = weight.expand_as(error).flatten(1).mean(1).view(-1, *[1] * (error.ndim - 1))
        error = error * weight / mean
    per_sample = error.flatten(1).mean(1)
    if max_snr_weight is not None:
        per_sample = per_sample * (1 / (1 - alpha_bar)).clamp(max=max_snr_weight)
    if perceived is not None:
        per_sample = per_sample + perceived(clean_sample(prediction, x_t, alpha_bar, schedule))
    return per_sample.mean()


def draw_timesteps(uniform: Tensor, schedule: ScheduleConfig) -> Tensor:
    """Uniform numbers in [0, 1) -> timesteps int64."""
    return (uniform * schedule.num_train_timesteps).to(torch.int64)
