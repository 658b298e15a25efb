"""Noise tables and samplers, named once. All of them are diffusers' own schedulers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from .config import ScheduleConfig
from .quoting import short

_TABLE = ("beta_schedule", "beta_start", "beta_end")
_SAMPLERS: dict[str, dict[str, Any]] = {
    "unipc": {
        "solver_order": 2,
        "solver_type": "bh2",
        "predict_x0": True,
        "lower_order_final": True,
        "timestep_spacing": "linspace",
        "final_sigmas_type": "sigma_min",
        "steps_offset": 1,
    },
    "ddim": {
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    },
    # Of few-step students: from the last timestep, which is nothing but noise, to the sample.
    "ddim_trailing": {
        "clip_sample": False,
        "set_alpha_to_one": True,
        "timestep_spacing": "trailing",
    },
}
_SAMPLERS["ddpm_trailing"] = _SAMPLERS["ddim_trailing"]  # the same timesteps, with noise


def make_scheduler(config: ScheduleConfig) -> Any:
    """The sampler that a stage was published with, over its own noise table.

    As published: UniPC order 2 with `timestep_spacing="linspace"`, ending at the sigma of t = 0
    (`final_sigmas_type="sigma_min"`: later library versions end at zero by default).
    """
    from diffusers import DDIMScheduler, UniPCMultistepScheduler

    from .ancestral import DDPMWithNoise, UnCLIPWithNoise

    shared: dict[str, Any] = {
        "num_train_timesteps": config.num_train_timesteps,
        "prediction_type": config.prediction_type,
    }
    if config.ancestral and config.prediction_type != "sample":
        raise ValueError(
            f"The {config.sampler} sampler takes predictions of the sample, not "
            f"{config.prediction_type}."
        )
    if config.sampler == "unclip":
        limit = config.clip_sample_range
        shared |= {"clip_sample": limit is not None, "clip_sample_range": limit or 1.0}
        return UnCLIPWithNoise(**shared)
    shared |= {name: getattr(config, name) for name in _TABLE}
    if config.sampler not in _SAMPLERS:
        samplers = "unipc, ddim, unclip, ddim_trailing, ddpm_trailing"
        raise ValueError(f"Unknown sampler {config.sampler!r}; known: {samplers}.")
    kinds = {"unipc": UniPCMultistepScheduler, "ddpm_trailing": DDPMWithNoise}
    kind = kinds.get(config.sampler, DDIMScheduler)
    return kind(**shared, **_SAMPLERS[config.sampler])


class LinearSteps:
    """The steps of a sampler as sums of the first noise and all predictions so far.

    UniPC and DDIM are linear in them, with coefficients that depend on the schedule alone. So a
    step is one product with a row of a table that was made before the loop: no small tensors are
    made or copied to the device between the network's calls. Sums are fp32 in any type of sample.
    """

    def __init__(self, coefficients: Tensor, noise: Tensor) -> None:
        """Begin at `noise` [B, ...]; `coefficients` [steps, steps + 1] are of `linear_steps`."""
        dtype = torch.promote_types(noise.dtype, torch.float32)
        self.coefficients = coefficients.to(noise.device, dtype)
        self.history = noise.new_empty(len(coefficients) + 1, *noise.shape, dtype=dtype)
        self.history[0] = noise
        self.dtype = noise.dtype

    def step(self, prediction: Tensor, index: int) -> Tensor:
        """The network's prediction [B, ...] at step `index` -> the sample after it."""
        self.history[index + 1] = prediction
        history = self.history[: index + 2]
        summed = self.coefficients[index, : index + 2] @ history.flatten(1)
        return summed.view(history.shape[1:]).to(self.dtype)


def most_steps(scheduler: Any) -> int:
    """How many steps a sampler of `make_scheduler` can take.

    One from each timestep of its noise table; UniPC and DDIM end at the first one, from where none
    is taken. With more, some step would go from a timestep to itself, which is not a number.
    """
    config = scheduler.config
    ends_at_first = config.get("timestep_spacing") in ("linspace", "leading")
    return config.num_train_timesteps - ends_at_first


def check_steps(scheduler: Any, steps: int) -> None:
    """Refuse more steps than the sampler can take.

    Raises:
        ValueError: how many there can be, and the number of timesteps in the noise table.
    """
    most = most_steps(scheduler)
    if steps > most:
        raise ValueError(
            f"steps is {short(steps)}; give {most} at most, because the model's noise table has "
            f"{scheduler.config.num_train_timesteps} timesteps."
        )


def whole_run(steps: int, denoise: float, most: int) -> int:
    """Steps of the run whose last `steps` are that share of it, as ComfyUI's samplers count.

    A run has no more steps than `most_steps`: a smaller share is taken for the smallest that there
    is.
    """
    return max(min(int(steps / denoise), most), steps)


def set_last_timesteps(scheduler: Any, steps: int, whole: int) -> None:
    """Prepare `scheduler` for the last `steps` steps of a run of `whole` steps."""
    scheduler.set_timesteps(whole)
    # The library counts down by a fraction, and rounding leaves some runs one timestep too many.
    scheduler.timesteps = scheduler.timesteps[:whole]
    if hasattr(scheduler, "set_begin_index"):  # of samplers that count their steps
        scheduler.set_begin_index(whole - steps)


def noised(scheduler: Any, x0: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """x0 [B, ...] as it is at a timestep of the scheduler's table."""
    alpha_bar = scheduler.alphas_cumprod[timestep]
    return float(alpha_bar.sqrt()) * x0 + float((1 - alpha_bar).sqrt()) * noise


def linear_steps(scheduler: Any, steps: int, whole: int | None = None) -> Tensor | None:
    """Row i: shares of the noise and of predictions 0, 1, ... in the sample after step i.

    The library's own sampler computes them, on unit vectors instead of pictures.

    Args:
        whole: the steps of the run of which these are the last.

    Returns:
        [steps, steps + 1] fp64 on the CPU, zero for predictions still to come; None for a sampler
        that is not linear (it draws noise, or clips).
    """
    from diffusers import DDIMScheduler, UniPCMultistepScheduler

    config = scheduler.config
    linear = isinstance(scheduler, (UniPCMultistepScheduler, DDIMScheduler))
    linear = linear and not hasattr(scheduler, "ancestral_step")
    if not linear or config.thresholding or config.get("clip_sample", False):
        return None
    return _coefficients(type(scheduler), scheduler.to_json_string(), steps, whole or steps)


@lru_cache(maxsize=32)
def _coefficients(kind: Any, config: str, steps: int, whole: int) -> Tensor:
    scheduler = kind.from_config(json.loads(config))
    set_last_timesteps(scheduler, steps, whole)
    return _rows(scheduler, steps)


def _rows(scheduler: Any, steps: int) -> Tensor:
    units = torch.eye(steps + 1, dtype=torch.float64)
    x = units[:1]
    rows: list[Tensor] = []
    for index, t in enumerate(scheduler.timesteps.tolist()[-steps:]):
        x = scheduler.step(units[index + 1 : index + 2], t, x, return_dict=False)[0]
        rows.append(x)
    return torch.cat(rows)


@lru_cache(maxsize=32)
def unipc_steps(config: ScheduleConfig, sigmas: tuple[float, ...]) -> Tensor:
    """As `linear_steps`, of UniPC over any noise levels, from predictions of x0.

    Args:
        sigmas: of the steps and of the end, over a signal of unit variance.
    """
    scheduler = make_scheduler(replace(config, prediction_type="sample", sampler="unipc"))
    steps = len(sigmas) - 1
    scheduler.set_timesteps(steps)
    scheduler.sigmas = torch.tensor(sigmas)
    scheduler.timesteps = torch.arange(steps, 0, -1)  # names of the steps; sigmas say the rest
    return _rows(scheduler, steps)


def alphas_cumprod(config: ScheduleConfig) -> Tensor:
    """The noise table [num_train_timesteps], fp32: share of signal variance at each timestep."""
    from diffusers import DDPMScheduler

    table = {name: getattr(config, name) for name in ("num_train_timesteps", *_TABLE)}
    return DDPMScheduler(**table).alphas_cumprod
