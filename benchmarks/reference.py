"""One forward of each network beside the published classes', on the same file, in float32.

The classes come from a checkout of tencent-ailab/PCDMs outside this repository. They were written
for an older diffusers, of which one module has moved since.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
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
_TOKENS, _PATCH, _WIDTH = 257, 1536, 1024
_HEIGHT, _TIME = 32, 500


@torch.no_grad()
def compare(network: str, downloads: Path, checkout: Path) -> float:
    """The largest difference between both outputs, in deviations of the published one.

    Raises:
        ValueError: it is above `LIMIT`.
    """
    sys.path.insert(0, str(checkout.resolve()))
    sys.modules.setdefault(_OLD, importlib.import_module(_NEW))
    path = downloads / NETWORKS[network]
    inputs = _inputs(torch.Generator().manual_seed(0))
    expected = _published(network, read_state_dict(path, mapped=True).tensors, inputs)
    output = _ours(network, load_model(path, dtype=torch.float32), inputs)
    error = float((output - expected).abs().max() / expected.std())
    if not error <= LIMIT:
        raise ValueError(f"{network}: off by {error:.2g} of std, at most {LIMIT:g} is right.")
    return error


def _inputs(generator: torch.Generator) -> dict[str, Tensor]:
    shapes = {
        "x": (1, _WIDTH),
        "embeds": (1, _WIDTH),
        "source_pose": (1, 1, 36),
        "target_pose": (1, 1, 36),
        "tokens": (1, _TOKENS, _PATCH),
        "canvas": (1, 4, _HEIGHT, 2 * _HEIGHT),
        "source_latents": (1, 4, _HEIGHT, 2 * _HEIGHT),
        "pose_map": (1, 3, 8 * _HEIGHT, 16 * _HEIGHT),
        "latents": (1, 4, _HEIGHT, _HEIGHT),
        "coarse": (1, 4, _HEIGHT, _HEIGHT),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def _ours(network: str, model: Any, inputs: Mapping[str, Tensor]) -> Tensor:
    time, tokens = torch.tensor([_TIME]), inputs["tokens"]
    if network == "stage 1":
        poses = inputs["source_pose"], inputs["target_pose"]
        return model(inputs["x"], time, PriorConditioning(inputs["embeds"], *poses))
    if network == "stage 3":
        return model(inputs["latents"], time, model.condition(tokens, inputs["coarse"]))
    embeds = inputs["embeds"] if network == "stage 2" else None
    cond = model.condition(tokens, embeds, inputs["source_latents"], inputs["pose_map"])
    return model(inputs["canvas"], time, cond)


def _published(network: str, state: Mapping[str, Tensor], inputs: Mapping[str, Tensor]) -> Tensor:
    """As the scripts `stage{1,2,3}_batchtest_*.py` call the classes."""
    from diffusers import UNet2DConditionModel
    from diffusers.models.controlnets.controlnet import ControlNetConditioningEmbedding

    time = torch.tensor(_TIME)
    if network == "stage 1":
        stage1 = importlib.import_module("src.models.stage1_prior_transformer")
        prior = _filled(lambda: stage1.Stage1_PriorTransformer(
            num_embeddings=2, embedding_dim=_WIDTH), state, "")  # fmt: skip
        vectors = (inputs[name][:, None] for name in ("x", "embeds"))
        x, embeds = vectors
        poses = inputs["source_pose"], inputs["target_pose"]
        return prior(x, time, embeds, *poses).predicted_image_embedding
    name = "image_proj_model" if network == "one stage" else "image_proj_model_p"
    projection = _filled(_projection, state, f"{name}.net.")
    features = projection(inputs["tokens"])
    if network == "stage 3":
        unet = _filled(lambda: UNet2DConditionModel(in_channels=8, **_SD21), state, "unet.")
        x = torch.cat([inputs["latents"], inputs["coarse"]], dim=1)
        return unet(x, time, encoder_hidden_states=features).sample
    options: dict[str, Any] = {}
    call: dict[str, Any] = {}
    if network == "stage 2":
        options = {"class_embed_type": "projection"}
        options |= {"projection_class_embeddings_input_dim": _WIDTH}
        call = {"class_labels": inputs["embeds"][:, None]}
        features = torch.cat([features, inputs["embeds"][:, None]], dim=1)
    stage2 = importlib.import_module("src.models.stage2_inpaint_unet_2d_condition")
    unet = _filled(
        lambda: stage2.Stage2_InapintUNet2DConditionModel(in_channels=9, **_SD21, **options),
        state,
        "unet.",
    )
    pose = _filled(
        lambda: ControlNetConditioningEmbedding(320, 3, (16, 32, 96, 256)), state, "pose_proj."
    )
    mask = torch.zeros_like(inputs["canvas"][:, :1])
    mask[..., :_HEIGHT] = 1
    x = torch.cat([inputs["canvas"], mask, inputs["source_latents"]], dim=1)
    call["my_pose_cond"] = pose(inputs["pose_map"])
    return unet(x, time, encoder_hidden_states=features, **call).sample


def _projection() -> nn.Module:
    """`ImageProjModel_p` of the scripts, which stands in no module."""
    return nn.Sequential(
        nn.Linear(_PATCH, 768), nn.GELU(), nn.Dropout(0.0), nn.LayerNorm(768),
        nn.Linear(768, _WIDTH), nn.Dropout(0.0),
    )  # fmt: skip


def _filled(make: Any, state: Mapping[str, Tensor], prefix: str) -> Any:
    """A module with the file's weights of a prefix, all of them and no others, in float32."""
    with torch.device("meta"):
        module = make()
    weights = {
        key.removeprefix(prefix): tensor.float()
        for key, tensor in state.items()
        if key.startswith(prefix)
    }
    module.load_state_dict(weights, strict=True, assign=True)
    return module.eval()
