"""The workflows for the published weights, made of the table of files.

Files that the front end can fetch by itself stand in `properties.models` of their loaders, all of
them in a note of links. `python -m tests.workflows.templates` writes them.
"""

from __future__ import annotations

from typing import Any

from pcdm_core.published.table import ModelFile, PresetName, files_of, size_in_words
from tests.workflows.graph import Node, Workflow

DOCUMENT = "docs/published.md"
_WIDTH = 320
_TITLES: dict[PresetName, tuple[str, str]] = {
    "published": ("Photographs - the published weights", "pcdm_published"),
    "simplified": ("Photographs - the simplified weights", "pcdm_simplified"),
}


def published() -> list[Workflow]:
    """Both workflows."""
    return [
        Workflow(title, stem, columns_of(preset), note_of(preset), (900, 440))
        for preset, (title, stem) in _TITLES.items()
    ]


def columns_of(preset: PresetName) -> dict[str, list[Node]]:
    """The nodes in groups, from left to right."""
    files = {file.component: file for file in files_of(preset)}
    stages = preset == "published"
    person, pose = (
        Node(key, "LoadImage", title, {"image": "example.png"}, (_WIDTH, 400))
        for key, title in ((1, "The person"), (2, "Somebody in the pose"))
    )
    source_pose = _pose(3, "Pose of the person", {"image": (1, 0)})
    target_pose = _pose(4, "Pose to take", {"image": (2, 0), "fit_to": (1, 0)})
    previews = [
        _pictures(5, "Found in the person", (3, 1)),
        _pictures(6, "Found in the other", (4, 1)),
    ]
    vae = Node(13, "VAELoader", "Load VAE", {"vae_name": _in_folder(files["autoencoder"])})
    vae.models = _models(files["autoencoder"])
    loaders = [_weights(10, "Inpainting", files["inpainting"]), vae]
    loaders += [_clip_vision(14, files["patch_encoder"])]
    encoders: dict[str, Any] = {"autoencoder": (13, 0), "dinov2": (14, 0)}
    if stages:
        loaders[1:1] = [_weights(12, "Refining", files["refining"])]
        loaders[:0] = [_weights(11, "Prior", files["prior"])]
        loaders.append(_clip_vision(15, files["global_encoder"]))
        encoders["clip_vision"] = (15, 0)
    loaders.append(Node(16, "PCDMLoadEncoders", "PCDM Load Encoders", encoders))
    groups = {
        "1. Two pictures: yours": [person, pose],
        "2. The pose of each is found": [source_pose, target_pose],
        "What was found": previews,
        "Models: nothing to set": loaders,
        "3. Run: the stages" if stages else "3. Run: the one stage": _stages(stages),
    }
    saved = {"images": (22 if stages else 21, 0), "filename_prefix": f"pcdm/{preset}"}
    result = Node(24, "SaveImage", "Result", saved, (440, 680))
    return {**groups, "4. What comes out": [result]}


def _stages(three: bool) -> list[Node]:
    person: dict[str, Any] = {"encoders": (16, 0), "source": (1, 0)}
    poses: dict[str, Any] = {"source_pose": (3, 0), "target_pose": (4, 0)}
    stage = {"model": (10, 0), **person, **poses, "restore_size": not three}
    inpainting = Node(21, "PCDMInpaintingSampler", "PCDM Inpainting Sampler", stage)
    if not three:
        return [inpainting]
    guess = {"prior": (11, 0), **person, **poses}
    prior = Node(20, "PCDMPredictTargetEmbedding", "PCDM Predict Target Embedding", guess)
    inpainting.inputs["target_embedding"] = (20, 0)
    details = {"model": (12, 0), **person, "coarse": (21, 0), "target_pose": (4, 0)}
    details |= {"restore_size": True}
    return [prior, inpainting, Node(22, "PCDMRefiningSampler", "PCDM Refining Sampler", details)]


def _pose(key: int, title: str, links: dict[str, Any]) -> Node:
    return Node(key, "PCDMPoseFromImage", title, links)


def _pictures(key: int, title: str, link: tuple[int, int]) -> Node:
    return Node(key, "PreviewImage", title, {"images": link}, (_WIDTH, 400))


def _weights(key: int, stage: str, file: ModelFile) -> Node:
    title = "PCDM Load Prior" if stage == "Prior" else f"PCDM Load {stage} Model"
    return Node(key, f"PCDMLoad{stage}", title, {"weights": file.comfyui.removeprefix("pcdm/")})


def _clip_vision(key: int, file: ModelFile) -> Node:
    inputs = {"clip_name": _in_folder(file)}
    title = f"Load CLIP Vision: {file.title}"
    return Node(key, "CLIPVisionLoader", title, inputs, models=_models(file))


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
