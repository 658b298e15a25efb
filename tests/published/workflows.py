"""The workflows for the published weights, made of the table of files.

    python -m tests.published.workflows

Both forms of each are written anew: what the front end opens, and what its API takes. Files that it
can fetch by itself stand in `properties.models` of their loaders, all of them in a note of links.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pcdm_core.files import write_text
from pcdm_core.published.table import ModelFile, PresetName, files_of, size_in_words

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = "docs/published.md"
_COLOUR = "#8fb8d8"
_HEAD = 80  # of a group's title
_GAP = 40
_WIDTH = 320


@dataclass
class Node:
    """One node of a workflow.

    Attributes:
        inputs: values of widgets in their order; a pair of node and slot is a link.
        sockets: all of the node's input sockets with their kinds, in order.
        outputs: names and kinds.
    """

    key: int
    kind: str
    title: str
    height: int
    inputs: dict[str, Any] = field(default_factory=dict)
    sockets: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    models: list[dict[str, str]] = field(default_factory=list)


def main() -> None:
    """Write both workflows."""
    presets: tuple[PresetName, ...] = ("published", "simplified")
    for preset in presets:
        groups = columns_of(preset)
        nodes = [node for column in groups.values() for node in column]
        for folder, content in (("", workflow(preset, groups)), ("api", api(nodes))):
            path = ROOT / "workflows" / folder / f"{file_name(preset)}.json"
            write_text(path, json.dumps(content, indent=1 if folder == "" else 2) + "\n")
            print(path)


def file_name(preset: PresetName) -> str:
    """Of a preset's workflow, without its ending."""
    return {"published": "pcdm_published", "simplified": "pcdm_simplified"}[preset]


def columns_of(preset: PresetName) -> dict[str, list[Node]]:
    """The nodes in groups, from left to right."""
    files = {file.component: file for file in files_of(preset)}
    stages = preset == "published"
    person = Node(1, "LoadImage", "The person", 330, {"image": "example.png"})
    pose = Node(2, "LoadImage", "Somebody in the pose", 330, {"image": "example.png"})
    for loader in (person, pose):
        loader.outputs = {"IMAGE": "IMAGE", "MASK": "MASK"}
    source_pose = _pose(3, "Pose of the person", {"image": (1, 0)})
    target_pose = _pose(4, "Pose to take", {"image": (2, 0), "fit_to": (1, 0)})
    previews = [
        _pictures(5, "Found in the person", (3, 1)),
        _pictures(6, "Found in the other", (4, 1)),
    ]
    vae = Node(13, "VAELoader", "Load VAE", 80, {"vae_name": _in_folder(files["autoencoder"])})
    vae.outputs, vae.models = {"VAE": "VAE"}, _models(files["autoencoder"])
    loaders = [_weights(10, "Inpainting", "MODEL", files["inpainting"]), vae]
    loaders += [_clip_vision(14, files["patch_encoder"])]
    encoders: dict[str, Any] = {"weights": "mini (shipped)", "global_encoder": "of the same set"}
    encoders |= {"autoencoder": (13, 0), "dinov2": (14, 0)}
    if stages:
        loaders[1:1] = [_weights(12, "Refining", "MODEL", files["refining"])]
        loaders[:0] = [_weights(11, "Prior", "PCDM_PRIOR", files["prior"])]
        loaders.append(_clip_vision(15, files["global_encoder"]))
        encoders["clip_vision"] = (15, 0)
    sockets = {"autoencoder": "VAE", "dinov2": "CLIP_VISION", "clip_vision": "CLIP_VISION"}
    outputs = {"encoders": "PCDM_ENCODERS", "vae": "VAE"}
    loaders.append(
        Node(16, "PCDMLoadEncoders", "PCDM Load Encoders", 160, encoders, sockets, outputs)
    )
    groups = {
        "1. Two pictures: yours": [person, pose],
        "2. The pose of each is found": [source_pose, target_pose],
        "What was found": previews,
        "Models: nothing to set": loaders,
        "3. Run: the stages" if stages else "3. Run: the one stage": _stages(stages),
    }
    result = Node(24, "SaveImage", "Result", 480, {"images": (22 if stages else 21, 0)})
    result.inputs["filename_prefix"] = f"pcdm/{preset}"
    result.sockets = {"images": "IMAGE"}
    return {**groups, "4. What comes out": [result]}


def _stages(three: bool) -> list[Node]:
    person: dict[str, Any] = {"encoders": (16, 0), "source": (1, 0)}
    poses: dict[str, Any] = {"source_pose": (3, 0), "target_pose": (4, 0)}
    eyes = {"encoders": "PCDM_ENCODERS", "source": "IMAGE"}
    joints = {"source_pose": "PCDM_POSE", "target_pose": "PCDM_POSE"}
    sampling: dict[str, Any] = {
        "seed": 0,
        "steps": 0,
        "guidance_scale": -1.0,
        "sampler_name": "published",
        "scheduler": "published",
        "denoise": -1.0,
        "guidance_rescale": 0.0,
        "pictures": 1,
        "width": 0,
        "height": 0,
    }
    inpainting = Node(21, "PCDMInpaintingSampler", "PCDM Inpainting Sampler", 500)
    inpainting.inputs = {"model": (10, 0), **person, **poses, **sampling, "restore_size": not three}
    extra = {"target_embedding": "PCDM_EMBEDDING", "start": "LATENT"}
    inpainting.sockets = {"model": "MODEL", **eyes, **joints, **extra}
    inpainting.outputs = {"image": "IMAGE", "latent": "LATENT", "canvas": "IMAGE", "mask": "MASK"}
    if not three:
        return [inpainting]
    prior = Node(20, "PCDMPredictTargetEmbedding", "PCDM Predict Target Embedding", 260)
    prior.inputs = {"prior": (11, 0), **person, **poses, "seed": 0, "steps": 0}
    prior.inputs |= {"guidance_scale": 0.0, "pictures": 1}
    prior.sockets = {"prior": "PCDM_PRIOR", **eyes, **joints}
    prior.outputs = {"target_embedding": "PCDM_EMBEDDING"}
    inpainting.inputs["target_embedding"] = (20, 0)
    refining = Node(22, "PCDMRefiningSampler", "PCDM Refining Sampler", 460)
    refining.inputs = {"model": (12, 0), **person, "coarse": (21, 0), "target_pose": (4, 0)}
    refining.inputs |= {**sampling, "restore_size": True}
    refining.sockets = {"model": "MODEL", **eyes, "coarse": "IMAGE", "target_pose": "PCDM_POSE"}
    refining.outputs = {"image": "IMAGE", "latent": "LATENT", "mask": "MASK"}
    return [prior, inpainting, refining]


def _pose(key: int, title: str, links: dict[str, Any]) -> Node:
    node = Node(key, "PCDMPoseFromImage", title, 330, {**links, "detector": "auto", "person": 0})
    node.sockets = {"image": "IMAGE", "fit_to": "IMAGE"}
    node.outputs = {"pose": "PCDM_POSE", "preview": "IMAGE", "report": "STRING"}
    return node


def _pictures(key: int, title: str, link: tuple[int, int]) -> Node:
    return Node(key, "PreviewImage", title, 330, {"images": link}, {"images": "IMAGE"})


def _weights(key: int, stage: str, kind: str, file: ModelFile) -> Node:
    names = {"Prior": "PCDM Load Prior"}
    title = names.get(stage, f"PCDM Load {stage} Model")
    node = Node(key, f"PCDMLoad{stage}", title, 80)
    node.inputs = {"weights": file.comfyui.removeprefix("pcdm/")}
    node.outputs = {"prior" if stage == "Prior" else "model": kind}
    return node


def _clip_vision(key: int, file: ModelFile) -> Node:
    node = Node(key, "CLIPVisionLoader", f"Load CLIP Vision: {file.title}", 80)
    node.inputs, node.models = {"clip_name": _in_folder(file)}, _models(file)
    node.outputs = {"CLIP_VISION": "CLIP_VISION"}
    return node


def _in_folder(file: ModelFile) -> str:
    return file.comfyui.partition("/")[2]


def _models(file: ModelFile) -> list[dict[str, str]]:
    """What the front end offers to fetch: files of the hub alone."""
    source = file.source
    directory, _, name = file.comfyui.partition("/")
    model = {"name": name, "url": source.download, "directory": directory}
    return [{**model, "hash": source.sha256, "hash_type": "SHA256"}] if source.download else []


def note_of(preset: PresetName) -> str:
    """The note of a workflow, in Markdown."""
    lines = [
        "## Model links",
        "",
        "| file | size | goes to |",
        "| --- | --- | --- |",
        *(
            f"| {file.title}: [{file.source.name}]({file.source.download or file.source.address}) "
            f"| {size_in_words(file.source)} | `models/{file.comfyui}` |"
            for file in files_of(preset)
        ),
        "",
        "Save them all into one folder, under any names. Then, in the pack's folder:",
        "",
        "`python -m pcdm_core.cli models place FOLDER --comfyui ../..`",
        "",
        "converts the `.pt` files and puts everything where this workflow looks. Press R, choose "
        "two pictures, Run. Steps, guidance and denoise are the weights' own: 0, -1 and -1 say so.",
        "",
        f"No licence is stated for the authors' `.pt` files; `{DOCUMENT}` of the pack has the "
        "terms, and what to do when something fails. Use pictures of people only with their "
        "consent.",
    ]
    return "\n".join(lines)


def api(nodes: list[Node]) -> dict[str, Any]:
    """What the API takes."""
    return {
        str(node.key): {
            "class_type": node.kind,
            "inputs": {
                name: [str(value[0]), value[1]] if isinstance(value, tuple) else value
                for name, value in node.inputs.items()
            },
            "_meta": {"title": node.title},
        }
        for node in sorted(nodes, key=lambda node: node.key)
    }


def workflow(preset: PresetName, columns: dict[str, list[Node]]) -> dict[str, Any]:
    """What the front end opens."""
    nodes = [node for column in columns.values() for node in column]
    kinds = {node.key: list(node.outputs.values()) for node in nodes}
    links: list[list[Any]] = []
    for node in nodes:
        for place, name in enumerate(node.sockets):
            value = node.inputs.get(name)
            if isinstance(value, tuple):
                key, slot = value
                kind = kinds[key][slot]
                links.append([len(links) + 1, key, slot, node.key, place, kind])
    entries: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    x = 0
    for title, column in columns.items():
        y = 0
        for node in column:
            entries.append(_entry(node, links, len(entries), (x, y)))
            y += node.height + 45
        box = [x - 20, -_HEAD, _WIDTH + 40, y + _HEAD]
        group = {"id": len(groups) + 1, "title": title, "bounding": box, "color": _COLOUR}
        groups.append({**group, "font_size": 24, "flags": {}})
        x += _WIDTH + 40 + _GAP
    note = Node(30, "MarkdownNote", "What it needs", 420, {"text": note_of(preset)})
    entries.append({**_entry(note, [], 0, (0, -560)), "size": [900, 440]})
    return {
        "last_node_id": 30,
        "last_link_id": len(links),
        "nodes": entries,
        "links": links,
        "groups": groups,
        "config": {},
        "extra": {},
        "version": 0.4,
    }


def _entry(node: Node, links: list[list[Any]], order: int, at: tuple[int, int]) -> dict[str, Any]:
    into = {link[4]: link[0] for link in links if link[3] == node.key}
    out = [(link[2], link[0]) for link in links if link[1] == node.key]
    widgets: list[Any] = []
    for name, value in node.inputs.items():
        if not isinstance(value, tuple):
            widgets += [value, "fixed"] if name == "seed" else [value]
    if node.kind == "LoadImage":
        widgets.append("image")
    properties: dict[str, Any] = {"Node name for S&R": node.kind}
    if node.models:
        properties["models"] = node.models
    return {
        "id": node.key,
        "type": node.kind,
        "pos": list(at),
        "size": [_WIDTH, node.height],
        "flags": {},
        "order": order,
        "mode": 0,
        "inputs": [
            {"name": name, "type": kind, "link": into.get(place)}
            for place, (name, kind) in enumerate(node.sockets.items())
        ],
        "outputs": [
            {"name": name, "type": kind, "links": [n for s, n in out if s == slot] or None}
            for slot, (name, kind) in enumerate(node.outputs.items())
        ],
        "title": node.title,
        "properties": properties,
        "widgets_values": widgets,
    }


if __name__ == "__main__":
    sys.exit(main())
