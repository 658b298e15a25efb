"""The published samplers as ComfyUI's SAMPLER and SIGMAS, and the run of the sampler nodes.

No stock sampler is UniPC of order 2 on evenly spaced timesteps that ends at the smallest sigma of
the table, so the scheduler of the core is put behind ComfyUI's interface.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import comfy.k_diffusion.sampling
import comfy.sample
import comfy.samplers
import comfy.utils
import latent_preview
import torch
from comfy_api.latest import io
from torch import Tensor
from tqdm.auto import trange

from ..pcdm_core.config import InpaintingConfig, RefiningConfig, ScheduleConfig
from ..pcdm_core.inputs import draw_step_noise
from ..pcdm_core.quoting import short
from ..pcdm_core.ranges import BATCH_INDEX
from ..pcdm_core.sampling import guide
from ..pcdm_core.schedules import (
    LinearSteps,
    alphas_cumprod,
    check_steps,
    make_scheduler,
    most_steps,
    set_last_timesteps,
    unipc_steps,
    whole_run,
)
from .newer import search_aliases
from .notes import tell
from .settings import DENOISE_OR_OWN, PUBLISHED, stage_settings, steps_input
from .stage_model import StageModel, stage_model
from .widgets import checked

CATEGORY = "PCDM/sampling"


def sigmas_of(config: ScheduleConfig, steps: int, denoise: float = 1.0) -> Tensor:
    """SIGMAS [steps + 1] of the published timesteps; the last is that of timestep 0.

    A few-step student's last is 0: its runs end at the sample itself.

    With `denoise` below 1 a longer run's last `steps` steps, as the stock samplers do it.
    """
    if denoise <= 0.0:
        return torch.zeros(0)
    scheduler = make_scheduler(config)
    check_steps(scheduler, steps)
    whole = whole_run(steps, denoise, most_steps(scheduler))
    set_last_timesteps(scheduler, whole, whole)
    table = alphas_cumprod(config).double()
    # As published a run ends at the noise of timestep 0; some schedulers know another end.
    end = torch.as_tensor(getattr(scheduler, "final_alpha_cumprod", table[0])).double()
    shares = torch.cat([table[scheduler.timesteps.long().cpu()], end.view(1)])
    sigmas = ((1 - shares) / shares).sqrt().float()
    return sigmas[-(steps + 1) :]


class PublishedSampler(comfy.samplers.KSAMPLER):
    """The sampler that a stage was published with, on any SIGMAS."""

    def __init__(self, config: ScheduleConfig, batch_index: Sequence[int] | None = None) -> None:
        """`batch_index` are the numbers of the rows' noises, for samplers that draw in each step.

        Where nobody says them, as in SamplerCustomAdvanced, all rows draw the same.
        """
        self.config = config
        options: dict[str, Any] = {"config": config}
        if config.ancestral:
            function, options["batch_index"] = _sample_ddpm, batch_index
        else:
            function = _sample_unipc if config.sampler == "unipc" else _sample_ddim
        super().__init__(function, options)

    def max_denoise(self, model_wrap: Any, sigmas: Tensor) -> bool:
        """Whether the run starts from noise of unit variance.

        As published: a whole run does, also DDIM's, whose first timestep is not the table's last.
        """
        first = float(sigmas_of(self.config, len(sigmas) - 1)[0])
        whole = math.isclose(float(sigmas[0]), first, rel_tol=1e-5)
        return whole or super().max_denoise(model_wrap, sigmas)


@torch.no_grad()
def _sample_unipc(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    config: ScheduleConfig,
) -> Tensor:
    # ComfyUI's models give x0 for x = x0 + sigma * noise; the scheduler's x has unit variance.
    steps = len(sigmas) - 1
    if steps < 1:
        return x
    levels = sigmas.cpu().double()  # Apple's device has no float64
    if bool((levels[:-1] == levels[1:]).any()):
        raise ValueError(
            f"Two of the {steps + 1} SIGMAS in a row are the same, and between them the published "
            f"sampler has no step. Give fewer steps, or another scheduler."
        )
    rows = x.new_ones(len(x))
    shrink = (1 + levels**2).rsqrt().float().to(x)
    table = unipc_steps(config, tuple(levels.float().tolist()))
    linear = LinearSteps(table, x * shrink[0])
    for i in trange(steps, disable=disable):
        denoised = model(x, sigmas[i] * rows, **(extra_args or {}))
        if callback is not None:
            callback(
                {"x": x, "i": i, "sigma": sigmas[i], "sigma_hat": sigmas[i], "denoised": denoised}
            )
        x = linear.step(denoised, i) / shrink[i + 1]
    return _ended(x, sigmas, config, model, extra_args)


@torch.no_grad()
def _sample_ddim(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    config: ScheduleConfig,
) -> Tensor:
    # DDIM without noise is Euler's method in these variables.
    x = comfy.k_diffusion.sampling.sample_euler(
        model, x, sigmas, extra_args=extra_args, callback=callback, disable=disable
    )
    return _ended(x, sigmas, config, model, extra_args)


@torch.no_grad()
def _sample_ddpm(
    model: Any,
    x: Tensor,
    sigmas: Tensor,
    extra_args: dict[str, Any] | None = None,
    callback: Any = None,
    disable: bool | None = None,
    *,
    config: ScheduleConfig,
    batch_index: Sequence[int] | None = None,
) -> Tensor:
    # DDPM's step is that of the ancestral Euler method in these variables.
    seed, steps = (extra_args or {}).get("seed") or 0, len(sigmas) - 1
    noise = iter(draw_step_noise(x.shape[1:], seed, len(x), batch_index, steps=max(steps, 1)))
    return comfy.k_diffusion.sampling.sample_euler_ancestral(
        model,
        x,
        sigmas,
        extra_args=extra_args,
        callback=callback,
        disable=disable,
        noise_sampler=lambda *_: next(noise).to(x),
    )


def _ended(
    x: Tensor,
    sigmas: Tensor,
    config: ScheduleConfig,
    model: Any,
    extra_args: dict[str, Any] | None,
) -> Tensor:
    """As published: the run ends at the table's first sigma, in the scheduler's scale.

    What a noise mask leaves out must not keep the noise of that sigma.
    """
    first = float(alphas_cumprod(config)[0])
    last = float(sigmas[-1])
    at_end = abs(last - ((1 - first) / first) ** 0.5) < 1e-4
    if not at_end:
        return x
    x, mask = x * first**0.5, (extra_args or {}).get("denoise_mask")
    return x if mask is None else x * mask + model.latent_image * (1 - mask)


def with_rescaled_guidance(model: Any, guidance_rescale: float) -> Any:
    """A MODEL whose guidance is the core's, on the network's own prediction."""
    if guidance_rescale == 0.0:
        return model
    kind = model.model.core_config.schedule.prediction_type
    if kind == "v_prediction":
        raise ValueError("guidance_rescale is not there for v-prediction; use RescaleCFG instead.")

    def rescaled(arguments: dict[str, Any]) -> Tensor:
        x, cond, uncond = (arguments[k] for k in ("input", "cond_denoised", "uncond_denoised"))
        # x0, or the noise: the prediction is x0 seen from x, in units of sigma.
        unit = arguments["sigma"].reshape(-1, 1, 1, 1) if kind == "epsilon" else None
        if unit is not None:
            cond, uncond = (x - cond) / unit, (x - uncond) / unit
        guided = guide(uncond, cond, arguments["cond_scale"], guidance_rescale)
        return guided * unit if unit is not None else x - guided

    patched = model.clone()
    patched.set_model_sampler_cfg_function(rescaled)
    return patched


def check_latent_rows(latent: dict[str, Any]) -> None:
    """Refuse a LATENT whose rows do not say which of the seed's noises they take.

    Raises:
        ValueError: their numbers are not one a row, or none.
    """
    rows, numbers = len(latent["samples"]), latent.get("batch_index")
    if numbers is not None and (
        not isinstance(numbers, Sequence)
        or len(numbers) != rows
        or any(number not in BATCH_INDEX for number in numbers)
    ):
        raise ValueError(
            f"The LATENT has {rows} rows, and the numbers of their noise are {short(numbers)}. "
            f"Connect the latent output of a PCDM conditioning node, or an Empty Latent Image."
        )


def run_sampler(
    model: Any,
    positive: Any,
    negative: Any,
    latent: dict[str, Any],
    *,
    seed: int,
    steps: int,
    guidance_scale: float,
    sampler_name: str,
    scheduler: str,
    denoise: float,
    guidance_rescale: float,
) -> Tensor:
    """LATENT samples after one run, with previews and cancelling as in the stock samplers."""
    check_latent_rows(latent)
    inner: StageModel = model.model
    schedule = inner.core_config.schedule
    sampler = PublishedSampler(schedule, latent.get("batch_index"))
    if sampler_name != PUBLISHED:
        sampler = comfy.samplers.sampler_object(sampler_name)
    if scheduler == PUBLISHED:
        sigmas = sigmas_of(schedule, steps, denoise)
    else:
        name = "euler" if sampler_name == PUBLISHED else sampler_name
        sigmas = comfy.samplers.KSampler(
            model,
            steps=steps,
            device=model.load_device,
            sampler=name,
            scheduler=scheduler,
            denoise=denoise,
            model_options=model.model_options,
        ).sigmas
    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, seed, latent.get("batch_index"))
    return comfy.sample.sample_custom(
        with_rescaled_guidance(model, guidance_rescale),
        noise,
        guidance_scale,
        sampler,
        sigmas,
        positive,
        negative,
        samples,
        noise_mask=latent.get("noise_mask"),
        callback=latent_preview.prepare_callback(model, len(sigmas) - 1),
        disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
        seed=seed,
    )


class PCDMPublishedSampler(io.ComfyNode):
    """SAMPLER for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPublishedSampler",
            display_name="PCDM Published Sampler",
            category=CATEGORY,
            description="The sampler that belongs to the weights, for SamplerCustomAdvanced.",
            **search_aliases("unipc, ddim", "采样器"),
            inputs=[
                io.Model.Input("model", tooltip="An inpainting or refining model of this pack.")
            ],
            outputs=[
                io.Sampler.Output(
                    "sampler",
                    display_name="sampler",
                    tooltip="Use it together with PCDM Published Sigmas.",
                )
            ],
        )

    @classmethod
    def execute(cls, model: Any) -> io.NodeOutput:
        inner = stage_model(model, InpaintingConfig, RefiningConfig)
        return io.NodeOutput(PublishedSampler(inner.core_config.schedule))


class PCDMPublishedSigmas(io.ComfyNode):
    """SIGMAS for SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMPublishedSigmas",
            display_name="PCDM Published Sigmas",
            category=CATEGORY,
            description="The spacing of steps that belongs to the weights, for "
            "SamplerCustomAdvanced.",
            **search_aliases("unipc, scheduler", "调度器"),
            inputs=[
                io.Model.Input("model", tooltip="An inpainting or refining model of this pack."),
                steps_input(),
                io.Float.Input(
                    "denoise",
                    **DENOISE_OR_OWN.bounds,
                    step=0.01,
                    tooltip="1 is a whole run. Lower values give the last steps of a longer one, "
                    "to start from a picture. -1 takes what the weights were made for.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Sigmas.Output(
                    "sigmas",
                    display_name="sigmas",
                    tooltip="The noise levels, from strong to almost none.",
                )
            ],
        )

    @classmethod
    @checked
    def execute(cls, model: Any, steps: int, denoise: float) -> io.NodeOutput:
        inner = stage_model(model, InpaintingConfig, RefiningConfig)
        settings = stage_settings(inner, {"steps": steps, "denoise": denoise})
        ui = tell(cls, settings.warning, fact=settings.fact)
        return io.NodeOutput(sigmas_of(inner.core_config.schedule, **settings.values), ui=ui)
