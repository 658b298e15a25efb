"""Stage 1, and the global encoder that belongs to it, against the published ones."""

from __future__ import annotations

import torch
from torch import Tensor

from pcdm_core.conditioning import PriorConditioning
from pcdm_core.models import PosePrior
from pcdm_core.pose.keypoints import Keypoints

from . import configs
from .fixtures import Fixture, load_stated
from .stages import compare_container, loop_input, loops_of, run_loop, stage_weights


def keypoints(vector: Tensor) -> Keypoints:
    """A published pose vector [B, 1, 36], every joint counted as seen."""
    xy = vector.reshape(len(vector), 18, 2)
    return Keypoints(xy, torch.ones(xy.shape[:2], dtype=torch.bool))


@torch.no_grad()
def compare_prior(fixture: Fixture) -> None:
    """Stage 1."""
    tensors, seeds = fixture.tensors, fixture.stated("weight_seeds")
    config = configs.prior(fixture)
    model: PosePrior = load_stated(
        fixture,
        "prior",
        "upstream",
        config,
        {"": seeds["prior"]},
        stage_weights(fixture),
        "weights",
    )
    compare_container(fixture, "prior", model)

    def condition(embeds: Tensor, source: Tensor, target: Tensor) -> PriorConditioning:
        return model.condition(embeds[:, 0], keypoints(source), keypoints(target))

    cond = condition(
        tensors["forward.in.proj_embedding"],
        tensors["forward.in.encoder_hidden_states"],
        tensors["forward.in.encoder_hidden_states1"],
    )
    x = tensors["forward.in.hidden_states"][:, 0]
    out = model(x, tensors["forward.in.timestep"], cond)
    fixture.compare("forward.out", out, fixture.tolerance("forward"))

    for name, settings, tolerance in loops_of(fixture):
        inputs = [loop_input(tensors, name, key) for key in ("s_embed", "s_pose", "t_pose")]
        cond = condition(*inputs)
        trace = run_loop(
            model,
            model,
            config.schedule,
            loop_input(tensors, name, "latents"),
            cond,
            model.unconditional(cond) if settings["cfg"] else None,
            steps=settings["steps"],
            guidance_scale=settings["guidance_scale"],
            step_noise=loop_input(tensors, name, "variance_noise"),
        )
        fixture.compare_equal(f"{name}.timesteps", trace.timesteps)
        fixture.compare(f"{name}.model_out", trace.outputs, tolerance)
        fixture.compare(f"{name}.out.image_embeds", model.denormalise(trace.result), tolerance)
    compare_clip(fixture, seeds)


def compare_clip(fixture: Fixture, seeds: dict[str, int]) -> None:
    """The global encoder's outputs lie with stage 1, its configuration with the encoders."""
    if "clip.in.pixel_values" not in fixture.tensors:
        return
    beside = fixture.path.parent / "encoders"
    if not (beside / "manifest.json").is_file():
        fixture.skip(f"clip.out.image_embeds: its configuration is in {beside}, which is not there")
        return
    config = configs.global_encoder(Fixture.open(beside).stated("clip_config"))
    model = load_stated(
        fixture,
        "global_encoder",
        "transformers CLIP",
        config,
        {"": seeds["clip"]},
        beside / "clip.safetensors",
        "clip",
    )
    out = model(fixture.tensors["clip.in.pixel_values"])
    fixture.compare("clip.out.image_embeds", out, fixture.tolerance("forward"))
    # The published pipeline encodes zeros for its own unconditional embedding and discards it.
    zeros = torch.zeros_like(fixture.tensors["clip.in.pixel_values"][:1])
    name = "loop.out.negative_image_embeds"
    if name in fixture.tensors:
        fixture.compare(name, model(zeros), fixture.tolerance("forward"))
