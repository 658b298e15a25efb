"""The templates and blueprints: made of tables, few to hold, and run by a real host over HTTP."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from tests.hosts import ROOT
from tests.workflows.blueprints import BLUEPRINTS, NEW_POSE
from tests.workflows.conftest import Server
from tests.workflows.graph import NOTE, Node, Workflow
from tests.workflows.templates import HEIGHT, files, workflows
from tests.workflows.test_pose_workflows import needs_runtime
from tests.workflows.test_workflows import PUBLISHED, only, prompt

ALL = workflows()
SHIPPED = [workflow for workflow in ALL if workflow.stem not in PUBLISHED]
SPREAD_OUT = {"pcdm_three_stage", "pcdm_ksampler", *PUBLISHED}  # their parts are to be seen
EXAMPLES = WEIGHTS_FOLDER / "examples"
STEPS = 2


def names(those: list[Workflow]) -> list[str]:
    return [workflow.stem for workflow in those]


def graph_of(server: Server, stem: str, **settings: Any) -> dict[str, Any]:
    """A template's form for the API in this host, which may be without the slider."""
    graph = prompt(ROOT / "workflows" / "api" / f"{stem}.json", **{"steps": STEPS, **settings})
    offered = server.call("/object_info")
    for node in graph.values():
        if node["inputs"].get("image") == "pcdm_person.png":
            node["inputs"]["image"] = own_picture(server)
    return {key: node for key, node in graph.items() if node["class_type"] in offered}


def own_picture(server: Server, size: tuple[int, int] = (512, 768)) -> str:
    """The name of a person's picture in the host's folder."""
    name = f"person_{size[0]}x{size[1]}.png"
    with Image.open(EXAMPLES / "000004" / "00.png") as picture:
        picture.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(
            server.base / "input" / name
        )
    return name


def saved(server: Server, graph: dict[str, Any]) -> list[np.ndarray]:
    """The pictures that a run saves."""
    key, _ = only(graph, "SaveImage")
    pictures = [server.picture(image) for image in server.run(graph)[key]["images"]]
    return [np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")) for picture in pictures]


def test_the_files_are_those_of_the_tables() -> None:
    hint = "python -m tests.workflows.templates"
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: {hint}"
    folders = [ROOT / "workflows", ROOT / "workflows" / "api", ROOT / "subgraphs"]
    assert {path for folder in folders for path in folder.glob("*.json")} == set(files())


@pytest.mark.parametrize("workflow", ALL, ids=names(ALL))
def test_a_template_is_small_has_groups_a_note_and_the_packs_name(workflow: Workflow) -> None:
    content = workflow.front_end()
    nodes, links = content["nodes"], content["links"]
    if workflow.stem not in SPREAD_OUT:
        assert len(nodes) <= 8
        assert len(links) <= 8
    (note,) = (node for node in nodes if node["type"] == NOTE)
    assert "](http" in note["widgets_values"][0]  # what has to be fetched, and from where
    assert {node["properties"].get("cnr_id") for node in nodes if node is not note} <= {
        "pcdm",
        "comfy-core",
    }
    inner = [node for one in content["definitions"]["subgraphs"] for node in one["nodes"]]
    assert all("cnr_id" in node["properties"] for node in inner)
    groups = [group["bounding"] for group in content["groups"]]
    assert len({group["title"] for group in content["groups"]}) == len(groups)
    for node in nodes:
        box = (*node["pos"], *node["size"])
        holders = [group for group in groups if inside(box, group)]
        assert len(holders) == (node is not note), node["title"]
    boxes = [(n["pos"][0], n["pos"][1] - 30, n["size"][0], n["size"][1] + 30) for n in nodes]
    for those in (boxes, groups):
        for number, box in enumerate(those):
            assert not any(overlap(box, other) for other in those[:number])


def test_a_sampler_is_as_high_as_what_it_shows_and_has_room_for_what_it_folds_away() -> None:
    (opened,) = (workflow for workflow in ALL if workflow.stem == "pcdm_three_stage")
    nodes = {node["type"]: node for node in opened.front_end()["nodes"]}
    prior, sampler = nodes["PCDMPredictTargetEmbedding"], nodes["PCDMInpaintingSampler"]
    assert sampler["size"][1] == 50 + 26 * 7 + 28 * 4  # seed, steps, pictures, and the button
    assert sampler["pos"][1] - prior["pos"][1] >= 50 + 26 * 5 + 28 * 4


def inside(box: tuple[float, ...], group: list[float]) -> bool:
    x, y, width, height = box
    left, top, wide, high = group
    return left <= x and top <= y and x + width <= left + wide and y + height <= top + high


def overlap(one: Any, other: Any) -> bool:
    across = one[0] < other[0] + other[2] and other[0] < one[0] + one[2]
    return across and one[1] < other[1] + other[3] and other[1] < one[1] + one[3]


@pytest.mark.parametrize("workflow", ALL, ids=names(ALL))
def test_a_templates_thumbnail_is_square_and_shows_before_and_after(workflow: Workflow) -> None:
    with Image.open(ROOT / "workflows" / f"{workflow.title}.jpg") as picture:
        pixels = np.asarray(picture.convert("RGB"), int)
    assert pixels.shape[0] == pixels.shape[1] >= 512
    before, after = pixels[:, :360], pixels[:, -360:]
    assert before.std() > 10
    assert after.std() > 10
    assert np.abs(before - after).mean() > 10


def test_no_number_of_a_node_comes_twice() -> None:
    numbers = [node.key for blueprint in BLUEPRINTS for node in blueprint.nodes]
    assert len(numbers) == len(set(numbers))
    assert max(node.key for workflow in ALL for node in workflow.nodes) < min(numbers)


@needs_runtime
@pytest.mark.parametrize("stem", names(SHIPPED))
def test_a_template_runs_and_saves_a_picture_that_one_can_see(server: Server, stem: str) -> None:
    pictures = saved(server, graph_of(server, stem))
    assert len(pictures) == (8 if stem in ("pcdm_many_poses", "pcdm_sequence", "pcdm_clip") else 1)
    for picture in pictures:
        assert picture.shape[0] >= HEIGHT / 2
        assert stem in SPREAD_OUT or picture.shape[0] == HEIGHT
        assert picture.std() > 1


@needs_runtime
@pytest.mark.parametrize("stem", [stem for stem in names(SHIPPED) if stem != "pcdm_app"])
def test_a_person_of_ones_own_is_one_connection(server: Server, stem: str) -> None:
    """Everything follows: no node says that a pose is another picture's."""
    graph = graph_of(server, stem)
    before = saved(server, graph)
    example = next(node for node in graph.values() if node["class_type"] == "PCDMExamplePerson")
    name = own_picture(server, (400, 600))
    graph["99"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    example["inputs"]["picture"] = ["99", 0]
    after = saved(server, graph)
    assert len(after) == len(before)
    if stem not in SPREAD_OUT:
        assert [picture.shape for picture in after] == [picture.shape for picture in before]
        assert np.abs(after[0].astype(int) - before[0]).mean() > 1


@needs_runtime
def test_a_picture_without_a_person_is_one_sentence(server: Server) -> None:
    Image.new("RGB", (300, 400), (90, 120, 90)).save(server.base / "input" / "field.png")
    graph = graph_of(server, "pcdm_many_poses")
    graph["99"] = {"class_type": "LoadImage", "inputs": {"image": "field.png"}}
    only(graph, "PCDMExamplePerson")[1]["picture"] = ["99", 0]
    sentence = server.failure(graph)
    assert "person" in sentence
    assert "Traceback" not in sentence


@needs_runtime
def test_three_nodes_make_a_result(server: Server) -> None:
    """Load Image, the blueprint with nothing set, and Save Image."""
    person = Node(1, "LoadImage", "", {"image": own_picture(server)})
    result = Node(3, "SaveImage", "", {"images": (2, "picture"), "filename_prefix": "three"})
    nodes = [person, NEW_POSE.node(2, person=(1, "IMAGE")), result]
    graph = Workflow("three nodes", "three", {"": nodes}, "").api()
    for node in graph.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = STEPS
    (picture,) = saved(server, graph)
    assert picture.shape == (768, 512, 3)


@needs_runtime
def test_the_background_stays_to_the_pixel(server: Server) -> None:
    """And where the old person stood is what lies beside them, as in any studio."""
    name = own_picture(server)
    with Image.open(server.base / "input" / name) as picture:
        scene = np.array(picture).astype(int)
    graph = graph_of(server, "pcdm_keep_background")
    graph["99"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    only(graph, "PCDMExamplePerson")[1]["picture"] = ["99", 0]
    graph["98"] = {"class_type": "PreviewImage", "inputs": {"images": ["4:454", 0]}}
    outputs = server.run(graph)
    result, empty = (
        np.asarray(Image.open(io.BytesIO(server.picture(outputs[key]["images"][0]))), int)[..., :3]
        for key in (only(graph, "SaveImage")[0], "98")
    )
    studio = scene[:, 10:11]
    assert np.abs(scene - studio).mean() > 20  # somebody stands in it
    assert np.abs(empty - studio).mean() < 5
    for beside in (slice(0, 40), slice(-40, None)):
        assert np.abs(result[:, beside] - scene[:, beside]).max() <= 2
    assert np.abs(result - empty).mean() > 5


@needs_runtime
def test_after_a_drag_only_what_depends_on_the_pose_runs_again(server: Server) -> None:
    """Loaders, the detector and the encoders' source come from the host's cache."""
    graph = graph_of(server, "pcdm_app", steps=4)
    server.run(graph)
    editor, inputs = only_outside(graph, "PCDMPoseEditor")
    document = json.loads(inputs["pose_json"])
    document["people"][0]["pose_keypoints_2d"][12] += 40  # the right wrist
    inputs["pose_json"] = json.dumps(document)
    entry = server.wait(server.queue(graph))
    assert entry["status"]["status_str"] == "success"
    events = dict(entry["status"]["messages"])
    cached = set(events["execution_cached"]["nodes"])
    again = {graph[key]["class_type"] for key in needed(graph) - cached}
    assert editor not in cached
    assert again == {
        "PCDMPoseEditor",
        "PCDMRetargetPose",
        "PCDMPredictTargetEmbedding",
        "PCDMInpaintingSampler",
        "PCDMRefiningSampler",
        "SaveImage",
        "ImageStitch",
        "PreviewImage",
    }


def needed(graph: dict[str, Any]) -> set[str]:
    """The nodes that what a run shows or saves depends on."""
    ends = ("PCDMPoseEditor", "SaveImage", "PreviewImage")
    waiting = [key for key, node in graph.items() if node["class_type"] in ends]
    keys: set[str] = set()
    while waiting:
        keys.add(key := waiting.pop())
        links = [value for value in graph[key]["inputs"].values() if isinstance(value, list)]
        waiting += [link[0] for link in links if link[0] not in keys]
    return keys


def only_outside(graph: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    """The node of a class that stands in no blueprint."""
    return only({key: node for key, node in graph.items() if ":" not in key}, kind)


def test_hosts_with_blueprints_offer_ours(server: Server) -> None:
    try:
        entries = server.call("/global_subgraphs")
    except OSError:
        pytest.skip("this ComfyUI has no blueprints")
    ours = {
        entry["name"]: key
        for key, entry in entries.items()
        if entry["info"]["node_pack"] == "custom_nodes.a-pack-of-any-name"
    }
    assert set(ours) == {blueprint.name for blueprint in BLUEPRINTS}
    for blueprint in BLUEPRINTS:
        entry = server.call(f"/global_subgraphs/{ours[blueprint.name]}")
        (inner,) = json.loads(entry["data"])["definitions"]["subgraphs"]
        assert inner["name"] == blueprint.name
        assert inner["description"] == blueprint.description
