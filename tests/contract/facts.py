"""What a host with the V3 node API finds out about the nodes; runs in the host's process."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
from typing import Any

import torch

from tests.hosts import PACK, ROOT, load_pack

BODY = [value for joint in range(18) for value in (100.0, 10.0 + 4 * joint, 1.0)]
UNKNOWN = "the host does not know it"
DOCUMENT = {"people": [{"pose_keypoints_2d": BODY}], "canvas_height": 100, "canvas_width": 200}


def facts() -> dict[str, Any]:
    """The nodes that the entry point lists, and what those give that run without a network."""
    pack = load_pack(ROOT, PACK)

    async def listed() -> list[Any]:
        extension = await pack.comfy_entrypoint()
        return await extension.get_node_list()

    nodes = asyncio.run(listed())
    assert nodes, "the entry point lists no node"
    return {
        "nodes": [describe(node) for node in nodes],
        "sampling": list(sampling_parameters()),
        "results": results({node.GET_SCHEMA().node_id: node for node in nodes}),
    }


def describe(node: Any) -> dict[str, Any]:
    """A node's sockets and functions; `GET_SCHEMA` validates the schema by the host's rules."""
    schema, info = node.GET_SCHEMA(), node.GET_NODE_INFO_V1()
    functions = ("execute", "validate_inputs", "fingerprint_inputs", "check_lazy_status")
    methods = {
        name for kind in node.__mro__ if kind.__module__.startswith(PACK) for name in vars(kind)
    }
    return {
        "class": node.__name__,
        "id": schema.node_id,
        "display_name": schema.display_name,
        "category": schema.category,
        "description": schema.description,
        "search_aliases": getattr(schema, "search_aliases", UNKNOWN),
        "inputs": [socket(item) for item in schema.inputs],
        "outputs": [socket(item) for item in schema.outputs],
        "info": {
            "inputs": {
                kind: [[name, info["input"][kind][name][0]] for name in names]
                for kind, names in info["input_order"].items()
                if kind != "hidden"  # what the host adds to nodes that end a graph
            },
            "outputs": list(zip(info["output_name"], info["output"], strict=True)),
        },
        "functions": {
            name: parameters(getattr(node, name)) for name in functions if name in methods
        },
    }


def socket(item: Any) -> dict[str, Any]:
    values = {name: getattr(item, name, None) for name in ("id", "tooltip", "optional", "default")}
    options = getattr(item, "options", None)
    return values | {
        "options": None if options is None else list(options),
        "advanced": getattr(item, "advanced", UNKNOWN),
    }


def parameters(function: Any) -> dict[str, Any]:
    """Names of a function's parameters; whether a default is there; whether it takes others too."""
    signature = inspect.signature(function).parameters.values()
    explicit = [p for p in signature if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return {
        "names": {p.name: p.default is not p.empty for p in explicit},
        "others": any(p.kind is p.VAR_KEYWORD for p in signature),
    }


def sampling_parameters() -> list[str]:
    """What the sampler nodes hand on to their sampler, by name."""
    run_sampler = importlib.import_module(f"{PACK}.nodes.samplers").run_sampler
    signature = inspect.signature(run_sampler).parameters.values()
    return [p.name for p in signature if p.kind is p.KEYWORD_ONLY]


@torch.inference_mode()
def results(nodes: dict[str, Any]) -> dict[str, list[str]]:
    """The kinds of the values that nodes without a network give, by node id.

    They run as in a new graph: an input has the value of its widget unless another is given.
    """
    outputs: dict[str, tuple[Any, ...]] = {}

    def run(name: str, **inputs: Any) -> tuple[Any, ...]:
        widgets = {
            item.id: getattr(item, "default", None) for item in nodes[name].GET_SCHEMA().inputs
        }
        values = {key: value for key, value in widgets.items() if value is not None}
        outputs[name] = nodes[name].EXECUTE_NORMALIZED(**values | inputs).result
        return outputs[name]

    image, _, targets, *_ = run("PCDMExamplePerson", person="000000", target_view="all others")
    run("PCDMPoseFromKeypoints", text=json.dumps(DOCUMENT))
    run("PCDMPoseToKeypoints", pose=targets)
    skeletons, *_ = run("PCDMRenderPose", pose=targets, height=512, width=352)
    run("PCDMPoseFromSkeleton", image=skeletons)
    run("PCDMPoseEditor")
    run("PCDMCropTarget", canvas=torch.cat([image, image], dim=2))
    return {name: [kind(value) for value in values] for name, values in outputs.items()}


def kind(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, torch.Tensor) else type(value).__name__
