"""A ComfyUI server of its own, with the pack in its custom_nodes, for the tests over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.server import Server, running
from tests.core.tiny_pipeline import save_tiny_weights
from tests.nodes.conftest import comfyui_path

__all__ = ["Server", "comfyui_path", "server"]

OPTIONS = ("--preview-method", "latent2rgb", "--use-pytorch-cross-attention")


@pytest.fixture(scope="session")
def server(comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The host on a free port, ended with the tests."""
    base = tmp_path_factory.mktemp("server")
    weights = base / "models" / "pcdm" / "test"
    weights.mkdir(parents=True)
    save_tiny_weights(weights)
    names = ("a-pack-of-any-name", "second-copy")
    with running(comfyui_path, base, options=OPTIONS, names=names) as started:
        yield started
