"""The picture that a pose was drawn for, from node to node: fitted whole, or said."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import ExifTags, Image

from tests.core.pose_dialects import BODY
from tests.core.test_canvas import FRAME, VIDEO, arm, document, unsquashed
from tests.nodes.conftest import Host
from tests.nodes.graph import SETTINGS, Graph, image, inpainting_inputs, make_graph

BLANK: dict[str, Any] = {"text": "", "file": "none", "person": -1}
SIZE = {"height": FRAME[0], "width": FRAME[1]}


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def pose_of(graph: Graph, content: Any, **inputs: Any) -> Any:
    values = {**BLANK, "picture_height": 0, "picture_width": 0, **inputs}
    return graph.run("PCDMPoseFromKeypoints", **{**values, "keypoints": content})[0]


def source() -> torch.Tensor:
    return torch.zeros(1, *FRAME, 3)


def points_of(keypoints: list[dict[str, Any]]) -> torch.Tensor:
    return torch.tensor(keypoints[0]["people"][0]["pose_keypoints_2d"]).reshape(18, 3)[:, :2]


def test_a_videos_pose_keeps_its_angles_on_a_portrait(graph: Graph) -> None:
    """Case 83: POSE_KEYPOINT of a 1920x1080 video, everything else at 768x512."""
    pose = pose_of(graph, [document()])
    assert pose.canvases == [VIDEO]
    keypoints, _ = graph.run("PCDMPoseToKeypoints", pose=pose, **SIZE)
    assert arm(points_of(keypoints).numpy()) == pytest.approx(45, abs=0.1)
    edited, skeleton = graph.run("PCDMPoseEditor", pose_json="", start_pose=pose, **SIZE)
    assert unsquashed(edited)
    drawing, _ = graph.run("PCDMRenderPose", pose=pose, draw_hands=True, **SIZE)
    assert torch.equal(drawing, skeleton)
    moved, _ = graph.run(
        "PCDMInterpolatePoses", first_pose=pose, count=2, loop=False, source=source()
    )
    assert unsquashed(moved)
    alone, preview = graph.run("PCDMInterpolatePoses", first_pose=pose, count=2, loop=False)
    assert unsquashed(alone, frame=VIDEO)
    assert preview.shape[1:3] == (432, 768)
    standing = pose_of(graph, [document(BODY, FRAME)])
    values = {"enabled": True, "framing": "as source", "one_body": False, "source": source()}
    retargeted, _, report = graph.run(
        "PCDMRetargetPose", target_pose=pose, source_pose=standing, **values
    )
    assert arm(retargeted.to_pixels(*FRAME)[0].numpy()) == pytest.approx(45, abs=0.1)
    assert "drawn for a picture of 1080x1920" in report


def test_pixels_without_a_canvas_name_what_to_set(graph: Graph) -> None:
    """Case 84: OpenPose's own file."""
    with pytest.raises(ValueError, match="set picture_height and picture_width") as caught:
        pose_of(graph, document(canvas=None))
    assert "--" not in str(caught.value)
    assert "Python" not in str(caught.value)
    pose = pose_of(graph, document(canvas=None), picture_height=1080, picture_width=1920)
    assert pose.canvases == [VIDEO]
    with pytest.raises(ValueError, match="1080x0"):
        pose_of(graph, document(canvas=None), picture_height=1080)


def test_frames_of_two_shapes_keep_their_own(graph: Graph) -> None:
    """Case 86."""
    pose = pose_of(graph, [document(BODY, FRAME), document()])
    assert pose.canvases == [FRAME, VIDEO]
    keypoints, _ = graph.run("PCDMPoseToKeypoints", pose=pose, **SIZE)
    torch.testing.assert_close(points_of(keypoints), torch.tensor(BODY).float())
    assert arm(points_of(keypoints[1:]).numpy()) == pytest.approx(45, abs=0.1)


def test_a_phones_photograph_is_upright_under_its_key_points(graph: Graph) -> None:
    """Case 82: stored lying, orientation 6, key points of the upright picture without a size."""
    height, width = FRAME
    pixels = torch.full((height, width, 3), 255, dtype=torch.uint8).numpy()
    for x, y in BODY:
        pixels[y - 4 : y + 4, x - 4 : x + 4] = (255, 0, 0)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    folder = Path(graph.host.comfy("folder_paths").get_input_directory())
    file = folder / "phone.jpg"
    lying = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_90)
    lying.save(file, quality=95, exif=exif)
    try:
        picture = graph.host.comfy("nodes").LoadImage().load_image(file.name)[0]
    finally:
        file.unlink()
    assert tuple(picture.shape[1:3]) == FRAME
    pose = pose_of(graph, document(BODY, None), picture_height=height, picture_width=width)
    for x, y in pose.to_pixels(height, width)[0].round().int().tolist():
        assert picture[0, y, x, 0] - picture[0, y, x, 1] > 0.6
    loaded = graph.load()
    sockets = inpainting_inputs(graph, loaded, graph.pose())
    sockets |= {"source": picture, "source_pose": pose, "target_pose": pose}
    assert graph.output("PCDMInpaintingConditioning", **sockets).ui is None


def test_the_editor_traces_by_way_of_the_picture_below(graph: Graph) -> None:
    underlay = torch.zeros(1, 300, 600, 3)
    pose = pose_of(graph, [document()])
    result = graph.output(
        "PCDMPoseEditor", pose_json="", start_pose=pose, underlay=underlay, **SIZE
    )
    assert unsquashed(result.result[0])
    assert "text" not in result.ui
    fractions = [[x / 1920, y / 1080] for x, y in zip(*torch.tensor(BODY).T.tolist(), strict=True)]
    unknown = pose_of(graph, fractions)
    result = graph.output("PCDMPoseEditor", pose_json="", start_pose=unknown, **SIZE)
    assert "does not say the size of its picture" in result.ui["text"][0]
    with pytest.raises(ValueError, match="not of the 768x512"):
        graph.run("PCDMPoseEditor", pose_json=json.dumps(document(canvas=None)), **SIZE)


def test_the_stage_says_whose_picture_a_pose_is(graph: Graph) -> None:
    with torch.inference_mode():
        loaded = graph.load()
        sockets = inpainting_inputs(graph, loaded, graph.pose())
        values = {**SETTINGS, "restore_size": False}
        pair = {"source_pose": sockets["source_pose"].with_canvas((64, 48))}
        pair["target_pose"] = pair["source_pose"]
        assert graph.output("PCDMInpaintingSampler", **{**sockets, **pair}, **values).ui is None
        for change, words in (
            ({"target_pose": pose_of(graph, [document()])}, "drawn for a picture of 1080x1920"),
            ({"source_pose": pose_of(graph, [document(BODY, FRAME)])}, "picture of 768x512"),
            ({"source_pose": graph.pose().with_canvas(None)}, "source pose does not say the size"),
        ):
            inputs = {**sockets, **pair, **change}
            ui = graph.output("PCDMInpaintingSampler", **inputs, **values).ui
            assert words in ui["text"][0]
            ui = graph.output("PCDMInpaintingConditioning", **inputs).ui
            assert words in ui["text"][0]


def test_the_stages_and_the_mask_show_the_canvas_whole(graph: Graph) -> None:
    with torch.inference_mode():
        loaded = graph.load()
        wide = pose_of(graph, [document()])
        fit = graph.host.pack("pcdm_core.pose.canvas").in_frame(wide, (96, 80))
        values = {**SETTINGS, "restore_size": True}
        pictures = []
        for pose in (wide, fit):
            sockets = inpainting_inputs(graph, loaded, graph.pose())
            sockets |= {"source": image(height=96, width=80), "target_pose": pose}
            outputs = graph.run("PCDMInpaintingSampler", **sockets, **values)
            pictures.append((outputs[0], outputs[3]))
    assert all(torch.equal(a, b) for a, b in zip(*pictures, strict=True))


@pytest.mark.parametrize(
    ("source_from", "pose_from", "says"),
    [("5", "1", True), ("6", "1", False), ("1", "1", False), ("5", "4", False)],
)
def test_an_examples_pose_on_another_picture_is_said(
    graph: Graph, source_from: str, pose_from: str, says: bool
) -> None:
    prompt = {
        "1": {"class_type": "PCDMExamplePerson", "inputs": {"person": "000000"}},
        "4": {"class_type": "PCDMPoseEditor", "inputs": {"start_pose": ["1", 1]}},
        "5": {"class_type": "LoadImage", "inputs": {"image": "me.png"}},
        "6": {"class_type": "ImageScale", "inputs": {"image": ["1", 0]}},
        "9": {
            "class_type": "PCDMInpaintingSampler",
            "inputs": {"source": [source_from, 0], "source_pose": [pose_from, 0]},
        },
    }

    class Running(graph.node("PCDMInpaintingSampler")):
        hidden = type("Hidden", (), {"unique_id": "9", "prompt": prompt})()

    notes = graph.host.pack("nodes.notes").note_example(Running)
    assert any("came with an example person" in note for note in notes) == says


def test_pose_files_of_any_letter_case_and_folder_are_offered(graph: Graph) -> None:
    folder = Path(graph.host.comfy("folder_paths").get_input_directory())
    (folder / "clips").mkdir(exist_ok=True)
    files = (folder / "clips" / "wide.JSON", folder / "Lines.Txt")
    for file in files:
        file.write_text(json.dumps(document()), encoding="utf-8")
    try:
        node = graph.node("PCDMPoseFromKeypoints")
        (combo,) = (item for item in node.define_schema().inputs if item.id == "file")
        assert {"clips/wide.JSON", "Lines.Txt"} <= set(combo.options)
        values = {**BLANK, "picture_height": 0, "picture_width": 0, "file": "clips/wide.JSON"}
        assert graph.run("PCDMPoseFromKeypoints", **values)[0].canvases == [VIDEO]
        assert node.fingerprint_inputs(file="clips/wide.JSON") > 0
    finally:
        for file in files:
            file.unlink()
