"""A real browser on a real ComfyUI. Both must be there; otherwise the tests are skipped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser.chromium import Page
from tests.nodes.conftest import comfyui_path
from tests.workflows.conftest import Server, server

__all__ = ["comfyui_path", "server"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# The front end puts its first workflow (the last one of the session) on the canvas after it has
# shown itself: what a test did before that would be swept away.
READY = (
    "!!(window.app?.graph && window.app.canvas"
    " && window.app.extensionManager?.workflow?.activeWorkflow)"
)

#: What the tests ask of the page: the editor of the only or last node, and where its joints are.
HELPERS = """
window.pcdm = {
  node: () => app.canvas.graph.nodes.findLast((node) => node.type === 'PCDMPoseEditor'),
  widget: (name) => pcdm.node().widgets.find((widget) => widget.name === name),
  editor: () => pcdm.widget('pose_editor').editor,
  text: () => pcdm.widget('pose_json').value,
  at(x, y) {
    const canvas = pcdm.editor().canvas, rect = canvas.getBoundingClientRect()
    const view = pcdm.editor().view(), scale = rect.width / canvas.clientWidth
    return [rect.left + (view.left + x * view.scale) * scale,
            rect.top + (view.top + y * view.scale) * scale]
  },
  joint: (index) => { const p = pcdm.editor().figure.points[index]; return pcdm.at(p.x, p.y) },
  button: (name) => {
    const rect = pcdm.editor().buttons[name].getBoundingClientRect()
    return [rect.left + rect.width / 2, rect.top + rect.height / 2]
  },
  add() {
    app.canvas.setGraph?.(app.rootGraph ?? app.graph)
    app.graph.clear()
    // Front ends may keep values by the node's number: no number comes twice.
    app.graph.state.lastNodeId = pcdm.last = (pcdm.last ?? 0) + 100
    const node = LiteGraph.createNode('PCDMPoseEditor')
    node.pos = [140, 90]
    app.graph.add(node)
    pcdm.look(1)
  },
  look(scale, x = 0, y = 0) {
    app.canvas.ds.scale = scale
    app.canvas.ds.offset = [x, y]
    app.canvas.setDirty(true, true)
  },
}
app.api.addEventListener('execution_success', () => { pcdm.done = 'success' })
app.api.addEventListener('execution_error', (event) => { pcdm.done = JSON.stringify(event.detail) })
"""


class Editor:
    """The node in a page, used as a person uses it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server

    def open(self, style: str) -> None:
        """Loads the page afresh; `style` is how the front end draws nodes."""
        self.page.open(f"http://{self.server.address}/")
        self.page.wait(READY, 180)
        self.page.wait("LiteGraph.registered_node_types.PCDMPoseEditor !== undefined", 180)
        vue = json.dumps(style == "vue")
        self.page.run(f"app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {vue})")
        self.page.run(HELPERS)
        self.page.key("Escape")  # the first visit's template browser
        self.page.wait("!document.querySelector('.p-dialog-mask')", 60)

    def need(self, style: str) -> None:
        """Skips the test where the page's front end has no such way of drawing nodes."""
        version = self.page.run("window.__COMFYUI_FRONTEND_VERSION__")
        if style == "vue" and tuple(map(int, version.split(".")[:2])) < (1, 30):
            pytest.skip(f"front end {version} draws nodes on its canvas alone")

    def new(self) -> None:
        """A graph with the node alone."""
        self.page.run("pcdm.add()")
        self.settle()

    def settle(self) -> None:
        """Waits until the editor lies still on the screen."""
        where = "JSON.stringify(pcdm.editor().canvas.getBoundingClientRect())"
        before = None
        for _ in range(100):
            self.page.run("new Promise((done) => setTimeout(done, 150))")
            now = self.page.run(where)
            if now == before and json.loads(now)["width"] > 0:
                return
            before = now
        raise AssertionError(f"the editor does not come to rest: {before}")

    @property
    def text(self) -> str:
        return self.page.run("pcdm.text()")

    def document(self) -> dict[str, Any]:
        return json.loads(self.text)

    def point(self, joint: int) -> list[float]:
        """x, y and confidence of a joint in the node's text."""
        return self.document()["people"][0]["pose_keypoints_2d"][3 * joint : 3 * joint + 3]

    def place(self, joint: int) -> tuple[float, float]:
        """Where a joint is on the screen."""
        x, y = self.page.run(f"pcdm.joint({joint})")
        return x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frame is on the screen."""
        left, top = self.page.run(f"pcdm.at({x}, {y})")
        return left, top

    def drag(self, joint: int, x: float, y: float, modifiers: int = 0) -> None:
        """Drags a joint to a point of the frame."""
        self.page.drag(self.place(joint), self.at(x, y), modifiers)

    def press(self, button: str) -> None:
        self.page.click(*self.page.run(f"pcdm.button('{button}')"))

    def execute(self) -> dict[str, Any]:
        """Runs the graph with the front end's own command; what the editor's node told."""
        self.page.run("pcdm.done = null, app.queuePrompt(0, 1).then(() => null)")
        assert self.page.wait("pcdm.done", 300) == "success"
        history = self.server.call("/history?max_items=1")
        (entry,) = history.values()
        return next(told for told in entry["outputs"].values() if "pcdm_pose" in told)


@pytest.fixture(scope="session")
def chromium(comfyui_path: object) -> str:
    """The browser that CHROMIUM names, or one that is installed."""
    given = os.environ.get("CHROMIUM")
    found = given or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("no Chromium: install one, or set CHROMIUM to its program")
    return found


@pytest.fixture(scope="module")
def page(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    opened = Page(chromium, tmp_path_factory.mktemp("chromium"), 1400, 1000)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture(scope="module", params=["classic", "vue"])
def style(request: pytest.FixtureRequest) -> str:
    """The two ways in which front ends draw nodes."""
    return request.param


@pytest.fixture(scope="module")
def opened(page: Page, server: Server, style: str) -> Editor:
    editor = Editor(page, server)
    editor.open(style)
    editor.need(style)
    return editor


@pytest.fixture
def editor(opened: Editor) -> Iterator[Editor]:
    """The node alone in a new graph; no test may leave an error on the page."""
    opened.page.errors.clear()
    opened.new()
    yield opened
    opened.page.run("new Promise((done) => setTimeout(done, 0))")
    assert opened.page.errors == []
