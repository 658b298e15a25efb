"""A killed run loses nothing but time; a damaged or unwritten checkpoint harms no other."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from training.config import StageRun
from training.loop.checkpoints import CheckpointFolder, ResumeError
from training.loop.trainer import Trainer

from . import workers

RUN = StageRun(
    steps=48,
    batch_size=4,
    warmup_steps=4,
    learning_rate=1e-2,
    checkpoint_steps=2,
    keep_checkpoints=2,
    log_steps=5,
)


def read(path: Path) -> dict[str, list[torch.Tensor]]:
    return torch.load(path, weights_only=True)


@pytest.mark.slow
@workers.posix
def test_a_run_killed_at_many_moments_ends_with_the_weights_of_an_uninterrupted_one(
    tmp_path: Path, cases: Callable[[int, int], int]
) -> None:
    whole = workers.start(workers.count_events, tmp_path / "whole", RUN, tmp_path / "whole.pt")
    whole.join()
    expected = read(tmp_path / "whole.pt")
    counts = expected["counts"]
    assert isinstance(counts, dict)
    draw = random.Random(5)
    # Up to four steps of 48 pass before a kill, so that 20 of them fit into the run; five kills
    # come while a checkpoint is being written, each in another fifth of that.
    kills = [(workers.ALL, draw.randint(1, 4 * counts["step"])) for _ in range(15)]
    fifth = counts["save"] // 5
    kills += [(workers.SAVE, n * fifth + draw.randint(1, fifth)) for n in range(5)]
    draw.shuffle(kills)
    kills = kills[: cases(7, len(kills))]
    folder, out = tmp_path / "killed", tmp_path / "killed.pt"
    unfinished = 0
    for kill in kills:
        process = workers.start(workers.go_on, folder, RUN, out, kill)
        process.join()
        assert process.exitcode == -signal.SIGKILL, kill
        unfinished += any(folder.glob(".step_*.part"))
    assert unfinished, "no kill came between a checkpoint's first byte and its name"
    last = workers.start(workers.go_on, folder, RUN, out, None)
    last.join()
    assert last.exitcode == 0
    for ours, theirs in zip(read(out)["weights"], expected["weights"], strict=True):
        assert torch.equal(ours, theirs)
    assert not any(folder.glob(".step_*.part"))


@workers.posix
def test_a_full_disk_is_said_and_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    out = tmp_path / "message"
    process = workers.start(workers.fill_the_disk, tmp_path / "run", RUN, 20_000, out)
    process.join()
    message = out.read_text()
    assert "the checkpoint of step 2 could not be written" in message
    assert "step_00000001" in message
    assert "make room on the disk" in message
    assert [p.name[:13] for p in (tmp_path / "run").iterdir()] == ["step_00000001"]
    trainer, _ = workers.noise_trainer("prior", RUN, tmp_path / "run")
    assert trainer.resume()
    assert trainer.step == 1


def test_the_last_checkpoints_are_kept_and_the_others_removed(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path, keep=3)
    (tmp_path / "notes.txt").write_text("kept")
    for step in range(6):
        folder.save({"weights": torch.full((3,), float(step))}, step)
    assert [checkpoint.step for checkpoint in folder.every()] == [3, 4, 5]
    state = folder.load()
    assert state is not None
    assert state["weights"].tolist() == [5.0] * 3
    assert (tmp_path / "notes.txt").exists()


@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_still_works(
    damage: str, tmp_path: Path
) -> None:
    folder = CheckpointFolder(tmp_path, keep=2)
    folder.save({"weights": torch.zeros(1000)}, 1)
    newest = folder.save({"weights": torch.ones(1000)}, 2)
    content = bytearray(newest.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 1  # one bit of a weight, which torch alone would not notice
    newest.write_bytes(content)
    with pytest.raises(ResumeError, match=r"step_00000002.*cannot be resumed.*step_00000001"):
        folder.load()
    assert newest.read_bytes() == content
    newest.unlink()
    state = folder.load()
    assert state is not None
    assert state["step"] == 1


def test_an_altered_bit_passes_unnoticed_without_the_digest(tmp_path: Path) -> None:
    # The reason for a digest of our own, so that nobody takes it for superfluous.
    path = tmp_path / "weights.pt"
    torch.save({"weights": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    place = content.index(torch.ones(8).numpy().tobytes())
    content[place] ^= 1
    path.write_bytes(content)
    changed = torch.load(path, weights_only=True)["weights"]
    assert not torch.equal(changed, torch.ones(1000))


def test_a_checkpoint_of_another_format_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = CheckpointFolder(tmp_path)
    with monkeypatch.context() as other_version:
        other_version.setattr("training.loop.checkpoints.FORMAT", 99)
        folder.save({"weights": torch.zeros(3)}, 1)
    with pytest.raises(ResumeError, match="another version"):
        folder.load()


@pytest.mark.parametrize("change", [{"batch_size": 6}, {"accumulate": 2}])
def test_a_run_is_not_resumed_with_another_global_batch(
    change: dict[str, int], tmp_path: Path, accelerator: Accelerator
) -> None:
    trainer, source = workers.noise_trainer("prior", RUN, tmp_path)
    trainer.train_step(source)
    trainer.save()
    other = StageRun(**{**vars(RUN), **change})
    fresh = Trainer(workers.noise_stage("prior", other), other, accelerator, tmp_path)
    with pytest.raises(ResumeError, match=r"global_batch 4 -> "):
        fresh.resume()


def test_the_checkpoint_of_another_model_is_refused(
    tmp_path: Path, accelerator: Accelerator
) -> None:
    trainer, source = workers.noise_trainer("prior", RUN, tmp_path)
    trainer.train_step(source)
    trainer.save()
    other = Trainer(workers.noise_stage("inpainting", RUN), RUN, accelerator, tmp_path)
    with pytest.raises(ResumeError, match="another model"):
        other.resume()
