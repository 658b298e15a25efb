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
from tests.browser.test_words import set_palette
from tests.workflows.conftest import Server
from tests.workflows.templates import workflows
from tests.workflows.test_pose_workflows import needs_runtime
from tests.workflows.test_workflows import has_shipped

#: The middle of the last shown thing of a kind whose words begin with some, or null.
PLACE = """
((kind, words) => {
  const shown = [...document.querySelectorAll(kind)].filter((element) => {
    if (!element.textContent.trim().startsWith(words)) return false
    element.scrollIntoView({ block: 'nearest' })
    const { left, top, width, height } = element.getBoundingClientRect()
    return element.contains(document.elementFromPoint(left + width / 2, top + height / 2))
  })
  if (!shown.length) return null
  const { left, top, width, height } = shown.at(-1).getBoundingClientRect()
  return [left + width / 2, top + height / 2]
})(%s, %s)
"""
COUNT = """
pcdm.clicks = 0
addEventListener('click', ({ isTrusted }) => { pcdm.clicks += isTrusted }, true)
"""

#: Addresses of the pictures that are shown large.
LARGE = """
[...document.querySelectorAll('img')]
  .filter((image) => image.complete && image.naturalWidth && image.clientHeight > 250)
  .map((image) => image.src)
"""


@pytest.mark.skipif(not has_shipped(), reason="the shipped weights are not in this checkout")
@needs_runtime
@pytest.mark.parametrize("palette", ["light", "dark"])
def test_four_clicks_and_a_drag_lead_from_templates_to_the_dragged_poses_picture(
    page: Page, server: Server, style: str, palette: str, tmp_path: Path
) -> None:
    (app,) = (workflow for workflow in workflows() if workflow.stem == "pcdm_app")
    front = Editor(page, server)
    page.resize(1440, 900)
    front.open(style)
    front.need(style)
    version = page.run("window.__COMFYUI_FRONTEND_VERSION__")
    if tuple(map(int, version.split(".")[:2])) < (1, 42):
        pytest.skip(f"front end {version} has no App mode")
    set_palette(front, palette)
    page.errors.clear()
    page.run(COUNT)

    def keep(name: str) -> None:
        pause(page, 1500)
        folder = Path(os.environ.get("PCDM_SCREENSHOTS", tmp_path))
        page.screenshot(folder / f"app_{style}_{palette}_{name}.png")

    click(page, "[aria-label=Templates]")
    click(page, "[role=dialog] nav [role=button]", "a-pack-of-any-name")
    card = f"[data-testid='template-workflow-{app.title}']"
    page.wait(f'document.querySelector("{card} img")?.complete', 120)
    keep("1_templates")
    click(page, card)
    page.wait("document.querySelector('.pcdm-editor') !== null", 60)
    skip_tour(page)
    front.settle()
    keep("2_opened")
    assert page.run("pcdm.clicks") == 3
    front.drag(4, 60, 330)
    keep("3_dragged")
    run(page)  # the fourth click
    keep("4_ran")
    shown = page.wait(LARGE, 30)
    front.drag(7, 440, 330)
    run(page)
    page.wait(f"JSON.stringify({LARGE.strip()}) !== {json.dumps(json.dumps(shown))}", 30)
    assert page.errors == []


def click(page: Page, kind: str, words: str = "") -> None:
    """Clicks the thing that is shown, once it is."""
    page.click(*page.wait(PLACE % (json.dumps(kind), json.dumps(words)), 120))


def pause(page: Page, milliseconds: int) -> None:
    page.run(f"new Promise((done) => setTimeout(done, {milliseconds}))")


def skip_tour(page: Page) -> None:
    """On a first visit the host offers to explain what apps are."""
    for _ in range(20):
        if skip := page.run(PLACE % ('"button"', '"Skip"')):
            page.click(*skip)
            page.run("pcdm.clicks -= 1")
        pause(page, 200)


def run(page: Page) -> None:
    """Presses the panel's Run and waits for the end."""
    page.run("pcdm.done = null")
    click(page, "button", "Run")
    assert page.wait("pcdm.done", 120) == "success"
    pause(page, 2000)
