"""What a workflow says is in the lists and ranges of the nodes, or it comes to nothing."""

import re
from typing import Any

import pytest

from tests.contract.attacks import EIGHTEEN_LINES, LOADERS, SECRET
from tests.hosts import COMFYUI, RUNTIME, ask

PYTHON = re.compile(r"--[a-z]|[a-z_]=|[a-z]\(|in Python|argument")  # an option, or what calls have


@pytest.fixture(scope="module", params=[RUNTIME, COMFYUI])
def answer(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ask("tests.contract.attacks", request.param)


@pytest.mark.slow
def test_every_list_and_every_range_of_every_node_is_attacked(answer: dict[str, Any]) -> None:
    attacked = {(node, name) for node, name, *_ in answer["rows"]}
    for node, name, options, numeric, low, high in answer["inputs"]:
        if options or numeric:
            assert (node, name) in attacked
        if numeric:
            assert None not in (low, high), f"{node}: {name} has no range"
    assert len({node for node, *_ in answer["inputs"]}) >= 19
    assert len(attacked) > 55


def test_no_path_of_a_workflow_comes_near_the_disk(answer: dict[str, Any]) -> None:
    assert not [row for row in answer["rows"] if row[-1]]


def test_what_is_not_offered_is_refused_by_the_name_of_its_input(answer: dict[str, Any]) -> None:
    checked = 0
    for node, name, attack, ended, words, _ in answer["rows"]:
        if name == "keypoints" or not attack.endswith("execute"):
            continue
        checked += 1
        kind = "CheckpointError" if node in LOADERS else "ValueError"
        assert ended == kind, f"{node}: {name}, {attack}: {ended}: {words}"
        assert words.startswith(name), f"{node}: {name}, {attack}: {words}"
        assert words.isprintable(), f"{node}: {name}, {attack}: {words!r}"
        assert len(words) < 1000
    assert checked > 300


def test_no_error_speaks_of_options_or_of_python(answer: dict[str, Any]) -> None:
    for node, name, attack, ended, words, _ in answer["rows"]:
        assert ended != "TypeError", f"{node}: {name}, {attack}: {words}"
        # What an attack itself says comes back in quotes.
        ours = re.sub(r"'[^']*'", "", words)
        assert not PYTHON.search(ours), f"{node}: {name}, {attack}: {words}"


def test_the_host_is_told_before_the_run_as_well(answer: dict[str, Any]) -> None:
    rows = [row for row in answer["rows"] if row[2].endswith("validate_inputs")]
    rows = [row for row in rows if row[0] in LOADERS]
    assert {row[0] for row in rows} == LOADERS
    for node, name, attack, ended, words, _ in rows:
        assert ended == "returned", f"{node}: {attack}: {ended}: {words}"
        # None is a link: what comes by it is checked when the node runs.
        assert ("Put the file there" in words) != attack.startswith("None"), f"{node}: {attack}"
        assert attack.startswith("None") or name in words


def test_a_text_in_place_of_key_points_is_never_a_path(answer: dict[str, Any]) -> None:
    rows = [row for row in answer["rows"] if row[1] == "keypoints" and "execute" in row[2]]
    assert len(rows) > 15
    for _, _, attack, ended, words, _ in rows:
        assert ended == "PoseError", f"{attack}: {ended}: {words}"
        assert EIGHTEEN_LINES[:7] not in words


def test_an_error_says_the_same_whether_the_file_is_there_or_not(answer: dict[str, Any]) -> None:
    words = {attack: words for node, name, attack, _, words, _ in answer["rows"]
             if (node, name) == ("PCDMLoadPrior", "weights")}  # fmt: skip
    there = words["absolute x.safetensors, execute"]
    gone = words["backslash, execute"]
    assert SECRET in there
    assert there.split(" is not in ")[1] == gone.split(" is not in ")[1]
