"""What is known before the first step: embeddings and shared tokens."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pcdm_core.models.attention import (
    attention_context,
    shared_tokens,
    split_heads,
)
from pcdm_core.models.run import blocks_of, run_twin
from tests.core.runs import EVERY, LATENT, STEPS, count_calls, cross_attentions, rms, run, tiny
from tests.core.tiny_stages import draw


@LATENT
def test_time_embeddings_and_their_projections_are_made_before_the_first_step(stage: str) -> None:
    model, cond, noise = tiny(stage, 2)
    blocks = blocks_of(model.unet)
    projections = [block.time_emb_proj for block in blocks]
    calls = count_calls([model.unet.time_proj, model.unet.time_embedding, *projections])  # type: ignore
    seen: list[int] = []
    watch = {"callback": lambda index, x: seen.append(len(calls)), "guidance_scale": 2.0}
    run(model, cond, noise, **watch)
    each = 2 + len(blocks)
    assert seen == [STEPS * each] * STEPS
    calls.clear()
    seen.clear()
    run(model, cond, noise, savings=False, **watch)
    assert seen == [each * (index + 1) for index in range(STEPS)]


@EVERY
def test_only_the_passes_run_in_inference_mode(stage: str) -> None:
    model, cond, noise = tiny(stage, 1)
    within: list[bool] = []
    layer = next(m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm))
    layer.register_forward_hook(lambda *_: within.append(torch.is_inference_mode_enabled()))
    handed: list[torch.Tensor] = []
    found = run(model, cond, noise, callback=lambda _, x: handed.append(x))
    assert any(within)
    assert not any(tensor.is_inference() for tensor in (found, *handed))
    within.clear()
    run(model, cond, noise, savings=False)
    assert not any(within)


@LATENT
def test_a_run_shares_its_weights_with_the_model(stage: str) -> None:
    model, _, _ = tiny(stage, 1)
    names = dict(model.unet.named_parameters())
    twin = run_twin(model.unet)
    shared = [name for name, p in twin.named_parameters() if names.get(name) is p]
    assert len(shared) > 0.7 * len(names)
    assert {name for name, _ in twin.named_parameters()} == set(shared)
    assert twin.time_embedding is not model.unet.time_embedding  # the model's own are untouched
    assert isinstance(model.unet.conv_in, nn.Conv2d)


def test_keys_of_tokens_that_all_poses_share_are_projected_for_one_row() -> None:
    model, cond, _ = tiny("inpainting", 1)
    source, length = cond.tokens, cond.tokens.shape[1]
    tokens = torch.cat([source[:, :-1].expand(4, -1, -1), draw(4, 1, source.shape[2])], dim=1)
    layers = cross_attentions(model)
    shapes: list[torch.Size] = []
    for layer in layers:
        layer.to_k.register_forward_hook(lambda _, given, __: shapes.append(given[0].shape))
    with torch.no_grad():
        context = attention_context(model.unet, tokens, 0)
        assert {(*shape[:2],) for shape in shapes} == {(1, length - 1), (4, 1)}
        for layer, (key, value) in zip(layers, context.keys_values, strict=True):
            for found, projection in ((key, layer.to_k), (value, layer.to_v)):
                expected = split_heads(projection(tokens), layer.heads)
                assert rms(found, expected) <= 1e-6
        whole = attention_context(model.unet, source.expand(4, -1, -1), 0)
        assert all(k.stride(0) == v.stride(0) == 0 for k, v in whole.keys_values)
        assert shared_tokens(draw(2, 5, 3)) == shared_tokens(source) == 0


def test_the_prior_makes_all_tokens_but_the_noisy_one_once_a_run() -> None:
    model, cond, noise = tiny("prior", 2)
    net = model.transformer
    calls = count_calls([net.embedding_proj, net.time_embedding])
    run(model, cond, noise)
    assert sorted(calls) == [2, STEPS]
    calls.clear()
    run(model, cond, noise, savings=False)
    assert calls == [2, 2] * STEPS


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device: values read from a tensor."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "item")
        return func(*args, **(kwargs or {}))


@EVERY
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_no_step_of_the_loop_reads_a_value_back(stage: str, guidance_scale: float) -> None:
    model, cond, noise = tiny(stage, 2)
    reads: list[int] = []
    with HostReads() as mode:
        run(
            model,
            cond,
            noise,
            guidance_scale=guidance_scale,
            callback=lambda _, __: reads.append(mode.count),
        )
    assert len(reads) == STEPS
    assert reads[-1] == reads[0]
