"""The three stages through the nodes, against the Python pipeline and the stock samplers."""

import gc
import weakref
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.config import ScheduleConfig
from pcdm_core.inputs import draw_rows
from pcdm_core.models import InpaintingModel
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.sampling import guide, sample
from pcdm_core.schedules import alphas_cumprod, make_scheduler
from tests.core.tiny_pipeline import TEST, poses, randomise
from tests.nodes.conftest import Host
from tests.nodes.graph import (
    LATENT,
    SETTINGS,
    Graph,
    conditions,
    image,
    inpainting_inputs,
    make_graph,
)

PICTURE = 2 / 255


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture(scope="module")
def loaded(graph: Graph) -> dict[str, Any]:
    with torch.inference_mode():
        return graph.load()


@torch.inference_mode()
def test_a_source_is_encoded_once_for_all_nodes_poses_and_pictures(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    encoders = loaded["encoders"]
    rows: dict[str, list[int]] = {"patch": [], "global": [], "vae": []}

    def counted(name: str, encode: Any) -> Any:
        return lambda picture: rows[name].append(len(picture)) or encode(picture)

    vae = SimpleNamespace(encode=counted("vae", encoders.vae.encode), decode=encoders.vae.decode)
    encoders = replace(
        encoders,
        patch_encoder=counted("patch", encoders.patch_encoder),
        global_encoder=counted("global", encoders.global_encoder),
        vae=vae,
        sources=[],
    )
    source, target = image(), graph.pose(2, first=5)
    shared = {"encoders": encoders, "source": source, "pictures": 3}
    posed = {**shared, "source_pose": graph.pose(), "target_pose": target}
    (predicted,) = graph.run("PCDMPredictTargetEmbedding", prior=loaded["prior"], **posed)
    coarse, *_ = graph.run(
        "PCDMInpaintingSampler",
        model=loaded["inpainting"],
        target_embedding=predicted,
        **posed,
        **SETTINGS,
    )
    assert len(coarse) == 6
    graph.run("PCDMRefiningSampler", model=loaded["refining"], coarse=coarse, **shared, **SETTINGS)
    assert rows == {"patch": [1], "global": [1], "vae": [1, 6]}  # the six are the coarse pictures
    graph.run("PCDMPredictTargetEmbedding", prior=loaded["prior"], **{**posed, "source": image(1)})
    assert rows["global"] == [1, 1]


@torch.inference_mode()
def test_three_stages_in_a_batch_equal_the_python_pipeline(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    target = graph.pose(2, first=5)
    inputs = inpainting_inputs(graph, loaded, target)
    coarse, latent, canvas, mask = graph.run(
        "PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False
    )
    refined, _, _ = graph.run(
        "PCDMRefiningSampler",
        model=loaded["refining"],
        encoders=loaded["encoders"],
        source=image(),
        coarse=coarse,
        **SETTINGS,
        restore_size=False,
    )
    expected = PCDMsPipeline.from_folder(graph.folder)(
        image().movedim(-1, 1) * 2 - 1,
        poses(1),
        poses(2, 5),
        seed=SETTINGS["seed"],
        steps=SETTINGS["steps"],
        guidance_scale=SETTINGS["guidance_scale"],
    )
    embeds = inputs["target_embedding"].embeds
    torch.testing.assert_close(embeds, expected.target_embeds, rtol=1e-4, atol=1e-4)
    for picture, reference in ((coarse, expected.coarse), (refined, expected.image)):
        pixels = (reference + 1) / 2
        assert picture.shape == (2, 64, 48, 3)
        assert float((picture.movedim(-1, 1) - pixels).abs().max()) <= PICTURE
    torch.testing.assert_close(mask, expected.mask[:, 0])
    assert canvas.shape == (2, 64, 96, 3)
    assert latent["samples"].shape == (2, 12, 16, 24)


@torch.inference_mode()
def test_the_shipped_few_step_student_equals_the_python_pipeline(graph: Graph) -> None:
    student = "mini, for 4 steps (shipped)"
    (prior,) = graph.run("PCDMLoadPrior")
    encoders, _ = graph.run("PCDMLoadEncoders")
    (inpainting,) = graph.run("PCDMLoadInpainting", weights=student)
    (refining,) = graph.run("PCDMLoadRefining", weights=student)
    source, pose, target = image(0, 96, 64), graph.pose(), graph.pose(2, first=5)
    settings = {**SETTINGS, "guidance_scale": 1.0, "restore_size": False}
    (embedding,) = graph.run(
        "PCDMPredictTargetEmbedding", prior=prior, encoders=encoders, source=source,
        source_pose=pose, target_pose=target, seed=SETTINGS["seed"], steps=4,
    )  # fmt: skip
    coarse, *_ = graph.run(
        "PCDMInpaintingSampler", model=inpainting, encoders=encoders, source=source,
        source_pose=pose, target_pose=target, target_embedding=embedding, **settings,
    )  # fmt: skip
    refined, *_ = graph.run(
        "PCDMRefiningSampler", model=refining, encoders=encoders, source=source, coarse=coarse,
        **{**settings, "denoise": 0.05},
    )  # fmt: skip
    expected = PCDMsPipeline.from_folder(student=True)(
        source.movedim(-1, 1) * 2 - 1, poses(1), poses(2, 5), seed=SETTINGS["seed"], fast="student"
    )
    for picture, reference in ((coarse, expected.coarse), (refined, expected.image)):
        assert float((picture.movedim(-1, 1) - (reference + 1) / 2).abs().max()) <= PICTURE


@torch.inference_mode()
def test_a_model_without_prior_equals_the_pipeline_and_refuses_an_embedding(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    """The simplified release: no target embedding, projected null tokens, DDIM, epsilon."""
    config = replace(
        TEST.inpainting,
        embedding_dim=None,
        null_tokens="projected_zeros",
        schedule=ScheduleConfig(sampler="ddim"),
    )
    core = randomise(InpaintingModel(config), 3)
    path = graph.folder / "single.safetensors"
    save_model(core, path, stage="inpainting", metadata={"preset": "test"})
    inputs = inpainting_inputs(graph, loaded, graph.pose(2, first=5))
    embedding = inputs.pop("target_embedding")
    (inputs["model"],) = graph.run("PCDMLoadInpainting", weights="test/single.safetensors")
    settings = {**SETTINGS, "steps": 10}
    _, latent, _, _ = graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False)
    whole = PCDMsPipeline.from_folder(graph.folder)
    pipeline = PCDMsPipeline(
        replace(TEST, prior=None, global_encoder=None, inpainting=config),
        inpainting=core,
        autoencoder=whole.autoencoder,
        patch_encoder=whole.patch_encoder,
    )
    expected = sample(
        core,
        make_scheduler(config.schedule),
        draw_rows(latent["samples"].shape[1:], 11, 2)[0],
        *conditions(pipeline, None),
        steps=10,
        guidance_scale=2.0,
    )
    assert float((latent["samples"] - expected).abs().max() / expected.std()) <= LATENT
    with pytest.raises(ValueError, match="takes no target embedding"):
        graph.run("PCDMInpaintingConditioning", **inputs, target_embedding=embedding)


def euler(denoise: Any, noise: torch.Tensor, sigmas: torch.Tensor) -> torch.Tensor:
    """Euler's method on x = x0 + sigma * noise, for a model of unit variance that gives x0."""
    x = noise * (1 + sigmas[0] ** 2).sqrt()
    for here, after in pairwise(sigmas):
        x0 = denoise(x / (1 + here**2).sqrt(), here)
        x = x + (x - x0) / here * (after - here)
    return x


@pytest.mark.parametrize("name", ["published", "euler"])
@torch.inference_mode()
def test_latents_after_20_steps_equal_those_of_the_cores_network(
    graph: Graph, loaded: dict[str, Any], name: str
) -> None:
    inputs = inpainting_inputs(graph, loaded, graph.pose(2, first=5))
    settings = {**SETTINGS, "steps": 20, "sampler_name": name}
    _, latent, _, _ = graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False)
    pipeline = PCDMsPipeline.from_folder(graph.folder)
    model, config = pipeline.inpainting, pipeline.inpainting.config.schedule
    cond, uncond = conditions(pipeline, inputs["target_embedding"].embeds)
    noise = draw_rows(latent["samples"].shape[1:], 11, 2)[0]
    if name == "published":
        expected = sample(
            model, make_scheduler(config), noise, cond, uncond, steps=20, guidance_scale=2.0
        )
    else:
        table = ((1 - alphas_cumprod(config)) / alphas_cumprod(config)).sqrt()

        def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            t = (table - sigma).abs().argmin().expand(2)
            return guide(model(x, t, uncond), model(x, t, cond), 2.0)

        sigmas = graph.run("PCDMPublishedSigmas", model=inputs["model"], steps=20, denoise=1.0)[0]
        expected = euler(denoise, noise, sigmas)
    assert float((latent["samples"] - expected).abs().max() / expected.std()) <= LATENT


@torch.inference_mode()
def test_the_stock_samplers_give_what_the_sampler_node_gives(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    """SamplerCustom with the published sampler; KSampler with a stock one."""
    inputs = inpainting_inputs(graph, loaded, graph.pose(2, first=5))
    positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
    model = loaded["inpainting"]
    _, whole, _, _ = graph.run("PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False)
    (sampler,) = graph.run("PCDMPublishedSampler", model=model)
    (sigmas,) = graph.run("PCDMPublishedSigmas", model=model, steps=4, denoise=1.0)
    custom = graph.host.comfy("comfy_extras.nodes_custom_sampler").SamplerCustom()
    out = custom.sample(model, True, 11, 2.0, positive, negative, sampler, sigmas, empty)
    torch.testing.assert_close(out[0]["samples"], whole["samples"], rtol=0, atol=1e-6)
    stock = {**SETTINGS, "sampler_name": "dpmpp_2m", "scheduler": "karras"}
    _, ours, _, _ = graph.run("PCDMInpaintingSampler", **inputs, **stock, restore_size=False)
    sample = graph.host.comfy("comfy.sample")
    noise = sample.prepare_noise(empty["samples"], 11, empty["batch_index"])
    theirs = sample.sample(
        model, noise, 4, 2.0, "dpmpp_2m", "karras", positive, negative, empty["samples"], seed=11
    )
    torch.testing.assert_close(ours["samples"], theirs, rtol=0, atol=1e-6)
    assert not torch.equal(ours["samples"], whole["samples"])


@torch.inference_mode()
def test_a_pose_in_a_batch_equals_the_same_pose_alone(graph: Graph, loaded: dict[str, Any]) -> None:
    def latents(target: Any) -> torch.Tensor:
        inputs = inpainting_inputs(graph, loaded, target)
        return graph.run("PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False)[1][
            "samples"
        ]

    target = graph.pose(3, first=5)
    together = latents(target)
    alone = latents(target.select(2))
    assert float((together[2:] - alone).abs().max() / alone.std()) <= LATENT
    assert not torch.allclose(together[0], together[2])


@torch.inference_mode()
def test_in_8_bits_one_value_in_10_000_of_a_batch_differs_by_1_at_most(graph: Graph) -> None:
    """On the shipped weights: random ones blow up what the order of a sum makes."""
    (prior,) = graph.run("PCDMLoadPrior")
    encoders, _ = graph.run("PCDMLoadEncoders")
    (inpainting,), (refining,) = (graph.run(f"PCDMLoad{s}") for s in ("Inpainting", "Refining"))
    source, pose = image(0, 96, 64), graph.pose()
    settings = {**SETTINGS, "guidance_scale": 1.0, "restore_size": False}

    def pixels(target: Any) -> torch.Tensor:
        (embedding,) = graph.run(
            "PCDMPredictTargetEmbedding", prior=prior, encoders=encoders, source=source,
            source_pose=pose, target_pose=target, seed=SETTINGS["seed"], steps=4,
        )  # fmt: skip
        coarse, *_ = graph.run(
            "PCDMInpaintingSampler", model=inpainting, encoders=encoders, source=source,
            source_pose=pose, target_pose=target, target_embedding=embedding, **settings,
        )  # fmt: skip
        refined, *_ = graph.run(
            "PCDMRefiningSampler", model=refining, encoders=encoders, source=source, coarse=coarse,
            **{**settings, "denoise": 0.05},
        )  # fmt: skip
        return (refined * 255).round().int()

    target = graph.pose(4, first=5)
    alone = torch.cat([pixels(target.select(row)) for row in range(4)])
    difference = (alone - pixels(target)).abs()
    assert int(difference.max()) <= 1
    assert float((difference > 0).float().mean()) <= 1e-4


@pytest.mark.parametrize("numbers", [[0, 1], [-1], [0.5], ["0"], [True], 0, [2**70]], ids=str)
def test_a_latent_whose_noise_numbers_are_none_is_refused_by_its_socket(
    numbers: Any, graph: Graph
) -> None:
    samplers = graph.host.pack("nodes.samplers")
    latent = {"samples": torch.zeros(1, 12, 16, 24), "batch_index": numbers}
    with pytest.raises(ValueError, match=r"^The LATENT has 1 rows, and the numbers of their noise"):
        samplers.check_latent_rows(latent)
    samplers.check_latent_rows({**latent, "batch_index": [3]})


@torch.inference_mode()
def test_guidance_rescale_equals_the_cores(graph: Graph, loaded: dict[str, Any]) -> None:
    target = graph.pose(1, first=5)
    inputs = inpainting_inputs(graph, loaded, target)
    settings = {**SETTINGS, "guidance_rescale": 0.7}
    coarse = graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False)[0]
    plain = graph.run("PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False)[0]
    expected = PCDMsPipeline.from_folder(graph.folder)(
        image().movedim(-1, 1) * 2 - 1,
        poses(1),
        poses(1, 5),
        seed=SETTINGS["seed"],
        steps=SETTINGS["steps"],
        guidance_scale=SETTINGS["guidance_scale"],
        guidance_rescale=0.7,
        with_refining=False,
    )
    pixels = (expected.coarse + 1) / 2
    assert float((coarse.movedim(-1, 1) - pixels).abs().max()) <= PICTURE
    assert not torch.allclose(coarse, plain, atol=PICTURE)


@torch.inference_mode()
def test_a_partial_run_keeps_the_start(graph: Graph, loaded: dict[str, Any]) -> None:
    inputs = inpainting_inputs(graph, loaded, graph.pose(1, first=5))

    def canvas(denoise: float, **more: Any) -> torch.Tensor:
        settings = {**SETTINGS, "denoise": denoise}
        return graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False, **more)[
            2
        ]

    doubled = torch.cat([image(), image()], dim=2)
    doubled = loaded["vae"].decode(loaded["vae"].encode(doubled))
    assert float((canvas(0.02) - doubled).abs().mean()) < float(
        (canvas(1.0) - doubled).abs().mean()
    )
    other = {"samples": torch.full((1, 12, 16, 24), 0.5)}
    assert not torch.allclose(canvas(0.5), canvas(0.5, start=other))


@torch.inference_mode()
def test_pictures_of_any_size_and_channel_count_come_back_at_their_size(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    target = graph.pose(1, first=5)
    inputs = inpainting_inputs(graph, loaded, target)
    for channels in (1, 3, 4):
        inputs["source"] = image(0, 75, 101)[..., :1].expand(-1, -1, -1, channels)
        picture, _, canvas, mask = graph.run(
            "PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=True
        )
        assert picture.shape == (1, 75, 101, 3)
        assert mask.shape == (1, 75, 101)
        (cropped,) = graph.run("PCDMCropTarget", canvas=canvas)
        assert cropped.shape == (1, 64, 48, 3)


@torch.inference_mode()
def test_what_does_not_belong_together_is_refused_naming_both(
    graph: Graph, loaded: dict[str, Any]
) -> None:
    target = graph.pose(1, first=5)
    inputs = inpainting_inputs(graph, loaded, target)
    published = graph.host.pack("pcdm_core.presets").PRESETS["published"]
    embedding = inputs["target_embedding"]
    cases = {
        "test preset.*published preset": {
            "encoders": replace(inputs["encoders"], preset=published)
        },
        "for the other stage.*PCDM Load Inpainting Model": {"model": loaded["refining"]},
        "another family": {"model": object()},
        "needs a target embedding": {"target_embedding": None},
        "embedding of the published": {"target_embedding": replace(embedding, preset=published)},
        "2 source pictures for 1 target": {"source": torch.cat([image(), image(1)])},
        "2 source poses for 1 target": {"source_pose": graph.pose(2)},
    }
    for message, change in cases.items():
        with pytest.raises(ValueError, match=message):
            graph.run("PCDMInpaintingConditioning", **{**inputs, **change})


def test_while_nodes_run_the_host_knows_our_modules_and_can_drop_them(graph: Graph) -> None:
    management = graph.host.comfy("comfy.model_management")
    with torch.inference_mode():
        loaded = graph.load()
        inputs = inpainting_inputs(graph, loaded, graph.pose(1, first=5))
        graph.run("PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False)
    model = loaded["inpainting"]
    ours = [
        model,
        model.model.conditioner.patcher,
        loaded["prior"].resident.patcher,
        loaded["encoders"].patch_encoder.resident.patcher,
        loaded["encoders"].global_encoder.resident.patcher,
        loaded["vae"].patcher,
    ]
    modules = [entry.model.model for entry in management.current_loaded_models]
    assert all(any(patcher.model is module for module in modules) for patcher in ours)
    assert all(patcher.model_size() > 0 for patcher in ours)
    management.unload_all_models()
    assert not management.current_loaded_models
    references = [weakref.ref(patcher.model) for patcher in ours]
    del ours, model, inputs, loaded, modules
    gc.collect()
    assert [reference() for reference in references] == [None] * 6
