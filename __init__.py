"""ComfyUI's way in: offers the nodes when the host loads this folder, and is empty otherwise.

This version has no package `nodes` yet, so the folder registers nothing in ComfyUI either.
"""

from importlib.util import find_spec
from pathlib import Path

if (Path(__file__).parent / "nodes" / "__init__.py").is_file() and find_spec("comfy") is not None:
    from .nodes import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
