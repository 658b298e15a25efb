"""The pose editor's node in a page, used and looked at as a person does."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcdm_core.pose.editor import library
from pcdm_core.pose.render import COLOURS
from tests.browser.chromium import CONTROL, Page
from tests.workflows.conftest import Server

# The front end puts its first workflow (the last one of the session) on the canvas after it has
# shown itself: what a test did before that would be swept away.
READY = (
    "!!(window.app?.graph && window.app.canvas"
    " && window.app.extensionManager?.workflow?.activeWorkflow)"
)

ENDS = [4, 7, 10, 13]  # wrists and ankles, which nothing else lies on
STANDING = library()[0].keypoints.to_pixels(768, 512)[0].numpy()

DRAWING_SECONDS, START_SECONDS = 3, 60

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
  // Editors on the screen, whichever node they belong to.
  shown: () => [...document.querySelectorAll('.pcdm-editor')].filter((element) => {
    const { left, top, width, height } = element.getBoundingClientRect()
    return width * height > 0
      && element.contains(document.elementFromPoint(left + width / 2, top + height / 2))
  }),
}
app.api.addEventListener('execution_success', () => { pcdm.done = 'success' })
app.api.addEventListener('execution_error', (event) => { pcdm.done = JSON.stringify(event.detail) })
"""

#: The middle of the Run button once nothing lies over it. While a page starts the host lays things
#: over it that cannot be seen. In older front ends the button is the first of a group.
RUN_BUTTON = """
(() => {
  const named = document.querySelector('[data-testid=queue-button]')
  const button = named?.matches('button') ? named : named?.querySelector('button')
  if (!button) return null
  const { left, top, width, height } = button.getBoundingClientRect()
  const middle = [left + width / 2, top + height / 2]
  return button.contains(document.elementFromPoint(...middle)) ? middle : null
})()
"""


class Editor:
    """The node in a page, used as a person uses it."""

    def __init__(self, page: Page, server: Server) -> None:
        self.page, self.server = page, server
        self.ground = 850

    def open(self, style: str) -> None:
        """Loads the page afresh; `style` is how the front end draws nodes."""
        self.load()
        self.draw_nodes(style)
        # On a first visit the host opens its template browser once it has noted the visit.
        self.page.wait("app.extensionManager.setting.get('Comfy.TutorialCompleted')", START_SECONDS)
        self.close_dialogs()

    def close_dialogs(self) -> None:
        """Closes what lies over the page, such as the first visit's template browser."""
        # Older front ends lay a mask over the page, newer ones give an open dialog a role.
        mask = "!!document.querySelector('.p-dialog-mask, [role=dialog][data-state=open]')"
        quiet = 0
        for _ in range(60):
            quiet = 0 if self.page.run(mask) else quiet + 1
            if quiet == 3:
                return
            if not quiet:
                self.page.key("Escape")
            self.page.run("new Promise((done) => setTimeout(done, 300))")
        raise AssertionError("a dialog does not close")

    def load(self) -> None:
        """The page as it comes, with the workflow that the host has kept."""
        self.page.open(f"http://{self.server.address}/")
        self.page.wait(READY, 180)
        self.page.wait("LiteGraph.registered_node_types.PCDMPoseEditor !== undefined", 180)
        self.page.run(HELPERS)

    def draw_nodes(self, style: str) -> None:
        """Sets how the front end draws nodes."""
        vue = json.dumps(style == "vue")
        self.page.run(f"app.extensionManager.setting.set('Comfy.VueNodes.Enabled', {vue})")

    def need(self, style: str) -> None:
        """Skips the test where the page's front end has no such way of drawing nodes."""
        version = self.page.run("window.__COMFYUI_FRONTEND_VERSION__")
        if style == "vue" and tuple(map(int, version.split(".")[:2])) < (1, 30):
            pytest.skip(f"front end {version} draws nodes on its canvas alone")

    def new(self) -> None:
        """A graph with the node alone, which the host's history knows."""
        self.page.run("pcdm.add()")
        self.settle()
        self.click_ground()

    def settle(self) -> None:
        """Waits until the editor lies still on the screen."""
        script = "JSON.stringify(pcdm.editor().canvas.getBoundingClientRect())"
        before = None
        for _ in range(100):
            self.page.run("new Promise((done) => setTimeout(done, 150))")
            now = self.page.run(script)
            if now == before and json.loads(now)["width"] > 0:
                return
            before = now
        raise AssertionError(f"the editor does not come to rest: {before}")

    # --- what the node holds ---

    @property
    def text(self) -> str:
        return self.page.run("pcdm.text()")

    def document(self) -> dict[str, Any]:
        return json.loads(self.text)

    def point(self, joint: int) -> list[float]:
        """x, y and confidence of a joint in the node's text."""
        return self.document()["people"][0]["pose_keypoints_2d"][3 * joint : 3 * joint + 3]

    # --- the screen ---

    def place(self, joint: int) -> tuple[float, float]:
        """Where a joint is on the screen."""
        x, y = self.page.run(f"pcdm.joint({joint})")
        return x, y

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Where a point of the frame is on the screen."""
        x_on_screen, y_on_screen = self.page.run(f"pcdm.at({x}, {y})")
        return x_on_screen, y_on_screen

    def wrong_on_screen(self) -> str:
        """What the screen shows that the node does not hold; empty where they agree.

        The ends of the limbs are looked for in a picture of the screen.
        """
        foreign = self.page.run("pcdm.shown().filter((e) => e !== pcdm.editor().element).length")
        visible = self.page.run("pcdm.shown().includes(pcdm.editor().element)")
        if foreign or not visible:
            return f"{foreign} editors of other nodes, its own is {'' if visible else 'not '}shown"
        points = [self.point(joint)[:2] for joint in ENDS] if self.text else STANDING[ENDS].tolist()
        places = [self.at(x, y) for x, y in points]
        pixels = np.asarray(Image.open(io.BytesIO(self.page.picture())).convert("RGB"), int)
        for joint, (x, y) in zip(ENDS, places, strict=True):
            pixel = pixels[round(y), round(x)]
            if np.abs(pixel - COLOURS[joint]).max() > 8:
                return f"joint {joint} is not drawn at {x:.1f}, {y:.1f}, there is {pixel}"
        return ""

    def check_screen(self) -> None:
        """The screen shows the pose that the node holds, as soon as a busy machine has drawn it."""
        self.settle()
        end = time.monotonic() + DRAWING_SECONDS
        while (wrong := self.wrong_on_screen()) and time.monotonic() < end:
            time.sleep(0.2)
        assert not wrong, wrong

    # --- mouse and keys ---

    def drag(self, joint: int, x: float, y: float, modifiers: int = 0) -> None:
        """Drags a joint to a point of the frame."""
        self.page.drag(self.place(joint), self.at(x, y), modifiers)

    def press(self, button: str) -> None:
        self.page.click(*self.page.run(f"pcdm.button('{button}')"))

    def click_ground(self) -> None:
        """A click on the graph beside the node: from then on the keys are the host's."""
        self.ground = 1800 - self.ground  # twice in one place would be a double click
        self.page.click(self.ground, 760)

    def undo_in_host(self) -> None:
        self.click_ground()
        self.page.key("z", CONTROL)

    def redo_in_host(self) -> None:
        self.click_ground()
        self.page.key("y", CONTROL)

    def click_run(self) -> None:
        """Clicks the Run button; what lies over it goes by itself, or is closed before."""
        end = time.monotonic() + START_SECONDS
        while not (middle := self.page.run(RUN_BUTTON)):
            assert time.monotonic() < end, "something lies over the Run button"
            self.close_dialogs()
        self.page.click(*middle)

    def run(self) -> None:
        """Clicks the front end's Run button, and waits until the run has succeeded."""
        self.page.run("pcdm.done = null")
        self.click_run()
        assert self.page.wait("pcdm.done", 300) == "success"

    def execute(self) -> dict[str, Any]:
        """Runs the graph; what the editor's node told."""
        self.run()
        history = self.server.call("/history?max_items=1")
        (entry,) = history.values()
        return next(output for output in entry["outputs"].values() if "pcdm_pose" in output)
