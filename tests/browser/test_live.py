"""With the host's "Run (On Change)" a released drag alone brings the new picture.

`PCDM_SCREENSHOTS=FOLDER` keeps a picture of the screen, to be looked at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.editor import Editor
from tests.browser.test_app import click
from tests.browser.test_dropped_workflows import DROP
from tests.workflows.conftest import Server
from tests.workflows.templates import workflows
from tests.workflows.test_pose_workflows import needs_runtime
from tests.workflows.test_workflows import has_shipped

MENU = "[data-testid=queue-mode-menu-trigger], .p-splitbutton-dropdown"

#: Addresses of the pictures on nodes, in either way of drawing them.
PICTURES = """
[...document.querySelectorAll('img'), ...app.graph.nodes.flatMap(({ imgs }) => imgs ?? [])]
  .filter((image) => image.complete && image.naturalWidth)
  .map((image) => image.src)
  .sort()
"""

#: What each run took from the cache of the host.
LISTEN = """
pcdm.runs = []
app.api.addEventListener('execution_cached', ({ detail }) => { pcdm.runs.push(detail.nodes) })
"""


@pytest.mark.skipif(not has_shipped(), reason="the shipped weights are not in this checkout")
@needs_runtime
def test_a_released_drag_draws_the_new_picture_and_only_what_hangs_on_the_pose(
    opened: Editor, server: Server, style: str, tmp_path: Path
) -> None:
    (app,) = (workflow for workflow in workflows() if workflow.stem == "pcdm_app")
    page, content = opened.page, {**app.front_end(), "extra": {}}
    page.errors.clear()
    page.run(DROP % ('"live.json"', json.dumps(json.dumps(content))))
    page.wait(f"app.graph.nodes.length === {len(content['nodes'])} && !!pcdm.node()", 60)
    page.run("pcdm.look(0.6, 40, 160)")
    opened.settle()
    opened.run()
    page.run(LISTEN)
    click(page, MENU)
    click(page, "[role^=menuitem]", "Run (On Change)")
    before = page.run(f"JSON.stringify({PICTURES.strip()})")
    page.run("pcdm.done = null")
    opened.drag(7, 440, 330)
    assert page.wait("pcdm.done", 120) == "success"
    page.wait(f"JSON.stringify({PICTURES.strip()}) !== {json.dumps(before)}", 30)
    (cached, *_) = page.run("pcdm.runs")
    kinds = {key: node["class_type"] for key, node in app.api().items()}
    assert {"LoadImage", "PCDMPoseFromImage"} <= {kinds[key] for key in cached if key in kinds}
    assert {"PCDMLoadInpainting", "PCDMLoadEncoders"} <= {kinds[key] for key in cached}
    assert "PCDMInpaintingSampler" not in {kinds[key] for key in cached}
    folder = Path(os.environ.get("PCDM_SCREENSHOTS", tmp_path))
    page.screenshot(folder / f"live_{style}.png")
    assert page.errors == []
