"""A ComfyUI server of its own, with the pack in its custom_nodes, for the tests over HTTP."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.server import Server, running
from tests.core.tiny_pipeline import save_tiny_weights
from tests.nodes.conftest import comfyui_path

__all__ = ["Server", "comfyui_path", "server", "serving"]

OPTIONS = ("--preview-method", "latent2rgb", "--use-pytorch-cross-attention")


@contextmanager
def serving(
    comfyui: Path, base: Path, options: Sequence[str] = ()
) -> Generator[Server, None, None]:
    """The host on a free port with the pack in it twice, and tiny weights; ended with the block."""
    weights = base / "models" / "pcdm" / "test"
    weights.mkdir(parents=True)
    save_tiny_weights(weights)
    names = ("a-pack-of-any-name", "second-copy")
    with running(comfyui, base, options=(*OPTIONS, *options), names=names) as started:
        yield started


@pytest.fixture(scope="session")
def server(comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The host as it is, ended with the tests."""
    with serving(comfyui_path, tmp_path_factory.mktemp("server")) as started:
        yield started
