"""Several processes make the steps that one makes, and the shares of a step add up to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from training.config import StageRun

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


def together(name: str, processes: int, folder: Path) -> list[dict[str, list[Tensor]]]:
    port = workers.free_port()
    team = [
        workers.start(workers.take_part, name, RUN, rank, processes, port, folder)
        for rank in range(processes)
    ]
    for process in team:
        process.join()
        assert process.exitcode == 0
    paths = [folder / f"{processes}_{rank}.pt" for rank in range(processes)]
    return [torch.load(path, weights_only=True) for path in paths]


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest error of a tensor over the norm of all of them."""
    whole = torch.cat([tensor.flatten() for tensor in expected]).norm()
    errors = [(a - b).norm() / whole for a, b in zip(found, expected, strict=True)]
    return float(torch.stack(errors).max())


@pytest.mark.parametrize("name", ["prior", "inpainting"])
def test_two_processes_equal_one_with_the_joined_batch(name: str, tmp_path: Path) -> None:
    (alone,) = together(name, 1, tmp_path)
    first, second = together(name, 2, tmp_path)
    assert len(alone["gradients"]) == len(alone["weights"]) > 10
    for part in (first, second):
        assert relative_error(part["gradients"], alone["gradients"]) < 1e-5
        assert relative_error(part["weights"], alone["weights"]) < 1e-5
    for ours, theirs in zip(first["weights"], second["weights"], strict=True):
        assert torch.equal(ours, theirs)
    # The steps did something, or the comparison would say nothing.
    start = [p.detach() for p in workers.noise_stage(name, RUN).parameters()]
    assert relative_error(alone["weights"], start) > 1e-4


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
