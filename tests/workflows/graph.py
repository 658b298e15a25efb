"""Graphs of nodes as tables, and the two forms that ComfyUI takes: the front end's and the API's.

What a node takes and gives comes from tests/golden/object_info.json, so a table says only what it
sets. A `Blueprint` is a graph with inputs and outputs of its own, which front ends show as one
node; the API's form of it is flat, under the numbers that front ends give: `10:101`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tests.hosts import ROOT
from tests.workflows.layout import GAP, HEAD, placed_in
from tests.workflows.shapes import Shape, Widget

OBJECT_INFO = ROOT / "tests" / "golden" / "object_info.json"
OUTSIDE = 0  # stands for the number of a node in links from a blueprint's own inputs
NOTE = "MarkdownNote"
PACK, CORE = "pcdm", "comfy-core"  # the registry's names
BYPASSED = 4

Link = tuple[int, str | int]
"""The number of a node, and the name or the place of its output."""

# What front ends send for a widget that holds nothing, and hosts ask for.
_SENT = {"ImageCompare": {"compare_view": {"__value__": ["", ""]}}}
_WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN")
_INPUT_NODE, _OUTPUT_NODE = -10, -20

# Pixels by which a run makes a node higher: a note of it, the picture in the making, or both.
_NOTE, _PREVIEW = 130, 260
_GROWTH = {
    "KSampler": _PREVIEW,
    "PCDMInpaintingSampler": _NOTE + _PREVIEW,
    "PCDMRefiningSampler": _NOTE + _PREVIEW,
    "PCDMInpaintingConditioning": _NOTE,
    "PCDMRefiningConditioning": _NOTE,
    "PCDMPoseFromImage": _NOTE,
    "PCDMPoseFromKeypoints": _NOTE,
    "PCDMRetargetPose": _NOTE,
    "PCDMSmoothPoses": _NOTE,
}


@dataclass
class Node:
    """One node.

    Attributes:
        inputs: what differs from the defaults. A `Link` is a connection.
        size: width and height; a height of 0 follows from the rows.
        models: files that the front end offers to fetch.
        properties: what else the front end keeps with the node.
        labels: of inputs, where people read something else than the name.
        blueprint: what the node stands for, in place of `kind`.
    """

    key: int
    kind: str
    title: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)
    size: tuple[int, int] = (320, 0)
    models: list[dict[str, str]] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    mode: int = 0
    blueprint: Blueprint | None = None


@dataclass
class Blueprint:
    """A graph that is one node.

    Attributes:
        columns: the nodes in titled groups, from left to right. Their links to `OUTSIDE` make the
            blueprint's inputs, in the order of `labels`.
        labels: the names of the inputs and what people read.
        outputs: names and where they come from.
        nodes: have numbers that no workflow and no other blueprint has.
    """

    name: str
    description: str
    aliases: list[str]
    category: str
    columns: dict[str, list[Node]]
    labels: dict[str, str]
    outputs: dict[str, Link]

    @property
    def id(self) -> str:
        """The same in every workflow and on every machine."""
        return str(uuid5(NAMESPACE_URL, f"pcdm/subgraphs/{self.name}"))

    @property
    def nodes(self) -> list[Node]:
        """All nodes in it."""
        return [node for column in self.columns.values() for node in column]

    def targets(self, name: str) -> list[tuple[Node, str]]:
        """The nodes and their inputs that an input of the blueprint goes to."""
        return [
            (node, key)
            for node in self.nodes
            for key, value in node.inputs.items()
            if value == (OUTSIDE, name)
        ]

    def node(self, key: int, title: str = "", **inputs: Any) -> Node:
        """A node that stands for it."""
        return Node(key, "", title or self.name, inputs, (440, 0), blueprint=self)


@dataclass
class Workflow:
    """A template: its title, which is the name of its file, and its nodes in titled groups.

    Attributes:
        stem: the name of the API's form.
        note: Markdown, shown above the first group, or above all if it is wider than that.
        extra: what the front end keeps beside the graph, such as the app.
    """

    title: str
    stem: str
    columns: dict[str, list[Node]]
    note: str
    note_size: tuple[int, int] = (300, 300)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> list[Node]:
        """All nodes but the note."""
        return [node for column in self.columns.values() for node in column]

    def front_end(self) -> dict[str, Any]:
        """What the front end opens."""
        blueprints = {node.blueprint.id: node.blueprint for node in self.nodes if node.blueprint}
        links = list(_links(self.nodes))
        width, height = self.note_size
        note = Node(90, NOTE, "Read me", {"text": self.note}, self.note_size)
        inside = width <= max(node.size[0] for node in next(iter(self.columns.values())))
        top = height + HEAD + GAP if inside else 0
        entries = [_entry(note, [], 0, (0, 0 if inside else -height - HEAD - GAP))]
        placed, groups = placed_in(self.columns, _room, top)
        entries += [_entry(node, links, order + 1, at) for order, (node, at) in enumerate(placed)]
        definitions = [definition(blueprint) for blueprint in blueprints.values()]
        return {
            "id": str(uuid5(NAMESPACE_URL, f"pcdm/workflows/{self.stem}")),
            "revision": 0,
            "last_node_id": max(_numbers(self.nodes)),
            "last_link_id": len(links),
            "nodes": entries,
            "links": links,
            "groups": groups,
            "definitions": {"subgraphs": definitions},
            "config": {},
            "extra": self.extra,
            "version": 0.4,
        }

    def api(self) -> dict[str, Any]:
        """What the API takes."""
        nodes = {node.key: node for node in self.nodes if node.mode != BYPASSED}
        graph: dict[str, Any] = {}
        for node in sorted(nodes.values(), key=lambda node: node.key):
            outside = {
                name: _source(value, nodes) if isinstance(value, tuple) else value
                for name, value in settings(node).items()
                if not isinstance(value, tuple) or value[0] in nodes  # or it is bypassed
            }
            if node.blueprint is None:
                graph[str(node.key)] = _prompt(node, outside)
                continue
            for inner in node.blueprint.nodes:
                inputs: dict[str, Any] = {}
                for name, value in settings(inner).items():
                    if not isinstance(value, tuple):
                        inputs[name] = value
                    elif value[0] != OUTSIDE:
                        key = f"{node.key}:{value[0]}"
                        inputs[name] = [key, _slot(value, node.blueprint.nodes)]
                    elif value[1] in outside:
                        inputs[name] = outside[value[1]]
                graph[f"{node.key}:{inner.key}"] = _prompt(inner, inputs)
        return graph


def kinds(nodes: list[Node]) -> set[str]:
    """The classes of all nodes, also of those in blueprints."""
    inner = (kinds(node.blueprint.nodes) if node.blueprint else {node.kind} for node in nodes)
    return set[str]().union(*inner)


@lru_cache(maxsize=1)
def object_info() -> dict[str, Any]:
    """What ComfyUI says of its nodes."""
    return json.loads(OBJECT_INFO.read_text(encoding="utf-8"))


def shape(node: Node) -> Shape:
    """Of a node of ComfyUI, of the pack, or of a blueprint."""
    if node.kind == NOTE:
        return Shape({}, {"text": Widget("STRING", "")}, {})
    if node.blueprint is not None:
        blueprint = node.blueprint
        sockets: dict[str, str] = {}
        widgets: dict[str, Widget] = {}
        for name in blueprint.labels:
            inner, key = blueprint.targets(name)[0]
            inside = shape(inner)
            if key in inside.sockets:
                sockets[name] = inside.sockets[key]
            else:
                widgets[name] = inside.widgets[key]
        outputs = {name: _kind(link, blueprint.nodes) for name, link in blueprint.outputs.items()}
        return Shape(sockets, widgets, outputs)
    info = object_info()[node.kind]
    declared = {**info["input"]["required"], **info["input"]["optional"]}
    widgets = {}
    for name, (kind, *options) in declared.items():
        fields: dict[str, Any] = dict(*options)
        if isinstance(kind, list):
            fields = {"default": next(iter(kind), ""), **fields}
            widgets[name] = Widget("COMBO", choices=tuple(kind), **fields)
        elif kind in _WIDGETS:
            fields.setdefault("default", None)
            widgets[name] = Widget(kind, **fields)
    sockets = {
        name: kind
        for name, (kind, *_) in declared.items()
        if name not in widgets and kind != "IMAGECOMPARE"
    }
    outputs = dict(zip(info["output_name"], info["output"], strict=True))
    return Shape(sockets, widgets, outputs)


def settings(node: Node) -> dict[str, Any]:
    """All values and links of a node, in the order of its widgets and then of its sockets."""
    its = shape(node)
    unknown = node.inputs.keys() - its.inputs.keys()
    assert not unknown, f"{node.title or node.kind} has no inputs {unknown}"
    values = {name: widget.value(node.inputs.get(name)) for name, widget in its.widgets.items()}
    return values | {name: value for name, value in node.inputs.items() if isinstance(value, tuple)}


def definition(blueprint: Blueprint) -> dict[str, Any]:
    """A blueprint as workflows and files of blueprints hold it."""
    nodes = blueprint.nodes
    inputs = list(blueprint.labels)
    its = shape(blueprint.node(0)).inputs
    links = list(_links(nodes, inputs))
    for slot, link in enumerate(blueprint.outputs.values()):
        origin = (link[0], _slot(link, nodes))
        links.append([len(links) + 1, *origin, _OUTPUT_NODE, slot, _kind(link, nodes)])
    placed, groups = placed_in(blueprint.columns, _room)
    right = max(at[0] for _, at in placed) + 500
    entries = [_entry(node, links, order, at) for order, (node, at) in enumerate(placed)]
    fields = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")

    def sockets(names: Mapping[str, str], end: int, labels: Mapping[str, str]) -> list[Any]:
        column = 1 if end == 0 else 3
        return [
            {
                "id": str(uuid5(NAMESPACE_URL, f"{blueprint.id}/{end}/{name}")),
                "name": name,
                "type": kind,
                "linkIds": [
                    link[0]
                    for link in links
                    if (link[column], link[column + 1]) == ((_INPUT_NODE, _OUTPUT_NODE)[end], slot)
                ],
                "label": labels.get(name, name),
                "pos": [(-140, right + 20)[end], 20 + 20 * slot],
            }
            for slot, (name, kind) in enumerate(names.items())
        ]

    return {
        "id": blueprint.id,
        "version": 1,
        "state": {
            "lastGroupId": len(groups),
            "lastNodeId": max(_numbers(nodes)),
            "lastLinkId": len(links),
            "lastRerouteId": 0,
        },
        "revision": 0,
        "config": {},
        "name": blueprint.name,
        "inputNode": {"id": _INPUT_NODE, "bounding": [-260, 0, 140, 40 + 20 * len(inputs)]},
        "outputNode": {"id": _OUTPUT_NODE, "bounding": [right, 0, 140, 100]},
        "inputs": sockets({name: its[name] for name in inputs}, 0, blueprint.labels),
        "outputs": sockets(shape(blueprint.node(0)).outputs, 1, {}),
        "widgets": [],
        "nodes": entries,
        "groups": groups,
        "links": [dict(zip(fields, link, strict=True)) for link in links],
        "extra": {},
        "category": blueprint.category,
        "description": blueprint.description,
    }


def blueprint_file(blueprint: Blueprint) -> dict[str, Any]:
    """A file of `subgraphs/`: the node alone, and its definition."""
    aliases = {"BlueprintSearchAliases": blueprint.aliases}
    return {
        "revision": 0,
        "last_node_id": 1,
        "last_link_id": 0,
        "nodes": [_entry(blueprint.node(1), [], 0, (0, 0))],
        "links": [],
        "definitions": {"subgraphs": [definition(blueprint)]},
        "extra": {"BlueprintDescription": blueprint.description, **aliases},
        "version": 0.4,
    }


def _links(nodes: list[Node], outside: list[str] | None = None) -> Iterator[list[Any]]:
    number = 0
    for node in nodes:
        for place, (name, kind) in enumerate(shape(node).inputs.items()):
            value = node.inputs.get(name)
            if not isinstance(value, tuple):
                continue
            number += 1
            if value[0] == OUTSIDE:
                origin = (_INPUT_NODE, (outside or []).index(value[1]))
            else:
                origin, kind = (value[0], _slot(value, nodes)), _kind(value, nodes)
            yield [number, *origin, node.key, place, kind]


def _by_key(nodes: list[Node]) -> dict[int, Node]:
    return {node.key: node for node in nodes}


def _slot(link: Link, nodes: list[Node]) -> int:
    key, output = link
    names = list(shape(_by_key(nodes)[key]).outputs)
    return output if isinstance(output, int) else names.index(output)


def _kind(link: Link, nodes: list[Node]) -> str:
    return list(shape(_by_key(nodes)[link[0]]).outputs.values())[_slot(link, nodes)]


def _numbers(nodes: list[Node]) -> Iterator[int]:
    for node in nodes:
        yield node.key
        if node.blueprint is not None:
            yield from _numbers(node.blueprint.nodes)


def _source(link: Link, nodes: dict[int, Node]) -> list[Any]:
    """A link as the API's form says it; through a blueprint, to the node in it."""
    node = nodes[link[0]]
    if node.blueprint is None:
        return [str(node.key), _slot(link, [node])]
    inner = node.blueprint.outputs[str(link[1])]
    return [f"{node.key}:{inner[0]}", _slot(inner, node.blueprint.nodes)]


def _prompt(node: Node, inputs: dict[str, Any]) -> dict[str, Any]:
    inputs = inputs | _SENT.get(node.kind, {})
    return {"class_type": node.kind, "inputs": inputs, "_meta": {"title": node.title or node.kind}}


def _height(node: Node) -> int:
    """Of a node in either way of drawing it, with its advanced inputs folded away."""
    its = shape(node)
    if node.size[1]:
        return node.size[1]
    preview = 150 if node.blueprint else 0  # of the picture in the making
    rows = [widget for widget in its.widgets.values() if not widget.advanced]
    unfold = len(rows) < len(its.widgets)  # a button
    sockets = max(len(its.sockets), len(its.outputs))
    return 50 + 26 * sockets + 28 * (len(rows) + unfold) + preview


def _room(node: Node) -> int:
    """For a node that is unfolded, or has run."""
    advanced = sum(widget.advanced for widget in shape(node).widgets.values())
    return _height(node) + max(28 * advanced, _GROWTH.get(node.kind, 0))


def _entry(node: Node, links: list[list[Any]], order: int, at: tuple[int, int]) -> dict[str, Any]:
    its = shape(node)
    into = {link[4]: link[0] for link in links if link[3] == node.key}
    out = [(link[2], link[0]) for link in links if link[1] == node.key]
    labels = node.blueprint.labels if node.blueprint else node.labels
    widgets: list[Any] = []
    for name, widget in its.widgets.items():
        widgets.append(widget.value(node.inputs.get(name)))
        if name == "seed" and node.blueprint is None:
            widgets.append("fixed")
    if node.kind == "LoadImage":
        widgets.append("image")
    own = node.blueprint is not None or node.kind.startswith("PCDM")
    properties: dict[str, Any] = {} if node.kind == NOTE else {"cnr_id": PACK if own else CORE}
    if node.blueprint is None:
        properties["Node name for S&R"] = node.kind
    properties |= node.properties
    if node.models:
        properties["models"] = node.models
    inputs: list[dict[str, Any]] = []
    for place, (name, kind) in enumerate(its.inputs.items()):
        label = {"label": labels[name]} if labels.get(name, name) != name else {}
        widget = {"widget": {"name": name}} if name in its.widgets else {}
        inputs.append({"name": name, "type": kind, **label, **widget, "link": into.get(place)})
    return {
        "id": node.key,
        "type": node.blueprint.id if node.blueprint else node.kind,
        "pos": list(at),
        "size": [node.size[0], _height(node)],
        "flags": {},
        "order": order,
        "mode": node.mode,
        "inputs": [] if node.kind == NOTE else inputs,
        "outputs": [
            {"name": name, "type": kind, "links": [n for s, n in out if s == slot] or None}
            for slot, (name, kind) in enumerate(its.outputs.items())
        ],
        **({"title": node.title} if node.title else {}),
        "properties": properties,
        "widgets_values": widgets,
    }
