"""The pose editor's node: what its text, its sockets and its frame make together."""

import json
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, image, make_graph

HEIGHT, WIDTH = 384, 256


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def edit(graph: Graph, pose_json: str = "", **inputs: Any) -> Any:
    frame = {"height": HEIGHT, "width": WIDTH}
    return graph.node("PCDMPoseEditor").execute(**{"pose_json": pose_json, **frame, **inputs})


def library_text(graph: Graph, number: int) -> str:
    core = graph.host.pack("pcdm_core.pose.editor")
    document = core.to_edited(core.library()[number].keypoints, HEIGHT, WIDTH)
    return json.dumps(document)


def test_a_text_gives_its_pose_and_the_cores_skeleton(graph: Graph) -> None:
    pose, skeleton = edit(graph, library_text(graph, 7)).result
    expected = graph.host.pack("pcdm_core.pose.editor").library()[7].keypoints
    assert type(pose) is type(expected)
    assert torch.equal(pose.visible, expected.visible)
    torch.testing.assert_close(pose.xy[expected.visible], expected.xy[expected.visible])
    rendering = graph.host.pack("pcdm_core.pose.render").render_pose(pose, HEIGHT, WIDTH)
    torch.testing.assert_close(skeleton.movedim(-1, 1), (rendering + 1) / 2)


def test_a_new_node_gives_a_standing_person(graph: Graph) -> None:
    pose, _ = edit(graph).result
    assert pose.visible.all()
    assert len(pose) == 1


def test_a_connected_pose_passes_through_until_there_is_a_text(graph: Graph) -> None:
    start = graph.pose(3)
    pose, skeletons = edit(graph, start_pose=start).result
    torch.testing.assert_close(pose.xy, start.xy)
    assert len(skeletons) == 3
    pose, _ = edit(graph, library_text(graph, 2), start_pose=start).result
    assert len(pose) == 1
    assert not torch.allclose(pose.xy, start.xy[:1].to(pose.xy))


def test_a_batch_goes_through_the_text_frame_by_frame(graph: Graph) -> None:
    start = graph.pose(3)
    output = edit(graph, start_pose=start)
    frames = output.ui["pcdm_start_pose"]
    assert frames == output.ui["pcdm_pose"]
    assert len(frames) == 3
    frames[1] = json.loads(library_text(graph, 2))
    pose, skeletons = edit(graph, json.dumps(frames), start_pose=start).result
    assert len(pose) == len(skeletons) == 3
    torch.testing.assert_close(pose.xy[0::2], start.xy[0::2], atol=1e-3, rtol=0)
    assert not torch.allclose(pose.xy[1], start.xy[1].to(pose.xy), atol=1e-2)


def test_a_connected_pose_is_one_of_the_underlay(graph: Graph) -> None:
    start = graph.pose()
    wide = image(height=96, width=384)
    pose, _ = edit(graph, start_pose=start, underlay=wide).result
    place = torch.tensor([1.0, 96 / 384 * WIDTH / HEIGHT], dtype=pose.xy.dtype)
    torch.testing.assert_close(pose.xy[0] - 0.5, (start.xy[0] - 0.5) * place)


def test_the_browser_is_told_the_pose_the_start_and_the_picture(graph: Graph) -> None:
    folder = graph.host.comfy("folder_paths").get_temp_directory()
    ui = edit(graph, start_pose=graph.pose(), underlay=image()).ui
    assert set(ui) == {"pcdm_pose", "pcdm_text", "pcdm_start_pose", "pcdm_underlay"}
    assert ui == json.loads(json.dumps(ui))
    for document in (*ui["pcdm_pose"], *ui["pcdm_start_pose"]):
        assert (document["canvas_height"], document["canvas_width"]) == (HEIGHT, WIDTH)
    (file,) = ui["pcdm_underlay"]
    assert file["type"] == "temp"
    path = graph.host.pack("nodes.pose_editor").Path(folder) / file["filename"]
    picture = graph.host.pack("pcdm_core.images").load_picture(path)
    torch.testing.assert_close((picture + 1) / 2, image().movedim(-1, 1), atol=1e-6, rtol=0)
    text = library_text(graph, 7)
    assert edit(graph, text).ui.keys() == {"pcdm_pose", "pcdm_text"}
    assert edit(graph, text).ui["pcdm_text"] == [text]


def test_a_large_picture_is_sent_to_the_browser_smaller(graph: Graph) -> None:
    ui = edit(graph, underlay=torch.zeros(1, 40, 4000, 3)).ui
    path = graph.host.pack("nodes.pose_editor").Path(
        graph.host.comfy("folder_paths").get_temp_directory()
    )
    picture = graph.host.pack("pcdm_core.images").load_picture(
        path / ui["pcdm_underlay"][0]["filename"]
    )
    assert picture.shape[-2:] == (15, 1536)


def test_a_wrong_text_is_refused_before_the_run(graph: Graph) -> None:
    check = graph.node("PCDMPoseEditor").validate_inputs
    assert check(pose_json="") is True
    assert check() is True  # connected
    assert check(pose_json=library_text(graph, 1)) is True
    pixels = json.loads(library_text(graph, 1))
    del pixels["canvas_height"], pixels["canvas_width"]
    assert check(pose_json=json.dumps(pixels)) is True
    assert "no JSON" in check(pose_json="{")
    hidden = json.loads(library_text(graph, 1))
    hidden["people"][0]["pose_keypoints_2d"][2::3] = [0] * 18
    assert "missing" in check(pose_json=json.dumps(hidden))


WORDS = ("<b>\n" * 300_000, "[" * 300_000, "9" * 300_000, '{"a": "\n')


@pytest.mark.parametrize("word", WORDS, ids=["markup", "lists", "digits", "a line"])
def test_whatever_a_text_holds_the_error_is_a_short_line(graph: Graph, word: str) -> None:
    refused = graph.node("PCDMPoseEditor").validate_inputs(pose_json=word)
    read_pose = graph.node("PCDMPoseFromKeypoints").execute
    settings = {"file": "none", "person": -1, "picture_height": 0, "picture_width": 0}
    error = graph.host.pack("pcdm_core.pose.formats").PoseError
    with pytest.raises(error) as of_text:
        read_pose(text=word, **settings)
    with pytest.raises(error) as of_frame:
        read_pose(text=library_text(graph, 1), frame=word, **settings)
    for sentence in (refused, str(of_text.value), str(of_frame.value)):
        assert len(sentence) < 400
        assert sentence.isprintable()
