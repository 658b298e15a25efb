"""The network whose view of a picture is a loss: it learns to see, and what its distance says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch.nn import functional

from pcdm_core.checkpoints import CheckpointError
from pcdm_core.config import Preset
from pcdm_core.images import from_planes
from pcdm_core.pose.keypoints import Keypoints
from training.config import PerceptionRun
from training.data.in_memory import People
from training.loop.trainer import PairSource, Trainer
from training.stages import RefiningStage
from training.stages.perception import (
    PerceptionNetwork,
    PerceptualLoss,
    joint_loss,
    load_perception,
    save_perception,
    texture_energy,
    train_perception,
    varied,
    weighted_mean,
)

from .test_stages import RUN, build

SHORT = PerceptionRun(steps=12, batch_size=8)


@pytest.fixture(scope="module")
def network(people: People) -> PerceptionNetwork:
    return train_perception(people, SHORT, seed=3)


def loss_of(network: PerceptionNetwork, **weights: float) -> PerceptualLoss:
    weights = {"features": 0.0, "joints": 0.0, "texture": 0.0} | weights
    return PerceptualLoss(network, replace(SHORT, **weights))  # type: ignore[arg-type]


def pictures_of(people: People, count: int = 6) -> tuple[torch.Tensor, ...]:
    pictures = from_planes(people.pictures[:count]).contiguous()
    height, width = pictures.shape[-2:]
    weight = 1 + people.person_shares(torch.arange(count), height // 4, width // 4)
    return pictures, people.xy[:count], people.visible[:count], weight


@pytest.mark.slow
def test_training_finds_joints_and_tells_people_apart(people: People) -> None:
    pictures, xy, visible, _ = pictures_of(people, 20)

    def judged(network: PerceptionNetwork) -> tuple[float, float]:
        with torch.no_grad():
            features = network.features(pictures)
            likeness = network.person(features) @ network.person(features).T
            same = people.identities[:20, None] == people.identities[None, :20]
            apart = likeness[same].mean() - likeness[~same].mean()
            return float(joint_loss(*network.joints(features), xy, visible).mean()), float(apart)

    torch.manual_seed(3)
    fresh = judged(PerceptionNetwork().eval())
    learned = judged(train_perception(people, replace(SHORT, steps=60), seed=3))
    assert learned[0] < 0.8 * fresh[0]
    assert learned[1] > fresh[1] + 0.1


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network(people: People, network: PerceptionNetwork) -> None:
    again = train_perception(people, SHORT, seed=3).state_dict()
    other = train_perception(people, SHORT, seed=4).state_dict()
    ours = network.state_dict()
    assert all(torch.equal(tensor, again[name]) for name, tensor in ours.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in ours.items())


@pytest.mark.parametrize("part", ["features", "texture"])
def test_a_picture_is_no_distance_from_itself_and_further_the_more_it_is_blurred(
    part: str, network: PerceptionNetwork, people: People
) -> None:
    pictures, *pose, weight = pictures_of(people)
    loss = loss_of(network, **{part: 1.0})
    blurred = functional.avg_pool2d(pictures, 3, 1, 1, count_include_pad=False)
    more = functional.avg_pool2d(pictures, 7, 1, 3, count_include_pad=False)
    none, some, much = (loss(p, pictures, *pose, weight) for p in (pictures, blurred, more))
    assert float(none.abs().max()) < 1e-6
    assert (some > none + 1e-3).all()
    assert float(much.mean()) > float(some.mean())


def test_texture_counts_noise_as_well_as_blur(network: PerceptionNetwork, people: People) -> None:
    pictures, *pose, weight = pictures_of(people)
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(0))
    loss = loss_of(network, texture=1.0)
    assert (loss(pictures + 0.2 * noise, pictures, *pose, weight) > 0.1).all()
    flat = torch.zeros(1, 3, 24, 24)
    assert float(texture_energy(flat).abs().max()) == 0.0


def test_the_pose_is_read_from_the_picture_and_not_from_the_truth(
    network: PerceptionNetwork, people: People
) -> None:
    pictures, xy, visible, weight = pictures_of(people)
    loss = loss_of(network, joints=1.0)
    right = loss(pictures, pictures, xy, visible, weight)
    assert torch.allclose(right, loss(pictures, pictures.flip(0), xy, visible, weight))
    moved = (xy + 0.4).clamp(max=1.0)
    assert float(loss(pictures, pictures, moved, visible, weight).mean()) > float(right.mean())


def test_places_that_weigh_nothing_do_not_count() -> None:
    values = torch.tensor([[[[1.0, 3.0], [1.0, 3.0]]]])
    logits = torch.tensor([[[[1.0, 0.0]]]])
    assert float(weighted_mean(values, logits.expand(1, 1, 2, 2))) == pytest.approx(1.0)
    assert float(weighted_mean(values, torch.ones(1, 1, 4, 4))) == pytest.approx(2.0)


def test_a_written_network_comes_back_and_another_file_is_named(
    network: PerceptionNetwork, tmp_path: Path
) -> None:
    path = tmp_path / "perception.safetensors"
    save_perception(network, path)
    back = load_perception(path).state_dict()
    assert all(torch.equal(tensor, back[name]) for name, tensor in network.state_dict().items())
    save_perception(PerceptionNetwork(embedding_dim=8), path)
    with pytest.raises(CheckpointError, match=r"perception\.safetensors.*Delete"):
        load_perception(path)


def test_perception_takes_part_in_training_and_is_not_trained_itself(
    network: PerceptionNetwork,
    preset: Preset,
    people: People,
    accelerator: Accelerator,
    tmp_path: Path,
) -> None:
    stage, rows = build("refining", preset, people)
    assert isinstance(stage, RefiningStage)
    plain = stage(stage.prepare(torch.arange(4), rows[:4])).detach()
    stage.run = replace(stage.run, perception=0.5)
    with pytest.raises(ValueError, match="no network for it"):
        stage(stage.prepare(torch.arange(4), rows[:4]))
    stage.frozen = replace(
        stage.frozen, perception=loss_of(network, features=1.0, joints=0.1, texture=0.1)
    )
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch = stage.prepare(torch.arange(4), rows[:4])
    assert float(stage(batch).detach()) > float(plain)
    trainer = Trainer(stage, RUN, accelerator, tmp_path)
    trainer.total = 10
    trainer.train_step(PairSource(rows, seed=0))
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    inpainting, pairs = build("inpainting", preset, people)
    inpainting.run = replace(inpainting.run, perception=0.5)
    inpainting.frozen = stage.frozen  # type: ignore[assignment]
    batch = inpainting.prepare(torch.arange(4), pairs[:4])
    perceived = inpainting(batch).detach()
    inpainting.run = replace(inpainting.run, perception=0.0)
    assert float(perceived) > float(inpainting(batch).detach())


def test_perception_looks_in_full_precision_where_the_networks_compute_in_half(
    network: PerceptionNetwork, preset: Preset, people: People
) -> None:
    stage, rows = build("refining", preset, people)
    stage.run = replace(stage.run, perception=1.0)
    frozen = replace(stage.frozen, perception=loss_of(network, features=1.0, texture=1.0))  # type: ignore[arg-type]
    batch = stage.prepare(torch.arange(4), rows[:4])
    look = stage._perceived(frozen, batch)
    assert look is not None
    x0 = batch["x0"] * 0.9
    with torch.autocast("cpu", torch.bfloat16):
        half = look(x0)
    assert torch.equal(half, look(x0))


def test_the_draws_of_training_follow_the_pictures_to_their_device(people: People) -> None:
    pictures, xy, visible, _ = pictures_of(people, 4)
    generator = torch.Generator().manual_seed(0)
    # Tensors of this device have no content, and no operation takes them together with others.
    pose, mirror = (xy, visible), Keypoints(xy, visible).mirrored()
    other_pose = mirror.xy, mirror.visible
    poses = (tuple(tensor.to("meta") for tensor in p) for p in (pose, other_pose))
    shapes = varied(pictures.to("meta"), *poses, generator)  # type: ignore[arg-type]
    assert [tensor.device.type for tensor in shapes] == ["meta"] * 3
    generator.manual_seed(0)
    x, moved, _ = varied(pictures, pose, other_pose, generator)
    mirrored = (moved != xy).flatten(1).any(1)
    assert mirrored.any()
    assert not mirrored.all()
    near, other = ((x - p).abs().mean((1, 2, 3)) for p in (pictures, pictures.flip(-1)))
    assert torch.equal(other < near, mirrored)
