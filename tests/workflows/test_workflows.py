"""The workflows of version 0.1, as people have saved them, in a real host over HTTP."""

import asyncio
import importlib
import io
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pcdm_core.checkpoints import WEIGHTS_FOLDER, save_model
from pcdm_core.images import load_picture, to_uint8
from pcdm_core.models import InpaintingModel
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from tests.core.tiny_pipeline import randomise
from tests.core.weights_files import SINGLE_STAGE
from tests.nodes.conftest import ROOT
from tests.workflows.conftest import Server

SAVED = ROOT / "tests" / "golden" / "workflows" / "api"
API = sorted(SAVED.glob("*.json"))
PUBLISHED = ("pcdm_published", "pcdm_simplified")
OTHERS = (*PUBLISHED, "pcdm_pose_from_picture", "pcdm_sequence")  # have tests of their own
THREE_STAGE = [path for path in API if path.stem not in OTHERS]
SHIPPED = "mini (shipped)"
COMPONENTS = {
    "PCDMLoadPrior": "prior",
    "PCDMLoadInpainting": "inpainting",
    "PCDMLoadRefining": "refining",
    "PCDMLoadEncoders": "patch_encoder",
}
BYPASSED = 4
ENDS = {"execution_success", "execution_error", "execution_interrupted"}
STEPS = 4
TEXT_FRAME = (3).to_bytes(4, "big")  # ComfyUI's binary event of text on a node


def prompt(path: Path, **settings: Any) -> dict[str, Any]:
    """The API form; on random weights where the shipped ones are not in the checkout."""
    graph = json.loads(path.read_text(encoding="utf-8"))
    for node in graph.values():
        inputs = node["inputs"]
        if node["class_type"] in COMPONENTS and not has_shipped():
            inputs["weights"] = f"test/{COMPONENTS[node['class_type']]}.safetensors"
        inputs |= {key: value for key, value in settings.items() if key in inputs}
    return graph


def has_shipped() -> bool:
    return (WEIGHTS_FOLDER / "mini").is_dir()


def only(graph: dict[str, Any], kind: str) -> tuple[str, dict[str, Any]]:
    ((key, node),) = ((k, n) for k, n in graph.items() if n["class_type"] == kind)
    return key, node["inputs"]


@pytest.mark.parametrize("path", API, ids=[path.stem for path in API])
def test_a_workflow_and_its_api_form_say_the_same(path: Path) -> None:
    workflow = json.loads((SAVED.parent / path.name).read_text(encoding="utf-8"))
    graph = json.loads(path.read_text(encoding="utf-8"))
    links = {link[0]: link for link in workflow["links"]}
    nodes = [node for node in workflow["nodes"] if node["type"] not in ("Note", "MarkdownNote")]
    live = {str(node["id"]): node for node in nodes if node["mode"] != BYPASSED}
    assert {key: node["type"] for key, node in live.items()} == {
        key: node["class_type"] for key, node in graph.items()
    }
    for key, node in live.items():
        inputs = graph[key]["inputs"]
        connected = {i["name"]: links[i["link"]] for i in node["inputs"] if i["link"] is not None}
        for name, (_, source, slot, target, place, kind) in connected.items():
            assert inputs[name] == [str(source), slot]
            assert str(target) == key
            assert node["inputs"][place]["name"] == name
            assert live[str(source)]["outputs"][slot]["type"] == kind
        widgets = [v for name, v in inputs.items() if name not in connected]
        upload = ["image"] if node["type"] == "LoadImage" else []  # the button's value
        values = [v for v in node["widgets_values"] if v not in ("fixed", *upload)]
        assert sorted(map(str, values)) == sorted(map(str, widgets))


@pytest.mark.parametrize("path", THREE_STAGE, ids=[path.stem for path in THREE_STAGE])
def test_a_workflow_runs_in_the_host(server: Server, path: Path) -> None:
    graph = prompt(path, steps=STEPS)
    outputs = server.run(graph)
    images = {
        graph[key]["_meta"]["title"]: value["images"]
        for key, value in outputs.items()
        if "images" in value
    }
    poses = 8 if "many" in path.stem else 1
    titles = ["Source pose drawn", "Target pose drawn", "Coarse", "Refined"]
    if path.stem != "pcdm_pose_editor":  # nobody has seen the person in a pose just drawn
        titles.append("Truth")
    for title in titles:
        expected = 1 if title == "Source pose drawn" else poses
        assert len(images[title]) == expected, title
    for image in images["Refined"]:
        pixels = np.asarray(Image.open(io.BytesIO(server.picture(image))).convert("RGB"))
        assert pixels.std() > 1


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_workflow_of_a_published_set_runs_on_small_models(server: Server, name: str) -> None:
    """Their files are not here: the same graph on the test preset's sizes and an example person."""
    graph = json.loads((SAVED / f"{name}.json").read_text(encoding="utf-8"))
    weights = server.base / "models" / "pcdm" / "test"
    core = randomise(InpaintingModel(SINGLE_STAGE), 3)
    save_model(
        core, weights / "single.safetensors", stage="inpainting", metadata={"preset": "test"}
    )
    for node in graph.values():
        if node["class_type"] in COMPONENTS:
            component = COMPONENTS[node["class_type"]]
            single = name == "pcdm_simplified" and component == "inpainting"
            node["inputs"]["weights"] = f"test/{'single' if single else component}.safetensors"
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = STEPS
    encoders = only(graph, "PCDMLoadEncoders")[1]
    for socket in ("autoencoder", "dinov2", "clip_vision"):
        if socket in encoders:
            del graph[encoders.pop(socket)[0]]
    # The picture, its pose and the pose to take, from one node.
    person = {"person": "000000", "source_view": "0", "target_view": "1"}
    moved = {("3", 0): ["1", 1], ("4", 0): ["1", 2], ("3", 1): ["1", 0], ("4", 1): ["1", 3]}
    for key in ("2", "3", "4"):
        del graph[key]
    graph["1"] |= {"class_type": "PCDMExamplePerson", "inputs": person}
    for node in graph.values():
        for key, value in node["inputs"].items():
            if isinstance(value, list):
                node["inputs"][key] = moved.get((value[0], value[1]), value)
    outputs = server.run(graph)
    key, _ = only(graph, "SaveImage")
    (image,) = outputs[key]["images"]
    pixels = np.asarray(Image.open(io.BytesIO(server.picture(image))).convert("RGB"))
    source = load_picture(WEIGHTS_FOLDER / "examples" / "000000" / "00.png")
    assert pixels.shape[:2] == source.shape[-2:]  # the source's size again
    assert pixels.std() > 1
    texts = outputs[only(graph, "PCDMInpaintingSampler")[0]]["text"]
    assert texts == ["As test takes it: guidance_scale 1.5, denoise 1."]


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_workflow_of_a_published_set_says_which_files_it_needs(
    server: Server, name: str
) -> None:
    graph = json.loads((SAVED / f"{name}.json").read_text(encoding="utf-8"))
    sentence = server.failure(graph)
    folder = server.base / "models" / "pcdm"
    file = f"{name.removeprefix('pcdm_')}/inpainting.safetensors"
    assert f"{file} is not in {folder}. Put the file there" in sentence


def test_a_second_copy_of_the_pack_stays_unused_and_says_so(server: Server) -> None:
    lines = [line for line in server.log.read_text().splitlines() if "is a second copy" in line]
    assert len(lines) == 1
    nodes = [name for name in server.call("/object_info") if name.startswith("PCDM")]
    assert len(nodes) == len(json.loads((ROOT / "tests" / "golden" / "nodes.json").read_text()))


def test_the_refined_pictures_are_those_of_the_python_pipeline(server: Server) -> None:
    path = SAVED / "pcdm_many_poses.json"
    graph = prompt(path, steps=STEPS, scale_by=1.0)
    outputs = server.run(graph)
    key, _ = only(graph, "SaveImage")
    pictures = [
        np.asarray(Image.open(io.BytesIO(server.picture(image))).convert("RGB"))
        for image in outputs[key]["images"]
    ]
    folder = None if has_shipped() else server.base / "models" / "pcdm" / "test"
    _, person = only(graph, "PCDMExamplePerson")
    views = [WEIGHTS_FOLDER / "examples" / person["person"] / f"{v:02d}.png" for v in range(9)]
    poses = [read_pose(view.with_suffix(".json")) for view in views]
    expected = PCDMsPipeline.from_folder(folder)(
        load_picture(views[0]),
        poses[0],
        Keypoints.cat(poses[1:]),
        seed=0,
        steps=STEPS,
        guidance_scale=1.0,
    )
    # ComfyUI cuts pixels off where the core rounds them: one step of 8 bits more.
    difference = np.stack(pictures).astype(int) - to_uint8(expected.image).astype(int)
    assert np.abs(difference).max() <= 2 + 1


def test_a_cancelled_run_stops_within_a_second_and_the_next_one_works(
    server: Server, record_property: Callable[[str, object], None]
) -> None:
    path = SAVED / "pcdm_three_stage.json"
    long = prompt(path, steps=999, seed=5)
    inpainting, _ = only(long, "PCDMInpaintingSampler")
    run = asyncio.run(cancel(server, long, inpainting))
    assert run.end == "execution_interrupted"
    # A second is what this machine needs, busy or not, for that many steps.
    before = [moment for moment in run.steps if moment < 0]
    pace = (len(before) - 1) / (before[-1] - before[0])
    late = len(run.steps) - len(before)
    record_property("note", f"cancelled after {run.ended:.2f} s and {late} more steps")
    assert late <= max(pace, 2)
    assert server.run(prompt(path, steps=2, seed=6))


@dataclass
class CancelledRun:
    """How it ended and when, and when a node reported steps: seconds after the call to cancel."""

    end: str
    ended: float
    steps: list[float]


async def cancel(server: Server, graph: dict[str, Any], node: str) -> CancelledRun:
    """Queue a graph, cancel it in the middle of a node's steps, and watch until it is over."""
    aiohttp = importlib.import_module("aiohttp")  # every ComfyUI has it
    url = f"ws://{server.address}/ws?clientId=cancel"
    running, previews, steps, request_time = "", 0, [], math.inf
    requests: list[asyncio.Task[Any]] = []
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        server.queue(graph, client="cancel")
        while True:
            message = await asyncio.wait_for(socket.receive(), 300)
            if message.type == aiohttp.WSMsgType.BINARY:
                previews += running == node
                continue
            event = json.loads(message.data)
            kind, data = event["type"], event["data"]
            if kind == "executing":
                running = data["node"]
            elif kind == "progress" and data["node"] == node:
                steps.append(time.monotonic())
            elif kind in ENDS:
                break
            if not requests and previews and len(steps) >= 20:
                request_time = time.monotonic()
                call = asyncio.to_thread(server.call, "/interrupt", {})
                requests.append(asyncio.create_task(call))
        ended = time.monotonic()
        await asyncio.gather(*requests)
    return CancelledRun(kind, ended - request_time, [moment - request_time for moment in steps])


def test_dropped_hands_are_shown_on_the_node_until_there_are_none(server: Server) -> None:
    """As text on the node (a frame that front ends show there) and in the run's history."""
    settings = {"steps": 2, "seed": 9, "guidance_scale": 1.0, "denoise": 0.05}
    graph = prompt(SAVED / "pcdm_three_stage.json", **settings)
    key, _ = only(graph, "PCDMInpaintingSampler")
    pose = {"pose_keypoints_2d": [v for x in range(18) for v in (20 + x, 30 + 2 * x, 1)]}
    hands = {"hand_left_keypoints_2d": [v for x in range(21) for v in (20 + x, 40, 1)]}
    texts = []
    for people in ({**pose, **hands}, pose):
        document = {"people": [people], "canvas_width": 64, "canvas_height": 96}
        values = {"text": json.dumps(document), "file": "none", "person": -1}
        values |= {"picture_height": 0, "picture_width": 0}
        graph["99"] = {"class_type": "PCDMPoseFromKeypoints", "inputs": values}
        for node in graph.values():
            if "target_pose" in node["inputs"]:
                node["inputs"]["target_pose"] = ["99", 0]
        messages, outputs = asyncio.run(run_and_read_texts(server, graph))
        texts.append((messages.get(key), outputs.get(key, {}).get("text")))
    (note, note_later), (after, later) = texts
    assert "does not draw hands" in note
    assert note_later == [note]
    assert "hands" not in after
    assert later == [after]  # what was drawn, and with which weights


async def run_and_read_texts(
    server: Server, graph: dict[str, Any]
) -> tuple[dict[str, str], dict[str, Any]]:
    """The last text that the host shows on each node during a run, and the run's outputs."""
    aiohttp = importlib.import_module("aiohttp")
    messages: dict[str, str] = {}
    url = f"ws://{server.address}/ws?clientId=texts"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        run = server.queue(graph, "texts")
        while True:
            message = await asyncio.wait_for(socket.receive(), 300)
            if message.type == aiohttp.WSMsgType.BINARY and message.data[:4] == TEXT_FRAME:
                end = 8 + int.from_bytes(message.data[4:8], "big")
                messages[message.data[8:end].decode()] = message.data[end:].decode()
            elif message.type == aiohttp.WSMsgType.TEXT:
                data = json.loads(message.data)
                if data["type"] == "execution_success":
                    return messages, server.wait(run)["outputs"]


def test_what_cannot_run_is_said_before_or_in_one_sentence(server: Server) -> None:
    path = SAVED / "pcdm_three_stage.json"
    gone = prompt(path)
    only(gone, "PCDMLoadInpainting")[1]["weights"] = "gone.safetensors"
    assert "gone.safetensors" in server.failure(gone)
    wrong = prompt(path, steps=2)
    only(wrong, "PCDMInpaintingSampler")[1]["model"] = [only(wrong, "PCDMLoadRefining")[0], 0]
    assert "Connect PCDM Load Inpainting Model" in server.failure(wrong)
    unsaid = prompt(path, steps=2)
    only(unsaid, "PCDMRefiningSampler")[1]["guidance_scale"] = math.nan
    assert "guidance_scale is nan; give a number from 0 to 100" in server.failure(unsaid)
    many = prompt(path)
    many["99"] = {"class_type": "PrimitiveInt", "inputs": {"value": 5000}}
    only(many, "PCDMInpaintingSampler")[1]["steps"] = ["99", 0]
    assert "steps is 5000; give a whole number from 1 to 1000" in server.failure(many)
    assert server.run(prompt(path, steps=2, seed=8))


def test_other_pictures_than_in_the_inpainting_stage_are_shown_on_the_refining_node(
    server: Server,
) -> None:
    settings = {"steps": 2, "seed": 10, "guidance_scale": 1.0, "denoise": 0.05}
    graph = prompt(SAVED / "pcdm_three_stage.json", **settings)
    key, refining = only(graph, "PCDMRefiningSampler")
    for node in graph.values():
        if "pictures" in node["inputs"]:
            node["inputs"]["pictures"] = 2
    texts = []
    for pictures in (1, 2):
        refining["pictures"] = pictures
        messages, outputs = asyncio.run(run_and_read_texts(server, graph))
        texts.append((messages.get(key), outputs.get(key, {}).get("text")))
    (note, listed), (after, later) = texts
    assert "pictures is 1 here and 2 in the inpainting stage" in note
    assert listed == [note]
    assert "in the inpainting stage" not in after
    assert later == [after]
