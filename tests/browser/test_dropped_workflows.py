"""A shipped workflow dropped into the page as a new user drops it, and run by the Run button.

`PCDM_SCREENSHOTS=FOLDER` keeps a picture of the screen of each, to be looked at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.browser.editor import Editor
from tests.hosts import ROOT
from tests.workflows.conftest import Server
from tests.workflows.graph import Workflow
from tests.workflows.templates import workflows
from tests.workflows.test_workflows import PUBLISHED, has_shipped

# All but those that need files which do not ship, and the app, which has a test of its own.
TEMPLATES = [w for w in workflows() if w.stem not in (*PUBLISHED, "pcdm_app")]
NAMES = [workflow.title for workflow in TEMPLATES]

#: What the front end would send.
SENT = "app.graphToPrompt().then(({ output }) => JSON.stringify(output))"

DROP = """
((name, text) => {
  const data = new DataTransfer()
  data.items.add(new File([text], name, { type: 'application/json' }))
  const place = { clientX: 700, clientY: 500, bubbles: true, cancelable: true, dataTransfer: data }
  const canvas = document.querySelector('#graph-canvas')
  canvas.dispatchEvent(new DragEvent('dragover', place))
  canvas.dispatchEvent(new DragEvent('drop', place))
})(%s, %s)
"""

#: The nodes that are to show a picture and show none, in either way of drawing nodes.
DARK = """
app.graph.nodes
  .filter((node) => /^(Preview|Save)Image$/.test(node.comfyClass ?? node.type))
  .filter((node) => {
    const inside = document.querySelector(`[data-node-id="${node.id}"] img`)
    const images = [...(node.imgs ?? []), ...(inside ? [inside] : [])]
    return !images.some((image) => image.complete && image.naturalWidth > 0)
  })
  .map((node) => node.title)
"""

#: Titles of nodes that lie over others, with what a run shows on them.
OVERLAPS = """
(() => {
  const boxes = app.graph.nodes.map((node) => {
    const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect()
    if (drawn?.width) return [drawn.left, drawn.top, drawn.right, drawn.bottom]
    const [x, y, wide, high] = [...node.pos, ...node.size]
    return [x, y - LiteGraph.NODE_TITLE_HEIGHT, x + wide, y + high]
  })
  const over = ([left, top, right, bottom], other) =>
    left < other[2] && other[0] < right && top < other[3] && other[1] < bottom
  return app.graph.nodes
    .filter((node, place) => boxes.slice(0, place).some((box) => over(box, boxes[place])))
    .map((node) => node.title)
})()
"""


@pytest.mark.skipif(not has_shipped(), reason="the shipped weights are not in this checkout")
@pytest.mark.parametrize("workflow", TEMPLATES, ids=lambda workflow: workflow.stem)
def test_a_dropped_workflow_runs_and_shows_its_pictures(
    page: Page, server: Server, style: str, workflow: Workflow, tmp_path: Path
) -> None:
    name = workflow.title
    text = (ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8")
    count = len(json.loads(text)["nodes"])
    front = Editor(page, server)
    front.open(style)
    front.need(style)
    page.run(DROP % (json.dumps(f"{name}.json"), json.dumps(text)))
    page.wait(f"app.graph.nodes.length === {count}", 60)
    sent, expected = json.loads(page.run(SENT)), workflow.api()
    assert sent.keys() == expected.keys()
    for key, node in sent.items():
        if node["class_type"] == expected[key]["class_type"]:  # else it stands for a slider
            inputs = expected[key]["inputs"]
            # Older hosts know fewer inputs of their own nodes.
            assert node["inputs"] == {
                name: inputs[name] for name in inputs if name in node["inputs"]
            }
            assert node["class_type"].startswith("PCDM") <= (node["inputs"] == inputs)
    front.run()
    page.wait(f"({DARK.strip()}).length === 0", 60)
    page.run("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.run("new Promise((done) => setTimeout(done, 1500))")
    folder = Path(os.environ.get("PCDM_SCREENSHOTS", tmp_path))
    page.screenshot(folder / f"{workflow.stem}_{style}.png")
    assert page.run(OVERLAPS) == []
