"""What a person sees of a run: a progress bar, a log of numbers, trackers, and its record."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.tracking import LOGGER_TYPE_TO_CLASS
from filelock import FileLock, Timeout
from tqdm import tqdm

from pcdm_core.files import atomic_file, write_text

from ..config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "safetensors", "numpy", "pyarrow")


class RunLog:
    """One stage's progress: a bar on the terminal, `log.jsonl`, and trackers.

    A resumed run repeats the steps since its checkpoint: their lines are dropped, so that every
    step is in the log once.
    """

    def __init__(
        self,
        folder: Path,
        *,
        step: int = 0,
        total: int = 0,
        enabled: bool = True,
        trackers: Sequence[str] = (),
    ) -> None:
        """`enabled` is False on every process but the first: nothing is shown or written.

        `trackers` are names of accelerate's: tensorboard, wandb.
        """
        self.path = folder / "log.jsonl"
        self.enabled = enabled
        self.progress = tqdm(
            total=total,
            initial=step,
            desc=folder.name,
            unit="it",
            mininterval=5,
            disable=not enabled,
        )
        self.trackers: list[Any] = []
        if not enabled:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            past = [line for line in lines if _step_of(line) <= step]
            write_text(self.path, "".join(line + "\n" for line in past))
        self.trackers = [_start_tracker(name, folder, step) for name in trackers]

    def advance(self) -> None:
        """One step is done."""
        self.progress.update()

    def row(self, step: int, total: int, values: Mapping[str, float]) -> None:
        """Numbers of a step, for the log, the trackers and the bar."""
        if not self.enabled:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "of": total, **values}) + "\n")
        self.progress.total = total
        self.progress.set_postfix(loss=f"{values['loss']:.4f}")
        for tracker in self.trackers:
            tracker.log(dict(values), step)

    def picture(self, name: str, step: int, picture: np.ndarray) -> None:
        """A sheet, uint8 [H, W, 3], as PNG in `sheets/` and in the trackers."""
        if not self.enabled:
            return
        from PIL import Image

        path = self.path.parent / "sheets" / f"{name}_{step:08d}.png"
        with atomic_file(path) as file:
            Image.fromarray(picture).save(file, format="PNG")
        for tracker in self.trackers:
            layout = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
            tracker.log_images({name: picture[None]}, step, **layout)

    def close(self) -> None:
        """End the bar, and what the trackers write."""
        self.progress.close()
        for tracker in self.trackers:
            tracker.finish()


def _step_of(line: str) -> int:
    """The step of a log line; a line that a killed process left unfinished counts as after all."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return sys.maxsize


def _start_tracker(name: str, folder: Path, step: int) -> Any:
    """accelerate's tracker of that name; a resumed run goes on in it.

    Raises:
        ValueError: what it needs is not installed.
    """
    run = f"{folder.parent.name}-{folder.name}"
    identity = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    options: dict[str, dict[str, Any]] = {
        "tensorboard": {"run_name": name, "logging_dir": str(folder), "purge_step": step + 1},
        "wandb": {"run_name": "pcdm", "name": run, "id": identity, "resume": "allow"},
    }
    try:
        tracker = LOGGER_TYPE_TO_CLASS[name](**options[name])
        tracker.start()
    except ImportError as error:
        raise ValueError(
            f"{name} cannot be used ({error}). Install it with `pip install {name}`, or set "
            f"`{name}: false`."
        ) from error
    return tracker


# --- the run folder ------------------------------------------------------------------------------


@contextmanager
def locked_run(folder: Path) -> Generator[None]:
    """Keep a run's folder for this process; of several that train together the first one does it.

    The system gives the lock back when the process ends, however it ends. What `.lock.json` says
    is for people; nothing depends on it.

    Raises:
        BlockingIOError: another process has the folder; it is named.
    """
    if os.environ.get("RANK", "0") != "0":
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock, record = FileLock(folder / ".lock", timeout=0), folder / ".lock.json"
    try:
        lock.acquire()
    except Timeout:
        raise BlockingIOError(
            f"{folder}: {_holder(record)} is at work in this folder, and two would delete each "
            f"other's checkpoints. Wait until it ends, stop it, or give another --out."
        ) from None
    try:
        holder = {
            "process": os.getpid(),
            "host": socket.gethostname(),
            "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        write_text(record, json.dumps(holder) + "\n")
        yield
        record.unlink(missing_ok=True)
    finally:
        lock.release()


def _holder(record: Path) -> str:
    """Who says to have a folder, in words."""
    try:
        holder = json.loads(record.read_text(encoding="utf-8"))
        return f"process {holder['process']} of {holder['host']}, since {holder['started']},"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def git_revision() -> str | None:
    """The commit of this code, with `-changed` where files differ from it; None outside of git."""
    try:
        revision, status = (
            subprocess.run(
                ["git", *words], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
            ).stdout.strip()
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return revision + ("-changed" if status else "")


def environment() -> dict[str, Any]:
    """What the numbers of a run may depend on besides its configuration."""
    versions: dict[str, str] = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    devices = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "packages": versions,
        "devices": devices or ["cpu"],
        "threads": torch.get_num_threads(),
    }


def record_run(folder: Path, config: TrainConfig, command: list[str]) -> None:
    """Write `run.jsonl`, a line each time the run is started, and send the log to `run.log`.

    Of several processes the first one does it.
    """
    if os.environ.get("RANK", "0") != "0":
        return
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": command,
        "revision": git_revision(),
        "configuration": asdict(config),
        "environment": environment(),
    }
    path = folder / "run.jsonl"
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    write_text(path, before + json.dumps(record) + "\n")
    handler = logging.FileHandler(folder / "run.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("training", "__main__"):  # a command's own module has the latter name
        logging.getLogger(name).addHandler(handler)


@contextmanager
def open_run(
    folder: Path, config: TrainConfig, command: str, arguments: list[str] | None
) -> Generator[None]:
    """A command's run: its folder locked, its start recorded, its log on the terminal too.

    Raises:
        BlockingIOError: another process has the folder; it is named.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    with locked_run(folder):
        record_run(folder, config, [command, *(arguments or sys.argv[1:])])
        yield
