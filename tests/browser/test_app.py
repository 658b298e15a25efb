"""The workflow in App mode, from its template to the picture of a dragged pose.

`PCDM_SCREENSHOTS=FOLDER` keeps pictures of the screen, to be looked at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.chromium import Page
from tests.browser.editor import Editor
from tests.browser.test_dropped_workflows import DROP
from tests.workflows.conftest import Server
from tests.workflows.templates import workflows
from tests.workflows.test_pose_workflows import needs_runtime
from tests.workflows.test_workflows import has_shipped

#: The middle of the shown button that begins with a word, or null.
BUTTON = """
((word) => {
  const shown = [...document.querySelectorAll('button')].filter((button) => {
    const { left, top, width, height } = button.getBoundingClientRect()
    return button.textContent.trim().startsWith(word)
      && button.contains(document.elementFromPoint(left + width / 2, top + height / 2))
  })
  if (!shown.length) return null
  const { left, top, width, height } = shown.at(-1).getBoundingClientRect()
  return [left + width / 2, top + height / 2]
})(%s)
"""

#: Addresses of the pictures that are shown large.
LARGE = """
[...document.querySelectorAll('img')]
  .filter((image) => image.complete && image.naturalWidth && image.clientHeight > 250)
  .map((image) => image.src)
"""


@pytest.mark.skipif(not has_shipped(), reason="the shipped weights are not in this checkout")
@needs_runtime
def test_the_app_draws_the_person_in_the_pose_that_is_dragged_in_its_panel(
    page: Page, server: Server, style: str, tmp_path: Path
) -> None:
    (app,) = (workflow for workflow in workflows() if workflow.stem == "pcdm_app")
    front = Editor(page, server)
    front.open(style)
    front.need(style)
    version = page.run("window.__COMFYUI_FRONTEND_VERSION__")
    if tuple(map(int, version.split(".")[:2])) < (1, 42):
        pytest.skip(f"front end {version} has no App mode")
    folder = Path(os.environ.get("PCDM_SCREENSHOTS", tmp_path))
    page.errors.clear()
    page.run(DROP % (json.dumps(f"{app.title}.json"), json.dumps(json.dumps(app.front_end()))))
    page.wait("app.graph.nodes.length === 7", 60)
    page.wait("document.querySelector('.pcdm-editor') !== null", 60)
    skip_tour(page)
    page.screenshot(folder / f"app_{style}_1_opened.png")
    run(page)
    page.screenshot(folder / f"app_{style}_2_ran.png")
    first = page.run(LARGE)
    assert first
    text = front.text
    front.drag(4, 60, 330)
    assert front.text != text
    page.screenshot(folder / f"app_{style}_3_dragged.png")
    run(page)
    page.screenshot(folder / f"app_{style}_4_ran_again.png")
    page.wait(f"JSON.stringify({LARGE.strip()}) !== {json.dumps(json.dumps(first))}", 30)
    assert page.errors == []


def skip_tour(page: Page) -> None:
    """On a first visit the host offers to explain what apps are."""
    for _ in range(20):
        if skip := page.run(BUTTON % json.dumps("Skip")):
            page.click(*skip)
        page.run("new Promise((done) => setTimeout(done, 200))")


def run(page: Page) -> None:
    """Presses the panel's Run and waits for the end."""
    page.run("pcdm.done = null")
    page.click(*page.wait(BUTTON % json.dumps("Run"), 30))
    assert page.wait("pcdm.done", 120) == "success"
    page.run("new Promise((done) => setTimeout(done, 2000))")
