"""The pack in a host whose diffusers is too old to be imported; runs in the host's process."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any

from tests.contract.facts import results
from tests.hosts import PACK, ROOT, load_pack

VERSION = "0.31.0"


class Sentences(logging.Handler):
    """What the pack logs as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.sentences.append(record.getMessage())


def facts() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        information = Path(folder) / f"diffusers-{VERSION}.dist-info"
        information.mkdir()
        text = f"Metadata-Version: 2.1\nName: diffusers\nVersion: {VERSION}\n"
        (information / "METADATA").write_text(text, encoding="utf-8")
        broken = "raise ImportError('too old')\n"
        (Path(folder) / "diffusers.py").write_text(broken, encoding="utf-8")
        sys.path.insert(0, folder)
        importlib.invalidate_caches()
        assert metadata.version("diffusers") == VERSION
        return facts_of_pack()


def facts_of_pack() -> dict[str, Any]:
    log = Sentences()
    logging.getLogger().addHandler(log)
    pack = load_pack(ROOT, PACK)

    async def listed() -> list[Any]:
        return await (await pack.comfy_entrypoint()).get_node_list()

    nodes = {node.GET_SCHEMA().node_id: node for node in asyncio.run(listed())}
    return {
        "log": log.sentences,
        "results": results(nodes),
        "validated": nodes["PCDMLoadInpainting"].validate_inputs("mini (shipped)"),
        "missing": missing(),
    }


def missing() -> str:
    """The sentence where transformers is not there at all."""
    requirements = importlib.import_module(f"{PACK}.nodes.requirements")
    version = metadata.version

    def without(name: str) -> str:
        if name == "transformers":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    metadata.version = without
    requirements.unmet.cache_clear()
    return requirements.unmet()
