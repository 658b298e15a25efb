"""Records what ComfyUI says of the nodes in the shipped workflows, for comfy-lint.

`COMFYUI_PATH=<folder of a ComfyUI> python -m tests.registry.object_info` writes
tests/golden/object_info.json anew; it is recorded from the newest ComfyUI that is supported, and
whenever a node of a workflow gets another input. Kept is what comfy-lint and the tables of the
workflows read.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.server import running
from tests.hosts import ROOT, comfyui_folder
from tests.workflows.templates import kinds

FILE = ROOT / "tests" / "golden" / "object_info.json"


def main() -> None:
    """Start the host that COMFYUI_PATH names, ask it, and write the file."""
    with (
        tempfile.TemporaryDirectory() as base,
        running(comfyui_folder(), Path(base)) as server,
    ):
        version = server.call("/system_stats")["system"]["comfyui_version"]
        everything = server.call("/object_info")
    nodes = {kind: reduced(everything[kind]) for kind in sorted(kinds())}
    text = json.dumps({"comfyui_version": version, **nodes}, indent=1)
    FILE.write_text(text + "\n", encoding="utf-8")
    print(f"{FILE}: {len(nodes)} nodes of ComfyUI {version}")


def reduced(info: dict[str, Any]) -> dict[str, Any]:
    """Names and types of a node's inputs and outputs, and what combos offer."""
    kinds = {kind: info["input"].get(kind, {}) for kind in ("required", "optional")}
    inputs = {
        kind: {name: [type_of(spec), *options_of(spec)] for name, spec in declared.items()}
        for kind, declared in kinds.items()
    }
    return {"input": inputs, "output": info["output"], "output_name": info["output_name"]}


def type_of(spec: list[Any]) -> str | list[Any]:
    """A type's name; of a combo its choices, as hosts before the newer form wrote it."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    return options["options"] if kind == "COMBO" and "options" in options else kind


def options_of(spec: list[Any]) -> list[dict[str, Any]]:
    """Of a widget: what it begins with, and whether newer front ends fold it away."""
    options = spec[1] if len(spec) > 1 else {}
    fields = {name: options[name] for name in ("default", "advanced") if name in options}
    return [fields] if fields else []


if __name__ == "__main__":
    main()
