"""Steps, guidance and denoise follow the weights, and what is for other weights is said."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.models import InpaintingModel, RefiningModel
from tests.core.tiny_pipeline import TEST, randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, inpainting_inputs, make_graph

OWN = {"steps": 0, "guidance_scale": -1.0, "denoise": -1.0}


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def model_of(graph: Graph, preset: str, stage: str) -> Any:
    """A tiny MODEL whose file names another preset; its configuration is that of none."""
    assert TEST.refining is not None
    changes: dict[str, Any] = {
        "schedule": replace(TEST.inpainting.schedule, beta_start=2e-4),
        "latent_channels": 12 if preset == "mini" else 4,  # as the autoencoder that is there
    }
    core = {
        "inpainting": InpaintingModel(replace(TEST.inpainting, **changes)),
        "refining": RefiningModel(replace(TEST.refining, **changes)),
    }[stage]
    name = f"{preset}-{stage}.safetensors"
    save_model(randomise(core, 1), graph.folder / name, stage=stage, metadata={"preset": preset})  # type: ignore[arg-type]
    loader = {"inpainting": "PCDMLoadInpainting", "refining": "PCDMLoadRefining"}[stage]
    return graph.run(loader, weights=f"{graph.folder.name}/{name}")[0]


def test_a_new_sampler_node_takes_what_the_weights_were_made_for(graph: Graph) -> None:
    loaded = graph.load()
    sockets = inpainting_inputs(graph, loaded, graph.pose(1, first=5))
    name = "PCDMInpaintingSampler"
    default = graph.output(name, **sockets, seed=3)
    explicit = graph.output(
        name, **sockets, **{**SETTINGS, "seed": 3, "steps": 20, "guidance_scale": 1.5}
    )
    assert torch.equal(default.result[0], explicit.result[0])
    assert default.ui == {
        "text": ["As test takes it: 20 steps of UniPC, guidance_scale 1.5, denoise 1."]
    }
    assert explicit.ui is None


@pytest.mark.parametrize(
    ("preset", "stage", "settings", "words"),
    [
        ("published", "refining", {"denoise": 0.05}, "denoise is 0.05, which is for mini; "),
        ("mini", "refining", {"denoise": 1.0}, "denoise is 1, which is for published; "),
        ("mini", "inpainting", {"steps": 50}, "steps is 50, which is for simplified; "),
        ("simplified", "inpainting", {"steps": 20}, "steps is 20, which is for published and mini"),
        ("mini", "inpainting", {"steps": 7}, None),
        ("mini", "inpainting", {"steps": 20, "denoise": 1.0}, None),
    ],
)
def test_the_value_of_another_preset_is_said_on_the_node(
    graph: Graph, preset: str, stage: str, settings: dict[str, float], words: str | None
) -> None:
    model = model_of(graph, preset, stage)
    values = {"steps": 7, "denoise": 0.9, **settings}
    ui = graph.output("PCDMPublishedSigmas", model=model, **values).ui
    assert ui is None if words is None else words in ui["text"][0]


def test_sigmas_of_the_presets_own_steps_and_denoise(graph: Graph) -> None:
    for preset, stage, steps in (("mini", "refining", 20), ("simplified", "inpainting", 50)):
        model = model_of(graph, preset, stage)
        output = graph.output("PCDMPublishedSigmas", model=model)
        denoise = 0.05 if stage == "refining" else 1.0
        (expected,) = graph.run("PCDMPublishedSigmas", model=model, steps=steps, denoise=denoise)
        assert torch.equal(output.result[0], expected)
        assert f"As {preset} takes it: {steps} steps of " in output.ui["text"][0]


def test_the_student_brings_its_own_steps(graph: Graph) -> None:
    if "mini, for 4 steps (shipped)" not in graph.host.pack("nodes.weights").choices("inpainting"):
        pytest.skip("needs the weights that ship")
    (model,) = graph.run("PCDMLoadInpainting", weights="mini, for 4 steps (shipped)")
    settings = graph.host.pack("nodes.settings").stage_settings(model.model, OWN)
    assert settings.values == {"steps": 4, "guidance_scale": 1.0, "denoise": 1.0}


@pytest.mark.parametrize(("name", "value"), [("guidance_scale", -0.5), ("denoise", -0.1)])
def test_what_lies_between_a_setting_and_the_presets_own_is_refused(
    graph: Graph, name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=rf"{name} is {value}; .*, or -1 for the preset's own"):
        graph.run("PCDMInpaintingSampler", **{**SETTINGS, name: value})
