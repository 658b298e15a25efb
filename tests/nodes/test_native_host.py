"""The stages inside ComfyUI's own model classes; tests/network compares the networks in them."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import randomise
from tests.network.cases import difference, draw, random_inputs
from tests.nodes.conftest import Host

TOLERANCE = 1e-5  # of the output's deviation, fp32


def stage_config(host: Host, preset: str, stage: str) -> Any:
    return getattr(host.pack("pcdm_core.presets").PRESETS[preset], stage)


def build_core(host: Host, config: Any, seed: int = 7) -> Any:
    models = host.pack("pcdm_core.models")
    inpaints = type(config).__name__ == "InpaintingConfig"
    kind = models.InpaintingModel if inpaints else models.RefiningModel
    return randomise(kind(config), seed).eval()


def build_host_model(host: Host, core: Any, preset: str = "test") -> Any:
    native = host.pack("nodes.comfy_model")
    config = host.pack("pcdm_core.presets").PRESETS[preset]
    return native.make_model(core, config, dtype=torch.float32)


@torch.no_grad()
def test_one_model_call_of_the_host_denoises_as_the_core_does(host: Host) -> None:
    """Input scaling, timestep and x0-prediction: ComfyUI's denoised against the core's."""
    core = build_core(host, stage_config(host, "mini", "inpainting"))
    x_t, _, cond = random_inputs(PRESETS["mini"].inpainting, 8, 12)
    timestep = torch.tensor([400, 400])
    expected = core(x_t, timestep, cond)
    model = build_host_model(host, core, "mini").model
    sigma = model.model_sampling.sigmas[timestep]
    scaled = x_t * (1 + sigma.reshape(-1, 1, 1, 1) ** 2).sqrt()
    out = model.apply_model(
        scaled,
        sigma,
        c_concat=cond.concat,
        c_crossattn=cond.tokens,
        y=cond.embed,
        pcdm_pose=cond.pose,
        transformer_options={},
    )
    assert difference(out, expected) <= TOLERANCE


@pytest.mark.parametrize(
    ("beta_schedule", "last"), [("scaled_linear", 14.6146), ("linear", 157.4073)]
)
def test_the_noise_table_is_the_stages_own(host: Host, beta_schedule: str, last: float) -> None:
    ends = {"scaled_linear": (0.00085, 0.012), "linear": (1e-4, 0.02)}[beta_schedule]
    config = stage_config(host, "test", "refining")
    schedule = replace(
        config.schedule, beta_schedule=beta_schedule, beta_start=ends[0], beta_end=ends[1]
    )
    core = build_core(host, replace(config, schedule=schedule))
    table = host.pack("pcdm_core.schedules").alphas_cumprod(core.config.schedule).double()
    sampling = build_host_model(host, core).model.model_sampling
    expected = ((1 - table) / table).sqrt()
    torch.testing.assert_close(sampling.sigmas.double(), expected, rtol=1e-6, atol=0)
    assert float(sampling.sigma_max) == pytest.approx(last, abs=1e-3)
    assert sampling.timestep(sampling.sigmas).tolist() == list(range(1000))


@torch.no_grad()
def test_a_preview_is_the_mean_colour_of_every_patch(host: Host) -> None:
    config = host.pack("pcdm_core.config").AutoencoderConfig(
        kind="patch", latent_channels=12, downscale=4, scaling_factor=0.5
    )
    autoencoder = randomise(host.pack("pcdm_core.vae").PatchAutoencoder(config), 2)
    autoencoder.decoder.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
    latents = 0.1 * draw(1, 12, 6, 5, seed=6)
    expected = torch.nn.functional.avg_pool2d(autoencoder.decode(latents), 4)
    formats = host.pack("nodes.comfy_model").latent_format(config, autoencoder)
    previewer = host.comfy("latent_preview").Latent2RGBPreviewer(
        formats.latent_rgb_factors, formats.latent_rgb_factors_bias
    )
    preview = host.comfy("numpy").asarray(previewer.decode_latent_to_preview(latents))
    pixels = (expected[0].movedim(0, -1).clamp(-1, 1) + 1) * 127.5
    assert float((torch.tensor(preview).float() - pixels).abs().max()) <= 1.0
    assert formats.latent_channels == 12


def test_every_weight_of_the_network_can_be_streamed(host: Host) -> None:
    model = build_host_model(host, build_core(host, stage_config(host, "mini", "inpainting")))
    bare = [
        name
        for name, module in model.model.diffusion_model.named_modules()
        if list(module.parameters(recurse=False)) and not hasattr(module, "comfy_cast_weights")
    ]
    assert not bare
    assert all(name.startswith("diffusion_model") for name, _ in model.model.named_parameters())


@pytest.mark.parametrize(
    "change",
    [{"block_out_channels": (64, 96), "num_heads": (2, 3)}, {"num_heads": (1, 4)}],
    ids=["widths", "heads"],
)
def test_widths_that_comfyui_cannot_build_are_refused(host: Host, change: dict[str, Any]) -> None:
    config = stage_config(host, "test", "refining")
    config = replace(config, unet=replace(config.unet, **change))
    with pytest.raises(ValueError, match="Change the configuration"):
        host.pack("nodes.network").unet_config(config)


def test_conditioning_of_another_stage_or_size_is_refused(host: Host) -> None:
    core = build_core(host, stage_config(host, "test", "inpainting"))
    x_t, _, cond = random_inputs(PRESETS["test"].inpainting, 8, 12)
    model = build_host_model(host, core).model
    entry = {
        "cross_attn": cond.tokens,
        "noise_concat": cond.concat,
        "pcdm_pose": cond.pose,
        "pooled_output": cond.embed,
        "noise": x_t,
        "device": torch.device("cpu"),
    }
    assert {"c_concat", "c_crossattn", "y", "pcdm_pose"} <= set(model.extra_conds(**entry))
    for missing in ("noise_concat", "pcdm_pose", "pooled_output"):
        with pytest.raises(ValueError, match="PCDM Inpainting Conditioning"):
            model.extra_conds(**{k: v for k, v in entry.items() if k != missing})
    with pytest.raises(ValueError, match="LATENT is 8x8"):
        model.extra_conds(**{**entry, "noise": draw(2, 12, 8, 8, seed=1)})


def test_the_core_keeps_what_conditions_and_gives_its_unet_away(host: Host) -> None:
    core = build_core(host, stage_config(host, "test", "inpainting"))
    model = build_host_model(host, core).model
    assert model.conditioner.module is core
    assert not list(core.unet.parameters())
    modules = {name.split(".")[0] for name, _ in core.named_parameters()}
    assert modules == {"image_projection", "pose_encoder"}
