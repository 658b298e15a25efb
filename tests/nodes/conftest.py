"""A real ComfyUI in this process, from the folder that COMFYUI_PATH names."""

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACK = "pcdm_pack"


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


def load_pack(folder: Path, name: str) -> ModuleType:
    """The folder as a package, as ComfyUI loads what lies in custom_nodes."""
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def comfyui_path() -> Path:
    """The ComfyUI under test; without one the test is skipped, and says so."""
    given = os.environ.get("COMFYUI_PATH")
    if not given:
        pytest.skip("COMFYUI_PATH is not set")
    path = Path(given).resolve()
    assert (path / "comfy" / "samplers.py").is_file(), f"COMFYUI_PATH={given}: no ComfyUI is there"
    return path


@pytest.fixture(scope="session")
def host(comfyui_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """ComfyUI on the CPU with a base folder of its own, and the pack."""
    base = tmp_path_factory.mktemp("comfyui")
    sys.path.insert(0, str(comfyui_path))
    arguments = importlib.import_module("comfy.cli_args").args
    arguments.cpu = True
    arguments.base_directory = str(base)
    load_pack(ROOT, PACK)
    return Host(comfyui_path, base)
