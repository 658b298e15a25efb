"""Prompts over HTTP that name files outside the folders they are looked for in."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from tests.workflows.conftest import Server

EXAMPLES = WEIGHTS_FOLDER / "examples"
POSE = "".join(f"0.{joint:02d}5 0.{joint:02d}5\n" for joint in range(18))
WEIGHTS = ("PCDMLoadPrior", "PCDMLoadInpainting", "PCDMLoadRefining", "PCDMLoadEncoders")
KEYPOINTS = {"text": "", "file": "none", "person": -1, "picture_height": 0, "picture_width": 0}


@pytest.fixture(scope="module")
def outside(server: Server) -> Path:
    """A folder beside those of the host, with files that the nodes could read."""
    folder = server.base / "outside"
    folder.mkdir()
    (folder / "pose.txt").write_text(POSE, encoding="utf-8")
    for name in ("prior", "inpainting", "refining", "patch_encoder", "global_encoder"):
        files = sorted((server.base / "models" / "pcdm" / "test").glob(f"{name}*"))
        assert files
        for path in files:
            shutil.copy(path, folder)
    shutil.copytree(EXAMPLES / "000000", folder / "person")
    return folder


def prompts(outside: Path, base: Path) -> dict[str, tuple[dict[str, Any], str]]:
    """A node by the name of its attack, and what it must be told."""
    nodes: dict[str, tuple[dict[str, Any], str]] = {}

    def attack(name: str, kind: str, expected: str, **inputs: Any) -> None:
        nodes[f"{kind}: {name}"] = ({"class_type": kind, "inputs": inputs}, expected)

    stages = ("prior", "inpainting", "refining", "patch_encoder")
    for kind, stage in zip(WEIGHTS, stages, strict=True):
        path = outside / f"{stage}.safetensors"
        relative = os.path.relpath(path, base / "models" / "pcdm")
        others = {"global_encoder": "of the same set"} if stage == "patch_encoder" else {}
        for name, value in {"absolute": str(path), "relative": relative}.items():
            attack(name, kind, "Put the file there", weights=value, **others)
    path = outside / "global_encoder.safetensors"
    weights = "test/patch_encoder.safetensors"
    attack("global", "PCDMLoadEncoders", "Put the file", weights=weights, global_encoder=str(path))
    kind, file = "PCDMPoseFromKeypoints", str(outside / "pose.txt")
    relative = os.path.relpath(file, base / "input")
    attack("absolute", kind, "not in", **{**KEYPOINTS, "file": file})
    attack("relative", kind, "not in", **{**KEYPOINTS, "file": relative})
    attack("annotated", kind, "not in", **{**KEYPOINTS, "file": "../outside/pose.txt [input]"})
    attack("in place of a link", kind, "1 line; expected 18", **KEYPOINTS, keypoints=file)
    views = {"source_view": "0", "target_view": "1"}
    person = os.path.relpath(outside / "person", EXAMPLES.resolve())
    attack("relative", "PCDMExamplePerson", "not in", person=person, **views)
    attack("absolute", "PCDMExamplePerson", "not in", person=str(outside / "person"), **views)
    return nodes


def test_no_prompt_reads_a_file_outside_the_folders(server: Server, outside: Path) -> None:
    for name, (node, expected) in prompts(outside, server.base).items():
        preview = {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}}
        words = server.failure({"1": node, "2": preview})
        assert expected in words, f"{name}: {words}"
        assert "0.015" not in words, name


def test_what_comes_by_a_link_is_refused_when_the_node_runs(server: Server, outside: Path) -> None:
    if "ComfySwitchNode" not in server.call("/object_info"):
        pytest.skip("this host's own nodes link no text to a drop-down")
    for name, (node, expected) in prompts(outside, server.base).items():
        for key in ("weights", "global_encoder", "file", "person"):
            value = node["inputs"].get(key)
            if not isinstance(value, str) or "outside" not in value:
                continue
            text = {"class_type": "PrimitiveString", "inputs": {"value": value}}
            link = {"switch": True, "on_true": ["3", 0], "on_false": ["3", 0]}
            graph = {
                "1": {**node, "inputs": {**node["inputs"], key: ["4", 0]}},
                "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
                "3": text,
                "4": {"class_type": "ComfySwitchNode", "inputs": link},
            }
            words = server.failure(graph)
            assert expected in words, f"{name}: {words}"
            assert words.startswith(key), f"{name}: {words}"


def test_the_same_files_are_read_where_they_belong(server: Server, outside: Path) -> None:
    shutil.copy(outside / "pose.txt", server.base / "input" / "pose.txt")
    graph = {
        "1": {"class_type": "PCDMPoseFromKeypoints", "inputs": {**KEYPOINTS, "file": "pose.txt"}},
        "2": {
            "class_type": "PCDMLoadPrior", "inputs": {"weights": "test/prior.safetensors"},
        },
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        "4": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }  # fmt: skip
    assert set(server.run(graph)) >= {"3", "4"}
