"""The learned global encoder: its labels, its losses, how it ends, and runs that use it."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.components import load_components
from pcdm_core.config import Preset
from pcdm_core.encoders import ConvImageEncoder, build_global_encoder
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import picture, poses
from training.commands.mini_run import MiniRun
from training.config import StageRun, TrainConfig
from training.data.in_memory import People, identity_folders, load_people
from training.data.labels import CLASSES, NUMBERS, SLOTS, read_labels
from training.data.pairs import ordered_pairs
from training.evaluation.embedding_probe import COLUMNS, found_again, linear_readings, probe, table
from training.loop.trainer import PairSource, Trainer
from training.stages.global_encoder import (
    GlobalEncoderStage,
    class_loss,
    number_loss,
    person_loss,
)
from training.stages.initialise import sized_preset, with_global_encoder
from training.synthetic.identity import identity_seed, make_identity

from .test_mini import CONFIG

ENCODER = {
    "kind": "conv",
    "embedding_dim": 8,
    "picture_size": 16,
    "num_layers": 2,
    "hidden_size": 16,
}
RUN = StageRun(steps=4, batch_size=10, learning_rate=4e-3, warmup_steps=1, ema_decay=0.5)


@pytest.fixture(scope="module")
def learned(preset: Preset) -> Preset:
    return with_global_encoder(preset, ENCODER)


@pytest.fixture(scope="module")
def faces(people_folder: Path, learned: Preset) -> People:
    """The people with pictures of the learned encoder's size."""
    return load_people(people_folder, "train", learned)


def stage_of(preset: Preset, people: People, folder: Path, run: StageRun) -> GlobalEncoderStage:
    torch.manual_seed(0)
    assert preset.global_encoder is not None
    encoder = build_global_encoder(preset.global_encoder)
    assert isinstance(encoder, ConvImageEncoder)
    return GlobalEncoderStage(encoder, people, folder / "train", run, 0)


# --- labels ---------------------------------------------------------------------------------------


def test_labels_are_those_that_the_generator_draws_from(people_folder: Path) -> None:
    labels = read_labels(identity_folders(people_folder, "train"))
    assert labels.numbers.shape == (20, len(NUMBERS))
    assert labels.classes.shape == (20, len(CLASSES))
    for number in range(5):
        person = make_identity(identity_seed(0, "train", number))
        views = json.loads(
            (people_folder / "train" / f"{number:06d}" / "identity.json").read_text()
        )["views"]
        worn = {
            slot: garment
            for garment in person.attributes["garments"]
            for slot, kinds in SLOTS.items()
            if garment["kind"] in kinds
        }
        for view, setting in enumerate(views):
            row = number * 4 + view
            value = dict(zip(NUMBERS, labels.numbers[row].tolist(), strict=True))
            place = dict(zip(CLASSES, labels.classes[row].tolist(), strict=True))
            word = {name: CLASSES[name][k] if k >= 0 else None for name, k in place.items()}
            assert value["age"] == pytest.approx(person.attributes["age"], abs=0.006)
            assert value["skin green"] == pytest.approx(person.attributes["skin"][1])
            assert value["facing"] == pytest.approx(math.cos(setting["yaw"]), abs=1e-6)
            assert word["framing"] == setting["framing"]
            assert word["hair"] == person.attributes["hair"]["kind"]
            assert math.isnan(value["hair red"]) == (word["hair"] == "bald")
            for slot in SLOTS:
                kind = worn[slot]["kind"] if slot in worn else "none"
                assert word[slot] == kind
                assert math.isnan(value[f"{slot} red"]) == (slot not in worn)
                if slot in worn:
                    assert value[f"{slot} blue"] == pytest.approx(worn[slot]["colour"][2])


def test_an_unknown_garment_is_named_with_its_file(people_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "000000"
    shutil.copytree(people_folder / "train" / "000000", folder)
    path = folder / "identity.json"
    record = json.loads(path.read_text())
    record["attributes"]["hair"]["kind"] = "mohawk"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"000000.identity\.json: hair is 'mohawk', which"):
        read_labels([folder])


def test_people_in_memory_and_on_disk_must_be_the_same(
    learned: Preset, faces: People, people_folder: Path
) -> None:
    fewer = People(**{name: rows[1:] for name, rows in vars(faces).items()})
    with pytest.raises(ValueError, match="describe 20 pictures of 5 people, and 19 were read"):
        stage_of(learned, fewer, people_folder, RUN)


# --- losses ---------------------------------------------------------------------------------------


def test_what_is_not_known_does_not_count() -> None:
    numbers = torch.tensor([[1.0, math.nan], [-1.0, 2.0]])
    answers = torch.tensor([[1.0, 9.0], [0.0, 2.0]], requires_grad=True)
    loss = number_loss(answers, numbers)
    assert loss.item() == pytest.approx(1 / 3)
    loss.backward()
    assert answers.grad is not None
    assert answers.grad[0, 1] == 0
    width = sum(map(len, CLASSES.values()))
    even = class_loss(torch.zeros(2, width), torch.zeros(2, len(CLASSES), dtype=torch.int64))
    assert even.item() == pytest.approx(1.0)
    none = class_loss(torch.randn(2, width), torch.full((2, len(CLASSES)), -1))
    assert none.item() == 0


def test_a_person_who_is_in_the_batch_twice_is_no_wrong_answer() -> None:
    unit = torch.eye(3)
    right = person_loss(torch.cat([unit, unit]), torch.tensor([1, 2, 3]))
    wrong = person_loss(torch.cat([unit, unit.roll(1, 0)]), torch.tensor([1, 2, 3]))
    assert right < 0.01 < 1 < wrong
    twice = torch.stack([unit[0], unit[0], unit[1]])
    again = torch.cat([twice, twice])
    assert person_loss(again, torch.tensor([1, 1, 3])) < 0.01
    assert person_loss(again, torch.tensor([1, 2, 3])) > 0.1


# --- training -------------------------------------------------------------------------------------


def test_a_gradient_reaches_every_tensor_and_without_contrast_all_but_the_persons(
    learned: Preset, faces: People, people_folder: Path
) -> None:
    rows = ordered_pairs(faces.identities)[:10]
    for contrast, expected in ((1.0, []), (0.0, ["person.weight", "person.bias"])):
        stage = stage_of(learned, faces, people_folder, replace(RUN, contrast=contrast))
        stage(stage.prepare(torch.arange(10), rows)).backward()
        assert [n for n, p in stage.named_parameters() if p.grad is None] == expected
    assert list(stage.components) == ["global_encoder"]


@pytest.mark.slow
def test_training_tells_people_apart_and_reads_what_they_wear(
    learned: Preset, faces: People, people_folder: Path, accelerator: Accelerator, tmp_path: Path
) -> None:
    stage = stage_of(learned, faces, people_folder, RUN)
    folders = identity_folders(people_folder, "train")
    before = probe(stage.model, folders, folders)
    trainer = Trainer(stage, replace(RUN, ema_decay=None), accelerator, tmp_path)
    trainer.total = 200
    source = PairSource(ordered_pairs(faces.identities), seed=0)
    losses = [float(trainer.train_step(source)) for _ in range(200)]
    stage.finish()
    after = probe(stage.model.eval(), folders, folders)
    assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
    assert after["person"] > max(0.7, before["person"])
    assert after["top colour"] > max(0.7, before["top colour"])
    assert after.keys() == COLUMNS.keys()
    assert "| learned |" in table({"learned": after})


def test_an_embedding_ends_centred_and_in_order_and_says_the_same(
    learned: Preset, faces: People, people_folder: Path
) -> None:
    stage = stage_of(learned, faces, people_folder, RUN)
    pixels = faces.global_pixels(slice(None))
    with torch.no_grad():
        before = stage.model(pixels).double()
        stage.finish()
        after = stage.model(pixels).double()
    assert after.mean(0).abs().max() < 1e-4
    variances = after.var(0, correction=0)
    assert variances.mean().item() == pytest.approx(1.0, abs=1e-3)
    assert (variances.diff() < 0).all()
    correlation = torch.corrcoef(after.T).fill_diagonal_(0)
    assert correlation.abs().max() < 1e-3
    # Nothing is lost: one is a linear map of the other.
    centred = before - before.mean(0)
    fit = torch.linalg.lstsq(after, centred).solution
    torch.testing.assert_close(after @ fit, centred, rtol=1e-3, atol=1e-4)
    few = People(**{name: rows[:8] for name, rows in vars(faces).items()})
    with pytest.raises(ValueError, match="8 numbers is measured on more pictures than that, got 8"):
        stage_of(learned, few, people_folder, RUN).finish()


@pytest.mark.slow
def test_a_run_with_a_learned_encoder_resumes_exactly_and_makes_weights_that_draw(
    people_folder: Path, tmp_path: Path
) -> None:
    run = replace(RUN, steps=3, batch_size=2, checkpoint_steps=1)
    stages = {**CONFIG.stages, "global_encoder": run}
    config = replace(CONFIG, global_encoder={**ENCODER, "embedding_dim": 12}, stages=stages)
    whole = MiniRun(config, people_folder, tmp_path / "whole")
    whole.run_all()
    # Another process stops after a step; a third one goes on, whatever was drawn before.
    short = replace(config, stages={**stages, "global_encoder": replace(run, steps=1)})
    MiniRun(short, people_folder, tmp_path / "part").fit_global_encoder()
    name = "global_encoder.safetensors"
    (tmp_path / "part/weights" / name).unlink()
    torch.rand(7)
    MiniRun(config, people_folder, tmp_path / "part").fit_global_encoder()
    contents = [(tmp_path / part / "weights" / name).read_bytes() for part in ("whole", "part")]
    assert contents[0] == contents[1]
    # A run that starts from these weights and trains no further keeps them.
    still = replace(config, stages={**stages, "global_encoder": replace(run, steps=0)})
    start = tmp_path / "whole/weights"
    MiniRun(still, people_folder, tmp_path / "on", start_from=start).fit_global_encoder()
    before, after = (load_component(p, "global_encoder").state_dict()
                     for p in (start, tmp_path / "on/weights"))  # fmt: skip
    assert all(torch.equal(after[key], tensor) for key, tensor in before.items())
    preset, parts = load_components(tmp_path / "whole/weights")
    assert preset.global_encoder is not None
    assert (preset.global_encoder.kind, preset.global_encoder.embedding_dim) == ("conv", 12)
    assert preset.inpainting.unet.cross_attention_dim == 12
    output = PCDMsPipeline(preset, **parts)(picture(), poses(1), poses(1, 5), seed=1, steps=2)
    assert output.image.isfinite().all()


def test_a_configuration_of_an_encoder_is_checked(preset: Preset) -> None:
    with pytest.raises(ValueError, match="GlobalEncoderConfig has no field width"):
        sized_preset(preset, TrainConfig(global_encoder={"width": 3}))
    with pytest.raises(ValueError, match="'simplified' has no global encoder"):
        with_global_encoder(PRESETS["simplified"], ENCODER)
    with pytest.raises(ValueError, match=r"contrast\n.*greater than or equal to 0"):
        StageRun(contrast=-1.0)


# --- what embeddings say --------------------------------------------------------------------------


def test_people_are_found_by_embeddings_that_say_who_they_are(people_folder: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    persons = torch.randn(40, 1, 16, generator=draw)
    noise = torch.randn(40, 3, 16, generator=draw)
    assert found_again(persons + 0.1 * noise) == 1
    assert found_again(noise) < 0.15
    labels = read_labels(identity_folders(people_folder, "train"))
    numbers = labels.numbers.nan_to_num()
    figures = linear_readings(numbers, labels, numbers, labels)
    assert figures["skin colour"] > 0.9
    assert figures["facing"] > 0.9
    random = torch.randn(20, 2, generator=draw)
    assert linear_readings(random, labels, random, labels)["skin colour"] < 0.5
