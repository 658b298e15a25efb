"""The learned autoencoder: what it trains on, how its channels end, and runs that use it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.components import load_components as read_parts
from pcdm_core.config import Preset
from pcdm_core.images import from_planes
from pcdm_core.pipeline import PCDMsPipeline
from tests.core.tiny_pipeline import picture, poses
from training.commands.mini_run import MiniRun
from training.config import PerceptionRun, StageRun
from training.data.in_memory import People
from training.loop.trainer import PairSource, Trainer
from training.stages import AutoencoderStage
from training.stages.perception import PerceptionNetwork, PerceptualLoss

from .test_mini import CONFIG, CONV, ONE
from .test_stages import LEARNED, build


def learned(preset: Preset, people: People) -> tuple[AutoencoderStage, Tensor]:
    stage, rows = build("learned autoencoder", preset, people)
    assert isinstance(stage, AutoencoderStage)
    return stage, rows


def test_crops_lie_on_the_grid_of_the_code_and_weights_and_joints_go_with_them(
    preset: Preset, people: People
) -> None:
    stage, rows = learned(preset, people)
    stage.run = replace(stage.run, perception=1.0)
    samples, pairs = torch.arange(32), rows[torch.arange(32) % len(rows)]
    batch = stage.prepare(samples, pairs)
    stage.run = replace(stage.run, crop=None)
    whole = stage.prepare(samples, pairs)
    assert batch["pixels"].shape == (32, 3, 24, 24)
    assert batch["noise"].shape == (32, 4, 6, 6)
    corners = set()
    for sample in range(32):
        places = [
            (y, x)
            for y in range(0, preset.height - 23, 4)
            for x in range(0, preset.width - 23, 4)
            if torch.equal(
                whole["pixels"][sample, :, y : y + 24, x : x + 24], batch["pixels"][sample]
            )
        ]
        assert places
        y, x = places[0]
        corners.add((y, x))
        if len(places) > 1:
            continue  # a flat background looks the same in several places
        cut = whole["weight"][sample, :, y : y + 24, x : x + 24]
        assert torch.equal(cut, batch["weight"][sample])
        size = torch.tensor([preset.width, preset.height])
        places_of_joints = whole["xy"][sample] * size - torch.tensor([x, y])
        torch.testing.assert_close(batch["xy"][sample] * 24, places_of_joints, rtol=0, atol=1e-3)
        inside = ((places_of_joints >= 0) & (places_of_joints < 24)).all(1)
        assert torch.equal(batch["visible"][sample], whole["visible"][sample] & inside)
    assert len(corners) > 8
    # A sample's crop and noise are its own, whatever stands beside it in the batch.
    stage.run = replace(stage.run, crop=24)
    alone = stage.prepare(samples[5:6], pairs[5:6])
    assert all(torch.equal(alone[name][0], batch[name][5]) for name in batch)


def test_every_part_of_the_loss_of_a_learned_code_counts(preset: Preset, people: People) -> None:
    stage, rows = learned(preset, people)
    samples, pairs = torch.arange(8), rows[:8]

    def loss(**changes: float) -> float:
        stage.run = replace(LEARNED, **changes)  # type: ignore[arg-type]
        with torch.no_grad():
            return float(stage(stage.prepare(samples, pairs)))

    whole = loss()
    assert loss(gradients=0.0) < whole
    assert loss(latent_noise=0.0) < whole < loss(latent_noise=0.5)
    assert loss(person_weight=1.0) != whole
    with pytest.raises(ValueError, match="this run has no network for it"):
        loss(perception=1.0)
    network = PerceptualLoss(PerceptionNetwork(), PerceptionRun(texture=1.0, joints=0.1))
    stage.frozen = replace(stage.frozen, perception=network)
    assert loss(perception=1.0) > whole
    for crop in (30, 52):
        with pytest.raises(ValueError, match=f"multiple of 4, .* at most 48, .* got {crop}"):
            AutoencoderStage(stage.model, people, replace(LEARNED, crop=crop), 0)
    for name in ("gradients", "latent_noise"):
        with pytest.raises(ValueError, match=rf"{name}\n.*greater than or equal to 0"):
            StageRun(**{name: -0.1})


@pytest.mark.slow
def test_a_learned_code_leaves_the_linear_one_behind(
    preset: Preset, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    stage, rows = learned(preset, people)
    pictures = from_planes(people.pictures)

    @torch.no_grad()
    def error() -> float:
        return float((stage.model.decode(stage.model.encode(pictures)) - pictures).abs().mean())

    before = error()
    trainer = Trainer(
        stage, replace(LEARNED, learning_rate=4e-3, ema_decay=None), accelerator, tmp_path
    )
    trainer.total = 150
    for _ in range(150):
        trainer.train_step(PairSource(rows, seed=0))
    assert error() < 0.95 * before


def test_a_larger_code_does_not_make_its_noise_smaller(preset: Preset, people: People) -> None:
    stage, rows = learned(preset, people)
    batch = stage.prepare(torch.arange(8), rows[:8])
    with torch.no_grad():
        before = stage(batch)
        for tensor, factor in (
            (stage.model.encoder.weight, 4.0),  # type: ignore[union-attr]
            (stage.model.encoder.bias, 4.0),  # type: ignore[union-attr]
            (stage.model.decoder.weight, 0.25),  # type: ignore[union-attr]
        ):
            tensor.mul_(factor)  # type: ignore[operator]
        torch.testing.assert_close(stage(batch), before)


def test_a_learned_code_ends_with_its_channels_in_order(preset: Preset, people: People) -> None:
    stage, _ = learned(preset, people)
    pictures = from_planes(people.pictures)
    with torch.no_grad():
        for path in (stage.model.encoder_path, stage.model.decoder_path):  # type: ignore[union-attr]
            torch.nn.init.normal_(path.conv_out.weight, std=0.05)  # type: ignore[union-attr, arg-type]
        stage.finish()
        latents = stage.model.encode(pictures)
    correlation = torch.corrcoef(latents.movedim(1, -1).flatten(0, 2).T).fill_diagonal_(0)
    assert correlation.abs().max() < 0.01
    assert latents.std().item() == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_a_run_with_a_learned_code_makes_weights_that_draw_and_can_be_trained_on(
    people_folder: Path, tmp_path: Path
) -> None:
    stages = {
        "autoencoder": StageRun(steps=2, batch_size=2, crop=32, latent_noise=0.05),
        **{name: ONE for name in ("prior", "inpainting", "refining")},
    }
    config = replace(CONFIG, autoencoder=CONV, patch_picture_size=56, stages=stages)
    out = tmp_path / "run"
    MiniRun(config, people_folder, out).run_all()
    preset, parts = read_parts(out / "weights")
    assert (preset.autoencoder.kind, preset.autoencoder.downscale) == ("conv", 8)
    assert (preset.inpainting.latent_channels, preset.patch_encoder.picture_size) == (6, 56)
    pipeline = PCDMsPipeline(preset, **parts)
    output = pipeline(picture(), poses(1), poses(1, 5), seed=1, steps=2)
    assert output.image.shape == (1, 3, 64, 48)
    assert output.image.isfinite().all()
    # Going on from these weights starts with this code; one of another size is trained afresh.
    untrained = replace(config, stages={**stages, "autoencoder": StageRun(steps=0)})
    again = MiniRun(untrained, people_folder, tmp_path / "again", start_from=out / "weights")
    again.fit_encoders()
    before, after = (
        load_component(p, "autoencoder").state_dict() for p in (out / "weights", again.weights)
    )
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    wider = replace(untrained, autoencoder={**CONV, "latent_channels": 8})
    run = MiniRun(wider, people_folder, tmp_path / "wider", start_from=out / "weights")
    run.fit_encoders()
    assert run.part("autoencoder").config.latent_channels == 8
    with pytest.raises(ValueError, match=r"patch_picture_size is a multiple of 14, .* got 50"):
        MiniRun(replace(config, patch_picture_size=50), people_folder, tmp_path / "none")
    with pytest.raises(ValueError, match="AutoencoderConfig has no field channels"):
        MiniRun(replace(config, autoencoder={"channels": 8}), people_folder, tmp_path / "none")
