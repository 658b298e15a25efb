"""The editor on the screen is the one of the node, whatever the host does with nodes and pages."""

import json

from tests.browser.chromium import CONTROL
from tests.browser.editor import Editor

RIGHT_WRIST, LEFT_WRIST = 4, 7
COMMAND = "app.extensionManager.command.execute('{}').then(() => null)"
TO_CORNER = "pcdm.look(1, 140 - pcdm.node().pos[0], 90 - pcdm.node().pos[1])"
OPEN_SUBGRAPH = (
    "(({ subgraph }, node) => app.canvas.openSubgraph(subgraph, node))"
    "(app.canvas.graph.nodes[0], app.canvas.graph.nodes[0]), null"
)
IN_SUBGRAPH = "app.canvas.graph !== (app.rootGraph ?? app.graph)"


def use(editor: Editor) -> None:
    """A gesture, taken back and done again: each is on the screen, and all are the node's."""
    before = editor.text
    editor.check_screen()
    editor.drag(LEFT_WRIST, 450, 120)
    after = editor.text
    assert after != before
    editor.check_screen()
    editor.page.key("z", CONTROL)
    editor.check_screen()
    assert editor.text == before
    editor.page.key("y", CONTROL)
    editor.check_screen()
    assert editor.text == after


def test_in_a_subgraph_and_back(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    first = editor.text
    page = editor.page
    page.run("app.canvas.selectNode(pcdm.node()), null")
    page.run(COMMAND.format("Comfy.Graph.ConvertToSubgraph"))
    page.wait("app.canvas.graph.nodes[0]?.subgraph?.nodes.length === 1")
    page.run(OPEN_SUBGRAPH)
    page.wait(f"{IN_SUBGRAPH} && !!pcdm.node()")
    page.run(TO_CORNER)
    editor.settle()
    assert editor.text == first
    use(editor)
    second = editor.text

    editor.undo_in_host()
    page.wait(f"pcdm.text() === {json.dumps(first)}", 10)
    page.run(TO_CORNER)
    editor.check_screen()
    editor.redo_in_host()
    page.wait(f"pcdm.text() === {json.dumps(second)}", 10)

    page.run("app.canvas.setGraph(app.rootGraph ?? app.graph), null")
    page.wait("pcdm.shown().length === 0", 10)
    page.run(OPEN_SUBGRAPH)
    page.run(TO_CORNER)
    editor.check_screen()
    assert editor.text == second

    page.run("app.canvas.setGraph(app.rootGraph ?? app.graph), null")
    page.run("pcdm.look(1)")
    for _ in range(8):  # gestures, and then the conversion
        editor.undo_in_host()
        page.run("new Promise((done) => setTimeout(done, 400))")
        if page.run("!!pcdm.node()"):
            break
    editor.check_screen()
    use(editor)


def test_after_a_change_of_the_way_of_drawing_nodes(editor: Editor, style: str) -> None:
    other = {"classic": "vue", "vue": "classic"}[style]
    editor.need(other)
    editor.drag(RIGHT_WRIST, 60, 120)
    try:
        editor.draw_nodes(other)
        use(editor)
        editor.undo_in_host()
        editor.check_screen()
    finally:
        editor.draw_nodes(style)
    editor.check_screen()
    editor.drag(RIGHT_WRIST, 100, 400)
    use(editor)


def test_after_a_reload_of_the_page(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    text = editor.text
    points = json.dumps(text.split("[")[2].split("]")[0])
    editor.page.wait(
        f"[...Object.values(localStorage), ...Object.values(sessionStorage)]"
        f".some((kept) => kept.includes({points}))",
        20,
    )
    editor.load()
    editor.page.wait("!!pcdm.node()", 30)
    editor.page.run("pcdm.look(1)")
    editor.settle()
    assert editor.text == text
    use(editor)


def test_after_another_workflow_with_a_node_of_the_same_number(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    text = editor.text
    other = editor.page.run("JSON.stringify((app.rootGraph ?? app.graph).serialize())")
    editor.drag(RIGHT_WRIST, 100, 400)
    editor.page.run(f"app.loadGraphData({other}).then(() => null)")
    editor.page.wait(f"pcdm.text() === {json.dumps(text)}", 10)
    editor.page.run("pcdm.look(1)")
    editor.check_screen()
    use(editor)


def test_after_the_node_was_folded(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    editor.page.run("pcdm.node().collapse(), null")
    editor.page.wait("pcdm.shown().length === 0", 10)
    editor.page.run("pcdm.node().collapse(), null")
    use(editor)


def test_after_the_node_was_deleted_and_brought_back(editor: Editor) -> None:
    editor.drag(RIGHT_WRIST, 60, 120)
    text = editor.text
    editor.click_ground()
    editor.page.run("app.canvas.selectNode(pcdm.node()), null")
    editor.page.key("Delete")
    editor.page.wait("app.canvas.graph.nodes.length === 0 && pcdm.shown().length === 0", 10)
    editor.undo_in_host()
    editor.page.wait(f"pcdm.node() && pcdm.text() === {json.dumps(text)}", 10)
    use(editor)
