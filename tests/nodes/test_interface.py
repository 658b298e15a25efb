"""The nodes that need no network: weights to choose from, poses, example people."""

import json
from typing import Any

import pytest
import torch

from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, make_graph

STANDING = [[0.5, 0.1 + 0.04 * joint] for joint in range(18)]


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def test_weights_of_the_models_folder_and_the_shipped_set_are_offered(graph: Graph) -> None:
    offered = graph.host.pack("nodes.weights").choices("inpainting")
    mini = graph.host.pack("pcdm_core.presets").PRESETS["mini"]
    assert offered[0] == f"mini, {mini.height}x{mini.width}, rendered people (shipped)"
    assert offered[1] == f"mini, {mini.height}x{mini.width}, rendered people, for 4 steps (shipped)"
    assert "test/inpainting.safetensors" in offered


@pytest.mark.parametrize("words", ["", ", 96x64, rendered people", ", 128x88, rendered people"])
def test_saved_workflows_with_older_words_for_the_shipped_weights_load(
    graph: Graph, words: str
) -> None:
    node = graph.node("PCDMLoadInpainting")
    (today,) = graph.run("PCDMLoadInpainting")
    for name, steps in ((f"mini{words} (shipped)", 20), (f"mini{words}, for 4 steps (shipped)", 4)):
        assert node.validate_inputs(name) is True
        (model,) = graph.run("PCDMLoadInpainting", weights=name)
        assert model.model.preset.steps == steps
        if steps == 20:
            (own, other) = (m.model.diffusion_model.out[2].weight for m in (today, model))
            assert torch.equal(own, other)
    assert "is not in" in graph.node("PCDMLoadPrior").validate_inputs(
        f"mini{words}, for 4 steps (shipped)"
    )
    assert "is not in" in node.validate_inputs(f"maxi{words} (shipped)")


def test_a_wrong_or_missing_weights_file_gives_a_sentence(graph: Graph) -> None:
    error = graph.host.pack("pcdm_core.checkpoints.load").CheckpointError
    with pytest.raises(error, match="is a stage-1 model"):
        graph.run("PCDMLoadInpainting", weights="test/prior.safetensors")
    with pytest.raises(error, match=r"gone\.safetensors is not in .*pcdm.*Put the file there"):
        graph.run("PCDMLoadRefining", weights="gone.safetensors")


def pose_document(visible: int = 18) -> dict[str, Any]:
    points = [
        value
        for joint, (x, y) in enumerate(STANDING)
        for value in ((x * 200, y * 100, 1.0) if joint < visible else (0, 0, 0))
    ]
    return {"people": [{"pose_keypoints_2d": points}], "canvas_height": 100, "canvas_width": 200}


def read_pose(graph: Graph, **inputs: Any) -> Any:
    blank = {"text": "", "file": "none", "person": -1, "picture_height": 0, "picture_width": 0}
    return graph.run("PCDMPoseFromKeypoints", **{**blank, **inputs})[0]


def test_a_pose_comes_from_a_socket_from_text_or_from_a_file(graph: Graph) -> None:
    document = pose_document(visible=12)
    folder = graph.host.base / "input"
    folder.mkdir(exist_ok=True)
    (folder / "pose.json").write_text(json.dumps(document), encoding="utf-8")
    for inputs in (
        {"keypoints": [document]},
        {"text": json.dumps(document)},
        {"file": "pose.json"},
    ):
        pose = read_pose(graph, **inputs)
        assert pose.visible.sum() == 12
        expected = torch.tensor(STANDING, dtype=torch.float64)[:12]
        torch.testing.assert_close(pose.xy[0, :12], expected)
    assert "pose.json" in graph.host.pack("nodes.pose").pose_files()
    assert len(read_pose(graph, keypoints=[document, pose_document()])) == 2


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "none of them is given"),
        ({"text": "{", "file": "pose.json"}, "several are given"),
        ({"text": "{"}, "damaged JSON"),
        ({"text": "/etc/hostname"}, "1 line; expected 18"),
        ({"text": '{"people": []}'}, "nobody is in it"),
        ({"text": json.dumps(pose_document(visible=0))}, "all 18 joints are missing"),
        ({"text": json.dumps(pose_document()), "person": 3}, "person 3 was asked for"),
    ],
)
def test_a_pose_that_cannot_be_used_gives_a_sentence(
    graph: Graph, inputs: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_pose(graph, **inputs)


def test_a_rendered_pose_is_the_cores_skeleton(graph: Graph) -> None:
    pose = read_pose(graph, text=json.dumps(pose_document()))
    image, _ = graph.run("PCDMRenderPose", pose=pose, height=64, width=48, draw_hands=True)
    skeleton = graph.host.pack("pcdm_core.pose.render").render_pose(pose, 64, 48)
    assert image.shape == (1, 64, 48, 3)
    torch.testing.assert_close(image.movedim(-1, 1), (skeleton + 1) / 2)
    assert image.max() > 0.5


def test_an_example_person_has_a_picture_and_a_pose_for_every_view(graph: Graph) -> None:
    image, source, targets, truth = graph.run(
        "PCDMExamplePerson", person="000000", source_view="2", target_view="all others"
    )
    assert image.shape[0] == len(source) == 1
    assert len(targets) == len(truth) == 8
    one = graph.run("PCDMExamplePerson", person="000000", source_view="0", target_view="2")
    torch.testing.assert_close(one[3], image)
    torch.testing.assert_close(one[2].xy, source.xy)
