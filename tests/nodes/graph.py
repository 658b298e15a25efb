"""The nodes in one process with the host, on random weights of the test preset."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.stages import condition_inpainting
from tests.core.tiny_pipeline import picture, poses, save_tiny_weights
from tests.nodes.conftest import Host

LATENT = 5e-4  # of the latents' deviation
SETTINGS: dict[str, Any] = {
    "seed": 11,
    "steps": 4,
    "guidance_scale": 2.0,
    "sampler_name": "published",
    "scheduler": "published",
    "denoise": 1.0,
    "guidance_rescale": 0.0,
}


def image(seed: int = 0, height: int = 64, width: int = 48) -> torch.Tensor:
    """IMAGE [1, H, W, 3] whose values are whole 8-bit steps, as a file's are."""
    pixels = ((picture(seed, height, width) + 1) * 127.5).round() / 255
    return pixels.movedim(1, -1).contiguous()


@dataclass
class Graph:
    """Loaded nodes of the test preset."""

    host: Host
    folder: Path

    def run(self, name: str, **inputs: Any) -> tuple[Any, ...]:
        """What a node gives; a widget has its default unless another value is given."""
        return self.output(name, **inputs).result

    def output(self, name: str, **inputs: Any) -> Any:
        """As `run`, with what the node shows."""
        node = self.node(name)
        widgets = {item.id: getattr(item, "default", None) for item in node.GET_SCHEMA().inputs}
        values = {key: value for key, value in widgets.items() if value is not None}
        return node.execute(**values | inputs)

    def node(self, name: str) -> Any:
        """A node class by its id."""
        extension = self.host.pack("nodes")
        return getattr(extension, name)

    def pose(self, count: int = 1, first: int = 0) -> Any:
        """Different poses as the pack's own `Keypoints`."""
        keypoints = poses(count, first)
        return self.host.pack("pcdm_core.pose.keypoints").Keypoints(keypoints.xy, keypoints.visible)

    def load(self) -> dict[str, Any]:
        """All loaders' outputs by name."""
        folder = self.folder.name
        inpainting, refining = f"{folder}/inpainting.safetensors", f"{folder}/refining.safetensors"
        (prior,) = self.run("PCDMLoadPrior", weights=f"{folder}/prior.safetensors")
        encoders, vae = self.run(
            "PCDMLoadEncoders",
            weights=f"{folder}/patch_encoder.safetensors",
            global_encoder="of the same set",
        )
        return {
            "prior": prior,
            "encoders": encoders,
            "vae": vae,
            "inpainting": self.run("PCDMLoadInpainting", weights=inpainting)[0],
            "refining": self.run("PCDMLoadRefining", weights=refining)[0],
        }


def make_graph(host: Host) -> Graph:
    """Weights below the host's models/pcdm."""
    folder = host.base / "models" / "pcdm" / "test"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        save_tiny_weights(folder)
    return Graph(host, folder)


def embedding(graph: Graph, loaded: dict[str, Any], target: Any, **settings: Any) -> Any:
    """The prior's output for the standard source."""
    values = {"seed": 11, "steps": 4, "guidance_scale": 0.0, **settings}
    (embeds,) = graph.run(
        "PCDMPredictTargetEmbedding",
        prior=loaded["prior"],
        encoders=loaded["encoders"],
        source=image(),
        source_pose=graph.pose(),
        target_pose=target,
        **values,
    )
    return embeds


def inpainting_inputs(graph: Graph, loaded: dict[str, Any], target: Any) -> dict[str, Any]:
    """The sockets of both inpainting nodes."""
    return {
        "model": loaded["inpainting"],
        "encoders": loaded["encoders"],
        "source": image(),
        "source_pose": graph.pose(),
        "target_pose": target,
        "target_embedding": embedding(graph, loaded, target),
    }


def conditions(pipeline: PCDMsPipeline, embeds: torch.Tensor | None) -> tuple[Any, Any]:
    """What the core's inpainting model sees of the standard source and two poses, and the null."""
    features = pipeline.encode_source(image().movedim(-1, 1) * 2 - 1).expand(2)
    cond = condition_inpainting(
        pipeline.inpainting,
        features.patch_tokens,
        features.canvas_latents,
        features.fitted(poses(1)),
        features.fitted(poses(2, 5)),
        embeds,
    )
    return cond, pipeline.inpainting.unconditional(cond)
