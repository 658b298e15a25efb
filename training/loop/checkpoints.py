"""Checkpoints of a run: whole or not there, checked when they are read, the last few kept.

A checkpoint is one file, `step_00001234.<digest>.pt`. It is written under another name in the same
folder, synchronised to the disk and renamed: a process that is killed at any moment leaves the
checkpoints before it as they were. The digest is that of the file's content, so that a truncated
or altered file is told from a whole one.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcdm_core.files import file_hash, replace_file

logger = logging.getLogger(__name__)

FORMAT = 2
_NAME = re.compile(r"step_(?P<step>\d{8,})\.(?P<digest>[0-9a-f]{16})\.pt")
_PART = ".part"


class ResumeError(ValueError):
    """A run cannot go on from its checkpoint; the message says which file, why, and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """One file, and what its name says of it."""

    path: Path
    step: int
    digest: str


def _digest(path: Path) -> str:
    return file_hash(path)[:16]


def _synchronise(folder: Path) -> None:
    """Make a rename last through a loss of power, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


class CheckpointFolder:
    """The checkpoints of one stage's run."""

    def __init__(self, folder: Path, keep: int = 2) -> None:
        """`keep` is how many of the newest stay; at least 1."""
        if keep < 1:
            raise ValueError(f"keep_checkpoints is at least 1, got {keep}.")
        self.folder = folder
        self.keep = keep

    def every(self) -> list[Checkpoint]:
        """What is there, oldest first."""
        checkpoints = [
            Checkpoint(path, int(match["step"]), match["digest"])
            for path in self.folder.glob("step_*.pt")
            if (match := _NAME.fullmatch(path.name))
        ]
        return sorted(checkpoints, key=lambda checkpoint: checkpoint.step)

    def save(self, state: dict[str, Any], step: int) -> Path:
        """Write a checkpoint and remove those that are older than the last `keep`.

        Raises:
            OSError: it cannot be written (a full disk, say); those before it are untouched.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob(f".step_*{_PART}"):  # of a process that was killed
            stale.unlink(missing_ok=True)
        temporary = self.folder / f".step_{step:08d}.{os.getpid()}{_PART}"
        try:
            with temporary.open("wb") as file:
                torch.save({**state, "format": FORMAT, "step": step}, file)
                file.flush()
                os.fsync(file.fileno())
            path = self.folder / f"step_{step:08d}.{_digest(temporary)}.pt"
            replace_file(temporary, path)
            _synchronise(self.folder)
        except (OSError, RuntimeError) as error:  # torch's writer turns some of the former into it
            temporary.unlink(missing_ok=True)
            raise OSError(self._unwritten(step, error)) from error
        self._prune(path, step)
        return path

    def _prune(self, newest: Path, step: int) -> None:
        """Leave `newest` and the last ones before it; what is not before it was given up."""
        others = [checkpoint for checkpoint in self.every() if checkpoint.path != newest]
        before = [checkpoint for checkpoint in others if checkpoint.step < step]
        rest = before[-(self.keep - 1) :] if self.keep > 1 else []
        for checkpoint in others:
            if checkpoint not in rest:
                checkpoint.path.unlink(missing_ok=True)

    def _unwritten(self, step: int, error: Exception) -> str:
        before = self.every()
        last = (
            f"The last checkpoint, {before[-1].path.name}, is intact" if before else "There is none"
        )
        return (
            f"{self.folder}: the checkpoint of step {step} could not be written ({error}). {last}; "
            f"make room on the disk and start the same command again."
        )

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint's content on the CPU, or None where there is none.

        Raises:
            ResumeError: it is damaged, or written by another version.
        """
        checkpoints = self.every()
        if not checkpoints:
            return None
        newest = checkpoints[-1]
        try:
            if _digest(newest.path) != newest.digest:
                raise ResumeError("its content is not what was written")
            state = torch.load(newest.path, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise ResumeError(self._unusable(newest, checkpoints[:-1], str(error))) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            reason = "no checkpoint of training, or one of another version"
            raise ResumeError(self._unusable(newest, checkpoints[:-1], reason))
        logger.info("read the checkpoint %s", newest.path)
        return state

    @staticmethod
    def _unusable(newest: Checkpoint, before: list[Checkpoint], reason: str) -> str:
        advice = "to start this stage again"
        if before:
            advice = f"to go on from the one before, {before[-1].path.name}"
        return (
            f"{newest.path}: cannot be resumed ({reason}). Delete it {advice}, or restore the file."
        )
