"""The whole recipe at the smallest size: resume, export, and what a second call does."""

from __future__ import annotations

import json
import random
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from PIL import Image

from pcdm_core.checkpoints import load_component
from pcdm_core.checkpoints.components import load_components as read_parts
from pcdm_core.checkpoints.files import read_metadata
from pcdm_core.config import Preset
from training.coarse.render import CoarseRenderer
from training.commands.components import Components, load_components
from training.commands.export import export_run
from training.commands.mini_run import MiniRun
from training.commands.train_mini import main, ship
from training.config import CoarseRun, PerceptionRun, StageRun, TrainConfig, load_config
from training.data.in_memory import People, load_people
from training.loop.checkpoints import ResumeError
from training.loop.precision import has_fast_bf16
from training.loop.trainer import PairSource, Trainer, learning_rate_at
from training.stages import PriorStage
from training.stages.initialise import build_denoiser

from . import workers

ONE = StageRun(steps=2, batch_size=2, checkpoint_minutes=0.0)
CONFIG = TrainConfig(
    preset="test",
    identities=5,
    views=4,
    render_workers=1,
    stages={
        "autoencoder": StageRun(steps=0, fit_pictures=20),
        "prior": ONE,
        "inpainting": ONE,
        "refining": ONE,
    },
    coarse=CoarseRun(pairs=4, batch_size=2, steps=2, guidance_scale=1.0),
)


CONV = {
    "kind": "conv",
    "latent_channels": 6,
    "downscale": 8,
    "block_out_channels": [8, 8, 16],
    "layers_per_block": 1,
}


@pytest.fixture(scope="module")
def finished(people_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder after the whole recipe."""
    out = tmp_path_factory.mktemp("run")
    MiniRun(CONFIG, people_folder, out).run_all()
    return out


def opened(finished: Path, people_folder: Path) -> tuple[MiniRun, People, Components]:
    """A finished run with its people and the parts of its first two stages."""
    run = MiniRun(CONFIG, people_folder, finished)
    return run, run.read_people(), load_components(finished / "weights", "cpu")


@pytest.mark.slow
def test_the_recipe_ends_with_every_part_that_the_pack_ships(finished: Path) -> None:
    names = {path.name.split(".")[0] for path in (finished / "weights").iterdir()}
    assert names == {
        "autoencoder",
        "global_encoder",
        "patch_encoder",
        "prior",
        "inpainting",
        "refining",
    }
    for name in names:
        part = load_component(finished / "weights", name)
        assert all(tensor.isfinite().all() for tensor in part.state_dict().values())


@pytest.mark.slow
def test_a_finished_recipe_does_nothing_again(finished: Path, people_folder: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in (finished / "weights").iterdir()}
    MiniRun(CONFIG, people_folder, finished).run_all()
    assert {p: p.stat().st_mtime_ns for p in (finished / "weights").iterdir()} == before


@pytest.mark.slow
@workers.posix
def test_a_recipe_killed_at_random_moments_ends_with_the_files_of_one_that_was_not(
    people_folder: Path, tmp_path: Path
) -> None:
    stage = replace(ONE, steps=3, checkpoint_steps=1)
    refining = replace(stage, perception=1.0, noised="coarse")
    stages = dict.fromkeys(("global_encoder", "prior", "inpainting"), stage)
    stages["refining"] = refining
    stages["autoencoder"] = StageRun(
        steps=2, batch_size=2, fit_pictures=20, checkpoint_steps=1,
        crop=32, gradients=0.5, latent_noise=0.05, perception=0.1,
    )  # fmt: skip
    config = replace(
        CONFIG,
        autoencoder=CONV,
        global_encoder={"kind": "conv", "num_layers": 2, "hidden_size": 16},
        stages=stages,
        perception=PerceptionRun(steps=3, batch_size=4),
    )

    def start(name: str, kill: tuple[str, int] | None = None) -> int | None:
        arguments = people_folder, tmp_path / name, config, kill, tmp_path / f"{name}.json"
        process = workers.start(workers.recipe, *arguments)
        process.join()
        return process.exitcode

    def files(name: str) -> dict[str, bytes]:
        folder = tmp_path / name
        kinds = "weights/*", "perception.safetensors", "coarse/*/*.npy"
        paths = [path for kind in kinds for path in folder.glob(kind)]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}

    assert start("whole") == 0
    counts = json.loads((tmp_path / "whole.json").read_text())
    draw = random.Random(3)
    for part in workers.RECIPE_PARTS:
        kill = part, draw.randint(1, counts[part])
        assert start("killed", kill) == -signal.SIGKILL, kill
    assert start("killed") == 0
    expected, ours = files("whole"), files("killed")
    assert expected.keys() == ours.keys()
    assert [name for name, content in ours.items() if content != expected[name]] == []
    assert len(ours) == 6 + 1 + 2  # parts, perception, chunks of coarse pictures


@pytest.mark.slow
def test_a_part_that_a_killed_process_did_not_write_is_written_by_the_next(
    finished: Path, people_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    lost = out / "weights" / "patch_encoder.safetensors"  # comes after stage 2's own file
    before = lost.read_bytes()
    lost.unlink()
    MiniRun(CONFIG, people_folder, out).run_all()
    assert lost.read_bytes() == before


@pytest.mark.slow
def test_a_run_obeys_the_size_of_its_configuration_and_its_weights_know_it(tmp_path: Path) -> None:
    config = replace(CONFIG, height=48, width=40)
    run = MiniRun(config, tmp_path / "people", tmp_path / "run")
    run.run_all()
    with Image.open(tmp_path / "people" / "train" / "000001" / "03.png") as picture:
        assert picture.size == (40, 48)
    preset, _ = read_parts(tmp_path / "run" / "weights")
    assert (preset.name, preset.height, preset.width) == ("test", 48, 40)
    exported = export_run(tmp_path / "run" / "refining", tmp_path / "exported")[0]
    assert read_metadata(exported)["height"] == "48"
    with pytest.raises(ValueError, match="multiples of 4"):
        MiniRun(replace(config, width=42), tmp_path / "people", tmp_path / "run")


@pytest.mark.slow
def test_skeletons_are_drawn_as_the_configuration_says_and_the_weights_know(
    finished: Path, people_folder: Path, tmp_path: Path
) -> None:
    thin = replace(CONFIG, skeleton_reduction=2)
    plain, narrow = (
        MiniRun(c, people_folder, tmp_path / "n").read_people().skeletons for c in (CONFIG, thin)
    )
    assert (narrow > 0).float().mean() < 0.8 * (plain > 0).float().mean()
    out = tmp_path / "run"
    MiniRun(thin, people_folder, out).run_all()
    preset, _ = read_parts(out / "weights")
    assert preset.inpainting.skeleton_reduction == 2
    assert read_parts(finished / "weights")[0].inpainting.skeleton_reduction == 1
    # Neither a stage in training nor one that is finished goes on with other skeletons.
    (out / "weights" / "inpainting.safetensors").unlink()
    with pytest.raises(ResumeError, match=r"inpainting \(skeleton_reduction 2 -> 1"):
        MiniRun(CONFIG, people_folder, out).run_all()
    run = MiniRun(thin, people_folder, finished)
    run.read_people()
    with pytest.raises(ValueError, match="its stage 2 knows skeletons of skeleton_reduction 1"):
        run.coarse()


def test_a_folder_with_all_the_people_is_not_rendered_again(
    people_folder: Path, tmp_path: Path
) -> None:
    run = MiniRun(replace(CONFIG, identities=4), people_folder, tmp_path)
    assert run.render() is None
    assert run.read_people().identities.unique().tolist() == [0, 1, 2, 3]  # a fifth is there


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, "people of another seed than 1"),
        ({"views": 3}, "4 views, not 3"),
        ({"height": 32, "width": 24}, "pictures of 64x48, not 32x24"),
    ],
)
def test_a_folder_of_other_people_is_refused(
    change: dict[str, int], words: str, people_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"000000: it holds {words}. Give the size, views and"):
        MiniRun(replace(CONFIG, **change), people_folder, tmp_path).run_all()


def test_a_lost_chunk_of_coarse_pictures_is_made_again_alike(
    finished: Path, people_folder: Path
) -> None:
    run = MiniRun(CONFIG, people_folder, finished)
    run.read_people()
    before = run.coarse()
    chunk = next((finished / "coarse").rglob("000002.npy"))
    chunk.unlink()
    again = run.coarse()
    assert chunk.is_file()
    assert torch.equal(before.pictures, again.pictures)
    assert torch.equal(before.pairs, again.pairs)


def test_coarse_pictures_of_other_settings_or_people_are_never_read_as_ours(
    finished: Path, people_folder: Path
) -> None:
    run, people, parts = opened(finished, people_folder)
    pairs = torch.tensor([[0, 1], [2, 3]])

    def key(coarse: CoarseRun, seed: int = 0, among: People = people) -> str:
        return CoarseRenderer(run.preset, parts, coarse, seed).key(among, pairs)

    ours = key(CONFIG.coarse)
    assert key(CONFIG.coarse) == ours
    others = replace(people, embeds=people.embeds + 1)
    keys = {
        ours,
        key(replace(CONFIG.coarse, guidance_scale=2.0)),
        key(replace(CONFIG.coarse, autocast=True)),
        key(replace(CONFIG.coarse, steps=3)),
        key(replace(CONFIG.coarse, batch_size=4)),
        key(replace(CONFIG.coarse, denoise=(0.5,))),
        key(replace(CONFIG.coarse, denoise=(0.5, 1.0))),
        key(CONFIG.coarse, seed=1),
        key(CONFIG.coarse, among=others),
    }
    with torch.no_grad():
        parts.inpainting.unet.conv_in.weight[0] += 0.5
    # bf16 is asked for in one of them, and left out where it would only cost.
    assert len(keys | {key(CONFIG.coarse)}) == 9 + has_fast_bf16("cpu")


@pytest.mark.slow
def test_a_run_trains_its_perception_once_and_only_for_stages_that_ask(
    finished: Path, people_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "weights" / "refining.safetensors").unlink()
    stages = {**CONFIG.stages, "refining": replace(ONE, perception=1.0, noised="coarse")}
    config = replace(CONFIG, stages=stages, perception=PerceptionRun(steps=2, batch_size=4))
    path = out / "perception.safetensors"
    run = MiniRun(config, people_folder, out)
    assert run.perception("inpainting") is None
    assert not path.exists()
    shutil.rmtree(out / "refining")
    run.run_all()
    assert run.has("refining")
    time = path.stat().st_mtime_ns
    assert run.perception("refining") is not None
    assert path.stat().st_mtime_ns == time


@pytest.mark.slow
def test_coarse_pictures_may_start_from_the_noised_truth(
    finished: Path, people_folder: Path
) -> None:
    run, people, parts = opened(finished, people_folder)
    coarse = CoarseRun(batch_size=2, steps=10, denoise=(0.4, 1.0), autocast=False)
    renderer = CoarseRenderer(run.preset, parts, coarse, 0)
    pairs = torch.tensor([[0, 1], [2, 3]])
    calls: list[int] = []
    predict = renderer._denoise
    renderer._denoise = lambda x, t, c: (calls.append(int(t[0])), predict(x, t, c))[1]  # type: ignore[method-assign]
    first, second = (renderer(people, pairs, torch.arange(k, k + 2)) for k in (0, 2))
    of_first, of_second = calls[:4], calls[4:]
    assert len(of_second) == 10
    assert of_first == of_second[-4:]  # the last steps of a whole run
    pictures = people.pictures.clone()
    pictures[pairs[:, 1]] = pictures[pairs[:, 1]].flip(-1)  # other truths
    other = replace(people, pictures=pictures)
    assert not (first == renderer(other, pairs, torch.arange(2))).all()
    assert (second == renderer(other, pairs, torch.arange(2, 4))).all()
    with pytest.raises(ValueError, match="denoise"):
        CoarseRun(denoise=(0.0,))


def test_shipping_replaces_the_weights_of_an_earlier_release(
    finished: Path, tmp_path: Path
) -> None:
    (tmp_path / "inpainting-00001-of-00002.safetensors").write_bytes(b"an earlier shard")
    (tmp_path / "LICENSE").write_text("kept")
    ship(finished / "weights", tmp_path)
    expected = {p.name for p in (finished / "weights").iterdir()} | {"LICENSE"}
    assert {p.name for p in tmp_path.iterdir()} == expected


def test_people_rendered_since_the_last_reading_take_no_part_yet(
    people_folder: Path, tmp_path: Path
) -> None:
    data = tmp_path / "people"
    shutil.copytree(people_folder / "train", data / "train")
    run = MiniRun(CONFIG, data, tmp_path / "run", follow=True)
    late = data / "train" / "000004"
    late.rename(tmp_path / "late")
    count = len(run.read_people())
    (tmp_path / "late").rename(late)
    assert int(run.pairs().rows.max()) < count
    assert len(run.read_people()) == count + CONFIG.views
    assert int(run.pairs().rows.max()) == count + CONFIG.views - 1


def prior_trainer(
    preset: Preset, people: People, accelerator: Accelerator, folder: Path
) -> tuple[Trainer, PairSource]:
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(2)
    embeds = torch.randn(len(people), 16, generator=generator)
    embedded = replace(people, embeds=embeds)
    run = StageRun(steps=6, batch_size=4, warmup_steps=2)
    stage = PriorStage(build_denoiser(preset, "prior"), embedded, run, seed=0)  # type: ignore[arg-type]
    rows = torch.cartesian_prod(torch.arange(4), torch.arange(4, 8))
    return Trainer(stage, run, accelerator, folder), PairSource(rows, seed=0)


def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    preset: Preset, people: People, accelerator: Accelerator, tmp_path: Path
) -> None:
    whole, source = prior_trainer(preset, people, accelerator, tmp_path / "whole")
    whole.run_all(source)
    first, source = prior_trainer(preset, people, accelerator, tmp_path / "parts")
    for _ in range(3):
        first.train_step(source)
    first.save()
    second, source = prior_trainer(preset, people, accelerator, tmp_path / "parts")
    with torch.no_grad():
        for parameter in second.parameters:
            parameter.add_(1.0)  # nothing of the fresh model may survive
    assert second.resume()
    assert second.step == 3
    second.run_all(source)
    for ours, theirs in zip(second.parameters, whole.parameters, strict=True):
        assert torch.equal(ours, theirs)


def test_the_learning_rate_warms_up_stays_and_falls_to_zero() -> None:
    run = StageRun(learning_rate=1.0, warmup_steps=10, decay_fraction=0.4)
    rates = [learning_rate_at(step, 100, run) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9:61] == [1.0] * 52
    assert rates[80] == pytest.approx(0.5)
    assert rates[100] == 0.0


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("preset: mini\nstages: {prior: {stepz: 3}}\n")
    with pytest.raises(ValueError, match="stepz"):
        load_config(path)
    path.write_text("preset: mini\nstages: {refiner: {steps: 3}}\n")
    with pytest.raises(ValueError, match="refiner"):
        load_config(path)


def test_the_shipped_configuration_names_every_stage() -> None:
    config = load_config(Path(__file__).parents[2] / "training/configs/mini.yaml")
    assert {"autoencoder", "inpainting", "prior", "refining"} <= set(config.stages)


def test_pictures_of_another_size_are_refused(people_folder: Path, preset: Preset) -> None:
    with pytest.raises(ValueError, match=r"64x48.*32x24"):
        load_people(people_folder, "train", replace(preset, height=32, width=24))


def test_a_missing_folder_of_people_names_the_command_that_makes_it(
    tmp_path: Path, preset: Preset, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(FileNotFoundError, match=r"python -m training\.synthetic"):
        load_people(tmp_path, "train", preset)
    assert main(["--config", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_the_reader_refuses_people_of_two_versions_even_when_one_was_read_before(
    people_folder: Path, preset: Preset, tmp_path: Path
) -> None:
    shutil.copytree(people_folder, tmp_path, dirs_exist_ok=True)
    record = tmp_path / "train" / "000000" / "identity.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "generator": 0}))
    with pytest.raises(ValueError, match="do not go together"):
        load_people(tmp_path, "train", preset, skip=1)


@pytest.mark.slow
def test_a_warm_start_begins_with_the_exported_weights(
    finished: Path, people_folder: Path, tmp_path: Path
) -> None:
    still = StageRun(steps=1, batch_size=2, learning_rate=0.0)
    stages = {**CONFIG.stages, "prior": still, "inpainting": still, "refining": still}
    run = MiniRun(
        replace(CONFIG, stages=stages), people_folder, tmp_path, start_from=finished / "weights"
    )
    run.run_all()
    for name in ("prior", "inpainting", "patch_encoder", "refining"):
        ours = load_component(tmp_path / "weights", name).state_dict()
        theirs = load_component(finished / "weights", name).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs), name
