"""The workflows for the published weights: what an artist makes of their groups."""

import json
from collections import Counter

import pytest

from tests.browser.chromium import Page
from tests.browser.editor import Editor
from tests.browser.test_dropped_workflows import DROP
from tests.hosts import ROOT
from tests.workflows.conftest import Server
from tests.workflows.templates import workflows
from tests.workflows.test_workflows import PUBLISHED

#: Marks the nodes in the groups of loaders and stages, as a drag around both does.
SELECT = """
(() => {
  const groups = app.graph._groups.filter((group) => /^Models|^3\\. Run/.test(group.title))
  const inside = app.graph.nodes.filter((node) => groups.some((group) => {
    const [x, y, width, height] = group._bounding
    return node.pos[0] >= x && node.pos[1] >= y
      && node.pos[0] < x + width && node.pos[1] < y + height
  }))
  app.canvas.selectItems(inside)
  return inside.length
})()
"""
CONVERT = "app.extensionManager.command.execute('Comfy.Graph.ConvertToSubgraph').then(() => null)"
MADE = "app.graph.nodes.find((node) => node.subgraph)"
SOCKETS = f"(({{ inputs, outputs }}) => [inputs, outputs].map((s) => s.map((x) => x.type)))({MADE})"
PROMPT = "app.graphToPrompt().then(({ output }) => output)"


@pytest.mark.parametrize("name", PUBLISHED)
def test_loaders_and_stages_become_one_node(
    page: Page, server: Server, style: str, name: str
) -> None:
    title = next(workflow.title for workflow in workflows() if workflow.stem == name)
    path = ROOT / "workflows" / f"{title}.json"
    text = path.read_text(encoding="utf-8")
    api = json.loads((path.parent / "api" / f"{name}.json").read_text(encoding="utf-8"))
    front = Editor(page, server)
    front.open(style)
    front.need(style)
    page.run(DROP % (json.dumps(path.name), json.dumps(text)))
    page.wait(f"app.graph.nodes.length === {len(json.loads(text)['nodes'])}", 60)
    front.close_dialogs()  # the files are missing here
    count = page.run(SELECT)
    page.run(CONVERT)
    page.wait(f"{MADE}?.subgraph.nodes.length === {count}", 30)
    inputs, outputs = page.run(SOCKETS)
    wires = [kind for kind in inputs if kind in ("IMAGE", "PCDM_POSE")]
    assert sorted(wires) == ["IMAGE", "PCDM_POSE", "PCDM_POSE"]
    assert outputs == ["IMAGE"]
    # The host is asked for the same nodes as before.
    prompt = page.run(PROMPT)
    kinds = [Counter(node["class_type"] for node in graph.values()) for graph in (prompt, api)]
    assert kinds[0] == kinds[1]
