"""ComfyUI's way in: offers the nodes when the host loads this folder, and is empty otherwise."""

import logging
from importlib.util import find_spec

if find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint
    from .nodes.requirements import unmet

    if (sentence := unmet()) is not None:
        logging.getLogger(__name__).warning(sentence)

    WEB_DIRECTORY = "./web"  # the pose editor's script
    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
