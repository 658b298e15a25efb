"""Every stage learns, with real tiny models on real rendered people."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.encoders import LinearImageEncoder, PatchImageEncoder, build_global_encoder
from pcdm_core.images import from_planes, right_half
from pcdm_core.vae import ConvAutoencoder, PatchAutoencoder, build_autoencoder
from training.config import StageRun, TrainConfig
from training.data.in_memory import CoarsePictures, People
from training.data.pairs import ordered_pairs
from training.loop.trainer import PairSource, Trainer
from training.stages import (
    AutoencoderStage,
    Frozen,
    InpaintingStage,
    PriorStage,
    RefiningStage,
    StageModule,
    keep_rows,
    sharpened,
)
from training.stages.closed_form import fit_code, fit_encoder
from training.stages.initialise import (
    build_denoiser,
    sized_preset,
    warm_start,
    with_autoencoder,
)
from training.stages.perception import texture_energy

RUN = StageRun(batch_size=6, learning_rate=2e-3, warmup_steps=1, ema_decay=0.9)
LEARNED = replace(RUN, crop=24, gradients=0.5, latent_noise=0.05, person_weight=2.0)
CONV = {"kind": "conv", "latent_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1}


def parts(preset: Preset, people: People) -> tuple[Frozen, People]:
    torch.manual_seed(0)
    autoencoder = PatchAutoencoder(preset.autoencoder)
    fit_code(autoencoder, from_planes(people.pictures))
    assert preset.global_encoder is not None
    encoder = build_global_encoder(preset.global_encoder)
    assert isinstance(encoder, LinearImageEncoder)
    fit_encoder(encoder, people.global_pixels(slice(None)), whiten=0.5)
    patch_encoder = PatchImageEncoder(preset.patch_encoder)
    return Frozen(autoencoder, encoder, patch_encoder), people.with_embeds(encoder)


def build(name: str, preset: Preset, people: People) -> tuple[StageModule, Tensor]:
    frozen, embedded = parts(preset, people)
    pairs = ordered_pairs(embedded.identities)
    if name == "autoencoder":
        return AutoencoderStage(PatchAutoencoder(preset.autoencoder), embedded, RUN, 0), pairs
    if name == "learned autoencoder":
        code = build_autoencoder(with_autoencoder(preset, CONV).autoencoder)
        assert isinstance(code, ConvAutoencoder)
        fit_code(code, from_planes(people.pictures))
        return AutoencoderStage(code, embedded, LEARNED, 0), pairs
    model = build_denoiser(preset, name)
    if name == "prior":
        return PriorStage(model, embedded, RUN, 0), pairs  # type: ignore[arg-type]
    if name == "inpainting":
        encoder = PatchImageEncoder(preset.patch_encoder)
        return InpaintingStage(model, encoder, frozen, embedded, RUN, 0), pairs  # type: ignore[arg-type]
    coarse = CoarsePictures(embedded.pictures[pairs[:, 1]], pairs)
    rows = torch.cat([pairs, torch.arange(len(pairs))[:, None]], dim=1)
    return RefiningStage(model, frozen, embedded, coarse, RUN, 0), rows  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "prior", "inpainting", "refining"])
def test_a_few_steps_lower_the_loss_on_one_batch(
    name: str, preset: Preset, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    stage, rows = build(name, preset, people)
    trainer = Trainer(stage, RUN, accelerator, tmp_path / name)
    samples = torch.arange(RUN.batch_size)

    def loss() -> float:
        with torch.no_grad():
            return float(stage(stage.prepare(samples, rows[: RUN.batch_size])))

    before = loss()
    source = PairSource(rows[: RUN.batch_size], seed=0)
    for _ in range(12):
        trainer.step = 0  # the same sample numbers, hence the same batch and noise, each time
        trainer.total = 100
        trainer.train_step(source)
    assert loss() < 0.9 * before


@pytest.mark.parametrize("name", ["learned autoencoder", "prior", "inpainting"])
def test_a_gradient_reaches_every_trainable_tensor(
    name: str, preset: Preset, people: People
) -> None:
    stage, rows = build(name, preset, people)
    # A zero-initialised last convolution hides what lies before it until it has moved.
    with torch.no_grad():
        for parameter in stage.parameters():
            if not parameter.any():
                parameter.fill_(0.01)
    stage(stage.prepare(torch.arange(16), rows[:16])).backward()
    without = [n for n, p in stage.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []


def test_a_power_draws_more_timesteps_of_little_noise(preset: Preset, people: People) -> None:
    stage, rows = build("refining", preset, people)
    samples = torch.arange(256)
    pairs = rows[samples % len(rows)]
    even = stage.prepare(samples, pairs)["timesteps"]
    stage.run = replace(stage.run, timestep_power=3.0)
    low = stage.prepare(samples, pairs)["timesteps"]
    # A quarter of the levels: u < .25 of even draws, u^3 < .25 of these.
    assert abs(float((even < 250).float().mean()) - 0.25) < 0.08
    assert abs(float((low < 250).float().mean()) - 0.63) < 0.08
    with pytest.raises(ValueError, match="timestep_power"):
        StageRun(timestep_power=0.0)


@pytest.mark.parametrize("name", ["inpainting", "refining"])
def test_the_head_weighs_more_where_a_run_asks_for_it(
    name: str, preset: Preset, people: People
) -> None:
    stage, rows = build(name, preset, people)
    samples, pairs = torch.arange(8), rows[:8]
    before = stage.prepare(samples, pairs)["weight"]
    stage.run = replace(stage.run, head_weight=5.0)
    more = stage.prepare(samples, pairs)["weight"] - before
    target = right_half(more) if name == "inpainting" else more
    height, width = target.shape[-2:]
    inside = people.person_shares(pairs[:, 1], height, width)
    assert torch.equal(target > 0, (target > 0) & (inside > 0))
    assert float(target.max()) > 2.5
    # The nose's own cell, where the nose is in the picture.
    column, row = (people.xy[pairs[:, 1], 0] * torch.tensor([width, height])).long().unbind(1)
    for sample, (x, y) in enumerate(zip(column.tolist(), row.tolist(), strict=True)):
        if 0 <= x < width and 0 <= y < height:
            at_nose = float(target[sample, 0, y, x])
            assert at_nose == pytest.approx(5 * float(inside[sample, 0, y, x]), abs=1e-4)
    # Hips are no head.
    hips = (people.xy[pairs[:, 1], 8] * torch.tensor([width, height])).long()
    for sample, (x, y) in enumerate(hips.tolist()):
        if 0 <= x < width and 0 <= y < height:
            assert float(target[sample, 0, y, x]) == 0.0


def test_stage_3_leaves_the_shared_patch_encoder_alone(
    preset: Preset, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    stage, rows = build("refining", preset, people)
    assert isinstance(stage, RefiningStage)
    encoder = stage.frozen.patch_encoder
    assert encoder is not None
    before = {n: p.clone() for n, p in encoder.named_parameters()}
    trainer = Trainer(stage, RUN, accelerator, tmp_path)
    shared = {id(p) for p in encoder.parameters()}
    assert not shared & {id(p) for p in trainer.parameters}
    trainer.total = 10
    trainer.train_step(PairSource(rows, seed=0))
    assert all(torch.equal(p, before[n]) for n, p in encoder.named_parameters())


def test_dropped_rows_see_the_null_conditioning_of_sampling(preset: Preset, people: People) -> None:
    stage, rows = build("inpainting", preset, people)
    assert isinstance(stage, InpaintingStage)
    assert stage.patch_encoder is not None
    batch = stage.prepare(torch.arange(3), rows[:3])
    cond = stage.model.condition(
        stage.patch_encoder(batch["patch_pixels"]),
        batch["target_embeds"],
        batch["source_latents"],
        batch["pose_map"],
    )
    null = stage.model.unconditional(cond)
    tokens = torch.tensor([True, False, False])
    embeds = torch.tensor([True, True, False])
    rest = keep_rows(cond, null, tokens, embeds)
    assert rest.embed is not None
    assert cond.embed is not None
    assert torch.equal(rest.tokens[0], cond.tokens[0])
    assert not rest.tokens[1, :-1].any()
    assert torch.equal(rest.tokens[1, -1], cond.tokens[1, -1])
    assert torch.equal(rest.tokens[2], null.tokens[2])
    assert torch.equal(rest.embed[:2], cond.embed[:2])
    assert not rest.embed[2].any()


def test_stage_2_sees_the_source_left_and_must_make_the_target_right(
    preset: Preset, people: People
) -> None:
    stage, rows = build("inpainting", preset, people)
    assert isinstance(stage, InpaintingStage)
    pair = rows[:1]
    batch = stage.prepare(torch.arange(1), pair)
    decode = stage.frozen.autoencoder.decode
    target = from_planes(people.pictures[pair[:, 1]])
    source = from_planes(people.pictures[pair[:, 0]])
    picture = decode(batch["x0"])
    assert (right_half(picture) - target).abs().mean() < 0.1
    assert (picture[..., : preset.width] - source).abs().mean() < 0.1
    source_picture = decode(batch["source_latents"])
    assert (source_picture[..., : preset.width] - source).abs().mean() < 0.1
    assert (right_half(source_picture) + 1).abs().mean() < 0.1  # black: nothing of the target leaks


def test_stage_3_starts_from_the_tensors_that_it_shares_with_stage_2(preset: Preset) -> None:
    inpainting, refining = build_denoiser(preset, "inpainting"), build_denoiser(preset, "refining")
    fresh = {k: v.clone() for k, v in refining.state_dict().items()}
    channels = preset.autoencoder.latent_channels
    untouched = warm_start(refining, inpainting.state_dict(), shared_channels=channels)
    before, state = inpainting.state_dict(), refining.state_dict()
    assert untouched == []
    conv = "unet.conv_in.weight"
    assert torch.equal(state[conv][:, :channels], before[conv][:, :channels])
    assert torch.equal(state[conv][:, channels:], fresh[conv][:, channels:])
    assert torch.equal(state["unet.conv_out.weight"], before["unet.conv_out.weight"])


@torch.no_grad()
def test_attention_that_a_start_lacks_begins_as_nothing(preset: Preset) -> None:
    wider = sized_preset(preset, TrainConfig(unet={"attention_levels": [True, True]}))
    start, model = (build_denoiser(p, "inpainting").eval() for p in (preset, wider))
    fresh = warm_start(model, start.state_dict())
    assert fresh
    assert all(".attentions." in name for name in fresh)
    width, channels = preset.inpainting.embedding_dim, preset.inpainting.latent_channels
    latents = torch.randn(2, channels, 16, 24)
    skeletons = torch.randn(2, 3, 64, 96)
    tokens = torch.randn(2, 5, preset.patch_encoder.hidden_size)
    cond = tokens, torch.randn(2, width or 0), latents, skeletons
    answers = [m(latents, torch.tensor([500, 20]), m.condition(*cond)) for m in (start, model)]
    assert torch.allclose(*answers, atol=1e-5)


def test_a_stage_3_that_starts_from_the_coarse_picture_never_sees_the_truth(
    preset: Preset, people: People
) -> None:
    stage, rows = build("refining", preset, people)
    assert isinstance(stage, RefiningStage)
    inputs: list[Tensor] = []
    stage.model.unet.register_forward_pre_hook(
        lambda _, arguments: inputs.append(arguments[0].clone())
    )
    samples = torch.arange(4)
    others = torch.stack([rows[:4, 0], rows[:4, 1].flip(0), rows[:4, 2]], dim=1)  # other truths
    for noised in ("truth", "coarse"):
        stage.run = replace(stage.run, noised=noised)
        for pairs in (rows[:4], others):
            stage(stage.prepare(samples, pairs))
    truth, other_truth, coarse, other_coarse = inputs
    assert not torch.equal(truth, other_truth)
    assert torch.equal(coarse, other_coarse)
    with pytest.raises(ValueError, match=r"noised\n +Input should be 'truth' or 'coarse'"):
        StageRun(noised="both")
    with pytest.raises(ValueError, match="other_starts is a share, of samples with noised: coarse"):
        StageRun(other_starts=0.5)
    for name in ("perception", "sharpen"):
        with pytest.raises(ValueError, match=rf"{name}\n +Input should be greater than"):
            StageRun(**{name: -0.1})


def test_other_starts_leave_the_condition_as_the_one_thing_to_go_by(
    preset: Preset, people: People
) -> None:
    stage, rows = build("refining", preset, people)
    samples, pairs = torch.arange(64), rows[torch.arange(64) % len(rows)]
    stage.run = replace(stage.run, noised="coarse")
    ours = stage.prepare(samples, pairs)
    assert torch.equal(ours["start"], ours["coarse_latents"])
    stage.run = replace(stage.run, other_starts=0.5)
    mixed = stage.prepare(samples, pairs)
    assert torch.equal(mixed["coarse_latents"], ours["coarse_latents"])
    same = (mixed["start"] == ours["start"]).flatten(1).all(1)
    assert 0.3 < float(same.float().mean()) < 0.7
    assert torch.equal(mixed["start"][~same], ours["start"][~same].flip(-1))
    # A sample's draw is its own, whatever stands beside it in the batch.
    alone = stage.prepare(samples[5:6], pairs[5:6])
    assert torch.equal(alone["start"][0], mixed["start"][5])


def test_a_sharpened_truth_is_asked_for_and_flat_areas_stay(preset: Preset, people: People) -> None:
    stage, rows = build("refining", preset, people)
    assert isinstance(stage, RefiningStage)
    plain = stage.prepare(torch.arange(4), rows[:4])["x0"]
    stage.run = replace(stage.run, sharpen=0.5)
    sharper = stage.prepare(torch.arange(4), rows[:4])["x0"]
    decode = stage.frozen.autoencoder.decode
    energy = [float(texture_energy(decode(x0)).detach().mean()) for x0 in (plain, sharper)]
    assert energy[1] > 1.5 * energy[0]
    flat = torch.full((1, 3, 8, 8), 0.25)
    assert torch.allclose(sharpened(flat, 2.0), flat)
    edge = torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1.0
    assert float(sharpened(edge, 0.5).max()) == pytest.approx(1.125)
    assert torch.equal(sharpened(edge, 0.0), edge)
