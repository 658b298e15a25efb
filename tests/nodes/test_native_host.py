"""The stages inside ComfyUI's own UNet: same weights, same numbers."""

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pcdm_core.checkpoints import BUILDERS
from tests.core.tiny_pipeline import randomise
from tests.nodes.conftest import ROOT, Host
from tests.parity.fixtures import Fixture, drawn_state, load_drawn
from tests.parity.native import stage_of

TOLERANCE = 1e-5  # of the output's deviation, fp32
STAGES = ("inpainting", "refining")


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def stage_config(host: Host, preset: str, stage: str) -> Any:
    return getattr(host.pack("pcdm_core.config").PRESETS[preset], stage)


def copied(host: Host, config: Any) -> Any:
    """A configuration of this process's other copy of the core, as the pack's own."""
    own, core = host.pack("pcdm_core.config"), importlib.import_module("pcdm_core.config")
    values = json.loads(json.dumps(core.config_to_dict(config)))
    return own.config_from_dict(getattr(own, type(config).__name__), values)


def build_core(host: Host, config: Any, seed: int = 7) -> Any:
    models = host.pack("pcdm_core.models")
    inpaints = type(config).__name__ == "InpaintingConfig"
    kind = models.InpaintingModel if inpaints else models.RefiningModel
    return randomise(kind(config), seed).eval()


def build_host_model(host: Host, core: Any, preset: str = "test") -> Any:
    native = host.pack("nodes.comfy_model")
    chosen = host.pack("pcdm_core.config").PRESETS[preset]
    return native.make_model(core, chosen, dtype=torch.float32)


def inputs(host: Host, config: Any, height: int, width: int, batch: int = 2) -> tuple[Any, ...]:
    """x_t, timesteps, and what `condition` would give, all random."""
    latent, unet = config.latent_channels, config.unet
    pose = embed = None
    if hasattr(config, "pose_channels"):
        pose = draw(batch, unet.block_out_channels[0], height, width, seed=4)
        embed = None if config.embedding_dim is None else draw(batch, config.embedding_dim, seed=5)
    cond = host.pack("pcdm_core.conditioning").Conditioning(
        tokens=draw(batch, 6, unet.cross_attention_dim, seed=2),
        concat=draw(batch, config.in_channels - latent, height, width, seed=3),
        pose=pose,
        embed=embed,
    )
    return draw(batch, latent, height, width, seed=1), torch.tensor([999, 3][:batch]), cond


def run_native(
    model: Any, x_t: Tensor, timesteps: Tensor, cond: Any, options: Any = None
) -> Tensor:
    return model.model.diffusion_model(
        torch.cat([x_t, cond.concat], 1),
        timesteps,
        context=cond.tokens,
        y=cond.embed,
        transformer_options={} if options is None else options,
        pcdm_pose=cond.pose,
    )


def difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.std())


@pytest.mark.parametrize(("height", "width"), [(8, 12), (7, 13)], ids=["even", "odd"])
@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("preset", ["mini", "test"])
@torch.no_grad()
def test_the_native_network_equals_the_core(
    host: Host, preset: str, stage: str, height: int, width: int
) -> None:
    core = build_core(host, stage_config(host, preset, stage))
    given = inputs(host, core.config, height, width)
    expected = core(*given)
    model = build_host_model(host, core, preset)
    assert difference(run_native(model, *given), expected) <= TOLERANCE


@torch.no_grad()
def test_a_model_without_target_embedding_equals_the_core(host: Host) -> None:
    config = replace(stage_config(host, "test", "inpainting"), embedding_dim=None)
    core = build_core(host, config)
    given = inputs(host, config, 8, 12)
    expected = core(*given)
    assert difference(run_native(build_host_model(host, core), *given), expected) <= TOLERANCE


@torch.no_grad()
def test_the_pose_counts_and_leaves_the_callers_options_alone(host: Host) -> None:
    core = build_core(host, stage_config(host, "test", "inpainting"))
    x_t, timesteps, cond = inputs(host, core.config, 8, 12)
    model = build_host_model(host, core)
    calls = []
    options = {"patches": {"input_block_patch": [lambda h, now: calls.append(now["block"]) or h]}}
    posed = run_native(model, x_t, timesteps, cond, options)
    assert ("input", 0) in calls
    assert len(options["patches"]["input_block_patch"]) == 1
    plain = run_native(model, x_t, timesteps, replace(cond, pose=None))
    assert difference(posed, plain) > 0.01


@pytest.mark.parametrize(("stage", "keys"), [("inpainting", 690), ("refining", 686)])
def test_every_tensor_of_the_published_size_has_its_place(
    host: Host, stage: str, keys: int
) -> None:
    native = host.pack("nodes.network")
    config = stage_config(host, "published", stage)
    ours = host.pack("pcdm_core.models.unet")
    with torch.device("meta"):
        state = ours.build_unet(
            config.unet,
            config.in_channels,
            config.latent_channels,
            class_dim=getattr(config, "embedding_dim", None),
        ).state_dict()
    keywords = native.unet_config(config)
    operations = host.comfy("comfy.ops").disable_weight_init
    unet = native.PoseUNet(**keywords, device="meta", operations=operations)
    wanted = {key: tensor.shape for key, tensor in unet.state_dict().items()}
    mapped = native.native_state_dict(state, keywords)
    assert len(state) == keys
    assert {key: tensor.shape for key, tensor in mapped.items()} == wanted


@torch.no_grad()
def test_one_model_call_of_the_host_denoises_as_the_core_does(host: Host) -> None:
    """Input scaling, timestep and x0-prediction: ComfyUI's denoised against the core's."""
    core = build_core(host, stage_config(host, "mini", "inpainting"))
    x_t, _, cond = inputs(host, core.config, 8, 12)
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


def test_the_noise_table_is_the_stages_own(host: Host) -> None:
    core = build_core(host, stage_config(host, "test", "refining"))
    table = host.pack("pcdm_core.schedules").alphas_cumprod(core.config.schedule).double()
    sampling = build_host_model(host, core).model.model_sampling
    expected = ((1 - table) / table).sqrt()
    torch.testing.assert_close(sampling.sigmas.double(), expected, rtol=1e-6, atol=0)
    assert float(sampling.sigma_max) == pytest.approx(14.6146, abs=1e-3)
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
    shown = host.comfy("numpy").asarray(previewer.decode_latent_to_preview(latents))
    pixels = (expected[0].movedim(0, -1).clamp(-1, 1) + 1) * 127.5
    assert float((torch.tensor(shown).float() - pixels).abs().max()) <= 1.0
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
    x_t, _, cond = inputs(host, core.config, 8, 12)
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
    kept = {name.split(".")[0] for name, _ in core.named_parameters()}
    assert kept == {"image_projection", "pose_encoder"}


@pytest.mark.parametrize("stage", STAGES)
@torch.no_grad()
def test_the_published_implementations_passes_are_met(host: Host, stage: str) -> None:
    """The golden tensors of small UNets with the published key layout, even and odd sizes."""
    fixture = Fixture.open(ROOT / "tests" / "golden" / "parity" / "native")
    stated, tensors = fixture.stated("models", stage), fixture.tensors
    component, layout, config, modules = stage_of(fixture, stage, stated["config"])
    with torch.device("meta"):
        blank = BUILDERS[component](config)
    seeds = dict.fromkeys(("unet", *modules), stated["seed"])
    drawn = load_drawn(component, drawn_state(blank, component, layout, seeds), config)
    core = build_core(host, copied(host, config))
    core.load_state_dict(drawn.state_dict())
    model = build_host_model(host, core, "published")
    for case in stated["cases"]:
        given = {key: tensors[f"{stage}.{case}.{key}"] for key in ("sample", "timestep", "out")}
        inpaints = stage == "inpainting"
        out = model.model.diffusion_model(
            given["sample"],
            given["timestep"].expand(len(given["sample"])),
            context=tensors[f"{stage}.{case}.encoder_hidden_states"],
            y=tensors[f"{stage}.{case}.class_labels"][:, 0] if inpaints else None,
            transformer_options={},
            pcdm_pose=tensors[f"{stage}.{case}.pose_features"] if inpaints else None,
        )
        assert difference(out, given["out"]) <= fixture.tolerance("native_host"), case
