"""What every test shares: one thread, no network, the folder of the checkout, and `--full`."""

import os
from collections.abc import Callable
from pathlib import Path

# Set before any test imports the libraries, which read these once.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

ROOT = Path(__file__).resolve().parents[1]
FULL = "--full"


def pytest_addoption(parser: pytest.Parser) -> None:
    about = "all cases of the fuzz and kill tests; without it the first ones of the same seeds run"
    parser.addoption(FULL, action="store_true", help=about)


@pytest.fixture(scope="session")
def root() -> Path:
    """The top folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """How many cases a fuzz or kill test runs: the first number, or the second with `--full`."""
    whole = request.config.getoption(FULL)
    return lambda part, all_of_them: all_of_them if whole else part
