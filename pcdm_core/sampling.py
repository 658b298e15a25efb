"""One loop for all three stages, and the noise that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .conditioning import Rows
from .ranges import check_settings
from .schedules import (
    LinearSteps,
    check_steps,
    linear_steps,
    most_steps,
    noised,
    set_last_timesteps,
    whole_run,
)

C = TypeVar("C", bound=Rows)
C_in = TypeVar("C_in", contravariant=True)


class Denoiser(Protocol[C_in]):
    """x_t [B, ...], timesteps [B] int64, conditioning of B rows -> prediction like x_t."""

    def __call__(self, x_t: Tensor, timesteps: Tensor, cond: C_in) -> Tensor: ...


def draw_noise(
    shape: Sequence[int], seed: int, batch_index: Sequence[int], draws: int = 1
) -> Tensor:
    """Noise that depends on the seed and each row's index alone.

    One CPU generator seeded with `seed` draws `draws` tensors of `shape` for index 0, then for
    index 1, and so on; every row takes those of its index. Rows with equal index are equal.

    Returns:
        [draws, B, *shape] fp32 on the CPU.

    Raises:
        ValueError: a seed, an index or a number of draws that is none, see `ranges`.
    """
    check_settings(seed=seed, batch_index=batch_index, draws=draws)
    generator = torch.Generator("cpu").manual_seed(int(seed))
    indices = set(batch_index)
    table: dict[int, Tensor] = {}
    for index in range(max(indices) + 1):
        noise = torch.stack([torch.randn(*shape, generator=generator) for _ in range(draws)])
        if index in indices:
            table[index] = noise
    return torch.stack([table[index] for index in batch_index], dim=1)


def guide(
    uncond: Tensor, cond: Tensor, guidance_scale: float, guidance_rescale: float = 0.0
) -> Tensor:
    """Classifier-free guidance, then the rescaling of arXiv 2305.08891 section 3.4.

    As published: upstream's stage-3 script passes `guidance_rescale=2.0`, an extrapolation.
    """
    guided = uncond + guidance_scale * (cond - uncond)
    if guidance_rescale == 0.0:
        return guided
    axes = list(range(1, cond.ndim))
    ratio = cond.std(dim=axes, keepdim=True) / guided.std(dim=axes, keepdim=True)
    return guidance_rescale * (guided * ratio) + (1 - guidance_rescale) * guided


@torch.no_grad()
def sample(
    model: Denoiser[C],
    scheduler: Any,
    noise: Tensor,
    cond: C,
    uncond: C | None = None,
    *,
    steps: int = 20,
    guidance_scale: float = 1.0,
    guidance_rescale: float = 0.0,
    guidance_interval: tuple[float, float] = (0.0, 1.0),
    step_noise: Tensor | None = None,
    start: Tensor | None = None,
    denoise: float = 1.0,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """Denoise `noise` [B, ...] under `cond`; the model is called exactly once a step.

    Args:
        scheduler: from `make_scheduler`; its timesteps are set here.
        uncond: with it and `guidance_scale` other than 1, both rows go through the model as one
            batch, unconditional rows first.
        guidance_interval: the guided part of the steps, as shares of their number. At the others
            the conditional rows go through the model alone.
        step_noise: [steps - 1, B, ...], needed by ancestral samplers.
        start: [B, ...], what a run with `denoise` below 1 begins from, noised to its first step.
        denoise: below 1 the last `steps` steps of a run of `steps / denoise` steps are taken, as
            ComfyUI's samplers do it.
        callback: called after each step with its index and the sample.

    Returns:
        The sample [B, ...].

    Raises:
        ValueError: a setting that is no number of its range (see `ranges`), or more steps than the
            noise table has; something that the sampler needs is missing.
    """
    check_settings(steps=steps, denoise=denoise, guidance_interval=guidance_interval)
    check_settings(guidance_scale=guidance_scale, guidance_rescale=guidance_rescale)
    if guidance_interval[0] > guidance_interval[1]:
        raise ValueError(
            f"guidance_interval is {guidance_interval}; give its begin before its end."
        )
    check_steps(scheduler, steps)
    whole = whole_run(steps, denoise, most_steps(scheduler))
    set_last_timesteps(scheduler, steps, whole)
    guided = uncond is not None and guidance_scale != 1.0
    cond = cond.expand(len(noise))
    begin, end = (round(share * steps) for share in guidance_interval) if guided else (0, 0)

    schedule = scheduler.timesteps.tolist()[-steps:]
    timesteps = torch.tensor(schedule, dtype=torch.int64, device=noise.device)

    joint = uncond.expand(len(noise)).cat(cond) if uncond is not None and begin < end else None
    if denoise < 1.0:
        if start is None:
            raise ValueError("A run with denoise below 1 needs something to start from.")
        noise = noised(scheduler, start, noise, schedule[0])
    coefficients = linear_steps(scheduler, steps, whole)
    linear = None if coefficients is None else LinearSteps(coefficients, noise)
    x = noise
    for index, t in enumerate(schedule):
        guide_now = joint is not None and begin <= index < end
        rows, x_in = (joint, torch.cat([x, x])) if guide_now else (cond, x)
        assert rows is not None
        with torch.inference_mode():  # a step is hundreds of operations; each is a bit quicker
            prediction = model(x_in, timesteps[index].expand(len(x_in)), rows)
        prediction = prediction.clone()  # outside, so that it is a tensor like any other
        if guide_now:
            prediction = guide(*prediction.chunk(2), guidance_scale, guidance_rescale)
        if hasattr(scheduler, "ancestral_step"):
            last = index == steps - 1
            row = step_noise[index] if step_noise is not None and not last else None
            if row is None and not last:
                raise ValueError("An ancestral sampler needs step_noise [steps - 1, B, ...].")
            x = scheduler.ancestral_step(prediction, whole - steps + index, x, row)
        elif linear is not None:
            x = linear.step(prediction, index)
        else:
            x = scheduler.step(prediction, t, x, return_dict=False)[0]
        if callback is not None:
            callback(index, x)
    return x
