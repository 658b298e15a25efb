"""Real rendered people, small enough for every test."""

from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator

from pcdm_core.config import Preset
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import save_tiny_weights
from training.data.in_memory import People, load_people
from training.synthetic.__main__ import main as render


@pytest.fixture(scope="session")
def preset() -> Preset:
    """Random weights of the real classes at the smallest widths."""
    return PRESETS["test"]


@pytest.fixture(scope="session")
def people_folder(tmp_path_factory: pytest.TempPathFactory, preset: Preset) -> Path:
    """Five people in four views each, of the training split."""
    folder = tmp_path_factory.mktemp("people")
    size = f"{preset.height}x{preset.width}"
    arguments = ["--out", str(folder), "--split", "train", "--identities", "5", "--views", "4"]
    render([*arguments, "--size", size, "--workers", "1"])
    return folder


@pytest.fixture(scope="session")
def people(people_folder: Path, preset: Preset) -> People:
    """The rendered people in memory, without global embeddings."""
    return load_people(people_folder, "train", preset)


@pytest.fixture(scope="session")
def accelerator() -> Accelerator:
    """One process on the CPU."""
    return Accelerator(cpu=True)


@pytest.fixture(scope="session")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the test preset in a folder."""
    return save_tiny_weights(tmp_path_factory.mktemp("teacher"))
