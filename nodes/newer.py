"""Fields of ComfyUI's node API that 0.3.64 does not have: given where the host knows them."""

from __future__ import annotations

from inspect import signature
from typing import Any

from comfy_api.latest import io

# Of an input: front ends fold it away until it is asked for (hosts from 0.9.2).
ADVANCED: dict[str, Any] = (
    {"advanced": True} if "advanced" in signature(io.Int.Input).parameters else {}
)
_HAS_ALIASES = "search_aliases" in signature(io.Schema).parameters


def search_aliases(english: str, chinese: str) -> dict[str, Any]:
    """Of a schema: what people type who look for the node, between commas (hosts from 0.11.0)."""
    return {"search_aliases": f"{english}, {chinese}".split(", ")} if _HAS_ALIASES else {}
