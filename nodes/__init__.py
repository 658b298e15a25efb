"""The ComfyUI side of the pack; only files of this folder import the host."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io


class PCDMExtension(ComfyExtension):
    """What the pack offers to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """The table of contents."""
        return []


async def comfy_entrypoint() -> PCDMExtension:
    """Called by ComfyUI when it loads the pack."""
    return PCDMExtension()
