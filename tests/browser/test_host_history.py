"""Undo, keys and focus: what is the editor's while it is used, and what is the host's."""

import json
from collections.abc import Iterator

import pytest

from tests.browser.chromium import CONTROL, SHIFT
from tests.browser.editor import Editor

RIGHT_WRIST, LEFT_WRIST, NECK = 4, 7, 1
IN_CANVAS = "document.activeElement === pcdm.editor().canvas"


def mark(editor: Editor) -> None:
    """Remembers the node: the host's own undo makes another one."""
    editor.page.run("pcdm.marked = pcdm.node(), null")


def check_host_kept_out(editor: Editor) -> None:
    """The node is the one that was marked, and still has the focus, after the host had its time."""
    editor.page.run("new Promise((done) => setTimeout(done, 500))")
    assert editor.page.run("pcdm.marked === pcdm.node()"), "the host has undone something too"
    editor.check_screen()


def two_gestures(editor: Editor) -> tuple[str, str]:
    """The node's texts after each."""
    editor.drag(RIGHT_WRIST, 60, 120)
    first = editor.text
    editor.drag(LEFT_WRIST, 450, 120)
    return first, editor.text


def test_undo_and_redo_by_key_are_the_editors_alone(editor: Editor) -> None:
    first, second = two_gestures(editor)
    mark(editor)
    editor.page.key("z", CONTROL)
    check_host_kept_out(editor)
    assert editor.text == first
    editor.page.key("z", CONTROL)
    check_host_kept_out(editor)
    assert editor.text == ""
    editor.page.key("z", CONTROL)  # there is nothing left, and the host does not help out
    check_host_kept_out(editor)
    assert editor.text == ""
    editor.page.key("y", CONTROL)
    editor.page.key("Z", CONTROL | SHIFT)
    check_host_kept_out(editor)
    assert editor.text == second
    assert editor.page.run(IN_CANVAS)


def test_a_clicked_button_leaves_the_keys_with_the_editor(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    first = editor.text
    mark(editor)
    editor.press("mirror")
    assert editor.page.run(IN_CANVAS)
    assert editor.text != first
    editor.page.key("z", CONTROL)
    check_host_kept_out(editor)
    assert editor.text == first
    editor.press("undo")
    editor.page.key("y", CONTROL)
    check_host_kept_out(editor)
    assert editor.text == first


@pytest.mark.parametrize("place", ["buttons.mirror", "picker.querySelector('button')"])
def test_keys_on_buttons_and_in_the_library_do_not_reach_the_host(
    editor: Editor, place: str
) -> None:
    first, second = two_gestures(editor)
    mark(editor)
    if place.startswith("picker"):
        editor.press("poses")
    editor.page.run(f"pcdm.editor().{place}.focus()")
    editor.page.key("z", CONTROL)
    assert editor.text == first
    editor.page.key("y", CONTROL)
    assert editor.text == second
    editor.page.key("Delete")
    editor.page.run("new Promise((done) => setTimeout(done, 500))")
    assert editor.page.run("pcdm.marked === pcdm.node()")
    assert editor.text == second


@pytest.fixture
def on_change(editor: Editor) -> Iterator[Editor]:
    """The host runs the graph whenever it changes."""

    def runs(mode: str) -> None:
        editor.page.run(
            f"(() => {{ const store = app.extensionManager.queueSettings, mode = '{mode}';"
            " if (store) store.mode = mode;"
            " app.ui.autoQueueMode = mode; app.ui.autoQueueEnabled = mode === 'change' })()"
        )

    runs("change")
    try:
        yield editor
    finally:
        runs("disabled")


def test_undo_is_the_editors_too_where_the_host_runs_on_every_change(on_change: Editor) -> None:
    first, second = two_gestures(on_change)
    mark(on_change)
    on_change.page.key("z", CONTROL)
    check_host_kept_out(on_change)
    assert on_change.text == first
    on_change.page.key("y", CONTROL)
    check_host_kept_out(on_change)
    assert on_change.text == second


def test_the_hosts_undo_takes_gestures_back_once_the_ground_is_clicked(editor: Editor) -> None:
    first, second = two_gestures(editor)
    for undo, expected in (
        (editor.undo_in_host, first),
        (editor.undo_in_host, ""),
        (editor.redo_in_host, first),
        (editor.redo_in_host, second),
    ):
        undo()
        assert not editor.page.run(IN_CANVAS)
        editor.page.wait(f"pcdm.text() === {json.dumps(expected)}", 10)
        editor.check_screen()
    editor.drag(RIGHT_WRIST, 60, 400)
    editor.page.key("z", CONTROL)
    assert editor.text == second
    editor.check_screen()


def test_the_hosts_undo_keeps_what_the_last_run_has_shown(editor: Editor) -> None:
    editor.page.run(
        "(() => { const person = LiteGraph.createNode('PCDMExamplePerson'); person.pos = [700, 90];"
        " app.graph.add(person); person.connect(2, pcdm.node(), 'start_pose') })()"
    )
    editor.execute()
    editor.page.wait("pcdm.editor().notice.hidden")
    figure = editor.page.run("JSON.stringify(pcdm.editor().figure)")
    editor.drag(RIGHT_WRIST, 60, 120)
    assert editor.page.run("JSON.stringify(pcdm.editor().figure)") != figure
    editor.undo_in_host()
    editor.page.wait("pcdm.text() === ''", 10)
    editor.settle()
    assert editor.page.run("JSON.stringify(pcdm.editor().figure)") == figure
    assert editor.page.run("pcdm.editor().notice.hidden")


def test_keys_write_nothing_into_the_canvas_and_delete_no_node(editor: Editor) -> None:
    editor.page.click(*editor.place(NECK))
    text = editor.text
    for key in ("x", "1", "Enter", "Escape", "Delete"):
        editor.page.key(key)
    editor.page.call("Input.insertText", text="pasted")
    assert editor.page.run("app.canvas.graph.nodes.length") == 1
    assert editor.page.run("pcdm.editor().canvas.childNodes.length") == 0
    assert editor.text == text
    editor.check_screen()
