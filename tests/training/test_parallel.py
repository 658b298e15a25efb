"""Several processes make the steps that one makes, and the shares of a step add up to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pcdm_core.config import Preset
from pcdm_core.encoders import LinearImageEncoder, PatchImageEncoder
from pcdm_core.vae import PatchAutoencoder
from training.commands.components import save_components
from training.config import StageRun, TrainConfig
from training.data import open_pictures
from training.loop.checkpoints import CheckpointFolder

from . import workers

RUN = StageRun(
    batch_size=8,
    optimizer="sgd",
    learning_rate=0.05,
    warmup_steps=0,
    decay_fraction=0.0,
    weight_decay=0.0,
    clip_grad_norm=0.5,
    person_weight=3.0,
)


def team(
    target: Callable[..., None], processes: int, arguments: Callable[[int], tuple[Any, ...]]
) -> None:
    """So many processes at the same time; none may fail, or wait for another for ever."""
    members = [workers.start(target, *arguments(rank)) for rank in range(processes)]
    for process in members:
        process.join(300)
    codes = [process.exitcode for process in members]
    for process in members:
        process.kill()
    assert codes == [0] * processes


def together(
    name: str,
    processes: int,
    folder: Path,
    run: StageRun = RUN,
    sharded: bool = False,
) -> list[dict[str, Any]]:
    port = workers.free_port()
    folder.mkdir(exist_ok=True)
    team(
        workers.take_part,
        processes,
        lambda rank: (name, run, rank, processes, port, folder, sharded),
    )
    paths = [folder / f"{processes}_{rank}.pt" for rank in range(processes)]
    return [torch.load(path, weights_only=True) for path in paths]


def relative_error(result: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error of a tensor over the norm of all of them."""
    whole = torch.cat([tensor.flatten() for tensor in expected]).norm()
    errors = [(a - b).norm() / whole for a, b in zip(result, expected, strict=True)]
    return float(torch.stack(errors).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior", "inpainting"])
def test_two_processes_equal_one_with_the_joined_batch(name: str, tmp_path: Path) -> None:
    (alone,) = together(name, 1, tmp_path / "alone")
    first, second = together(name, 2, tmp_path / "pair")
    assert len(alone["gradients"]) == len(alone["weights"]) > 10
    for part in (first, second):
        assert relative_error(part["gradients"], alone["gradients"]) < 1e-5
        assert relative_error(part["weights"], alone["weights"]) < 1e-5
    for ours, theirs in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(ours, theirs)
    # The steps did something, or the comparison would say nothing.
    start = [p.detach() for p in workers.noise_stage(name, RUN).parameters()]
    assert relative_error(alone["weights"], start) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior", "inpainting"])
def test_weights_in_shards_are_trained_as_whole_ones(name: str, tmp_path: Path) -> None:
    (alone,) = together(name, 1, tmp_path / "alone")
    parts = together(name, 2, tmp_path / "sharded", sharded=True)
    for part in parts:
        assert part["shards"] == len(part["weights"]) == len(alone["weights"])
        assert relative_error(part["gradients"], alone["gradients"]) < 1e-5
        assert relative_error(part["weights"], alone["weights"]) < 1e-5


@pytest.mark.slow
def test_a_sharded_run_resumes_from_its_checkpoint_and_others_do_too(tmp_path: Path) -> None:
    # AdamW and an average, whose state is sharded like the weights.
    run = replace(RUN, optimizer="adamw", learning_rate=1e-3, ema_decay=0.9)
    first = together("prior", 2, tmp_path / "sharded", run, sharded=True)
    state = CheckpointFolder(tmp_path / "sharded/run").load()
    assert state is not None
    fresh = workers.noise_stage("prior", run).state_dict()
    assert {k: v.shape for k, v in state["stage"].items()} == {k: v.shape for k, v in fresh.items()}
    (tmp_path / "whole").mkdir()
    shutil.copytree(tmp_path / "sharded/run", tmp_path / "whole/0")
    again = together("prior", 2, tmp_path / "sharded", run, sharded=True)
    (alone,) = together("prior", 1, tmp_path / "whole", run)
    assert relative_error(again[0]["weights"], first[0]["weights"]) > 1e-4
    assert relative_error(again[0]["weights"], alone["weights"]) < 1e-5
    last = CheckpointFolder(tmp_path / "sharded/run").load()
    other = CheckpointFolder(tmp_path / "whole/0").load()
    assert last is not None
    assert other is not None
    assert last["step"] == other["step"] == 6
    shadows = [s["ema"]["shadow_params"] for s in (last, other)]
    assert relative_error(*shadows) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [True, False], ids=["shards", "whole"])
def test_checkpoints_by_the_clock_part_no_processes_and_change_no_bit(
    sharded: bool, tmp_path: Path
) -> None:
    # The clocks of the others are due before that of the one that writes.
    run = replace(RUN, steps=12, batch_size=4, log_steps=1, ema_decay=None, optimizer="adamw")
    results: dict[str, dict[str, Any]] = {}
    for name, minutes in (("often", 5.0), ("never", 1e9)):
        folder, clocked = tmp_path / name, replace(run, checkpoint_minutes=minutes)
        folder.mkdir()
        port = workers.free_port()
        team(
            workers.train_with_a_slow_disk,
            2,
            lambda rank, run=clocked, port=port, folder=folder: (
                run,
                rank,
                2,
                port,
                folder,
                sharded,
            ),
        )
        results[name] = torch.load(folder / "result_0.pt", weights_only=True)
    assert results["never"]["steps"] == [12]
    assert len(results["often"]["steps"]) > 2
    for ours, theirs in zip(*(r["weights"] for r in results.values()), strict=True):
        assert torch.equal(ours, theirs)


def test_processes_without_a_common_folder_are_told_so(tmp_path: Path) -> None:
    port = workers.free_port()
    team(workers.see_other_folders, 2, lambda rank: (rank, 2, port, tmp_path))
    for rank in range(2):
        message = (tmp_path / f"message_{rank}").read_text()
        assert "the processes 1 do not see what process 0 writes there" in message


@pytest.mark.slow
def test_processes_decode_and_encode_a_data_set_together(
    people_folder: Path, preset: Preset, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(people_folder, data)
    pictures = open_pictures(data)
    broken = pictures.paths[0]
    broken.write_bytes(broken.read_bytes()[:-40])
    assert preset.global_encoder is not None
    parts = {
        "autoencoder": PatchAutoencoder(preset.autoencoder),
        "patch_encoder": PatchImageEncoder(preset.patch_encoder),
        "global_encoder": LinearImageEncoder(preset.global_encoder),
    }
    save_components(parts, tmp_path / "encoders", preset, {})  # type: ignore[arg-type]
    port, config = workers.free_port(), TrainConfig(preset="test")
    team(workers.fill_a_cache, 2, lambda rank: (config, rank, 2, port, data, tmp_path))
    first, second = (torch.load(tmp_path / f"result_{n}.pt", weights_only=True) for n in range(2))
    # Five people: each process decodes about half of them, and one of them may be on the border.
    shares = [len(result["decoded"]) for result in (first, second)]
    assert sum(shares) <= len(pictures) + 4
    assert max(shares) <= len(pictures) / 2 + 4
    assert first["names"] == second["names"]
    assert pictures.names[0] not in first["names"]
    assert torch.equal(first["pairs"], second["pairs"])


@pytest.mark.parametrize(
    ("recipe", "requested", "warnings"),
    [(8, "1", []), (1024, "1", ["8 samples and the recipe's 1024"]), (8, "16", ["16 were asked"])],
)
def test_what_a_step_is_made_of_is_said_at_the_start(
    recipe: int,
    requested: str,
    warnings: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("SLURM_NTASKS", requested)
    run = replace(RUN, batch_size=4, accumulate=2, steps=1, global_batch=recipe)
    trainer, source = workers.noise_trainer("prior", run, tmp_path)
    with caplog.at_level("INFO"):
        trainer.run_all(source)
    line = f"1 processes x 4 samples x 2 accumulated = 8 samples a step; the recipe's: {recipe}"
    assert line in caplog.text
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(said) == len(warnings)
    assert all(words in text for words, text in zip(warnings, said, strict=True))


def test_the_shares_of_a_step_equal_the_whole_batch(tmp_path: Path) -> None:
    whole, source = workers.noise_trainer("prior", RUN, tmp_path / "whole")
    shared = replace(RUN, batch_size=2, accumulate=4)
    parts, _ = workers.noise_trainer("prior", shared, tmp_path / "parts")
    whole.gradients(source)
    parts.gradients(source)
    gradients = [
        [p.grad for p in trainer.parameters if p.grad is not None] for trainer in (parts, whole)
    ]
    assert relative_error(*gradients) < 1e-5
