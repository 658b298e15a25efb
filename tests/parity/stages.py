"""The stages against the published ones: single passes, conditioning, loops, decoded pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints import load_model
from pcdm_core.checkpoints.files import read_state_dict
from pcdm_core.checkpoints.signatures import Component
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import InpaintingConfig, RefiningConfig, ScheduleConfig
from pcdm_core.models import InpaintingModel, RefiningModel
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler
from pcdm_core.vae import KLAutoencoder

from . import configs
from .fixtures import Fixture, Tensors, load_stated

StageConfig = InpaintingConfig | RefiningConfig


@dataclass
class Trace:
    """What a run of the loop showed."""

    result: Tensor
    timesteps: Tensor
    sigmas: Tensor | None
    steps: Tensor  # [steps, B, ...] after each step
    inputs: Tensor  # the network's first input
    outputs: Tensor  # [steps, rows, ...] the network's raw outputs


def run_loop(
    model: Any,
    network: nn.Module,
    schedule: ScheduleConfig,
    noise: Tensor,
    cond: Any,
    uncond: Any,
    **options: Any,
) -> Trace:
    """The pack's `sample`, watched.

    Args:
        network: the module inside `model` whose first argument and output are recorded.
    """
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    steps: list[Tensor] = []

    def watch(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
        inputs.append(arguments[0])
        outputs.append(output[0] if isinstance(output, tuple) else output)

    scheduler = make_scheduler(schedule)
    handle = network.register_forward_hook(watch)
    try:
        result = sample(
            model, scheduler, noise, cond, uncond,
            callback=lambda _, x: steps.append(x), **options,
        )  # fmt: skip
    finally:
        handle.remove()
    return Trace(
        result,
        scheduler.timesteps,
        getattr(scheduler, "sigmas", None),
        torch.stack(steps),
        inputs[0],
        torch.stack(outputs),
    )


def stage_weights(fixture: Fixture) -> Path | None:
    """The fixture's weights: safetensors, else the published container, else none."""
    for name in ("weights.safetensors", "checkpoint/mp_rank_00_model_states.pt"):
        if (fixture.path / name).is_file():
            return fixture.path / name
    return None


def compare_container(fixture: Fixture, component: Component, model: nn.Module) -> None:
    """The published container gives the same weights as the safetensors beside it."""
    container = fixture.path / "checkpoint"
    if not (container.is_dir() and (fixture.path / "weights.safetensors").is_file()):
        return
    config: Any = model.config
    other = load_model(container, stage=component, config=config, dtype=torch.float32)
    pairs = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    fixture.add("checkpoint", float(max((a - b).abs().max() for a, b in pairs)), 0.0)


def loops_of(fixture: Fixture) -> list[tuple[str, dict[str, Any], float]]:
    """Name, settings and tolerance of each loop."""
    return [
        (name, settings, fixture.tolerance(name, "loop"))
        for name, settings in fixture.stated("loops").items()
    ]


def loop_input(tensors: Tensors, loop: str, name: str) -> Tensor:
    """A loop's own input, or the one that all loops share."""
    key = f"{loop}.in.{name}"
    return tensors[key if key in tensors else f"loop.in.{name}"]


# --- stages 2 and 3, and the single-stage release -------------------------------------------------


def load_autoencoder(fixture: Fixture) -> KLAutoencoder:
    """The autoencoder that stages 2 and 3 share."""
    return load_stated(
        fixture,
        "autoencoder",
        "diffusers AutoencoderKL",
        configs.autoencoder(fixture.stated("config", "vae")),
        {"": fixture.stated("weight_seeds", "vae")},
        fixture.path.parent / "stage2_vae.safetensors",
        "vae",
    )


def compare_posterior(fixture: Fixture, autoencoder: KLAutoencoder, pixels: Tensor) -> None:
    """Both parameters of the autoencoder's posterior, unscaled."""
    tolerance = fixture.tolerance("forward")
    mean = autoencoder.encode(pixels) / autoencoder.config.scaling_factor
    fixture.compare("vae.mean", mean, tolerance)
    logvar = autoencoder.vae.encode(pixels).latent_dist.logvar
    fixture.compare("vae.logvar", logvar, tolerance)


def compare_pass(fixture: Fixture, model: Any, name: str, shared: str) -> None:
    """One pass of the network on given conditioning."""
    tensors, latent = fixture.tensors, model.config.latent_channels
    canvas = tensors[f"{name}.in.sample"]  # noisy latents, then everything concatenated to them

    def tensor_of(key: str) -> Tensor | None:
        stored = next((n for n in (f"{name}.in.{key}", f"{shared}.in.{key}") if n in tensors), None)
        return None if stored is None else tensors[stored]

    embed = tensor_of("class_labels")
    cond = Conditioning(
        tokens=tensors[f"{shared}.in.encoder_hidden_states"],
        concat=canvas[:, latent:],
        pose=tensor_of("my_pose_cond"),
        embed=None if embed is None else embed[:, 0],
    )
    out = model(canvas[:, :latent], tensors[f"{shared}.in.timestep"], cond)
    fixture.compare(f"{name}.out", out, fixture.tolerance("forward"))


def compare_loop(
    fixture: Fixture,
    model: InpaintingModel | RefiningModel,
    name: str,
    settings: dict[str, Any],
    tolerance: float,
    cond: Conditioning,
) -> Tensor:
    """One loop step by step; returns its latents."""
    tensors, exact = fixture.tensors, fixture.tolerance("forward")
    noise = loop_input(tensors, name, "latents")
    guided = settings["guidance_scale"] > 1
    uncond = model.unconditional(cond) if guided else None
    trace = run_loop(
        model,
        model.unet,
        model.config.schedule,
        noise,
        cond,
        uncond,
        steps=settings["steps"],
        guidance_scale=settings["guidance_scale"],
        guidance_rescale=settings.get("guidance_rescale", 0.0),
    )
    joint = cond.expand(len(noise))
    if uncond is not None:
        joint = uncond.expand(len(noise)).cat(joint)
    fixture.compare_equal(f"{name}.timesteps", trace.timesteps)
    if f"{name}.sigmas" in tensors and trace.sigmas is not None:
        fixture.compare(f"{name}.sigmas", trace.sigmas, exact)
    # The network's first input without the pose features, which ours takes as further channels.
    channels = model.config.in_channels
    fixture.compare(f"{name}.unet_in0", trace.inputs[:, :channels], exact)
    parts = {"ctx": joint.tokens, "pose_cond": joint.pose}
    parts["class_labels"] = None if joint.embed is None else joint.embed[:, None]
    for key, value in parts.items():
        if f"{name}.{key}" in tensors and value is not None:
            fixture.compare(f"{name}.{key}", value, exact)
    if f"{name}.unet_out" in tensors:
        fixture.compare(f"{name}.unet_out", trace.outputs, tolerance)
    last = len(tensors[f"{name}.latents_per_step"])  # of long loops only the last step is stored
    fixture.compare(f"{name}.latents_per_step", trace.steps[-last:], tolerance)
    return trace.result


def compare_picture(
    fixture: Fixture, autoencoder: KLAutoencoder, name: str, latents: Tensor
) -> None:
    """The decoded picture in [0, 1]."""
    picture = (autoencoder.decode(latents) / 2 + 0.5).clamp(0, 1)
    fixture.compare(f"{name}.out.image", picture, fixture.tolerance("image"))


def compare_parts(fixture: Fixture, model: InpaintingModel | RefiningModel) -> None:
    """The two small networks by themselves."""
    tensors, exact = fixture.tensors, fixture.tolerance("forward")
    if "pose.out" in tensors and isinstance(model, InpaintingModel):
        fixture.compare("pose.out", model.pose_encoder(tensors["pose.in"]), exact)
    if "proj.out" in tensors:
        fixture.compare("proj.out", model.image_projection(tensors["proj.in"]), exact)


def load_inpainting(fixture: Fixture, layout: str) -> InpaintingModel:
    """Stage 2 or the single-stage release."""
    file = stage_weights(fixture)
    config = configs.inpainting(fixture, None if file is None else read_state_dict(file).tensors)
    seeds = fixture.stated("weight_seeds")
    return load_stated(fixture, "inpainting", layout, config, seeds, file, "weights")


@torch.no_grad()
def compare_inpainting(fixture: Fixture) -> None:
    """Stage 2."""
    tensors = fixture.tensors
    model = load_inpainting(fixture, "upstream three-stage")
    compare_container(fixture, "inpainting", model)
    autoencoder = load_autoencoder(fixture)
    for name in sorted({key.split(".")[0] for key in tensors if key.startswith("forward")}):
        compare_pass(fixture, model, name, "forward")
    compare_parts(fixture, model)
    compare_posterior(fixture, autoencoder, tensors["loop.in.vae_image"])
    for name, settings, tolerance in loops_of(fixture):
        source_latents = autoencoder.encode(
            loop_input(tensors, name, "vae_image"),
            posterior="sample",
            noise=loop_input(tensors, name, "vae_noise"),
        )
        cond = model.condition(
            tensors["proj.in"],
            loop_input(tensors, name, "pred_t_img_embed")[:, 0],
            source_latents,
            tensors["pose.in"],
        )
        latents = compare_loop(fixture, model, name, settings, tolerance, cond)
        compare_picture(fixture, autoencoder, name, latents)


@torch.no_grad()
def compare_single_stage(fixture: Fixture) -> None:
    """The single-stage release."""
    tensors, exact = fixture.tensors, fixture.tolerance("forward")
    model = load_inpainting(fixture, "upstream single-stage")
    compare_parts(fixture, model)
    for name, settings, tolerance in loops_of(fixture):
        cond = model.condition(
            tensors["proj.in"],
            None,
            loop_input(tensors, name, "simg_mask_latents"),
            tensors["pose.in"],
        )
        # These are inputs of the published pipeline; in the pack they are made by the model.
        fixture.compare(f"{name}.in.prompt_embeds", cond.tokens, exact)
        null = model.unconditional(cond)
        fixture.compare(f"{name}.in.negative_prompt_embeds", null.tokens, exact)
        fixture.compare_equal(f"{name}.in.mask", cond.concat[:, :1])
        latents = compare_loop(fixture, model, name, settings, tolerance, cond)
        fixture.compare(f"{name}.out.latents", latents, tolerance)


@torch.no_grad()
def compare_refining(fixture: Fixture) -> None:
    """Stage 3."""
    tensors = fixture.tensors
    model: RefiningModel = load_stated(
        fixture,
        "refining",
        "upstream",
        configs.refining(fixture),
        fixture.stated("weight_seeds"),
        stage_weights(fixture),
        "weights",
    )
    compare_container(fixture, "refining", model)
    autoencoder = load_autoencoder(fixture)
    compare_pass(fixture, model, "forward", "forward")
    compare_parts(fixture, model)
    compare_posterior(fixture, autoencoder, tensors["loop.in.vae_gen_t_image"])
    for name, settings, tolerance in loops_of(fixture):
        rows = slice(settings["batch"])
        coarse_latents = autoencoder.encode(
            loop_input(tensors, name, "vae_gen_t_image")[rows],
            posterior="sample",
            noise=loop_input(tensors, name, "vae_noise"),
        )
        cond = model.condition(tensors["proj.in"][rows], coarse_latents)
        latents = compare_loop(fixture, model, name, settings, tolerance, cond)
        compare_picture(fixture, autoencoder, name, latents)
