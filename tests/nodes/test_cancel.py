"""ComfyUI's Cancel is obeyed between networks and in loops of our own."""

from typing import Any

import pytest
import torch

from tests.nodes.conftest import Host
from tests.nodes.graph import Graph, image, make_graph


@pytest.fixture(scope="module")
def graph(host: Host) -> Graph:
    return make_graph(host)


def drawing_after_cancel(graph: Graph, name: str, **inputs: Any) -> None:
    """Runs a node whose run was cancelled before it began."""
    management = graph.host.comfy("comfy.model_management")
    management.interrupt_current_processing()
    try:
        with pytest.raises(management.InterruptProcessingException):
            graph.run(name, **inputs)
    finally:
        management.interrupt_current_processing(False)


def test_a_cancelled_drawing_of_poses_ends(graph: Graph) -> None:
    pose = graph.pose(3)
    drawing_after_cancel(graph, "PCDMRenderPose", pose=pose, height=64, width=48)
    drawing_after_cancel(graph, "PCDMInterpolatePoses", first_pose=pose, count=5)
    drawing_after_cancel(
        graph, "PCDMRetargetPose", target_pose=pose, source_pose=graph.pose(), source=image()
    )


@pytest.mark.parametrize("name", ["PCDMPoseFromImage", "PCDMPoseFromSkeleton"])
def test_a_cancelled_reading_of_pictures_ends(graph: Graph, name: str) -> None:
    drawing_after_cancel(graph, name, image=image().expand(3, -1, -1, -1))


def test_no_network_begins_after_a_cancel(graph: Graph) -> None:
    loaded = graph.load()
    drawing_after_cancel(
        graph,
        "PCDMPredictTargetEmbedding",
        prior=loaded["prior"],
        encoders=loaded["encoders"],
        source=image(7),
        source_pose=graph.pose(),
        target_pose=graph.pose(2),
    )
    assert "tokens" not in vars(loaded["encoders"].sources[0])


def test_results_of_another_size_are_made_one_by_one(graph: Graph) -> None:
    management = graph.host.comfy("comfy.model_management")
    sizes, images = graph.host.pack("nodes.sizes"), graph.host.pack("pcdm_core.images")
    preset = graph.host.pack("pcdm_core.presets").PRESETS["mini"]
    how = images.Fit.of(200, 120, 64, 48, "pad")
    settings = {"width": 0, "height": 0, "restore_size": True}
    management.interrupt_current_processing()
    with pytest.raises(management.InterruptProcessingException):
        sizes.sized(torch.zeros(2, 3, 64, 48), None, how, preset, **settings)


def test_a_search_for_people_that_is_cancelled_ends_with_its_look(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    management = graph.host.comfy("comfy.model_management")
    batch = graph.host.pack("pcdm_core.pose.detect.batch")
    search = batch.detect_people

    def cancelled_within(*arguments: Any, **options: Any) -> Any:
        management.interrupt_current_processing()
        return search(*arguments, **options)

    monkeypatch.setattr(batch, "detect_people", cancelled_within)
    try:
        with pytest.raises(management.InterruptProcessingException):
            graph.run("PCDMPoseFromImage", image=image())
    finally:
        management.interrupt_current_processing(False)
