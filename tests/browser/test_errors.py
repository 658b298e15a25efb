"""What goes wrong is said where a person looks, once, and as text: errors of runs and of inputs.

`PCDM_SCREENSHOTS=FOLDER` keeps a picture of the screen of each, to be looked at.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.editor import Editor

MARKUP = '<b>bold</b><img src=x onerror="window.pcdmAttack = true">'
#: How often the page shows a sentence. What only screen readers get is a pixel wide.
TIMES = """
[...document.querySelectorAll('body *')].filter((element) => {
  const texts = [...element.childNodes].filter((child) => child.nodeType === Node.TEXT_NODE)
  const own = texts.map((child) => child.data).join('').replace(/\\s+/g, ' ')
  return own.includes(%s) && element.getBoundingClientRect().width > 9
}).length
"""
SENTENCE = "expected 18, one x y for each OpenPose joint, or OpenPose JSON"
REFUSAL = "The pose editor's text is no JSON"


def load(editor: Editor, kind: str, widgets: dict[str, str], title: str) -> None:
    """A workflow of one node before a preview, loaded as a file is."""
    page = editor.page
    page.run(
        f"(() => {{ const node = LiteGraph.createNode({json.dumps(kind)});"
        " node.pos = [140, 140];"
        f" node.title = {json.dumps(title)}; app.graph.clear(); app.graph.add(node);"
        " const [pose, shown] = ['PCDMRenderPose', 'PreviewImage'].map((name) => {"
        "   const after = LiteGraph.createNode(name); app.graph.add(after); return after });"
        " pose.pos = [620, 140]; shown.pos = [900, 400];"
        " node.connect(0, pose, 0); pose.connect(0, shown, 0);"
        f" for (const [name, value] of Object.entries({json.dumps(widgets)}))"
        "   node.widgets.find((widget) => widget.name === name).value = value })()"
    )
    page.run("app.loadGraphData(JSON.parse(JSON.stringify(app.graph.serialize()))).then(() => 0)")
    page.run("pcdm.look(1)")
    page.run("new Promise((done) => setTimeout(done, 500))")


def run(editor: Editor) -> None:
    editor.page.run("pcdm.done = null")
    editor.click_run()


def times(editor: Editor, sentence: str) -> int:
    return editor.page.run(TIMES % json.dumps(sentence))


def keep(editor: Editor, name: str) -> None:
    if folder := os.environ.get("PCDM_SCREENSHOTS"):
        version = editor.page.run("window.__COMFYUI_FRONTEND_VERSION__")
        vue = editor.page.run("app.extensionManager.setting.get('Comfy.VueNodes.Enabled')")
        style = "vue" if vue else "classic"
        editor.page.screenshot(Path(folder) / f"{name}_{version}_{style}.png")


def assert_shown_once(editor: Editor, sentence: str) -> None:
    editor.page.wait(f"{TIMES % json.dumps(sentence)} > 0", 60)
    editor.page.run("new Promise((done) => setTimeout(done, 1500))")
    assert times(editor, sentence) == 1
    assert not editor.page.run("window.pcdmAttack")
    assert editor.page.run("document.querySelectorAll('b').length") == 0


@pytest.fixture
def page_of_errors(editor: Editor) -> Editor:
    """The page without any dialog or toast of an earlier test."""
    editor.close_dialogs()
    return editor


def test_the_sentence_of_a_failed_run_is_shown_once(page_of_errors: Editor) -> None:
    editor = page_of_errors
    load(editor, "PCDMPoseFromKeypoints", {"text": "hello"}, f"Pose {MARKUP}")
    run(editor)
    assert_shown_once(editor, SENTENCE)
    keep(editor, "run")


def test_the_sentence_of_a_refused_input_is_shown_once(page_of_errors: Editor) -> None:
    editor = page_of_errors
    load(editor, "PCDMPoseEditor", {"pose_json": "{"}, f"Editor {MARKUP}")
    run(editor)
    assert_shown_once(editor, REFUSAL)
    keep(editor, "input")


def test_an_error_in_a_subgraph_names_the_inner_node(page_of_errors: Editor) -> None:
    editor = page_of_errors
    load(editor, "PCDMPoseFromKeypoints", {"text": "hello"}, "Inner pose")
    editor.page.run(
        "(() => { const node = app.graph.nodes.find((n) => n.title === 'Inner pose');"
        " app.canvas.graph.convertToSubgraph(new Set([node])); return null })()"
    )
    run(editor)
    assert_shown_once(editor, SENTENCE)
    keep(editor, "subgraph")


def test_a_refused_branch_is_said_though_another_one_runs(page_of_errors: Editor) -> None:
    """The host then answers that all is well, and drops the branch."""
    editor = page_of_errors
    load(editor, "PCDMPoseEditor", {"pose_json": "{"}, "Refused editor")
    editor.page.run(
        "(() => { const node = LiteGraph.createNode('PCDMPoseEditor');"
        " node.pos = [140, 800]; app.graph.add(node) })()"
    )
    run(editor)
    assert_shown_once(editor, REFUSAL)
    assert editor.page.wait("pcdm.done", 60) == "success"
    keep(editor, "branch")


def test_a_new_run_takes_the_old_sentence_away(page_of_errors: Editor) -> None:
    editor = page_of_errors
    load(editor, "PCDMPoseFromKeypoints", {"text": "hello"}, "Pose")
    run(editor)
    assert_shown_once(editor, SENTENCE)
    editor.close_dialogs()  # of front ends that show one of their own
    editor.new()
    run(editor)
    assert editor.page.wait("pcdm.done", 60) == "success"
    editor.page.wait(f"{TIMES % json.dumps(SENTENCE)} === 0")


def test_an_error_that_our_code_raises_in_another_node_is_shown(page_of_errors: Editor) -> None:
    """A sampler of the host that draws with our model, for one; not one of others' code."""
    editor = page_of_errors
    counts = {}
    for folder in ("a-pack-of-any-name", "second-copy", "pack-of-others"):
        sentence = f"This sampler cannot do that in {folder}."
        frames = ("/host/execution.py", f"/host/custom_nodes/{folder}/nodes/network.py")
        detail = {
            "prompt_id": "none", "node_id": "1", "node_type": "KSampler", "executed": [],
            "exception_message": sentence, "exception_type": "ValueError",
            "traceback": [f'  File "{frame}", line 1, in run\n    raise\n' for frame in frames],
        }  # fmt: skip
        editor.page.run(f"app.api.dispatchCustomEvent('execution_error', {json.dumps(detail)})")
        editor.page.run("new Promise((done) => setTimeout(done, 1500))")
        counts[folder] = times(editor, sentence)
        keep(editor, f"other_{folder}")
        editor.close_dialogs()
    by_the_host = counts.pop("pack-of-others")
    # Of two copies of the pack the one that came first listens.
    assert (min(counts.values()), max(counts.values())) == (by_the_host, 1)
