"""What the benchmark of workflows asks of a host; the host itself is asked by tests/workflows."""

import json

import pytest

from benchmarks.comfyui import PYTHON, WORKFLOWS, Way, cut, main, seeded, summary
from benchmarks.server import ROOT

PICTURES = {"PCDMInpaintingSampler", "PCDMRefiningSampler", "KSampler"}


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_is_cut_to_what_its_refined_picture_needs(name: str) -> None:
    graph = json.loads((ROOT / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    nodes = cut(graph)
    kinds = [node["class_type"] for node in nodes.values()]
    assert kinds.count("PreviewImage") == 1
    assert not {"SaveImage", "ImageScaleBy", "PCDMRenderPose"} & set(kinds)
    samplers = [node["class_type"] for node in graph.values() if node["class_type"] in PICTURES]
    assert sorted(kind for kind in kinds if kind in PICTURES) == sorted(samplers)
    links = [v for node in nodes.values() for v in node["inputs"].values() if isinstance(v, list)]
    assert all(link[0] in nodes for link in links)
    changed = seeded(nodes, 7, 3)
    steps = [node["inputs"]["steps"] for node in changed.values() if "steps" in node["inputs"]]
    assert steps == [3, 3, 3]
    assert cut(graph) == nodes  # nothing is changed in place


def test_the_ratio_is_that_of_runs_side_by_side() -> None:
    python = Way(PYTHON, lambda _: (0, 0), [1.0, 10.0, 1.0], [1.0, 1.0, 1.0])
    host = Way("host", lambda _: (0, 0), [1.1, 11.0, 1.3], [1.2, 1.2, 1.2])
    rows = {row["name"]: row for row in summary([python, host])}
    assert rows["host"]["of_python"]["median"] == pytest.approx(1.1)
    assert rows["host"]["of_python_processor"]["median"] == pytest.approx(1.2)
    assert rows[PYTHON]["of_python"]["median"] == 1.0


def test_without_a_comfyui_the_command_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    with pytest.raises(SystemExit):
        main([])
    assert "COMFYUI_PATH has to name the folder of a ComfyUI" in capsys.readouterr().err
