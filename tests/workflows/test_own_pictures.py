"""Pictures and poses as users bring them, through the whole graph of a real host over HTTP."""

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcdm_core.pose.formats import write_openpose
from tests.core.tiny_pipeline import poses
from tests.workflows.conftest import Server
from tests.workflows.test_workflows import SAVED, only, prompt

STANDING = [v for x in range(18) for v in (20 + x, 30 + 2 * x, 1)]


def document(*people: list[float]) -> str:
    entries = [{"pose_keypoints_2d": points} for points in people]
    return json.dumps({"people": entries, "canvas_width": 64, "canvas_height": 96})


def graph_of(server: Server, mode: str, size: tuple[int, int], targets: str) -> dict[str, Any]:
    """The three-stage workflow as its note says: an own picture, its pose, and poses wanted."""
    pixels = np.random.default_rng(3).integers(0, 255, (size[0] // 8, size[1] // 8, 4), np.uint8)
    picture = Image.fromarray(pixels, "RGBA").resize(size[::-1]).convert(mode)
    folder = server.base / "input"
    picture.save(folder / f"own_{mode}.png")
    write_openpose(poses(1), folder / "own.json", *size)
    graph = prompt(SAVED / "pcdm_three_stage.json", steps=2, scale_by=1.0)
    example, _ = only(graph, "PCDMExamplePerson")
    blank = {"text": "", "file": "none", "person": -1, "picture_height": 0, "picture_width": 0}
    kind = "PCDMPoseFromKeypoints"
    loaders = {
        "50": {"class_type": "LoadImage", "inputs": {"image": f"own_{mode}.png"}},
        "51": {"class_type": kind, "inputs": {**blank, "file": "own.json"}},
        "52": {"class_type": kind, "inputs": {**blank, "text": targets}},
    }
    for node in graph.values():
        for name, value in node["inputs"].items():
            if value == [example, 3]:
                node["inputs"][name] = ["50", 0]  # there is no truth
            elif isinstance(value, list) and value[0] == example:
                node["inputs"][name] = [("50", "51", "52")[value[1]], 0]
    del graph[example]
    only(graph, "PCDMRefiningSampler")[1]["restore_size"] = True
    return {**graph, **loaders}


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_grey_and_transparent_pictures_of_odd_sizes_are_served(server: Server, mode: str) -> None:
    partial = [v if point < 27 else 0 for point, v in enumerate(STANDING)]  # nine joints of 18
    frames = json.dumps([json.loads(document(points)) for points in (STANDING, partial, STANDING)])
    graph = graph_of(server, mode, (201, 133), frames)
    outputs = server.run(graph)
    images = outputs[only(graph, "SaveImage")[0]]["images"]
    results = [Image.open(io.BytesIO(server.picture(image))).convert("RGB") for image in images]
    assert [image.size for image in results] == [(133, 201)] * 3
    pixels = [np.asarray(image).astype(int) for image in results]
    assert np.abs(pixels[0] - pixels[2]).max() <= 1  # the same pose, whatever lies between
    assert np.abs(pixels[0] - pixels[1]).max() > 1


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (document(), "nobody is in it"),
        (document([0.0] * 54), "all 18 joints are missing"),
        (document([v + 500 for v in STANDING]), "no visible joint inside the picture"),
        ("no pose", "or OpenPose JSON"),
        ("", "none of them is given"),
    ],
    ids=["nobody", "no joints", "outside", "no pose", "nothing"],
)
def test_a_pose_that_cannot_be_used_is_one_sentence_and_the_next_run_works(
    server: Server, targets: str, message: str
) -> None:
    sentence = server.failure(graph_of(server, "RGB", (96, 64), targets))
    assert message in sentence
    assert "Traceback" not in sentence
    assert server.run(graph_of(server, "RGB", (96, 64), document(STANDING)))
