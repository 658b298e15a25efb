"""Steps, guidance and denoise follow the weights, and what is for other weights is said."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.models import InpaintingModel, RefiningModel
from tests.core.tiny_pipeline import TEST, randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, image, inpainting_inputs, make_graph

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
    if graph.host.pack("pcdm_core.checkpoints.components").find_student() is None:
        pytest.skip("needs the weights that ship")
    name = graph.host.pack("nodes.weights").student_choice()
    (model,) = graph.run("PCDMLoadInpainting", weights=name)
    settings = graph.host.pack("nodes.settings").stage_settings(model.model, OWN)
    assert settings.values == {"steps": 4, "guidance_scale": 1.0, "denoise": 1.0}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "Drawn at 192x128 by the mini weights"),
        ({"width": 256, "height": 384}, "Drawn at 192x128, enlarged 2 times to 384x256, by the"),
        ({"width": 32, "height": 48}, "Drawn at 192x128 by the mini weights"),
        ({"restore_size": True}, "Drawn at 192x128, enlarged 6.25 times to 1200x400, by the mini"),
    ],
)
def test_what_small_weights_drew_and_photographs_need_is_said_until_others_are_there(
    graph: Graph, settings: dict[str, Any], words: str
) -> None:
    presets, sizes = graph.host.pack("pcdm_core.presets").PRESETS, graph.host.pack("nodes.sizes")
    images = graph.host.pack("pcdm_core.images")
    for preset in presets.values():
        how = images.Fit.of(1200, 400, preset.height, preset.width, preset.fit)
        note = sizes.note_small_weights(preset, how, **settings)
        if preset.name == "mini":
            assert note.startswith(words)
            assert "Photographs need the published weights" in note
        else:
            assert note == ""


def test_every_node_that_draws_with_the_shipped_weights_says_so(graph: Graph) -> None:
    if not graph.host.pack("pcdm_core.checkpoints").WEIGHTS_FOLDER.joinpath("mini").is_dir():
        pytest.skip("needs the weights that ship")
    sockets: dict[str, Any] = {"encoders": graph.run("PCDMLoadEncoders")[0]}
    sockets |= {"source": image(1, 96, 64), "source_pose": graph.pose().with_canvas((64, 96))}
    poses = {"target_pose": graph.pose(1, first=5)}
    (prior,) = graph.run("PCDMLoadPrior")
    predicted = graph.output("PCDMPredictTargetEmbedding", prior=prior, **sockets, **poses)
    assert "source pose was drawn for a picture of 64x96" in predicted.ui["text"][0]
    stage = {**sockets, **poses, "target_embedding": predicted.result[0]}
    (model,) = graph.run("PCDMLoadInpainting")
    for name in ("PCDMInpaintingConditioning", "PCDMInpaintingSampler"):
        settings = {"steps": 2} if "Sampler" in name else {}
        assert (
            "Drawn at 192x128 by"
            in graph.output(name, model=model, **stage, **settings).ui["text"][0]
        )
    (model,) = graph.run("PCDMLoadRefining")
    del sockets["source_pose"]
    for name in ("PCDMRefiningConditioning", "PCDMRefiningSampler"):
        settings = {"steps": 2, "width": 256, "height": 384} if "Sampler" in name else {}
        ui = graph.output(name, model=model, coarse=image(2, 96, 64), **sockets, **settings).ui
        assert ("enlarged 2 times to 384x256" in ui["text"][0]) == ("Sampler" in name)


@pytest.mark.parametrize(("name", "value"), [("guidance_scale", -0.5), ("denoise", -0.1)])
def test_what_lies_between_a_setting_and_the_presets_own_is_refused(
    graph: Graph, name: str, value: float
) -> None:
    with pytest.raises(ValueError, match=rf"{name} is {value}; .*, or -1 for the preset's own"):
        graph.run("PCDMInpaintingSampler", **{**SETTINGS, name: value})
