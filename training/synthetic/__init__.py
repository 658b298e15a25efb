"""Synthetic people: dressed, posed, with exact key points; numpy and Pillow only."""

from __future__ import annotations

from .identity import Identity, identity_seed, make_identity
from .view import View, render_view

__all__ = ["Identity", "View", "identity_seed", "make_identity", "render_view"]
