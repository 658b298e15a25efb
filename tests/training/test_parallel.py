"""Several processes make the steps that one makes, and the shares of a step add up to it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training.config import StageRun
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


def together(
    name: str,
    processes: int,
    folder: Path,
    run: StageRun = RUN,
    sharded: bool = False,
) -> list[dict[str, Any]]:
    port = workers.free_port()
    folder.mkdir(exist_ok=True)
    team = [
        workers.start(workers.take_part, name, run, rank, processes, port, folder, sharded)
        for rank in range(processes)
    ]
    for process in team:
        process.join()
        assert process.exitcode == 0
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
