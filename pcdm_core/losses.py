"""The one denoising loss. It shares `Denoiser` and the noise table with the sampler."""

from __future__ import annotations

import torch
from torch import Tensor

from .config import ScheduleConfig
from .sampling import C, Denoiser


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
) -> Tensor:
    """Weighted mean squared error of the prediction.

    Args:
        table: `alphas_cumprod(schedule)` on the device of x0.
        x0: clean samples [B, ...]; `noise` like it; `timesteps` [B] int64.
        weight: broadcast to x0's shape, for instance 1 on the target half and 0.1 on the source;
            only its distribution within a sample counts, not its size.
        max_snr_weight: None for the published unweighted loss; otherwise each sample of an
            x0-prediction is weighted by min(1 / (1 - alpha_bar), max_snr_weight).

    Returns:
        A scalar.
    """
    alpha_bar = table[timesteps]
    prediction = model(add_noise(x0, noise, alpha_bar).to(x0.dtype), timesteps, cond)
    error = (prediction.float() - target(schedule, x0, noise, alpha_bar).float()).square()
    if weight is not None:
        # By its own mean, so that a sample's loss does not depend on its neighbours.
        own = weight.expand_as(error).flatten(1).mean(1).view(-1, *[1] * (error.ndim - 1))
        error = error * weight / own
    per_sample = error.flatten(1).mean(1)
    if max_snr_weight is not None:
        per_sample = per_sample * (1 / (1 - alpha_bar)).clamp(max=max_snr_weight)
    return per_sample.mean()


def draw_timesteps(uniform: Tensor, schedule: ScheduleConfig) -> Tensor:
    """Uniform numbers in [0, 1) -> timesteps int64."""
    return (uniform * schedule.num_train_timesteps).to(torch.int64)
