"""Workflow files that mean ill, dropped on the canvas: everything else in them is there, nothing of
them becomes markup or script, and the editor can be used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pcdm_core.pose.editor import library, to_edited
from pcdm_core.pose.formats.limits import LONGEST_TEXT
from tests.browser.editor import Editor
from tests.browser.test_dropped_workflows import DROP

MARKUP = '"><img src=x onerror="window.pcdmAttack = 1"><script>window.pcdmAttack = 2</script>\n'
POSE = to_edited(library()[3].keypoints, 768, 512)
BODY = POSE["people"][0]["pose_keypoints_2d"]
NO_TEXT = {"toString": 1, "valueOf": None, "length": 1e9}

#: What stands where the editor's text belongs.
TEXTS: dict[str, Any] = {
    "an object": {"__proto__": {"people": 1}, "constructor": {"prototype": None}},
    "an object without a text": NO_TEXT,
    "a list": [[[], {}], None],
    "a number": 5,
    "null": None,
    "markup": MARKUP,
    "a text of no end": "x" * (3 * LONGEST_TEXT),
    "a pose of no end": json.dumps(POSE) + " " * LONGEST_TEXT,
    "lists in lists": "[" * 200_000 + "]" * 200_000,
    "prototypes": '{"__proto__": {"people": []}, "constructor": {"prototype": {"people": 1}}}',
    "people that are none": json.dumps({"people": [None, 5, MARKUP, [], {"length": 18}]}),
    "markup for numbers": json.dumps({"people": [{"pose_keypoints_2d": [MARKUP] * 54}]}),
    "huge numbers": json.dumps({"people": [{"pose_keypoints_2d": [1e300, -1e300, 1] * 18}]}),
    "numbers without end": json.dumps({"people": [{"pose_keypoints_2d": [1e300] * 54}]}).replace(
        "1e+300", "1e999"
    ),
    "far away": json.dumps(POSE | {"canvas_height": 1, "canvas_width": 1}),
    "objects for the canvas": json.dumps(POSE | {"canvas_height": NO_TEXT, "canvas_width": [9]}),
    "a hand that is none": json.dumps(
        {"people": [{"pose_keypoints_2d": BODY, "hand_left_keypoints_2d": {"length": 63}}]}
    ),
}

#: What stands where the frame's height and width belong.
SIDES: dict[str, tuple[Any, Any]] = {
    "objects": (NO_TEXT, {"a": [MARKUP]}),
    "lists": ([], [[768]]),
    "texts": (MARKUP, "512"),
    "nothing": (None, False),
    "numbers of no size": (-1e308, 1e308),
}


#: A widget of a node that comes after the editor.
PERSON = (
    "app.graph.nodes.find(({type}) => type === 'PCDMPoseFromKeypoints')"
    ".widgets.find(({name}) => name === 'person')"
)


@pytest.fixture
def workflow(editor: Editor) -> dict[str, Any]:
    """An editor, a picture below its figure, and two nodes that have nothing to do with it."""
    editor.page.run(
        "(() => { for (const [kind, x] of [['LoadImage', 700], ['PreviewImage', 1000],"
        " ['PCDMPoseFromKeypoints', 1000]]) { const node = LiteGraph.createNode(kind);"
        " node.pos = [x, kind === 'PreviewImage' ? 90 : 400]; app.graph.add(node) }"
        " const [pose, picture, preview] = app.graph.nodes;"
        " pose.connect(1, preview, 0); picture.connect(0, pose, 'underlay');"
        f" {PERSON}.value = 7 }})()"
    )
    return json.loads(editor.page.run("JSON.stringify(app.graph.serialize())"))


def node_of(workflow: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(node for node in workflow["nodes"] if node["type"] == kind)


def drop(editor: Editor, workflow: dict[str, Any]) -> None:
    """Drops the file; the editor's node gets a title by which its arrival is seen."""
    page = editor.page
    page.run("pcdm.last += 100")
    title = f"{MARKUP} {page.run('pcdm.last')}"
    node_of(workflow, "PCDMPoseEditor")["title"] = title
    page.run(DROP % (json.dumps("hostile.json"), json.dumps(json.dumps(workflow))))
    page.wait(f"pcdm.node()?.title === {json.dumps(title)}")
    page.run("pcdm.look(1)")
    editor.settle()


def check(editor: Editor, workflow: dict[str, Any]) -> None:
    page = editor.page
    kinds = [node["type"] for node in workflow["nodes"]]
    assert sorted(page.run("app.graph.nodes.map((node) => node.type)")) == sorted(kinds)
    assert len(page.run("[...app.graph.links.keys()]")) == len(workflow["links"])
    assert page.run("document.querySelectorAll('img[src=x], [onerror]').length") == 0
    assert page.run("window.pcdmAttack ?? 0") == 0
    assert page.run("({}).people ?? 0") == 0
    assert page.run(f"{PERSON}.value") == 7
    assert page.run("document.querySelector('.p-dialog-mask') === null")
    assert page.run("pcdm.editor().figure.points.every(({x, y}) => Number.isFinite(x + y))")
    assert page.run("pcdm.editor().frame.width * pcdm.editor().frame.height > 0")


def check_that_it_can_be_used(editor: Editor) -> None:
    editor.press("mirror")
    before = editor.text
    assert len(editor.document()["people"]) == 1
    editor.press("undo")
    editor.press("redo")
    assert editor.text == before


@pytest.mark.parametrize("name", TEXTS)
def test_whatever_the_text_is_the_workflow_loads(
    editor: Editor, workflow: dict[str, Any], name: str
) -> None:
    node_of(workflow, "PCDMPoseEditor")["widgets_values"][0] = TEXTS[name]
    drop(editor, workflow)
    check(editor, workflow)
    if name == "a hand that is none":
        nose = editor.page.run("(({x, y}) => [x, y])(pcdm.editor().figure.points[0])")
        assert nose == pytest.approx(BODY[:2], abs=0.5)
    else:
        text = editor.page.run("pcdm.editor().text")
        assert editor.page.run("pcdm.editor().notice.hidden") == (text.strip() == "")
    check_that_it_can_be_used(editor)


@pytest.mark.parametrize("name", SIDES)
def test_whatever_the_frame_is_the_workflow_loads(
    editor: Editor, workflow: dict[str, Any], name: str
) -> None:
    node_of(workflow, "PCDMPoseEditor")["widgets_values"][1:3] = SIDES[name]
    drop(editor, workflow)
    check(editor, workflow)
    check_that_it_can_be_used(editor)


def test_names_with_markup_and_lines_are_only_names(
    editor: Editor, workflow: dict[str, Any]
) -> None:
    node_of(workflow, "LoadImage")["widgets_values"][0] = f"a\n{MARKUP}.png"
    node_of(workflow, "PCDMPoseFromKeypoints")["widgets_values"][:2] = [MARKUP, MARKUP]
    for node in workflow["nodes"]:
        node["title"] = node["properties"]["__proto__"] = MARKUP
    drop(editor, workflow)
    check(editor, workflow)
    check_that_it_can_be_used(editor)


def test_a_word_that_is_no_pose_is_said_while_it_is_typed(editor: Editor) -> None:
    editor.drag(4, 60, 120)
    pose = editor.text
    editor.execute()  # what a run read in one text is not shown for another
    complaint = "pcdm.editor().element.querySelector('.pcdm-complaint')"
    editor.press("text")
    assert editor.page.run(f"{complaint}.hidden")
    editor.page.run("pcdm.editor().textArea.select()")
    editor.page.call("Input.insertText", text="hello")
    assert "no JSON" in editor.page.run(f"{complaint}.innerText")
    editor.press("text")
    assert editor.text == "hello"
    assert "no JSON" in editor.page.run("pcdm.editor().notice.innerText")
    editor.press("undo")
    assert editor.text == pose
    assert editor.page.run("pcdm.editor().notice.hidden")


def test_a_joint_is_dragged_to_the_border_and_no_further(editor: Editor) -> None:
    editor.page.run("pcdm.look(0.7)")
    editor.settle()
    editor.drag(4, -30, 800)
    assert editor.point(4) == [1, 767, 1]
    points = editor.execute()["pcdm_pose"][0]["people"][0]["pose_keypoints_2d"]
    assert points[12:15] == pytest.approx([1, 767, 1], abs=0.5)
