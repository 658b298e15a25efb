"""Samplers that draw noise in each step, with noise that does not depend on the batch."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UnCLIPScheduler
from torch import Tensor


class AncestralSteps:
    """Equations 6 and 7 of arXiv 2006.11239 from a table, with the noise given from outside.

    The library draws the noise inside `step`, from one generator for the whole batch. Ours is a
    function of (seed, batch index) alone, so that a sample does not depend on its neighbours.
    """

    _limit: float | None = None  # x0 is clamped to +- this

    def _weights(self, index: int) -> tuple[float, float, float]:
        """Of x0, of x, and of the noise in the sample after step `index`."""
        raise TypeError(f"{type(self).__name__} has no steps.")

    def ancestral_step(
        self, model_output: Tensor, index: int, sample: Tensor, noise: Tensor | None
    ) -> Tensor:
        """x at step `index` of `timesteps` -> x at the next one; `noise` like x, none in the last.

        Args:
            model_output: the predicted x0.
        """
        x0_weight, x_weight, noise_weight = self._weights(index)
        x0 = model_output
        if self._limit is not None:
            x0 = x0.clamp(-self._limit, self._limit)
        mean = x0_weight * x0 + x_weight * sample
        if noise_weight == 0.0 or noise is None:
            return mean
        return mean + noise_weight * noise


class DDPMWithNoise(AncestralSteps, DDIMScheduler):
    """DDPM's step over some timesteps of the table, down to the sample itself.

    It is the library's DDIM step with `eta=1`, for any number of steps (the library's goes down by
    a whole number of timesteps, which not every number of steps divides).
    """

    def _weights(self, index: int) -> tuple[float, float, float]:
        here, *after = self.timesteps[index : index + 2].tolist()
        alpha_bar = float(self.alphas_cumprod[here])
        following = float(self.alphas_cumprod[after[0]] if after else self.final_alpha_cumprod)
        alpha = alpha_bar / following
        x0_weight = following**0.5 * (1 - alpha) / (1 - alpha_bar)
        x_weight = alpha**0.5 * (1 - following) / (1 - alpha_bar)
        return x0_weight, x_weight, ((1 - alpha) * (1 - following) / (1 - alpha_bar)) ** 0.5


class UnCLIPWithNoise(AncestralSteps, UnCLIPScheduler):
    """The sampler of the prior."""

    def set_timesteps(
        self, num_inference_steps: int, device: str | torch.device | None = None
    ) -> None:
        """As the library's, which spaces the steps from the first to the last timestep."""
        if num_inference_steps < 2:
            raise ValueError(
                f"The prior's sampler needs 2 steps or more, got {num_inference_steps}."
            )
        super().set_timesteps(num_inference_steps, device)
        self._limit = self.config.clip_sample_range if self.config.clip_sample else None
        self._table = [self._row(index) for index in range(len(self.timesteps))]

    def _weights(self, index: int) -> tuple[float, float, float]:
        return self._table[index]

    def _row(self, index: int) -> tuple[float, float, float]:
        t = int(self.timesteps[index])
        last = index + 1 == len(self.timesteps)
        previous = t - 1 if last else int(self.timesteps[index + 1])
        alpha_bar = self.alphas_cumprod[t]
        alpha_bar_previous = self.alphas_cumprod[previous] if previous >= 0 else torch.ones(())
        # As published: the same roundings, because fp32 cancels here. At t = 0 the table's beta
        # over 1 - alpha_bar is 0.9995 and not 1; at t = 999 alpha is 0 or one rounding step.
        beta = 1 - alpha_bar / alpha_bar_previous
        alpha = 1 - beta
        if previous == t - 1:
            beta, alpha = self.betas[t], self.alphas[t]
        x0_weight = float(alpha_bar_previous.sqrt() * beta / (1 - alpha_bar))
        x_weight = float(alpha.sqrt() * (1 - alpha_bar_previous) / (1 - alpha_bar))
        if t == 0:
            return x0_weight, x_weight, 0.0
        return x0_weight, x_weight, float(self._get_variance(t, prev_timestep=previous))
