"""What users should know is shown on the node itself, and stands in the log and the history."""

from __future__ import annotations

import logging
import sys
from typing import Any

from comfy_api.latest import io

from ..pcdm_core.config import Preset

REPORT_TOOLTIP = "What was recognised and what was guessed, in sentences; the node shows it too."

_told: set[str] = set()  # nodes that show a note


def note_hands(preset: Preset, *poses: Any) -> str:
    """What to tell a user whose hands are left out."""
    if preset.inpainting.draws_hands or not any(pose.has_hands for pose in poses):
        return ""
    return f"The {preset.name} preset does not draw hands: hand key points were left out."


def tell(node: type[io.ComfyNode], note: str) -> dict[str, Any] | None:
    """Show a note on the running node and log it; an empty one takes the last one away.

    The node's schema must have `io.Hidden.unique_id`.

    Returns:
        What the node gives as `ui`, from where the note comes to the history of the run.
    """
    if note:
        logging.getLogger(__name__).warning(note)
    return show(node, note)


def show(node: type[io.ComfyNode], text: str) -> dict[str, Any] | None:
    """`tell` without the log, for what is no warning."""
    number = str(getattr(node.hidden, "unique_id", None) or "")
    server = getattr(sys.modules.get("server"), "PromptServer", None)
    running = getattr(server, "instance", None)
    if running is not None and number and (text or number in _told):
        running.send_progress_text(text, number, running.client_id)
    if not text:
        _told.discard(number)
        return None
    _told.add(number)
    return {"text": [text]}
