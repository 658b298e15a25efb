"""What a run leaves for people to look at."""

from __future__ import annotations

import json
import logging
import os
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from training.commands.train_mini import main
from training.config import StageRun, TrainConfig
from training.loop.run_log import RunLog, locked_run, record_run

from . import workers

CONFIGS = Path(__file__).parents[2] / "training" / "configs"


def test_the_lines_of_repeated_steps_are_in_the_log_once(tmp_path: Path) -> None:
    log = RunLog(tmp_path, total=10)
    for step in (2, 4, 6):
        log.row(step, 10, {"loss": 1.0})
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')  # killed while writing
    again = RunLog(tmp_path, step=4, total=10)
    again.row(6, 10, {"loss": 2.0})
    again.close()
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 1.0), (4, 1.0), (6, 2.0)]


@workers.posix
def test_a_second_process_is_told_who_is_at_work_in_a_folder(tmp_path: Path) -> None:
    run, ready = tmp_path / "run", tmp_path / "ready"
    process = workers.start(workers.hold, run, ready)
    while not ready.exists():
        assert process.is_alive()
        time.sleep(0.01)
    command = ["--config", str(CONFIGS / "mini.yaml"), "--out", str(run)]
    with pytest.raises(BlockingIOError, match=rf"run: process {process.pid} of .+ is at work"):
        locked_run(run).__enter__()
    assert main(command) == 2
    assert [path.name for path in run.iterdir() if not path.name.startswith(".lock")] == []
    process.kill()
    process.join()
    for _ in range(2):  # neither a killed process nor one that ended keeps the folder
        with locked_run(run):
            assert str(os.getpid()) in (run / ".lock.json").read_text()
    assert not (run / ".lock.json").exists()


def test_processes_that_train_together_share_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked_run(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with locked_run(tmp_path):
            pass


def test_a_run_records_configuration_revision_and_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(stages={"prior": StageRun(steps=7)})
    loggers = [logging.getLogger(name) for name in ("training", "__main__")]
    before = [list(logger.handlers) for logger in loggers]
    record_run(tmp_path, config, ["train", "prior"])
    record_run(tmp_path, config, ["train", "prior"])
    loggers[0].warning("something to remember")
    loggers[1].warning("and this")
    for logger, handlers in zip(loggers, before, strict=True):
        for handler in set(logger.handlers) - set(handlers):
            handler.close()
            logger.removeHandler(handler)
    first, second = (json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines())
    assert first["configuration"]["stages"]["prior"]["steps"] == 7
    assert first["environment"]["packages"]["torch"]
    assert set(first) == {"started", "command", "revision", "configuration", "environment"}
    assert second["command"] == ["train", "prior"]
    remembered = (tmp_path / "run.log").read_text()
    assert "something to remember" in remembered
    assert "and this" in remembered
    monkeypatch.setenv("RANK", "1")
    record_run(tmp_path / "other", config, [])
    assert not (tmp_path / "other").exists()


def test_other_processes_show_and_write_nothing(tmp_path: Path) -> None:
    log = RunLog(tmp_path / "none", total=3, enabled=False, trackers=["tensorboard"])
    log.row(1, 3, {"loss": 1.0})
    log.advance()
    log.close()
    assert not (tmp_path / "none").exists()


def test_a_tracker_that_is_not_installed_is_named(tmp_path: Path) -> None:
    if find_spec("wandb"):
        pytest.skip("wandb is installed")
    with pytest.raises(ValueError, match=r"wandb cannot be used .*pip install wandb"):
        RunLog(tmp_path / "prior", total=3, trackers=TrainConfig(wandb=True).trackers)


def test_tensorboard_gets_numbers_and_sheets_by_accelerates_tracker(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for step in (0, 2):  # the second goes on after step 2
        log = RunLog(tmp_path / "prior", step=step, total=4, trackers=["tensorboard"])
        for number in range(step + 1, step + 3):
            log.row(number, 4, {"loss": float(number)})
        log.picture("prior", step + 2, np.zeros((8, 4, 3), np.uint8))
        log.close()
    events = EventAccumulator(str(tmp_path / "prior/tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(n, n) for n in range(1, 5)]
    assert [(e.step, e.height, e.width) for e in events.Images("prior")] == [(2, 8, 4), (4, 8, 4)]
