"""ComfyUI's way in: offers the nodes when the host loads this folder, and is empty otherwise."""

import logging
from importlib.util import find_spec
from pathlib import Path

if find_spec("comfy_api") is not None:
    needed = ("diffusers", "transformers", "safetensors", "einops", "PIL")
    missing = [name for name in needed if find_spec(name) is None]
    if missing:
        logging.getLogger(__name__).warning(
            "PCDM: the nodes are not there, because ComfyUI's Python lacks %s. Install with that "
            "Python: python -m pip install -r %s",
            ", ".join(missing),
            Path(__file__).parent / "requirements.txt",
        )
    else:
        from .nodes import comfy_entrypoint

        WEB_DIRECTORY = "./web"  # the pose editor's script
        __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
