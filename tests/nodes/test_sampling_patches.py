"""Nodes that replace a MODEL's noise table, ControlNets, and results that are no numbers."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.config import ScheduleConfig
from pcdm_core.models import RefiningModel
from tests.core.tiny_pipeline import TEST, randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, embedding, image, inpainting_inputs, make_graph

EPSILON = "test/epsilon.safetensors"
WRONG_KIND = "reads the network's output as something else than"
WRONG_TABLE = "has another noise table"


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture(scope="module")
def inputs(graph: Graph) -> dict[str, Any]:
    """Of the inpainting nodes; the networks of the test preset predict x0."""
    with torch.inference_mode():
        return inpainting_inputs(graph, graph.load(), graph.pose(1, first=5))


@pytest.fixture(scope="module")
def epsilon(graph: Graph) -> dict[str, Any]:
    """Of the refining nodes, with a network that predicts noise on the published table."""
    config = replace(TEST.refining, schedule=ScheduleConfig())  # type: ignore[type-var]
    path = graph.folder / "epsilon.safetensors"
    save_model(
        randomise(RefiningModel(config), 3),  # type: ignore[arg-type]
        path,
        stage="refining",
        metadata={"preset": "test"},
    )
    (model,) = graph.run("PCDMLoadRefining", weights=EPSILON)
    encoders = graph.load()["encoders"]
    return {"model": model, "encoders": encoders, "source": image(), "coarse": image(1)}


def patched(graph: Graph, model: Any, name: str, **settings: Any) -> Any:
    """The MODEL after a stock node, at its defaults where nothing else is said."""
    node = getattr(graph.host.comfy("comfy_extras.nodes_model_advanced"), name)()
    widgets = node.INPUT_TYPES()["required"]
    values = {k: v[1]["default"] for k, v in widgets.items() if len(v) > 1 and "default" in v[1]}
    return getattr(node, node.FUNCTION)(model=model, **values | settings)[0]


def latents(graph: Graph, node: str, inputs: dict[str, Any], **settings: Any) -> torch.Tensor:
    with torch.inference_mode():
        widgets = {**SETTINGS, "restore_size": False, **settings}
        return graph.run(node, **inputs, **widgets)[1]["samples"]


def stock(graph: Graph, inputs: dict[str, Any], model: Any) -> torch.Tensor:
    """By the way of KSampler."""
    with torch.inference_mode():
        positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
        sample = graph.host.comfy("comfy.sample")
        noise = sample.prepare_noise(empty["samples"], 3, empty["batch_index"])
        return sample.sample(
            model, noise, 4, 2.0, "euler", "normal", positive, negative, empty["samples"], seed=3
        )


@pytest.mark.parametrize("stage", ["sample", "epsilon"])
def test_a_table_that_is_made_anew_for_the_same_prediction_is_the_networks_own(
    graph: Graph, inputs: dict[str, Any], epsilon: dict[str, Any], stage: str
) -> None:
    pair, node = (inputs, "PCDMInpaintingSampler"), (epsilon, "PCDMRefiningSampler")
    (values, name), kind = (pair, "x0") if stage == "sample" else (node, "eps")
    model = patched(graph, values["model"], "ModelSamplingDiscrete", sampling=kind, zsnr=False)
    table = model.get_model_object("model_sampling").sigmas
    original = values["model"].get_model_object("model_sampling").sigmas
    assert table is not original
    torch.testing.assert_close(table, original, rtol=1e-4, atol=0)
    for scheduler in ("published", "karras"):
        settings = {"scheduler": scheduler}
        plain = latents(graph, name, values, **settings)
        again = latents(graph, name, {**values, "model": model}, **settings)
        assert float((again - plain).abs().max() / plain.std()) <= 1e-3


def test_the_shipped_weights_draw_the_same_on_a_table_that_is_made_anew(graph: Graph) -> None:
    with torch.inference_mode():
        person, source_pose, target_pose, _ = graph.run(
            "PCDMExamplePerson", person=graph.host.pack("nodes.pose").people()[0]
        )
        (model,) = graph.run("PCDMLoadInpainting")
        (prior,) = graph.run("PCDMLoadPrior")
        encoders, _ = graph.run("PCDMLoadEncoders", global_encoder="of the same set")
        common = {"encoders": encoders, "source": person}
        common |= {"source_pose": source_pose, "target_pose": target_pose}
        (embedding,) = graph.run("PCDMPredictTargetEmbedding", prior=prior, **common)
        common["target_embedding"] = embedding
        again = patched(graph, model, "ModelSamplingDiscrete", sampling="x0", zsnr=False)
        plain, redrawn = (
            graph.run("PCDMInpaintingSampler", model=each, **common, steps=6)[0]
            for each in (model, again)
        )
    assert plain.std() > 0.1
    assert float((redrawn - plain).abs().max()) <= 1 / 255


def test_the_steps_of_lcm_on_a_network_that_predicts_noise_are_its_own(
    graph: Graph, epsilon: dict[str, Any]
) -> None:
    model = patched(graph, epsilon["model"], "ModelSamplingDiscrete", sampling="lcm", zsnr=False)
    settings = {"sampler_name": "lcm", "scheduler": "sgm_uniform"}
    result = latents(graph, "PCDMRefiningSampler", {**epsilon, "model": model}, **settings)
    assert result.isfinite().all()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("ModelSamplingDiscrete", {"sampling": "eps"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "v_prediction"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "lcm"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "img_to_img"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "x0", "zsnr": True}, WRONG_TABLE),
        ("ModelSamplingContinuousEDM", {"sampling": "eps"}, WRONG_KIND),
        ("ModelSamplingContinuousEDM", {"sampling": "edm"}, WRONG_KIND),
        ("ModelSamplingContinuousEDM", {"sampling": "cosmos_rflow"}, WRONG_KIND),
        ("ModelSamplingContinuousV", {"sampling": "v_prediction"}, WRONG_KIND),
        ("ModelSamplingStableCascade", {}, WRONG_KIND),
        ("ModelSamplingSD3", {}, WRONG_KIND),
        ("ModelSamplingAuraFlow", {}, WRONG_KIND),
        ("ModelSamplingFlux", {}, WRONG_KIND),
    ],
)
def test_another_table_or_prediction_is_refused_in_both_ways_of_sampling(
    graph: Graph, inputs: dict[str, Any], name: str, settings: dict[str, Any], words: str
) -> None:
    model = patched(graph, inputs["model"], name, **settings)
    message = f"{words}.*Take that node away, or choose x0 without zsnr"
    with pytest.raises(ValueError, match=message):
        latents(graph, "PCDMInpaintingSampler", {**inputs, "model": model})
    with pytest.raises(ValueError, match=message):
        stock(graph, inputs, model)
    assert stock(graph, inputs, inputs["model"]).isfinite().all()  # and the MODEL is as it was


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("ModelSamplingDiscrete", {"sampling": "x0"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "v_prediction"}, WRONG_KIND),
        ("ModelSamplingDiscrete", {"sampling": "eps", "zsnr": True}, WRONG_TABLE),
        ("ModelSamplingContinuousEDM", {"sampling": "eps"}, WRONG_TABLE),
        ("ModelSamplingContinuousEDM", {"sampling": "edm"}, WRONG_KIND),
        ("ModelSamplingStableCascade", {}, WRONG_TABLE),
    ],
)
def test_so_is_it_for_a_network_that_predicts_noise(
    graph: Graph, epsilon: dict[str, Any], name: str, settings: dict[str, Any], words: str
) -> None:
    model = patched(graph, epsilon["model"], name, **settings)
    with pytest.raises(ValueError, match=f"{words}.*choose eps"):
        latents(graph, "PCDMRefiningSampler", {**epsilon, "model": model})


def test_guidance_patches_of_the_same_file_still_act(graph: Graph, inputs: dict[str, Any]) -> None:
    model = patched(graph, inputs["model"], "RescaleCFG")
    result = latents(graph, "PCDMInpaintingSampler", {**inputs, "model": model})
    assert result.isfinite().all()
    assert not torch.allclose(result, latents(graph, "PCDMInpaintingSampler", inputs), atol=1e-3)


def test_a_controlnet_is_told_that_it_does_not_fit(graph: Graph, inputs: dict[str, Any]) -> None:
    """A real one, of SD 1's shape at small widths, applied by the host's own node."""
    cldm = graph.host.comfy("comfy.cldm.cldm")
    network = cldm.ControlNet(
        image_size=8, in_channels=4, model_channels=32, hint_channels=3, num_res_blocks=1,
        channel_mult=(1, 2), num_heads=2, use_spatial_transformer=True, transformer_depth=[0, 1],
        transformer_depth_middle=1, context_dim=16, dtype=torch.float32,
        operations=graph.host.comfy("comfy.ops").manual_cast,
    )  # fmt: skip
    control = graph.host.comfy("comfy.controlnet").ControlNet(network.eval())
    with torch.inference_mode():
        positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
        apply = graph.host.comfy("nodes").ControlNetApplyAdvanced()
        positive, negative = apply.apply_controlnet(
            positive, negative, control, image(0, 64, 96), 1.0, 0.0, 1.0
        )
        sample = graph.host.comfy("comfy.sample")
        with pytest.raises(ValueError, match="A ControlNet does not fit a PCDM model"):
            sample.sample(
                inputs["model"], torch.zeros_like(empty["samples"]), 2, 1.0, "euler", "normal",
                positive, negative, empty["samples"], seed=3,
            )  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_result_that_is_no_number_is_an_error_that_names_the_stage(
    graph: Graph, inputs: dict[str, Any], epsilon: dict[str, Any], value: float
) -> None:
    def broken(model: Any) -> Any:
        spoilt = model.clone()
        spoilt.set_model_sampler_post_cfg_function(lambda now: now["denoised"] * value)
        return spoilt

    with pytest.raises(FloatingPointError, match=r"The inpainting stage's latent.*half precision"):
        latents(graph, "PCDMInpaintingSampler", {**inputs, "model": broken(inputs["model"])})
    with pytest.raises(FloatingPointError, match="The inpainting stage's latent"):
        stock(graph, inputs, broken(inputs["model"]))
    with pytest.raises(FloatingPointError, match="The refining stage's latent"):
        latents(graph, "PCDMRefiningSampler", {**epsilon, "model": broken(epsilon["model"])})


def test_a_decoder_that_overflows_is_an_error_and_no_white_picture(
    graph: Graph, inputs: dict[str, Any], epsilon: dict[str, Any]
) -> None:
    vae = graph.load()["vae"]
    with torch.no_grad():
        vae.first_stage_model.decoder.bias.fill_(math.inf)
    spoilt = replace(inputs["encoders"], vae=vae)
    with pytest.raises(FloatingPointError, match="decoded picture"):
        vae.decode(torch.zeros(1, 12, 4, 4))
    for node, values in (("PCDMInpaintingSampler", inputs), ("PCDMRefiningSampler", epsilon)):
        with pytest.raises(FloatingPointError, match="decoded picture"):
            latents(graph, node, {**values, "encoders": spoilt})


def test_an_encoder_that_overflows_is_an_error(graph: Graph, inputs: dict[str, Any]) -> None:
    loaded = graph.load()
    encoders = loaded["encoders"]

    def broken(picture: torch.Tensor) -> torch.Tensor:
        return encoders.patch_encoder(picture) * math.inf

    with pytest.raises(FloatingPointError, match="What the patch encoder sees of the source"):
        graph.run(
            "PCDMInpaintingConditioning",
            **{**inputs, "encoders": replace(encoders, patch_encoder=broken)},
        )
    with torch.no_grad():
        for weight in loaded["prior"].resident.module.state_dict().values():
            weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="The prior stage's embedding"):
        embedding(graph, loaded, graph.pose(1, first=5))
    with torch.no_grad():
        for weight in loaded["vae"].first_stage_model.encoder.parameters():
            weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="The VAE's latent of a picture"):
        graph.run("PCDMInpaintingConditioning", **{**inputs, "encoders": encoders})


def test_a_canvas_or_source_that_is_no_number_is_refused(
    graph: Graph, inputs: dict[str, Any]
) -> None:
    canvas = torch.full((2, 8, 16, 3), 0.5)
    canvas[1, 0, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"inpainting stage's picture \(number 2 of 2\)"):
        graph.run("PCDMCropTarget", canvas=canvas)
    with pytest.raises(FloatingPointError, match="picture that was connected"):
        graph.run("PCDMInpaintingConditioning", **{**inputs, "source": image() * math.nan})


def test_more_steps_than_the_table_has_are_refused(graph: Graph, inputs: dict[str, Any]) -> None:
    model = inputs["model"]
    for steps, words in ((1000, "give 999 at most.*1000 timesteps"), (5000, "from 1 to 1000")):
        with pytest.raises(ValueError, match=f"steps is {steps}; .*{words}"):
            graph.run("PCDMPublishedSigmas", model=model, steps=steps)
        with pytest.raises(ValueError, match=f"steps is {steps}; .*{words}"):
            latents(graph, "PCDMInpaintingSampler", inputs, steps=steps)
    with torch.inference_mode():
        positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
        (sampler,) = graph.run("PCDMPublishedSampler", model=model)
        custom = graph.host.comfy("comfy_extras.nodes_custom_sampler").SamplerCustom()
        twice = torch.tensor([9.0, 3.0, 3.0, 0.1])
        with pytest.raises(ValueError, match="Two of the 4 SIGMAS in a row are the same"):
            custom.sample(model, True, 1, 1.0, positive, negative, sampler, twice, empty)
    (sigmas,) = graph.run("PCDMPublishedSigmas", model=model, steps=999)
    assert sigmas.shape == (1000,)
    assert (sigmas[:-1] > sigmas[1:]).all()


NODES: dict[str, Any] = {
    "1": {"class_type": "PCDMInpaintingSampler", "inputs": {"pictures": 2}},
    "2": {"class_type": "ImageScaleBy", "inputs": {"image": ["1", 0], "scale_by": 1.0}},
    "3": {"class_type": "PCDMRefiningSampler", "inputs": {"coarse": ["2", 0], "pictures": 1}},
}


@pytest.mark.parametrize("node", ["PCDMRefiningSampler", "PCDMRefiningConditioning"])
def test_other_pictures_than_in_the_inpainting_stage_are_said_on_the_node(
    graph: Graph, epsilon: dict[str, Any], node: str
) -> None:
    def note_of(coarse: torch.Tensor, prompt: dict[str, Any], **settings: Any) -> Any:
        class Running(graph.node(node)):  # what the host makes of a node class before it runs it
            hidden = type("Hidden", (), {"unique_id": "3", "prompt": prompt})()

        values = dict(SETTINGS) if node.endswith("Sampler") else {}
        if values:
            values |= {"width": 0, "height": 0, "restore_size": False}
        with torch.inference_mode():
            out = Running.execute(**{**epsilon, "coarse": coarse}, **values, **settings)
        return out.ui and out.ui["text"][0]

    both = torch.cat([image(1), image(2)])
    assert "pictures is 1 here and 2 in the inpainting stage" in note_of(both, NODES, pictures=1)
    assert note_of(both, NODES, pictures=2) is None
    assert note_of(image(1), NODES, pictures=1) is None  # one of the two was chosen
    assert note_of(both, {}, pictures=1) is None
    other = {"1": {"class_type": "LoadImage", "inputs": {}}}
    assert note_of(both, {**NODES, **other}, pictures=1) is None
    linked = {"1": {**NODES["1"], "inputs": {"pictures": ["9", 0]}}}
    assert note_of(both, {**NODES, **linked}, pictures=1) is None
    circle = {"1": {"class_type": "Reroute", "inputs": {"": ["2", 0]}}}
    assert note_of(both, {**NODES, **circle}, pictures=1) is None
