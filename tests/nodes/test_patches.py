"""What other packs do to a MODEL, done to ours."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, inpainting_inputs, make_graph


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


@pytest.fixture(scope="module")
def inputs(graph: Graph) -> dict[str, Any]:
    with torch.inference_mode():
        return inpainting_inputs(graph, graph.load(), graph.pose(1, first=5))


def latents(graph: Graph, inputs: dict[str, Any], model: Any = None) -> Tensor:
    sockets = inputs if model is None else {**inputs, "model": model}
    with torch.inference_mode():
        return graph.run("PCDMInpaintingSampler", **sockets, **SETTINGS, restore_size=False)[1][
            "samples"
        ]


def test_a_weight_patch_acts_and_is_undone(graph: Graph, inputs: dict[str, Any]) -> None:
    before = latents(graph, inputs)
    patched = inputs["model"].clone()
    key = "diffusion_model.out.2.weight"
    weight = patched.model.state_dict()[key]
    with torch.inference_mode():
        assert patched.add_patches({key: (weight.clone(),)}, 0.5) == [key]
    changed = latents(graph, inputs, patched)
    assert changed.isfinite().all()
    assert not torch.allclose(changed, before, atol=1e-2)
    torch.testing.assert_close(latents(graph, inputs), before, rtol=0, atol=1e-5)


def test_a_lora_finds_its_keys(graph: Graph, inputs: dict[str, Any]) -> None:
    lora = graph.host.comfy("comfy.lora")
    keys = lora.model_lora_keys_unet(inputs["model"].model, {})
    name = "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q"
    rows, columns = inputs["model"].model.state_dict()[keys[name]].shape
    generator = torch.Generator().manual_seed(1)
    up, down = (torch.randn(size, generator=generator) for size in ((rows, 2), (2, columns)))
    state = {f"{name}.lora_up.weight": up, f"{name}.lora_down.weight": down}
    patched = inputs["model"].clone()
    assert len(patched.add_patches(lora.load_lora(state, keys), 0.1)) == 1
    assert not torch.allclose(latents(graph, inputs, patched), latents(graph, inputs), atol=1e-3)


@pytest.mark.parametrize("kind", ["post_cfg", "freeu", "pag"])
def test_guidance_and_network_patches_act(graph: Graph, inputs: dict[str, Any], kind: str) -> None:
    model = inputs["model"]
    if kind == "post_cfg":
        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(lambda now: now["denoised"] * 0.9)
    else:
        module, name = {
            "freeu": ("comfy_extras.nodes_freelunch", "FreeU_V2"),
            "pag": ("comfy_extras.nodes_pag", "PerturbedAttentionGuidance"),
        }[kind]
        node = getattr(graph.host.comfy(module), name)
        values = (1.3, 1.4, 0.9, 0.2) if kind == "freeu" else (3.0,)
        output = node.execute(model, *values) if hasattr(node, "execute") else None
        patched = output.result[0] if output is not None else node().patch(model, *values)[0]
    result = latents(graph, inputs, patched)
    assert result.isfinite().all()
    assert not torch.allclose(result, latents(graph, inputs), atol=1e-3)


@torch.inference_mode()
def test_a_noise_mask_keeps_what_lies_outside(graph: Graph, inputs: dict[str, Any]) -> None:
    positive, negative, empty = graph.run("PCDMInpaintingConditioning", **inputs)
    samples = torch.full_like(empty["samples"], 0.3)
    mask = torch.zeros(1, 1, *samples.shape[-2:])
    mask[..., samples.shape[-1] // 2 :] = 1
    sample = graph.host.comfy("comfy.sample")
    result = sample.sample(
        inputs["model"],
        sample.prepare_noise(samples, 3),
        4,
        2.0,
        "euler",
        "normal",
        positive,
        negative,
        samples,
        noise_mask=mask,
        seed=3,
    )
    half = samples.shape[-1] // 2
    torch.testing.assert_close(result[..., :half], samples[..., :half], rtol=0, atol=1e-4)
    assert not torch.allclose(result[..., half:], samples[..., half:], atol=1e-2)


@torch.inference_mode()
def test_the_sampler_node_keeps_what_a_noise_mask_on_the_start_leaves_out(
    graph: Graph, inputs: dict[str, Any]
) -> None:
    samples = torch.full((1, 12, 16, 24), 0.3)
    mask = torch.zeros(1, 1, 16, 24)
    mask[..., 12:] = 1
    start = {"samples": samples, "noise_mask": mask}
    result = graph.run(
        "PCDMInpaintingSampler", **inputs, **SETTINGS, restore_size=False, start=start
    )[1]["samples"]
    torch.testing.assert_close(result[..., :12], samples[..., :12], rtol=0, atol=1e-4)
    assert not torch.allclose(result[..., 12:], samples[..., 12:], atol=1e-2)


@torch.inference_mode()
def test_the_stock_zeroing_of_the_positive_is_the_negative(
    graph: Graph, inputs: dict[str, Any]
) -> None:
    """Why the class embedding travels as pooled_output, and not under a name of our own."""
    positive, negative, _ = graph.run("PCDMInpaintingConditioning", **inputs)
    (zeroed,) = graph.host.comfy("nodes").ConditioningZeroOut().zero_out(positive)
    ((tokens, values),) = zeroed
    ((wanted_tokens, expected),) = negative
    assert positive[0][1]["pooled_output"].any()
    torch.testing.assert_close(tokens, wanted_tokens)
    assert set(values) == set(expected) == {"noise_concat", "pooled_output", "pcdm_pose"}
    for key in expected:
        torch.testing.assert_close(values[key], expected[key])


@torch.inference_mode()
@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_3m_sde", "uni_pc", "lcm", "ddim"])
def test_stock_samplers_give_finite_latents(
    graph: Graph, inputs: dict[str, Any], name: str
) -> None:
    settings = {**SETTINGS, "sampler_name": name, "scheduler": "simple"}
    result = graph.run("PCDMInpaintingSampler", **inputs, **settings, restore_size=False)
    assert result[1]["samples"].isfinite().all()
