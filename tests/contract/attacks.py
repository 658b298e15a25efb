"""What a workflow can put into the inputs of the nodes; runs in the host's process.

The files that the attacks name are there: a node that opens one, or asks for its size, is caught by
the functions that every way to the disk ends in.
"""

from __future__ import annotations

import asyncio
import builtins
import importlib
import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hosts import PACK, ROOT, load_pack

SECRET = "outside-of-all-folders"
PEOPLE = ROOT / "pcdm_core" / "weights" / "examples"
EIGHTEEN_LINES = "0.5 0.5\n" * 18
LOADERS = {"PCDMLoadPrior", "PCDMLoadInpainting", "PCDMLoadRefining", "PCDMLoadEncoders"}


def facts() -> dict[str, Any]:
    """Every attack on every input: node, input, attack, how it ended, its words, paths touched."""
    with tempfile.TemporaryDirectory() as base:
        return facts_below(Path(base))


def facts_below(base: Path) -> dict[str, Any]:
    """`facts`, with the host's folders and the files outside them below one folder."""
    host = importlib.import_module("folder_paths")
    host.models_dir = str(base / "models")
    host.set_input_directory(str(base / "input"))
    pack = load_pack(ROOT, PACK)

    async def listed() -> list[Any]:
        return await (await pack.comfy_entrypoint()).get_node_list()

    nodes = asyncio.run(listed())
    files = hostile_files(base / SECRET)
    folders = dict.fromkeys(("file", "keypoints"), base / "input")
    folders |= dict.fromkeys(("weights", "global_encoder"), base / "models" / "pcdm")
    folders["person"] = PEOPLE
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[list[Any]] = []
    watch = Watch()
    inputs = [(node, item) for node in nodes for item in node.define_schema().inputs]
    for node, item in inputs:
        defaults = {other.id: default_of(other) for other in node.define_schema().inputs}
        for name, value in attacks(item, files, folders.get(item.id, base)).items():
            for function, call in calls(node, item.id, value, defaults).items():
                attack = f"{name}, {function}"
                rows.append([node.__name__, item.id, attack, *watch.run(call)])
    return {"rows": rows, "inputs": [[node.__name__, *describe(item)] for node, item in inputs]}


def describe(item: Any) -> list[Any]:
    """An input's id and what its widget allows."""
    return [item.id, list(getattr(item, "options", None) or []), *bounds(item)]


def bounds(item: Any) -> list[Any]:
    numeric = item.get_io_type() in ("INT", "FLOAT")
    return [numeric, getattr(item, "min", None), getattr(item, "max", None)]


def hostile_files(folder: Path) -> dict[str, Path]:
    """Files that a node would gladly read, where it must not look."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: folder / name for name in ("pose.txt", "x.safetensors", "y.safetensors")}
    files["pose.txt"].write_text(EIGHTEEN_LINES, encoding="utf-8")
    files["x.safetensors"].write_bytes(b"root:x:0:0:" * 9)
    index = {"weight_map": {"a": "x.safetensors"}}
    (folder / "y.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    shutil.copytree(PEOPLE / "000000", folder / "person", dirs_exist_ok=True)
    files["person"] = folder / "person"
    return files


def attacks(item: Any, files: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Values by name that the input must not take."""
    values: dict[str, Any] = {}
    if getattr(item, "options", None) is not None or item.id == "keypoints":
        for file in files.values():
            relative = os.path.relpath(file, folder)
            values[f"absolute {file.name}"] = str(file)
            values[f"relative {file.name}"] = relative
            values[f"by a folder and back {file.name}"] = f"x/../{relative}"
            values[f"annotated {file.name}"] = f"../{SECRET}/{file.name} [input]"
        path = str(files["pose.txt"])
        values |= {"NUL": f"{path}\0.json", "line end": f"{path}\n", "long": "../" * 3000 + path}
        values |= {"backslash": f"..\\{SECRET}\\pose.txt", "drive": f"C:\\{SECRET}\\pose.txt"}
        values |= {"share": f"\\\\{SECRET}\\x", "a list": [path], "an object": {"path": path}}
    if getattr(item, "options", None) is not None:
        values |= {"empty": "", "point": ".", "number": 7, "None": None}
    if item.get_io_type() == "STRING":
        values |= {"number": 7, "None": None, "a list": ["x"]}
    if bounds(item)[0]:
        low, high = item.min, item.max
        values |= {"below": low - 1, "above": high + 1, "far above": 10**30, "NaN": float("nan")}
        values |= {"infinity": float("inf"), "text": "64", "None": None, "a list": [64]}
    return values


def default_of(item: Any) -> Any:
    options = getattr(item, "options", None)
    default = getattr(item, "default", None)
    return options[0] if default is None and options else default


def calls(
    node: Any, name: str, value: Any, defaults: dict[str, Any]
) -> dict[str, Callable[[], Any]]:
    """The ways into a node: as it runs, and what the host asks of it before."""
    functions = {
        key for kind in node.__mro__ if kind.__module__.startswith(PACK) for key in vars(kind)
    }
    ways = {"execute": lambda: node.execute(**{**defaults, name: value})}
    for function in ("validate_inputs", "fingerprint_inputs"):
        if function in functions:
            names = getattr(node, function).__func__.__code__.co_varnames
            if name in names or function == "fingerprint_inputs":
                ways[function] = lambda f=function: getattr(node, f)(**{name: value})
    return ways


class Watch:
    """Runs a call and notes every path with the secret in it that comes near the disk."""

    PLACES = (
        (os, ("stat", "lstat", "open", "readlink", "listdir", "scandir", "access")),
        (builtins, ("open",)),
        (io, ("open",)),
        (os.path, ("isfile", "isdir", "exists", "getsize", "getmtime", "realpath")),
    )

    def __init__(self) -> None:
        self.touched: list[str] = []
        for module, names in self.PLACES:
            for name in names:
                setattr(module, name, self._watched(getattr(module, name)))

    def _watched(self, real: Any) -> Any:
        def watched(*arguments: Any, **options: Any) -> Any:
            if arguments and SECRET in str(arguments[0]):
                self.touched.append(str(arguments[0]))
            return real(*arguments, **options)

        return watched

    def run(self, call: Callable[[], Any]) -> tuple[str, str, list[str]]:
        """How it ended, in which words, and what was touched."""
        self.touched.clear()
        try:
            ended, words = "returned", repr(call())
        except Exception as error:
            ended, words = type(error).__name__, str(error)
        return ended, words[:2000], list(self.touched)
