"""What is known before the first step: embeddings, constant channels, shared tokens."""

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
from pcdm_core.models.packed import can_pack
from pcdm_core.models.run import blocks_of, constant_features, run_twin
from tests.core.runs import EVERY, LATENT, STEPS, count_calls, cross_attentions, rms, run, tiny
from tests.core.tiny_stages import draw


@LATENT
def test_time_embeddings_and_their_projections_are_made_once_a_run(stage: str) -> None:
    model, cond, noise = tiny(stage, 2)
    blocks = blocks_of(model.unet)
    projections = [block.time_emb_proj for block in blocks]
    calls = count_calls([model.unet.time_proj, model.unet.time_embedding, *projections])  # type: ignore
    run(model, cond, noise, guidance_scale=2.0)
    assert len(calls) == 2 + len(blocks)
    assert calls[:2] == [STEPS, STEPS]
    calls.clear()
    run(model, cond, noise, guidance_scale=2.0, savings=False)
    assert len(calls) == STEPS * (2 + len(blocks))


def test_the_first_convolution_of_a_step_sees_the_noisy_channels_alone() -> None:
    model, cond, x = tiny("inpainting", 2)
    twin = run_twin(model.unet, x.shape[1])
    constant = constant_features(model.unet.conv_in, cond.concat, cond.pose)
    assert twin.conv_in.conv.in_channels == x.shape[1] < model.unet.conv_in.in_channels
    with torch.no_grad():
        whole = model.unet.conv_in(torch.cat([x, cond.concat, cond.pose], dim=1))
        assert rms(twin.conv_in(torch.cat([x, constant], dim=1)), whole) <= 1e-6


@LATENT
def test_a_run_shares_its_weights_with_the_model(stage: str) -> None:
    model, _, x = tiny(stage, 1)
    names = dict(model.unet.named_parameters())
    twin = run_twin(model.unet, x.shape[1])
    shared = [name for name, p in twin.named_parameters() if names.get(name) is p]
    assert len(shared) > 0.7 * len(names)
    assert {name for name, _ in twin.named_parameters()} - set(shared) == {"conv_in.conv.weight"}
    assert twin.time_embedding is not model.unet.time_embedding  # the model's own are untouched
    assert isinstance(model.unet.conv_in, nn.Conv2d)


def test_packed_layers_follow_their_weights() -> None:
    model, cond, x = tiny("refining", 1)
    if not can_pack(torch.float32):
        pytest.skip("this torch has no packed layers for this processor")
    model.packs = True
    timesteps = torch.tensor([500])
    with torch.no_grad():
        first = model.prepare(cond, timesteps)(x, 0)
        kept = list(model.packing._layers.values())
        assert len(kept) > 20
        model.prepare(cond, timesteps)(x, 0)
        assert [a is b for a, b in zip(kept, model.packing._layers.values(), strict=True)]
        for parameter in model.unet.parameters():
            parameter.mul_(1.01)
        plain = model(x, timesteps, cond)
        assert rms(model.prepare(cond, timesteps)(x, 0), plain) <= 5e-6
        assert rms(first, plain) > 1e-3
        state = {name: p + 0.01 for name, p in model.unet.state_dict().items()}
        model.unet.load_state_dict(state, assign=True)
        plain = model(x, timesteps, cond)
        assert rms(model.prepare(cond, timesteps)(x, 0), plain) <= 5e-6


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
