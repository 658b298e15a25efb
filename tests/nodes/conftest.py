"""A real ComfyUI in this process, from the folder that COMFYUI_PATH names."""

import importlib
from pathlib import Path
from typing import Any

import pytest

from tests.hosts import PACK, ROOT, comfyui_folder, enter_comfyui, load_pack


class Host:
    """ComfyUI's modules, and the pack's as ComfyUI would import them (below one package)."""

    def __init__(self, path: Path, base: Path) -> None:
        self.path, self.base = path, base

    def comfy(self, name: str) -> Any:
        """A module of ComfyUI by its full name."""
        return importlib.import_module(name)

    def pack(self, name: str) -> Any:
        """A module of the pack, such as `nodes.loaders` or `pcdm_core.config`."""
        return importlib.import_module(f"{PACK}.{name}")


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    """The ComfyUI under test; without one the test is skipped, and says so."""
    return comfyui_folder()


@pytest.fixture(scope="session")
def host(comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """ComfyUI on the CPU with a base folder of its own, and the pack."""
    base = tmp_path_factory.mktemp("comfyui")
    enter_comfyui(comfyui_path, base)
    load_pack(ROOT, PACK)
    return Host(comfyui_path, base)
