"""The pose editor on several frames and people, on joints outside, and on what is no pose."""

import json
from typing import Any

import numpy as np
import pytest

from pcdm_core.pose.editor import library, to_edited
from tests.browser.editor import Editor
from tests.browser.test_pose_editor import assert_near, connect

HEIGHT, WIDTH = 768, 512
RIGHT_WRIST, LEFT_WRIST = 4, 7


def frame_of(number: int) -> dict[str, Any]:
    """A pose of the library as a document on the editor's frame."""
    return to_edited(library()[number].keypoints, HEIGHT, WIDTH)


def paste(editor: Editor, document: Any) -> None:
    editor.press("text")
    editor.page.call("Input.insertText", text=json.dumps(document))
    editor.press("text")


def wrist(document: dict[str, Any], person: int = 0) -> tuple[float, float]:
    x, y = document["people"][person]["pose_keypoints_2d"][3 * RIGHT_WRIST : 3 * RIGHT_WRIST + 2]
    return x, y


def words(editor: Editor) -> str:
    """What the row above the figure says; empty where it is hidden."""
    return editor.page.run(
        "[...pcdm.editor().element.querySelectorAll('.pcdm-steps .pcdm-step')]"
        ".filter((part) => part.offsetParent).map((part) => part.textContent).join(' | ')"
    )


def test_the_row_for_frames_people_and_joints_outside_is_hidden_without_them(
    editor: Editor,
) -> None:
    assert words(editor) == ""


def test_the_frames_of_a_clip_are_stepped_through_and_edited_one_by_one(editor: Editor) -> None:
    clip = [frame_of(number) for number in (1, 2, 3)]
    paste(editor, clip)
    assert "Frame 1 of 3" in words(editor)
    editor.settle()
    editor.press("next")
    assert "Frame 2 of 3" in words(editor)
    shown = editor.page.run(f"pcdm.editor().figure.points[{RIGHT_WRIST}]")
    assert_near([shown["x"], shown["y"]], wrist(clip[1]), 0.5)
    editor.drag(RIGHT_WRIST, 60, 120)
    first, second, third = json.loads(editor.text)
    assert (first, third) == (clip[0], clip[2])
    assert_near(wrist(second), (60, 120))
    editor.page.run("pcdm.editor().canvas.focus()")
    editor.page.key("PageDown")
    editor.page.key("PageDown")  # past the end
    assert "Frame 1 of 3" in words(editor)
    output = editor.execute()
    assert len(output["pcdm_pose"]) == 3
    assert_near(wrist(output["pcdm_pose"][1]), (60, 120))
    editor.press("undo")
    assert json.loads(editor.text) == clip


def test_a_connected_batch_is_edited_frame_by_frame(editor: Editor) -> None:
    person = {"person": "000000", "source_view": "0", "target_view": "all others"}
    connect(editor, "PCDMExamplePerson", 2, "start_pose", person)
    before = editor.execute()["pcdm_pose"]
    editor.page.wait("pcdm.editor().documents.length === 8")
    assert editor.text == ""
    editor.settle()
    editor.press("previous")
    assert "Frame 8 of 8" in words(editor)
    joint = int(np.flatnonzero(before[7]["people"][0]["pose_keypoints_2d"][2::3])[0])
    editor.drag(joint, 256, 100)
    after = editor.execute()["pcdm_pose"]
    assert len(after) == 8
    assert_near(after[7]["people"][0]["pose_keypoints_2d"][3 * joint :], (256, 100))
    for old, new in zip(before[:7], after[:7], strict=True):
        was, now = (np.array(frame["people"][0]["pose_keypoints_2d"]) for frame in (old, new))
        np.testing.assert_allclose(now, was, atol=0.1)


def test_of_several_people_one_is_chosen_and_the_others_stay(editor: Editor) -> None:
    small = [value * (0.5, 0.5, 1)[place % 3] for place, value in
             enumerate(frame_of(2)["people"][0]["pose_keypoints_2d"])]  # fmt: skip
    two = {**frame_of(0), "people": [{"pose_keypoints_2d": small}, *frame_of(0)["people"]]}
    paste(editor, two)
    assert "Person 2 of 2" in words(editor)  # the larger one
    editor.settle()
    editor.press("person")
    assert "Person 1 of 2" in words(editor)
    output = editor.execute()["pcdm_pose"][0]
    assert_near(wrist(output), (small[3 * RIGHT_WRIST], small[3 * RIGHT_WRIST + 1]), 1)
    editor.drag(RIGHT_WRIST, 60, 120)
    document = json.loads(editor.text)
    assert_near(wrist(document), (60, 120))
    assert_near(wrist(document, 1), wrist(frame_of(0)), 0.2)
    assert_near(wrist(editor.execute()["pcdm_pose"][0]), (60, 120))


def test_joints_outside_the_frame_are_said_seen_and_brought_back(editor: Editor) -> None:
    far = frame_of(0)
    values = far["people"][0]["pose_keypoints_2d"]
    values[3 * RIGHT_WRIST] = -900.0
    values[3 * LEFT_WRIST] = WIDTH + 120.0
    paste(editor, far)
    assert "2 joints outside" in words(editor)
    editor.settle()
    editor.press("fit")
    size = editor.page.run("[pcdm.editor().canvas.clientWidth, pcdm.editor().canvas.clientHeight]")
    x, y = editor.place(LEFT_WRIST)
    left, top = editor.page.run(
        "(({left, top}) => [left, top])(pcdm.editor().canvas.getBoundingClientRect())"
    )
    assert 0 < x - left < size[0]  # in sight, to be dragged
    assert 0 < y - top < size[1]
    editor.drag(LEFT_WRIST, 400, 300)
    assert_near(editor.point(LEFT_WRIST), (400, 300), 4)
    assert "1 joint outside" in words(editor)
    editor.press("back")
    assert words(editor) == ""
    assert editor.point(RIGHT_WRIST)[0] == pytest.approx(1, abs=1)
    assert all(editor.execute()["pcdm_pose"][0]["people"][0]["pose_keypoints_2d"][2::3])


def test_a_figure_that_is_nowhere_in_the_frame_comes_back_whole(editor: Editor) -> None:
    away = frame_of(0)
    values = away["people"][0]["pose_keypoints_2d"]
    values[0::3] = [x + 2 * WIDTH for x in values[0::3]]
    paste(editor, away)
    assert "18 joints outside" in words(editor)
    editor.settle()
    editor.press("back")
    points = np.array([editor.point(joint) for joint in range(18)])
    expected = np.array(frame_of(0)["people"][0]["pose_keypoints_2d"]).reshape(18, 3)
    moved = points[:, :2] - expected[:, :2]
    assert np.abs(moved - moved[0]).max() < 0.3
    assert points[:, 0].max() <= WIDTH


@pytest.mark.parametrize("text", ["hello", "12", '"a pose"', "[1, 2]"])
def test_what_is_no_pose_is_refused_in_sight_while_it_is_typed(editor: Editor, text: str) -> None:
    editor.press("text")
    editor.page.call("Input.insertText", text=text)
    complaint = "document.querySelector('.pcdm-complaint')"
    assert "no pose" in editor.page.run(f"pcdm.editor().element.{complaint[9:]}.textContent")
    editor.press("text")
    assert "a run will refuse it" in editor.page.run("pcdm.editor().notice.textContent")
    assert not editor.page.run("pcdm.editor().notice.hidden")


def test_older_words_for_the_shipped_weights_become_todays(editor: Editor) -> None:
    page = editor.page
    page.run("app.graph.add(LiteGraph.createNode('PCDMLoadInpainting')), null")
    today = page.run("app.graph.nodes.at(-1).widgets[0].options.values")
    for old, number in (("mini (shipped)", 0), ("mini, for 4 steps (shipped)", 1)):
        page.run(
            "(() => { const saved = JSON.parse(JSON.stringify(app.graph.serialize()));"
            f" saved.nodes.at(-1).widgets_values = [{json.dumps(old)}];"
            " return app.loadGraphData(saved).then(() => null) })()"
        )
        loader = "app.graph.nodes.find((node) => node.type === 'PCDMLoadInpainting')"
        page.wait(f"{loader}?.widgets[0].value === {json.dumps(today[number])}", 10)
