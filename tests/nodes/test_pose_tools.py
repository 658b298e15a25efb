"""Poses from pictures, on other proportions and between poses, as nodes."""

import sys
from dataclasses import replace
from typing import Any

import pytest
import torch

from pcdm_core.pose.detect import has_blazepose
from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, make_graph

needs_runtime = pytest.mark.skipif(
    not has_blazepose(), reason="ai-edge-litert, a development pin, is not installed"
)


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def person(graph: Graph, name: str, view: str = "0") -> tuple[Any, Any]:
    """Picture and pose."""
    outputs = graph.run("PCDMExamplePerson", person=name, source_view=view, target_view="1")
    return outputs[0], outputs[1]


def detect(graph: Graph, image: Any, **settings: Any) -> tuple[Any, ...]:
    return graph.run(
        "PCDMPoseFromImage", image=image, **{"detector": "auto", "person": 0, **settings}
    )


@needs_runtime
def test_each_picture_of_a_batch_gives_a_pose_a_preview_and_a_line(graph: Graph) -> None:
    images = [person(graph, name)[0] for name in ("000000", "000007")]
    pose, preview, report = detect(graph, torch.cat(images))
    assert len(pose) == 2
    assert preview.shape == (2, 768, 512, 3)
    assert [line[:9] for line in report.splitlines() if "person:" in line] == [
        "picture 1",
        "picture 2",
    ]
    assert "whole body" in report
    truth = person(graph, "000007")[1]
    assert (pose.xy[1] - truth.xy[0])[:14].norm(dim=-1).max() < 0.1


@needs_runtime
def test_a_pose_of_a_wide_picture_is_fitted_into_the_sources_frame_unsquashed(graph: Graph) -> None:
    image, _ = person(graph, "000000")
    side = image.shape[2] * 5 // 8
    wide = torch.nn.functional.pad(image.movedim(-1, 1), (side, side)).movedim(1, -1)
    wide[:, :, :side], wide[:, :, -side:] = image[0, 0, 0], image[0, 0, 0]
    (tall, *_), (fitted, *_) = detect(graph, image), detect(graph, wide, fit_to=image)
    low, high = (pose.xy[0, 13] - pose.xy[0, 1] for pose in (fitted, tall))
    ratio = low[1] / high[1]
    assert ratio == pytest.approx(64 / 144, abs=0.03)
    assert (low / high)[1] == pytest.approx(float(ratio))


@needs_runtime
def test_what_is_not_in_a_picture_is_said_with_the_pictures_number(graph: Graph) -> None:
    image, _ = person(graph, "000000")
    errors = graph.host.pack("pcdm_core.pose.detect.people")
    with pytest.raises(errors.NoPersonError, match=r"^picture 2: No person was found"):
        detect(graph, torch.cat([image, torch.full_like(image, 0.5)]))
    with pytest.raises(errors.DetectionError, match="person 1 was asked for; there is 1 person"):
        detect(graph, image, person=1)


def test_a_detector_that_is_not_installed_names_the_package(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    detection = graph.host.pack("pcdm_core.pose.detect.people")
    for module in ("ai_edge_litert", "ai_edge_litert.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    detection._blazepose.cache_clear()
    with pytest.raises(detection.DetectorMissingError, match="Install ai-edge-litert"):
        detect(graph, person(graph, "000000")[0], detector="BlazePose (shipped)")


def retarget(graph: Graph, **settings: Any) -> tuple[Any, ...]:
    source, source_pose = person(graph, "000007")
    _, target_pose = person(graph, "000003", "2")
    values = {"enabled": True, "framing": "as source", "one_body": False, **settings}
    return graph.run(
        "PCDMRetargetPose",
        **{"source": source, "source_pose": source_pose, "target_pose": target_pose, **values},
    )


def test_a_retargeted_pose_is_the_cores_and_is_previewed(graph: Graph) -> None:
    pose, preview, report = retarget(graph)
    _, target = person(graph, "000003", "2")
    _, source = person(graph, "000007")
    core = graph.host.pack("pcdm_core.pose.retarget").retarget(target, source, (96, 64))
    assert torch.equal(pose.xy, core.pose.xy)
    assert report == core.report
    assert preview.shape == (1, 768, 512, 3)
    assert not torch.equal(pose.xy, target.xy)


def test_retargeting_can_be_switched_off(graph: Graph) -> None:
    _, target = person(graph, "000003", "2")
    pose, preview, report = retarget(graph, enabled=False)
    assert torch.equal(pose.xy, target.xy)
    assert len(preview) == 1
    assert "off" in report


def test_a_movement_has_as_many_poses_and_previews_as_asked_for(graph: Graph) -> None:
    image, first = person(graph, "000000")
    _, second = person(graph, "000003")
    inputs = {"first_pose": first, "next_pose": second, "count": 8, "loop": False}
    moving, preview = graph.run("PCDMInterpolatePoses", **inputs, source=image)
    assert len(moving) == len(preview) == 8
    torch.testing.assert_close(moving.xy[7], second.xy[0])
    several = graph.host.pack("pcdm_core.pose.keypoints").Keypoints.cat([first, second])
    again, _ = graph.run("PCDMInterpolatePoses", first_pose=several, count=8, loop=False)
    assert again.xy.shape == moving.xy.shape


@needs_runtime
def test_frames_of_a_video_without_the_person_are_filled(graph: Graph) -> None:
    image, _ = person(graph, "000000")
    clip = torch.cat([image, torch.full_like(image, 0.5), image])
    pose, preview, report = detect(graph, clip, gaps="interpolate")
    assert len(pose) == len(preview) == 3
    visible = pose.visible[0]
    assert torch.equal(pose.visible[1], visible)
    torch.testing.assert_close(pose.xy[1, visible], pose.xy[0, visible])
    assert "picture 2: No person was found" in report
    assert "1 of 3 pictures lack the person" in report


def test_a_clip_is_smoothed_and_shown_on_its_frames(graph: Graph) -> None:
    image, pose = person(graph, "000007")
    clip = graph.host.pack("pcdm_core.pose.keypoints").Keypoints.cat([pose] * 12)
    noise = torch.randn(clip.xy.shape, generator=torch.Generator().manual_seed(0)) * 0.01
    rough = replace(clip, xy=clip.xy + noise)
    inputs = {"poses": rough, "strength": 0.5, "one_body": True}
    calm, preview, report = graph.run("PCDMSmoothPoses", **inputs, pictures=image)
    assert calm.xy.std(dim=0).mean() < 0.6 * rough.xy.std(dim=0).mean()
    assert preview.shape == (12, 768, 512, 3)
    assert report.startswith("12 frames: jitter")
    again, empty, _ = graph.run("PCDMSmoothPoses", **inputs)
    torch.testing.assert_close(again.xy, calm.xy)
    assert empty.shape == preview.shape
    assert empty.mean() < preview.mean()
