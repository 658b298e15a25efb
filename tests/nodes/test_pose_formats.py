"""Poses to and from what other packs draw and read, in the host."""

import json
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

from tests.core.one_person import BODY, LEFT_HAND, whole_body_133
from tests.core.pose_dialects import (
    DIALECTS,
    HEIGHT,
    MISSING,
    WIDTH,
    aux_dwpose,
    sdpose,
    source_of,
)
from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, make_graph
from tests.nodes.test_interface import STANDING, pose_document


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def read_pose(graph: Graph, **inputs: Any) -> tuple[Any, ...]:
    blank = {"text": "", "file": "none", "person": -1}
    size = {"picture_height": HEIGHT, "picture_width": WIDTH}
    return graph.run("PCDMPoseFromKeypoints", **{**blank, **size, **inputs})


@pytest.mark.parametrize("name", DIALECTS)
def test_a_pose_of_any_dialect_comes_with_a_report(graph: Graph, name: str) -> None:
    dialect = DIALECTS[name]
    source = source_of(dialect)
    pose, report = read_pose(graph, text=source if isinstance(source, str) else json.dumps(source))
    assert pose.visible[0].tolist() == [joint != MISSING for joint in range(18)]
    assert dialect.says in report
    if not isinstance(source, str):
        again, _ = read_pose(graph, keypoints=source)
        torch.testing.assert_close(again.xy, pose.xy)


def test_people_are_counted_in_the_order_asked_for(graph: Graph) -> None:
    document = pose_document()
    right = [
        x + 60 if n % 3 == 0 else x
        for n, x in enumerate(document["people"][0]["pose_keypoints_2d"])
    ]
    document["people"].insert(0, {"pose_keypoints_2d": right})
    in_file, _ = read_pose(graph, keypoints=[document], person=0)
    leftmost, report = read_pose(graph, keypoints=[document], person=0, order="left to right")
    assert in_file.xy[0, 0, 0] > leftmost.xy[0, 0, 0]
    assert "People: 2" in report
    third, _ = read_pose(graph, keypoints=[pose_document(), document], frame="1", person=1)
    assert len(third) == 1


def test_a_pose_goes_out_as_a_pose_keypoint_and_as_json_and_comes_back(graph: Graph) -> None:
    pose = graph.pose(2)
    keypoints, text = graph.run("PCDMPoseToKeypoints", pose=pose, height=300, width=200)
    assert keypoints[0]["canvas_height"] == 300
    assert len(keypoints) == len(json.loads(text)) == 2
    for inputs in ({"keypoints": keypoints}, {"text": text}):
        again, _ = read_pose(graph, **inputs)
        assert torch.equal(again.visible, pose.visible)
        torch.testing.assert_close(again.xy[pose.visible], pose.xy[pose.visible].double())


def test_comfyuis_own_pose_nodes_take_the_pose_keypoint(graph: Graph) -> None:
    """SDPoseDrawKeypoints reshapes every list; older hosts do not have it."""
    sdpose = pytest.importorskip("comfy_extras.nodes_sdpose", reason="the host has no SDPose nodes")
    pose, _ = read_pose(graph, text=json.dumps(pose_document()))
    keypoints, _ = graph.run("PCDMPoseToKeypoints", pose=pose, height=256, width=192)
    settings = {"draw_body": True, "draw_hands": True, "draw_face": True, "draw_feet": True}
    (image,) = sdpose.SDPoseDrawKeypoints.execute(
        keypoints, **settings, stick_width=4, face_point_size=3, score_threshold=0.3, draw_head=True
    ).result
    assert image.shape == (1, 256, 192, 3)
    assert image.max() > 0.5


def test_what_comfyuis_sdpose_finds_goes_in_as_it_comes(graph: Graph) -> None:
    """By the host's own conversion of the network's 133 points; older hosts do not have it."""
    sdpose = pytest.importorskip("comfy_extras.nodes_sdpose", reason="the host has no SDPose nodes")
    points = whole_body_133()
    places, scores = [[x, y] for x, y, _ in points], [score for *_, score in points]
    frames = sdpose._to_openpose_frames([[places], [places]], [[scores], [scores]], HEIGHT, WIDTH)
    pose, report = read_pose(graph, keypoints=frames, picture_height=0, picture_width=0)
    assert pose.canvases == [(HEIGHT, WIDTH)] * 2
    assert pose.visible[1].tolist() == [joint != MISSING for joint in range(18)]
    off = pose.to_pixels(HEIGHT, WIDTH)[1] - torch.tensor(BODY)
    assert off[pose.visible[1]].abs().max() <= 2  # the neck, which is made
    hands = pose.hands_xy[1] * torch.tensor([WIDTH, HEIGHT])
    assert (hands[0] - torch.tensor(LEFT_HAND)).abs().max() < 0.01
    assert "SDPose" in report
    drawing = sdpose.SDPoseDrawKeypoints.execute(
        frames, draw_body=True, draw_hands=False, draw_face=False, draw_feet=False, stick_width=4,
        face_point_size=3, score_threshold=0.3, draw_head=True,
    ).result[0]  # fmt: skip
    again, _ = graph.run("PCDMPoseFromSkeleton", image=drawing, person=-1)
    both = again.visible & pose.visible
    assert int(both.sum()) > 25
    assert ((again.xy - pose.xy)[both] * torch.tensor([WIDTH, HEIGHT])).abs().max() <= 3


def test_a_skeleton_picture_becomes_the_pose_that_it_shows(graph: Graph) -> None:
    document = pose_document()
    pose, _ = read_pose(graph, text=json.dumps(document))
    spread = torch.tensor(STANDING, dtype=torch.float64)
    spread[:, 0] = torch.linspace(0.1, 0.9, 18, dtype=torch.float64)
    pose = type(pose)(spread[None], pose.visible)
    image, *_ = graph.run("PCDMRenderPose", pose=pose, height=512, width=512, draw_hands=True)
    again, report = graph.run("PCDMPoseFromSkeleton", image=image, person=-1)
    assert "Skeleton picture in ControlNet's colours" in report
    assert (again.xy - pose.xy)[again.visible].abs().max() < 0.01
    assert int(again.visible.sum()) >= 16
    several, _ = graph.run("PCDMPoseFromSkeleton", image=image.expand(2, -1, -1, -1), person=0)
    assert len(several) == 2
    white = torch.where(image.amax(dim=-1, keepdim=True) > 0, image, torch.ones(()))
    _, report = graph.run("PCDMPoseFromSkeleton", image=white, person=-1)
    assert "Unlike the models' skeletons: the background is white" in report


def test_a_photograph_is_no_skeleton_and_gives_a_sentence(graph: Graph) -> None:
    noise = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="no skeleton in ControlNet's colours"):
        graph.run("PCDMPoseFromSkeleton", image=noise, person=-1)


def test_a_report_is_shown_on_the_node_that_runs(graph: Graph, monkeypatch: Any) -> None:
    """As the host's own Get Image Size does: through the server, by the node's id."""
    server: Any = ModuleType("server")  # the real one cannot be imported without its web site
    texts: list[tuple[str, str]] = []

    class Browser:
        client_id = "browser"

        def send_progress_text(self, text: str, node_id: str, client: str) -> None:
            texts.append((text, node_id))

    server.PromptServer = type("PromptServer", (), {"instance": Browser()})
    monkeypatch.setitem(sys.modules, "server", server)
    node = graph.node("PCDMPoseFromKeypoints")

    class Running(node):  # what the host makes of a node class before it runs it
        hidden = type("Hidden", (), {"unique_id": "7"})()

    Running.execute("", "none", -1, 0, 0, keypoints=[pose_document()])
    assert [node_id for _, node_id in texts] == ["7"]
    assert "POSE_KEYPOINT" in texts[0][0]


def detectors_document(producer: str, points: torch.Tensor) -> dict[str, Any]:
    """In the shape of controlnet_aux's DWPose node or of ComfyUI's SDPose node, at 512x512."""
    (document,) = aux_dwpose() if producer == "DWPose" else sdpose()
    score = 1.0 if producer == "DWPose" else 0.83
    person = document["people"][0]
    person["pose_keypoints_2d"] = [n for x, y in points.tolist() for n in (x, y, score)]
    for side in ("left", "right"):
        person[f"hand_{side}_keypoints_2d"] = None if producer == "DWPose" else [0.0] * 63
    return document | {"canvas_height": 512, "canvas_width": 512}


@pytest.mark.parametrize("name", ["one person", "Standing", "Seated", "Drawing a bow", "Kneeling"])
@pytest.mark.parametrize("producer", ["DWPose", "SDPose"])
def test_a_detectors_key_points_come_back_from_their_drawing_to_the_pixel(
    graph: Graph, producer: str, name: str
) -> None:
    """At 512x512, but for joints that lie under another's disc."""
    places = torch.tensor(BODY, dtype=torch.float64) / torch.tensor([512.0, 768.0])
    library = graph.host.pack("pcdm_core.pose.editor").library()
    if name != "one person":
        (places,) = (one.keypoints.xy[0] for one in library if one.name == name)
    points = (places * 512).round()
    document = detectors_document(producer, points)
    size = {"picture_height": 0, "picture_width": 0}
    pose, _ = read_pose(graph, text=json.dumps([document]), **size)
    image, *_ = graph.run("PCDMRenderPose", pose=pose, height=512, width=512, draw_hands=True)
    drawn, _ = graph.run("PCDMPoseFromSkeleton", image=image, person=-1)
    keypoints, _ = graph.run("PCDMPoseToKeypoints", pose=drawn, height=512, width=512)
    again, _ = read_pose(graph, keypoints=keypoints, **size)
    apart = (points[:, None] - points).norm(dim=-1) + 99.0 * torch.eye(18)
    free = apart.amin(dim=1) > 9
    assert free.sum() > 12
    assert again.visible[0][free].all()
    off = (again.xy[0] * 512 - points).abs().amax(dim=-1)
    assert off[free].max() <= 1
