"""From an empty canvas to a picture with three nodes, found in the search and connected by hand.

`PCDM_SCREENSHOTS=FOLDER` keeps a picture of the screen, to be looked at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.editor import Editor
from tests.browser.test_app import pause
from tests.browser.test_dropped_workflows import DARK
from tests.workflows.conftest import Server
from tests.workflows.test_pose_workflows import needs_runtime
from tests.workflows.test_templates import own_picture
from tests.workflows.test_workflows import has_shipped

NODES = {"Load Image": (120, 200), "Person in a new pose": (480, 200), "Save Image": (980, 200)}
SEARCH = "document.activeElement?.matches('input') && document.activeElement.value"

#: Where a socket of the node at a place of the graph is on the screen.
SOCKET = """
((place, isInput, name) => {
  // A node that was clicked is moved to the front of them all.
  const node = [...app.graph.nodes].sort((a, b) => a.id - b.id)[place]
  const slot = (isInput ? node.inputs : node.outputs).findIndex((socket) => socket.name === name)
  const [x, y] = isInput ? node.getInputPos(slot) : node.getOutputPos(slot)
  const { scale, offset } = app.canvas.ds
  const { left, top } = app.canvas.canvas.getBoundingClientRect()
  return [left + (x + offset[0]) * scale, top + (y + offset[1]) * scale]
})(%d, %s, %s)
"""


@pytest.mark.skipif(not has_shipped(), reason="the shipped weights are not in this checkout")
@needs_runtime
def test_three_nodes_lead_from_an_empty_canvas_to_a_picture(
    opened: Editor, server: Server, style: str, tmp_path: Path
) -> None:
    page = opened.page
    if not page.run("fetch('/global_subgraphs').then((reply) => reply.ok)"):
        pytest.skip("this ComfyUI has no blueprints")
    page.errors.clear()
    page.run("app.graph.clear(); pcdm.look(1)")
    for count, (name, place) in enumerate(NODES.items(), 1):
        page.click(1320, 560, count=2)
        page.wait(f"{SEARCH} === ''", 30)
        page.mouse("mouseMoved", 300, 960)  # what lies under the mouse would be chosen
        for letter in name:
            page.key(letter)
        page.wait(f"{SEARCH} === {json.dumps(name)}", 30)
        pause(page, 1500)
        page.key("Enter")
        page.wait(f"app.graph.nodes.length === {count}", 30)
        pause(page, 500)
        page.click(700, 500)  # newer front ends hold the node at the mouse until it is put down
        page.run(
            f"app.graph.nodes.at(-1).pos = {json.dumps(place)}; app.canvas.setDirty(true, true)"
        )
    picture = json.dumps(own_picture(server))
    page.run(
        "((widget, file) => { widget.value = file; widget.callback?.(file) })"
        f"(app.graph.nodes[0].widgets.find(({{ name }}) => name === 'image'), {picture})"
    )
    for start, output, name in ((0, "IMAGE", "person"), (1, "picture", "images")):
        pause(page, 1000)
        ends = [
            page.run(SOCKET % (place, side, json.dumps(socket)))
            for place, side, socket in ((start, "false", output), (start + 1, "true", name))
        ]
        page.drag(*ends)
        page.wait(f"Object.keys(app.graph.serialize().links).length === {start + 1}", 10)
    opened.run()
    page.wait(f"({DARK.strip()}).length === 0", 60)
    folder = Path(os.environ.get("PCDM_SCREENSHOTS", tmp_path))
    page.screenshot(folder / f"three_nodes_{style}.png")
    assert page.errors == []
