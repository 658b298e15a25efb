"""Worker processes that are spawned, as on Windows and macOS, do what one process does."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch

from pcdm_core.config import Preset
from training.data.in_memory import People, load_people
from training.evaluation.held_out_pairs import PairName, shots_of
from training.evaluation.measure_pairs import submit, workers
from training.evaluation.pair_figures import figures_of_all
from training.synthetic.dataset import Job, write_dataset

SIZE = (48, 32)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands set the number of threads of their workers; nothing of it stays."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_workers_render_the_files_of_one(tmp_path: Path) -> None:
    for count in (1, 2):
        job = Job(tmp_path / str(count), "test", 2, SIZE, 0)
        assert write_dataset(job, range(2), workers=count, quiet=True) == 4
    alone = contents(tmp_path / "1")
    assert len(alone) > 4
    assert contents(tmp_path / "2") == alone


@pytest.mark.slow
def test_two_workers_read_the_people_that_one_reads(
    people_folder: Path, people: People, preset: Preset
) -> None:
    together = load_people(people_folder, "train", preset, workers=2)
    for field in fields(People):
        ours, theirs = getattr(together, field.name), getattr(people, field.name)
        if isinstance(theirs, torch.Tensor):
            assert torch.equal(ours, theirs), field.name


@pytest.mark.slow
def test_two_workers_render_and_measure_the_pairs_of_an_evaluation() -> None:
    pair = PairName(0, 3, 0, 1)
    task = (pair, None, "test", SIZE)
    with workers(2) as pool:
        assert pool is not None
        source, target = submit(pool, shots_of, *task).result()
        pictures = {"copy": source.picture}
        figures = submit(pool, figures_of_all, pictures, target).result()
    alone = submit(None, shots_of, *task).result()
    for ours, theirs in zip((source, target), alone, strict=True):
        assert np.array_equal(ours.picture, theirs.picture)
    expected = submit(None, figures_of_all, pictures, target).result()
    ours, theirs = (list(table["copy"].values()) for table in (figures, expected))
    assert np.array_equal(ours, theirs, equal_nan=True)
