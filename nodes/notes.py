"""What users should know is shown on the node itself, and stands in the log and the history."""

from __future__ import annotations

import logging
import sys
from collections.abc import Container
from typing import Any

from comfy_api.latest import io

REPORT_TOOLTIP = "What was recognised and what was guessed, in words. The node shows it too."

EXAMPLE = "PCDMExamplePerson"
_INPAINTING = ("PCDMInpaintingSampler", "PCDMInpaintingConditioning")

_told: set[str] = set()  # nodes that show a note


def note_pictures(node: type[io.ComfyNode], pictures: int, batch: int) -> str:
    """What to tell where the inpainting stage before a node's `coarse` has other `pictures`.

    The node's schema must have `io.Hidden.prompt`: the graph says what a batch does not.

    Args:
        pictures: of the node itself.
        batch: of the coarse pictures. Where it is no multiple of the stage's number, somebody has
            chosen among them, and the numbers may differ.
    """
    for other in _pictures_before(node):
        if isinstance(other, int) and other != pictures and batch % other == 0:  # or it is a link
            return (
                f"pictures is {pictures} here and {other} in the inpainting stage, so the pictures "
                f"of a pose do not get the noises of their numbers here. Set it to {other}."
            )
    return ""


def note_example(node: type[io.ComfyNode]) -> list[str]:
    """What to tell where a node's `source_pose` came with an example person, and `source` did not.

    The node's schema must have `io.Hidden.prompt`.
    """
    # What goes through the editor was drawn by hand.
    examples = dict(nearest_before(node, "source_pose", (EXAMPLE, "PCDMPoseEditor")))
    examples = {number for number, entry in examples.items() if entry["class_type"] == EXAMPLE}
    if not examples or examples & dict(nearest_before(node, "source", (EXAMPLE,))).keys():
        return []
    return [
        "source_pose came with an example person, but source is another picture. Connect the pose "
        "of this picture, as PCDM Pose from Image finds it."
    ]


def _pictures_before(node: type[io.ComfyNode]) -> list[Any]:
    """`pictures` of the nearest inpainting stages along the links before the input `coarse`."""
    stages = nearest_before(node, "coarse", _INPAINTING)
    return [entry.get("inputs", {}).get("pictures") for _, entry in stages]


def nearest_before(
    node: type[io.ComfyNode], name: str, classes: Container[str]
) -> list[tuple[str, dict[str, Any]]]:
    """The nearest nodes of some classes along the links before an input: numbers and entries.

    The node's schema must have `io.Hidden.unique_id` and `io.Hidden.prompt`.
    """
    prompt = getattr(node.hidden, "prompt", None) or {}
    entry = prompt.get(str(getattr(node.hidden, "unique_id", None)), {})
    links, visited = [entry.get("inputs", {}).get(name)], set[str]()
    nearest: list[tuple[str, dict[str, Any]]] = []
    while links:
        link = links.pop()
        number = link[0] if isinstance(link, list) and len(link) == 2 else None
        if not isinstance(number, str) or number in visited or number not in prompt:
            continue
        visited.add(number)
        if prompt[number].get("class_type") in classes:
            nearest.append((number, prompt[number]))
        else:
            links += prompt[number].get("inputs", {}).values()
    return nearest


def tell(node: type[io.ComfyNode], *notes: str, fact: str = "") -> dict[str, Any] | None:
    """Show notes on the running node and log them; empty ones take the last ones away.

    The node's schema must have `io.Hidden.unique_id`.

    Args:
        fact: what is shown before the notes and is no warning.

    Returns:
        What the node gives as `ui`, from where the note comes to the history of the run.
    """
    note = " ".join(filter(None, notes))
    if note:
        logging.getLogger(__name__).warning(note)
    return show(node, " ".join(filter(None, (fact, note))))


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
