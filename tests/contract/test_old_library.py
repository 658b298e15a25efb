"""A host whose Python has too old a diffusers, or no transformers."""

from typing import Any

import pytest

from tests.hosts import COMFYUI, ROOT, RUNTIME, ask

pytestmark = pytest.mark.slow  # the processes that all of them read from take seconds


@pytest.fixture(scope="module", params=[RUNTIME, COMFYUI])
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ask("tests.contract.old_library", request.param)


def needed(package: str) -> str:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(package)]
    return line


@pytest.mark.slow
def test_one_sentence_in_the_log_says_what_is_too_old(facts: dict[str, Any]) -> None:
    (sentence,) = facts["log"]
    assert f"{needed('diffusers')} (found: 0.31.0)" in sentence
    assert sentence.endswith("see Installing in the README.")
    assert "transformers" not in sentence


def test_nodes_that_need_no_model_work_all_the_same(facts: dict[str, Any]) -> None:
    assert facts["results"]["PCDMPoseFromKeypoints"][0] == "Keypoints"
    assert {"PCDMPoseEditor", "PCDMRenderPose", "PCDMExamplePerson"} <= facts["results"].keys()


def test_a_loader_gives_the_sentence_before_anything_runs(facts: dict[str, Any]) -> None:
    assert facts["validated"] == facts["log"][0]


def test_a_package_that_is_not_there_is_named_beside_one_that_is_too_old(
    facts: dict[str, Any],
) -> None:
    assert "(found: 0.31.0) and " in facts["missing"]
    assert f"{needed('transformers')} (found: none)" in facts["missing"]
