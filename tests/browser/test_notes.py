"""What a run told stays on the node, whatever the front end does with its own texts."""

import json

from pcdm_core.pose.editor import library, to_edited
from tests.browser.editor import Editor
from tests.browser.test_pose_editor import connect

SHOWN = """
(() => {
  const says = (element) => /Missing: right wrist/.test(element.value ?? element.textContent)
  return [...document.body.querySelectorAll('*')].filter((element) => says(element)
    && ![...element.children].some(says) && element.getClientRects().length
    && !element.closest('.pcdm-editor')).length
})()
"""


def test_a_report_stays_on_the_node_after_the_run_and_is_one_after_the_next(
    editor: Editor, style: str
) -> None:
    document = to_edited(library()[0].keypoints, 768, 512)
    document["style"] = style  # the host would know the other one's run
    document["people"][0]["pose_keypoints_2d"][12:15] = [0, 0, 0]
    connect(editor, "PCDMPoseFromKeypoints", 0, "start_pose", {"text": json.dumps(document)})
    editor.page.run("app.graph.nodes.at(-1).setSize([420, 420])")
    for _ in range(2):
        editor.run()
        editor.page.run("new Promise((done) => setTimeout(done, 1500))")
        editor.page.wait(f"{SHOWN} === 1", 10)
    saved = editor.page.run("JSON.stringify(app.graph.serialize())")
    assert "Missing: right wrist" not in saved.replace(json.dumps(document)[1:-1], "")
