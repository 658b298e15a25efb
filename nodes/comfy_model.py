"""The inpainting and refining models inside ComfyUI's own model classes.

The UNet is ComfyUI's (`network`), so the host's memory management, attention back ends, patches,
guiders, previews and samplers treat these models like any other. What a UNet sees besides x_t and t
comes in by the ways that ComfyUI has for it:

| `Conditioning` | CONDITIONING                    | in the network                    |
| -------------- | ------------------------------- | --------------------------------- |
| tokens         | first element (cross attention) | context                           |
| concat         | `noise_concat`                  | channels after the noisy latents  |
| embed          | `pooled_output`                 | class embedding                   |
| pose           | `pcdm_pose`                     | added after the first convolution |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import comfy.conds
import comfy.latent_formats
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.model_sampling
import comfy.supported_models_base
import torch

from ..pcdm_core.config import AutoencoderConfig, InpaintingConfig, Preset, ScheduleConfig
from ..pcdm_core.finite import check_finite
from ..pcdm_core.schedules import alphas_cumprod
from .convert import fields_of
from .managed import Resident
from .network import PoseUNet, native_state_dict, unet_config
from .stage_model import StageModel

if TYPE_CHECKING:
    from ..pcdm_core.models import InpaintingModel, RefiningModel
    from ..pcdm_core.vae import PatchAutoencoder


class PatchLatents(comfy.latent_formats.LatentFormat):
    """Latents of the pack's own codes; a preview shows the mean colour of every patch."""

    def __init__(self, config: AutoencoderConfig, decoder: PatchAutoencoder | None = None) -> None:
        self.latent_channels = config.latent_channels
        self.spacial_downscale_ratio = config.downscale  # read by newer hosts alone
        self.scale_factor = config.scaling_factor
        if decoder is not None:
            # Previews get latents as the model sees them.
            colours, bias = decoder.float().patch_colours()
            self.latent_rgb_factors = colours.tolist()  # [C, 3], for pixels in [-1, 1]
            self.latent_rgb_factors_bias = bias.tolist()


def latent_format(
    config: AutoencoderConfig, decoder: PatchAutoencoder | None = None
) -> comfy.latent_formats.LatentFormat:
    """ComfyUI's name for the latents of an autoencoder; without `decoder`, no previews."""
    if config.kind == "kl":
        return comfy.latent_formats.SD15(config.scaling_factor)
    return PatchLatents(config, decoder)


class _HostConfig(comfy.supported_models_base.BASE):
    unet_extra_config: dict[str, Any] = {}  # noqa: RUF012 (the host's own field)
    memory_usage_factor = 1.0


def sampling_settings(schedule: ScheduleConfig) -> dict[str, Any]:
    """The noise table in the host's words, for nodes that make a new one for a MODEL of ours."""
    # What the libraries call linear differs: in the host it is the square root that grows evenly.
    names = {"scaled_linear": "linear", "linear": "sqrt_linear"}
    return {
        "beta_schedule": names.get(schedule.beta_schedule, schedule.beta_schedule),
        "linear_start": schedule.beta_start,
        "linear_end": schedule.beta_end,
        "timesteps": schedule.num_train_timesteps,
    }


class _SampleTable(comfy.model_sampling.ModelSamplingDiscrete, comfy.model_sampling.X0):
    """A discrete noise table for a network that predicts x0."""


class PCDMModel(comfy.model_base.BaseModel, StageModel):
    """ComfyUI's model of one stage."""

    def __init__(
        self,
        core: InpaintingModel | RefiningModel,
        latents: comfy.latent_formats.LatentFormat,
        *,
        dtype: torch.dtype,
        manual_cast_dtype: torch.dtype | None,
        device: torch.device,
    ) -> None:
        schedule = core.config.schedule
        host_config = _HostConfig(unet_config(core.config))
        host_config.latent_format = latents
        host_config.sampling_settings = sampling_settings(schedule)
        host_config.set_inference_dtype(dtype, manual_cast_dtype)
        kinds = comfy.model_base.ModelType
        kind = kinds.V_PREDICTION if schedule.prediction_type == "v_prediction" else kinds.EPS
        super().__init__(host_config, model_type=kind, device=device, unet_model=PoseUNet)
        if schedule.prediction_type == "sample":
            self.model_sampling = _SampleTable(host_config)
        table = alphas_cumprod(schedule).double()
        self.sigma_table = ((1 - table) / table).sqrt()  # stays where a node replaces the other
        self.model_sampling.set_sigmas(self.sigma_table)
        self.core_config = core.config

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """What the host hands to the network for one CONDITIONING entry.

        Raises:
            ValueError: the entry is not of this stage, or of another picture size, or has a
                ControlNet; or a node has replaced the noise table by one that the network was not
                trained with.
        """
        self._check(kwargs)
        check_sampling(self.model_sampling, self.sigma_table, self.core_config.schedule)
        conds = super().extra_conds(**kwargs)
        cond = fields_of(kwargs)
        if self.adm_channels:
            conds["y"] = comfy.conds.CONDRegular(cond["embed"])
        if cond["pose"] is not None:
            conds["pcdm_pose"] = comfy.conds.CONDNoiseShape(cond["pose"])
        return conds

    def process_latent_out(self, latent: torch.Tensor) -> torch.Tensor:
        """As the host's; it is called once, with what a sampler gives.

        Raises:
            FloatingPointError: that is not finite.
        """
        return super().process_latent_out(check_finite(latent, f"The {self.stage} stage's latent"))

    @property
    def stage(self) -> str:
        """The name of the stage."""
        return "inpainting" if isinstance(self.core_config, InpaintingConfig) else "refining"

    def _check(self, entry: dict[str, Any]) -> None:
        concat, embed, pose = fields_of(entry).values()
        config, stage = self.core_config, self.stage.capitalize()
        if entry.get("control") is not None:
            raise ValueError(
                f"A ControlNet does not fit a PCDM model, whose pose comes from target_pose: take "
                f"Apply ControlNet away between PCDM {stage} Conditioning and the sampler."
            )
        channels = config.in_channels - config.latent_channels
        fits = concat is not None and concat.shape[1] == channels
        fits &= (pose is not None) == (stage == "Inpainting")
        fits &= not self.adm_channels or embed is not None
        if not fits:
            raise ValueError(
                f"This CONDITIONING was not made for this MODEL. Connect positive and negative of "
                f"PCDM {stage} Conditioning, with this very MODEL connected to it."
            )
        noise = entry.get("noise")
        if noise is not None and noise.shape[-2:] != concat.shape[-2:]:
            raise ValueError(
                f"The LATENT is {noise.shape[-2]}x{noise.shape[-1]}, but the conditioning was made "
                f"for {concat.shape[-2]}x{concat.shape[-1]}. Connect the latent output of "
                f"PCDM {stage} Conditioning to the sampler."
            )


_SAMPLING = comfy.model_sampling
_KINDS = {  # of the prediction, the derived ones first
    "sample": _SAMPLING.X0,
    "v_prediction": _SAMPLING.V_PREDICTION,
    "epsilon": _SAMPLING.EPS,
}
_CHOICES = {"sample": "x0", "v_prediction": "v_prediction", "epsilon": "eps (or lcm)"}


def check_sampling(sampling: Any, table: torch.Tensor, schedule: ScheduleConfig) -> None:
    """Refuse a noise table or a reading of the prediction that the network was not trained with.

    Nodes such as ModelSamplingDiscrete put another `model_sampling` into a MODEL. It fits if it
    reads the same prediction and tells the network, for every noise level of its own, a timestep of
    that level. Of a table it may have a part alone (LCM's has 50 timesteps).

    Args:
        sampling: what the MODEL samples with.
        table: noise levels (sigma) by timestep that the network was trained with.
        schedule: of the network.

    Raises:
        ValueError: what differs, and what to choose.
    """
    kind = next((name for name, c in _KINDS.items() if isinstance(sampling, c)), None)
    scaled = getattr(type(sampling), "calculate_input", None) is _SAMPLING.EPS.calculate_input
    if kind != schedule.prediction_type or not scaled:
        wrong = f"reads the network's output as something else than {schedule.prediction_type}"
    elif not _fits(sampling, table):
        wrong = "has another noise table (zsnr and continuous tables among them)"
    else:
        return
    raise ValueError(
        f"A node before the sampler has replaced this MODEL's sampling by one that {wrong}, which "
        f"the network was not trained with. Take that node away, or choose "
        f"{_CHOICES[schedule.prediction_type]} without zsnr in ModelSamplingDiscrete."
    )


def _fits(sampling: Any, table: torch.Tensor) -> bool:
    timesteps = sampling.timestep(sampling.sigmas).round().long().clamp(0, len(table) - 1).cpu()
    sigmas = sampling.sigmas.cpu().double()  # Apple's device has no float64
    return torch.allclose(table[timesteps], sigmas, rtol=1e-3, atol=0)


def make_model(
    core: InpaintingModel | RefiningModel,
    preset: Preset,
    decoder: PatchAutoencoder | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> comfy.model_patcher.ModelPatcher:
    """A MODEL with the weights of `core`, whose UNet is taken out of it.

    Args:
        decoder: of the preset's latents, for previews; None goes without them.
        dtype: of the UNet's weights; None lets ComfyUI choose, as for its own models.
    """
    management = comfy.model_management
    device, offload = management.get_torch_device(), management.unet_offload_device()
    state = core.unet.state_dict()
    if dtype is None:
        count = sum(tensor.numel() for tensor in state.values())
        stored = next(iter(state.values())).dtype
        dtype = management.unet_dtype(model_params=count, weight_dtype=stored)
    model = PCDMModel(
        core,
        latent_format(preset.autoencoder, decoder),
        dtype=dtype,
        manual_cast_dtype=management.unet_manual_cast(dtype, device),
        device=offload,
    )
    native = native_state_dict(state, model.model_config.unet_config)
    model.diffusion_model.load_state_dict(native, strict=True)
    model.diffusion_model.eval().requires_grad_(False)
    core.unet = torch.nn.Identity()  # the weights live in one place
    model.preset = preset
    model.conditioner = Resident(core.float())
    # Newer hosts put a class with finer memory management under this name.
    patcher = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return patcher(model, load_device=device, offload_device=offload)
