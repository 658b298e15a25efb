"""The sampler that draws noise in each step, in the nodes, the core and the host."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.inputs import draw_rows, draw_step_noise
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler
from tests.nodes.conftest import Host
from tests.nodes.graph import (
    LATENT,
    SETTINGS,
    Graph,
    conditions,
    inpainting_inputs,
    make_graph,
)


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture(scope="module")
def loaded(graph: Graph) -> dict[str, Any]:
    with torch.inference_mode():
        return graph.load()


def stochastic(graph: Graph) -> tuple[Any, PCDMsPipeline]:
    """The inpainting MODEL of weights whose sampler draws noise in each step, and the core's."""
    pipeline = PCDMsPipeline.from_folder(graph.folder)
    config = pipeline.inpainting.config
    schedule = replace(config.schedule, sampler="ddpm_trailing")
    pipeline.inpainting.config = replace(config, schedule=schedule)
    path = graph.folder / "stochastic.safetensors"
    save_model(pipeline.inpainting, path, stage="inpainting", metadata={"preset": "test"})
    (model,) = graph.run("PCDMLoadInpainting", weights="test/stochastic.safetensors")
    return model, pipeline


@pytest.mark.parametrize("numbers", [[0, 0], [2, 1]])
@torch.inference_mode()
def test_a_sampler_with_noise_in_each_step_draws_what_the_core_draws(
    graph: Graph, loaded: dict[str, Any], numbers: list[int]
) -> None:
    model, pipeline = stochastic(graph)
    inputs = {**inpainting_inputs(graph, loaded, graph.pose(2, first=5)), "model": model}
    positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
    run = graph.host.pack("nodes.samplers").run_sampler
    latent = {**empty, "batch_index": numbers}
    samples = run(model, positive, negative, latent, **{**SETTINGS, "steps": 7})
    rows = empty["samples"].shape[1:], 11, 2, numbers
    expected = sample(
        pipeline.inpainting,
        make_scheduler(pipeline.inpainting.config.schedule),
        draw_rows(*rows)[0],
        *conditions(pipeline, inputs["target_embedding"].embeds),
        steps=7,
        guidance_scale=2.0,
        step_noise=draw_step_noise(*rows, steps=7),
    )
    assert float((samples - expected).abs().max() / expected.std()) <= LATENT


@torch.inference_mode()
def test_the_hosts_ancestral_sampler_draws_the_same_for_one_picture(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    """Also through SamplerCustom, which does not say which rows there are."""
    model, _ = stochastic(graph)
    inputs = {**inpainting_inputs(graph, loaded, graph.pose(1, first=5)), "model": model}
    positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
    (sampler,) = graph.run("PCDMPublishedSampler", model=model)
    (sigmas,) = graph.run("PCDMPublishedSigmas", model=model, steps=5, denoise=1.0)
    custom = graph.host.comfy("comfy_extras.nodes_custom_sampler").SamplerCustom()
    # ComfyUI 0.3.64 draws its first step's noise from the seed itself, newer ones from the next.
    noise = iter(draw_step_noise(empty["samples"].shape[1:], 11, 1, steps=5))
    stock = graph.host.comfy("comfy.samplers").ksampler(
        "euler_ancestral", {"noise_sampler": lambda *_: next(noise)}
    )
    ours, theirs = (
        custom.sample(model, True, 11, 2.0, positive, negative, one, sigmas, empty)[0]["samples"]
        for one in (sampler, stock)
    )
    settings = {**SETTINGS, "steps": 5}
    node = graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False)[1]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(ours, node["samples"], rtol=0, atol=1e-6)
