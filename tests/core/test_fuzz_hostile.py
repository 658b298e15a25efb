"""Files that were made to harm, of fixed seeds: an error in a few words, and nothing else."""

import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pcdm_core.checkpoints import CheckpointError, build, convert, inspect, load_model
from pcdm_core.checkpoints.signatures import CONFIGS
from pcdm_core.config import config_from_dict
from tests.bounds import bounded
from tests.core.hostile_weights import COMPONENTS, hostile_file, odd_config

Cases = Callable[[int, int], int]
LEAST = 500  # MiB, of a file whose tenfold is less


def in_bounds(path: Path, action: Callable[[Path], Any]) -> str:
    """What the error says, or nothing; its memory is at most 10 times the file or 500 MB."""
    with bounded(max(LEAST, 10 * path.stat().st_size >> 20)):
        try:
            action(path)
        except CheckpointError as error:
            return str(error)
    return ""


def converted(path: Path) -> None:
    convert(path, path.with_name("out.safetensors"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_hostile_weights_are_refused_by_name_in_a_few_words(tmp_path: Path, cases: Cases) -> None:
    count = cases(120, 1500)
    refused = 0
    for seed in range(count):
        folder = tmp_path / str(seed)
        folder.mkdir()
        path = hostile_file(folder, seed)
        size = path.stat().st_size
        for action in (inspect, load_model, converted):
            words = in_bounds(path, action)
            assert not words or path.name in words, seed
            assert len(words.encode()) < 2000 + len(str(path)), seed
            assert words.isprintable(), seed
        refused += bool(words)
        assert path.stat().st_size == size
        assert not (folder / "ran").exists(), seed
        for one in folder.iterdir():
            one.unlink()
    assert refused > count * 0.7


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_configuration_is_refused_or_one_of_a_network(component: Any, cases: Cases) -> None:
    refused = 0
    for seed in range(cases(40, 150)):
        config = None
        with suppress(ValueError):
            config = config_from_dict(
                CONFIGS[component], odd_config(component, random.Random(seed))
            )
        refused += config is None
        if config is not None:
            with bounded(LEAST):
                build(component, config, "meta")
    assert refused > 20
