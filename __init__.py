"""ComfyUI's way in: offers the nodes when the host loads this folder, and is empty otherwise."""

from importlib.util import find_spec

if find_spec("comfy_api") is not None:
    from .nodes import comfy_entrypoint

    __all__ = ["comfy_entrypoint"]
