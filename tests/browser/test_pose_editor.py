"""The pose editor in the real front end: what a person does with mouse and keys."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcdm_core.pose.editor import library
from pcdm_core.pose.keypoints import BODY_JOINTS, MIRROR
from tests.browser.chromium import CONTROL, SHIFT
from tests.browser.editor import Editor
from tests.workflows.conftest import Server

NECK, RIGHT_WRIST, LEFT_ELBOW, LEFT_WRIST = 1, 4, 6, 7
STANDING = library()[0].keypoints.to_pixels(768, 512)[0]


def points_of_output(output: dict[str, Any]) -> np.ndarray:
    """x, y, confidence of the pose that the node gave, [18, 3]."""
    return np.array(output["pcdm_pose"][0]["people"][0]["pose_keypoints_2d"]).reshape(18, 3)


def assert_near(point: Sequence[float], expected: tuple[float, float], pixels: float = 3) -> None:
    assert np.abs(np.array(point[:2]) - expected).max() <= pixels, (point, expected)


def test_a_new_editor_shows_a_standing_person_and_hides_the_text(editor: Editor) -> None:
    assert editor.text == ""
    points = editor.page.run("pcdm.editor().figure.points.map((p) => [p.x, p.y])")
    assert np.abs(np.array(points) - STANDING.numpy()).max() < 1
    assert editor.page.run("pcdm.widget('pose_json').hidden")
    assert editor.page.errors == []
    x, y, right, bottom = editor.page.run(
        "(({left, top, right, bottom}) => [left, top, right, bottom])"
        "(pcdm.editor().element.getBoundingClientRect())"
    )
    assert right - x > 250
    assert bottom - y > 300


def test_a_dragged_joint_is_what_the_graph_gives(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    assert_near(editor.point(RIGHT_WRIST), (60, 120))
    assert_near(editor.point(LEFT_WRIST), tuple(STANDING[LEFT_WRIST].tolist()), 1)
    points = points_of_output(editor.execute())
    assert_near(list(points[RIGHT_WRIST]), (60, 120))
    assert points[:, 2].all()


@pytest.mark.parametrize("zoom", [0.55, 1.6])
def test_a_joint_follows_the_pointer_at_any_zoom_of_the_graph(editor: Editor, zoom: float) -> None:
    editor.page.run(f"pcdm.look({zoom}, -60, {'-260' if zoom > 1 else '0'})")
    editor.settle()
    editor.drag(LEFT_ELBOW, 400, 250)
    assert_near(editor.point(LEFT_ELBOW), (400, 250), 4)


def test_the_view_zooms_with_the_wheel_once_the_editor_has_the_focus(editor: Editor) -> None:
    before = editor.page.run("app.canvas.ds.scale")
    x, y = editor.place(NECK)
    editor.page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-200)
    assert editor.page.run("pcdm.editor().zoom.factor") == 1
    editor.page.wait(f"app.canvas.ds.scale !== {before}")  # the graph's zoom, as everywhere
    editor.page.run("pcdm.look(1)")
    editor.settle()
    x, y = editor.place(NECK)
    editor.page.click(x, y)
    editor.page.mouse("mouseWheel", x, y, deltaX=0, deltaY=-600)
    editor.page.wait("pcdm.editor().zoom.factor > 2")
    assert np.abs(np.array(editor.place(NECK)) - (x, y)).max() < 2  # the pointer holds its place
    editor.drag(NECK, 280, 200)
    assert_near(editor.point(NECK), (280, 200), 2)
    editor.press("fit")
    assert editor.page.run("pcdm.editor().zoom.factor") == 1


def test_undo_and_redo_by_button(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    first = editor.text
    editor.press("undo")
    assert editor.text == ""
    editor.press("redo")
    assert editor.text == first


def test_a_limb_turns_with_shift_and_keeps_its_length(editor: Editor) -> None:
    shoulder, elbow, wrist = (STANDING[joint].numpy() for joint in (5, 6, 7))
    editor.drag(LEFT_ELBOW, float(shoulder[0]) + 90, float(shoulder[1]), SHIFT)
    turned_elbow, turned_wrist = (np.array(editor.point(joint)[:2]) for joint in (6, 7))
    assert abs(turned_elbow[1] - shoulder[1]) < 3
    for before, after in (
        (elbow - shoulder, turned_elbow - shoulder),
        (wrist - elbow, turned_wrist - turned_elbow),
    ):
        assert abs(np.linalg.norm(before) - np.linalg.norm(after)) < 1


def test_dragging_a_line_moves_the_whole_figure(editor: Editor) -> None:
    middle = ((STANDING[8] + STANDING[9]) / 2).tolist()
    editor.page.drag(editor.at(*middle), editor.at(middle[0] + 40, middle[1] - 30))
    for joint in range(18):
        assert_near(
            editor.point(joint), (STANDING[joint] + STANDING.new_tensor([40, -30])).tolist()
        )


def test_a_joint_is_hidden_and_shown_by_double_click_and_right_click(editor: Editor) -> None:
    editor.page.click(*editor.place(RIGHT_WRIST), count=2)
    assert editor.point(RIGHT_WRIST)[2] == 0
    points = points_of_output(editor.execute())
    assert points[RIGHT_WRIST].tolist() == [0, 0, 0]
    assert points[:, 2].sum() == 17
    editor.page.click(*editor.place(RIGHT_WRIST), button="right")
    assert_near(editor.point(RIGHT_WRIST), tuple(STANDING[RIGHT_WRIST].tolist()))
    assert editor.point(RIGHT_WRIST)[2] == 1


def test_the_mirror_swaps_left_and_right(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    before = [editor.point(joint) for joint in range(18)]
    editor.press("mirror")
    for joint in range(18):
        x, y, _ = before[MIRROR[joint]]
        assert_near(editor.point(joint), (512 - x, y), 0.2)


def test_everything_is_reached_by_keys(editor: Editor) -> None:
    editor.page.run("pcdm.editor().canvas.focus()")
    for expected in (0, 1, 2):
        editor.page.key("Tab")
        assert editor.page.run("pcdm.editor().selected") == expected
    editor.page.key("Tab", SHIFT)
    assert BODY_JOINTS[1] in editor.page.run("pcdm.editor().hint.textContent")
    editor.page.key("ArrowRight")
    editor.page.key("ArrowDown", SHIFT)
    x, y = STANDING[1].tolist()
    assert_near(editor.point(1), (x + 1, y + 10), 0.2)
    editor.page.key("h")
    assert editor.point(1)[2] == 0
    editor.page.key("h")
    editor.page.key("m")
    assert_near(editor.point(1), (512 - x - 1, y + 10), 0.2)
    for _ in range(4):
        editor.page.key("z", CONTROL)
    assert_near(editor.point(1), (x + 1, y), 0.2)
    editor.page.key("Escape")
    assert editor.page.run("pcdm.editor().selected") is None
    editor.page.key("p")
    editor.page.wait("!pcdm.editor().picker.hidden")
    assert editor.page.run("pcdm.editor().picker.contains(document.activeElement)")
    editor.page.key("ArrowRight")
    editor.page.key("Escape")
    assert editor.page.run("pcdm.editor().picker.hidden")
    assert editor.page.run("document.activeElement === pcdm.editor().canvas")


def test_tab_leaves_the_editor_after_the_last_joint(editor: Editor) -> None:
    editor.page.run("pcdm.editor().canvas.focus()")
    for _ in range(18):
        editor.page.key("Tab")
    assert editor.page.run("pcdm.editor().selected") == 17
    editor.page.key("Tab")
    assert editor.page.run("document.activeElement !== pcdm.editor().canvas")


def test_a_pose_of_the_library_is_two_clicks_away(editor: Editor) -> None:
    editor.press("poses")
    button = "pcdm.editor().picker.querySelector('[aria-label=\"Front: Waving\"]')"
    x, y = editor.page.run(
        f"(({{left, top}}) => [left + 20, top + 20])({button}.getBoundingClientRect())"
    )
    editor.page.click(x, y)
    pose = next(pose for pose in library() if pose.name == "Waving").keypoints
    for joint in range(18):
        assert_near(editor.point(joint), tuple(pose.to_pixels(768, 512)[0, joint].tolist()), 1)
    assert editor.page.run("pcdm.editor().picker.hidden")


def test_the_library_is_searched_by_words(editor: Editor) -> None:
    editor.press("poses")
    editor.page.wait("!pcdm.editor().picker.hidden")
    for key in "side":
        editor.page.key(key)
    labels = "[...pcdm.editor().picker.querySelectorAll('button')].filter(b => b.offsetParent)"
    names = editor.page.run(f"{labels}.map(b => b.getAttribute('aria-label'))")
    expected = [f"{pose.group}: {pose.name}" for pose in library()]
    assert names == [name for name in expected if "side" in name.lower()]
    editor.page.key("Escape")


def test_copies_have_the_pose_and_live_on_their_own(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    text = editor.text
    page = editor.page
    page.run("app.canvas.selectNode(pcdm.node()), app.canvas.canvas.focus()")
    page.run("app.canvas.copyToClipboard(), app.canvas.pasteFromClipboard()")
    page.wait("app.graph.nodes.length === 2")
    page.run("pcdm.node().pos = [700, 90], pcdm.look(1)")
    editor.settle()
    assert editor.text == text
    editor.drag(LEFT_WRIST, 450, 120)
    assert editor.text != text
    assert page.run("app.graph.nodes[0].widgets[0].value") == text


def test_the_pose_survives_a_reload_of_the_page(editor: Editor, style: str) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    editor.page.click(*editor.place(LEFT_WRIST), count=2)
    text = editor.text
    saved = editor.page.run("JSON.stringify(app.graph.serialize())")
    assert json.dumps(text)[1:-1] in saved
    editor.open(style)
    editor.page.run(f"app.loadGraphData({saved}).then(() => null)")
    editor.page.wait("!!pcdm.node()")
    editor.page.run("pcdm.look(1)")
    editor.settle()
    assert editor.text == text
    figure = editor.page.run("pcdm.editor().figure.points")
    assert_near([figure[RIGHT_WRIST]["x"], figure[RIGHT_WRIST]["y"]], (60, 120))
    assert not figure[LEFT_WRIST]["shown"]
    assert editor.page.run("pcdm.editor().past.length") == 0
    points = points_of_output(editor.execute())
    assert points[:, 2].sum() == 17


def test_the_pose_of_a_subgraph_is_what_the_graph_gives(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    page = editor.page
    page.run(
        "(() => { const { subgraph } = app.canvas.graph.convertToSubgraph(new Set([pcdm.node()]));"
        " window.pcdm.inner = subgraph; app.canvas.openSubgraph"
        "(subgraph, app.canvas.graph.nodes[0]); return null })()"
    )
    page.wait("app.canvas.graph === pcdm.inner && !!pcdm.node()")
    page.run("pcdm.look(1, 140 - pcdm.node().pos[0], 90 - pcdm.node().pos[1])")
    editor.settle()
    editor.drag(LEFT_WRIST, 450, 120)
    points = points_of_output(editor.execute())
    assert_near(list(points[RIGHT_WRIST]), (60, 120))
    assert_near(list(points[LEFT_WRIST]), (450, 120))
    page.run("app.canvas.setGraph(app.rootGraph ?? app.graph), null")


def connect(editor: Editor, kind: str, slot: int, name: str, values: dict[str, Any]) -> None:
    """A node before the editor, its output `slot` on the editor's input `name`."""
    editor.page.run(
        f"(() => {{ const before = LiteGraph.createNode({json.dumps(kind)});"
        " before.pos = [700, 90]; app.graph.add(before);"
        f" for (const [name, value] of Object.entries({json.dumps(values)}))"
        " before.widgets.find((w) => w.name === name).value = value;"
        f" before.connect({slot}, pcdm.node(), {json.dumps(name)}) }})()"
    )
    editor.page.run("new Promise((done) => setTimeout(done, 600))")


def test_the_picture_of_a_connected_file_lies_under_the_figure(
    editor: Editor, server: Server
) -> None:
    (server.base / "input").mkdir(exist_ok=True)
    Image.new("RGB", (300, 300), (40, 90, 160)).save(server.base / "input" / "square.png")
    connect(editor, "LoadImage", 0, "underlay", {"image": "square.png"})
    editor.page.wait("pcdm.editor().picture?.naturalWidth === 300")
    editor.press("crop")
    editor.page.wait("pcdm.widget('height').value === pcdm.widget('width').value")
    output = editor.execute()
    assert output["pcdm_underlay"][0]["type"] == "temp"
    canvas = output["pcdm_pose"][0]
    assert canvas["canvas_height"] == canvas["canvas_width"]


def test_a_connected_pose_is_shown_after_a_run_and_edited_from_there(editor: Editor) -> None:
    person = {"person": "000000", "source_view": "0", "target_view": "3"}
    connect(editor, "PCDMExamplePerson", 2, "start_pose", person)
    editor.page.wait("/Run once/.test(pcdm.editor().notice.textContent)")
    output = editor.execute()
    editor.page.wait("pcdm.editor().notice.hidden")
    assert editor.text == ""
    points = points_of_output(output)
    joint = int(np.flatnonzero(points[:, 2])[-1])
    on_screen = editor.page.run("pcdm.editor().figure.points.map((p) => [p.x, p.y])")
    assert_near(on_screen[joint], tuple(points[joint, :2]), 0.5)
    editor.drag(NECK, 256, 80)
    again = points_of_output(editor.execute())
    assert_near(list(again[NECK]), (256, 80))
    assert_near(list(again[joint]), tuple(points[joint, :2]), 0.5)
    editor.press("restart")
    assert editor.text == ""
    assert_near(points_of_output(editor.execute())[NECK].tolist(), tuple(points[NECK, :2]), 0.5)


def test_the_text_can_be_shown_and_pasted_into(editor: Editor) -> None:
    editor.press("text")
    assert editor.page.run("document.activeElement === pcdm.editor().textArea")
    points = [value for x, y in STANDING.tolist() for value in (x / 1024, y / 1536, 0.4)]
    pasted = json.dumps([{"people": [{"pose_keypoints_2d": points}]}])
    editor.page.call("Input.insertText", text=pasted)
    editor.press("text")
    assert editor.text == pasted
    x, y = editor.page.run(f"(({{x, y}}) => [x, y])(pcdm.editor().figure.points[{NECK}])")
    assert_near([x, y], tuple((STANDING[NECK] / 2).tolist()), 1)
    assert_near(list(points_of_output(editor.execute())[NECK]), (x, y), 1)
    editor.press("undo")
    assert editor.text == ""


def test_a_text_that_is_no_pose_is_said_at_once_and_refused_by_the_run(editor: Editor) -> None:
    editor.press("text")
    editor.page.call("Input.insertText", text="{")
    editor.press("text")
    assert "no pose" in editor.page.run("pcdm.editor().notice.textContent")
    editor.click_run()
    editor.page.wait("/no JSON/.test(JSON.stringify(app.lastNodeErrors))", 20)
    editor.close_dialogs()  # in which older front ends say it


def test_a_frame_of_another_shape_keeps_the_figures_proportions(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    editor.page.run("pcdm.widget('width').value = 768")
    editor.page.wait("pcdm.editor().frame.width === 768")
    points = points_of_output(editor.execute())
    assert_near(list(points[RIGHT_WRIST]), (60 + 128, 120))
    assert_near(list(points[NECK]), (float(STANDING[NECK, 0]) + 128, float(STANDING[NECK, 1])), 1)
