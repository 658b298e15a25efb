"""One forward of each network beside the published classes', on the same file, in float32.

The classes come from a checkout of tencent-ailab/PCDMs outside this repository, and are called as
its `stage{1,2,3}_batchtest_*.py` do. They were written for an older diffusers, of which one module
has moved since.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pcdm_core.checkpoints import load_model
from pcdm_core.checkpoints.files import read_state_dict
from pcdm_core.conditioning import PriorConditioning

LIMIT = 1e-5  # of the published output's deviation
NETWORKS: Mapping[str, str] = {  # and their files
    "stage 1": "s1_256.pt",
    "stage 2": "s2_512.pt",
    "stage 3": "s3-512.pt",
    "one stage": "pcdms_ckpt.pt",
}
_OLD, _NEW = "diffusers.models.unet_2d_blocks", "diffusers.models.unets.unet_2d_blocks"
_SD21 = {
    "sample_size": 64,
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
_SHAPES: Mapping[str, tuple[int, ...]] = {
    "embedding": (1, 1024),
    "source": (1, 1024),
    "source_pose": (1, 1, 36),
    "target_pose": (1, 1, 36),
    "tokens": (1, 257, 1536),
    "canvas": (1, 4, 32, 64),
    "source_canvas": (1, 4, 32, 64),
    "pose_map": (1, 3, 256, 512),
    "latents": (1, 4, 32, 32),
    "coarse": (1, 4, 32, 32),
}
_TIME = torch.tensor([500])


@torch.no_grad()
def compare(network: str, downloads: Path, checkout: Path) -> float:
    """The largest difference between both outputs, in deviations of the published one.

    Raises:
        ValueError: it is above `LIMIT`.
    """
    sys.path.insert(0, str(checkout.resolve()))
    sys.modules.setdefault(_OLD, importlib.import_module(_NEW))
    path = downloads / NETWORKS[network]
    generator = torch.Generator().manual_seed(0)
    inputs = {name: torch.randn(shape, generator=generator) for name, shape in _SHAPES.items()}
    expected = _published(network, read_state_dict(path, mapped=True).tensors, inputs)
    output = _ours(network, load_model(path, dtype=torch.float32), inputs)
    error = float((output - expected).abs().max() / expected.std())
    if not error <= LIMIT:
        raise ValueError(f"{network}: off by {error:.2g} of std, at most {LIMIT:g} is right.")
    return error


def _ours(network: str, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    source, tokens = inputs["source"], inputs["tokens"]
    if network == "stage 1":
        poses = inputs["source_pose"], inputs["target_pose"]
        return model(inputs["embedding"], _TIME, PriorConditioning(source, *poses))
    if network == "stage 3":
        return model(inputs["latents"], _TIME, model.condition(tokens, inputs["coarse"]))
    embeds = inputs["embedding"] if network == "stage 2" else None
    cond = model.condition(tokens, embeds, inputs["source_canvas"], inputs["pose_map"])
    return model(inputs["canvas"], _TIME, cond)


def _published(network: str, state: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    from diffusers import UNet2DConditionModel
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

    def filled(prefix: str, make: Callable[..., nn.Module], *sizes: Any, **options: Any) -> Any:
        """A module with the file's weights of a prefix, all of them and no others."""
        with torch.device("meta"):
            module = make(*sizes, **options)
        names = [key for key in state if key.startswith(prefix)]
        weights = {key.removeprefix(prefix): state[key].float() for key in names}
        module.load_state_dict(weights, strict=True, assign=True)
        return module.eval()

    embedding = inputs["embedding"][:, None]
    if network == "stage 1":
        stage1 = importlib.import_module("src.models.stage1_prior_transformer")
        sizes = {"num_embeddings": 2, "embedding_dim": 1024}
        prior = filled("", stage1.Stage1_PriorTransformer, **sizes)
        rows = inputs["source"][:, None], inputs["source_pose"], inputs["target_pose"]
        return prior(embedding, _TIME, *rows).predicted_image_embedding
    name = "image_proj_model" if network == "one stage" else "image_proj_model_p"
    context = filled(f"{name}.net.", _projection)(inputs["tokens"])
    if network == "stage 3":
        unet = filled("unet.", UNet2DConditionModel, in_channels=8, **_SD21)
        x = torch.cat([inputs["latents"], inputs["coarse"]], dim=1)
        return unet(x, _TIME, encoder_hidden_states=context).sample
    options: dict[str, Any] = {}
    labels = None
    if network == "stage 2":
        options = {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 1024}
        labels, context = embedding, torch.cat([context, embedding], dim=1)
    stage2 = importlib.import_module("src.models.stage2_inpaint_unet_2d_condition")
    make = stage2.Stage2_InapintUNet2DConditionModel
    unet = filled("unet.", make, in_channels=9, **_SD21, **options)
    pose = filled("pose_proj.", ControlNetConditioningEmbedding, 320, 3, (16, 32, 96, 256))
    mask = torch.ones(1, 1, 32, 64)  # of what is known
    mask[..., 32:] = 0
    x = torch.cat([inputs["canvas"], mask, inputs["source_canvas"]], dim=1)
    call = {"class_labels": labels, "my_pose_cond": pose(inputs["pose_map"])}
    return unet(x, _TIME, encoder_hidden_states=context, **call).sample


def _projection() -> nn.Module:
    """`ImageProjModel_p` of the scripts, which stands in no module."""
    return nn.Sequential(
        nn.Linear(1536, 768), nn.GELU(), nn.Dropout(0.0), nn.LayerNorm(768),
        nn.Linear(768, 1024), nn.Dropout(0.0),
    )  # fmt: skip
