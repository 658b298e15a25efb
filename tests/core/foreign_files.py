"""The encoders and the autoencoder of `weights_files` as other programs save them.

Names are spelled here as those programs have them, independently of `checkpoints.layouts`.
"""

import torch
from torch import Tensor

from pcdm_core.checkpoints import build
from pcdm_core.config import AutoencoderConfig
from tests.core.weights_files import CLIP, KL, upstream_state
from tests.parity.fixtures import draw_parameter


def original_vae(config: AutoencoderConfig = KL) -> dict[str, Tensor]:
    """An autoencoder in the layout of Stable Diffusion's own code, with random values."""
    levels, blocks = len(config.block_out_channels), config.layers_per_block
    blank = build("autoencoder", config, "meta").state_dict()
    state = {name.removeprefix("vae."): tensor for name, tensor in blank.items()}
    names: dict[str, str] = {}

    def add(theirs: str, ours: str) -> None:
        for key in [key for key in state if key.startswith(f"{ours}.")]:
            names[theirs + key.removeprefix(ours)] = key

    for side in ("encoder", "decoder"):
        add(f"{side}.conv_in", f"{side}.conv_in")
        add(f"{side}.conv_out", f"{side}.conv_out")
        add(f"{side}.norm_out", f"{side}.conv_norm_out")
        add(f"{side}.mid.block_1", f"{side}.mid_block.resnets.0")
        add(f"{side}.mid.block_2", f"{side}.mid_block.resnets.1")
        attention = f"{side}.mid_block.attentions.0"
        add(f"{side}.mid.attn_1.norm", f"{attention}.group_norm")
        add(f"{side}.mid.attn_1.proj_out", f"{attention}.to_out.0")
        for part in "qkv":
            add(f"{side}.mid.attn_1.{part}", f"{attention}.to_{part}")
    for level in range(levels):
        for block in range(blocks + 1):
            down, up = f"encoder.down.{level}", f"decoder.up.{level}"
            add(f"{down}.block.{block}", f"encoder.down_blocks.{level}.resnets.{block}")
            add(f"{up}.block.{block}", f"decoder.up_blocks.{levels - 1 - level}.resnets.{block}")
        add(f"{down}.downsample.conv", f"encoder.down_blocks.{level}.downsamplers.0.conv")
        upsampler = f"decoder.up_blocks.{levels - 1 - level}.upsamplers.0.conv"
        add(f"{up}.upsample.conv", upsampler)
    add("quant_conv", "quant_conv")
    add("post_quant_conv", "post_quant_conv")
    assert set(names.values()) == set(state)

    tensors: dict[str, Tensor] = {}
    for theirs, ours in names.items():
        tensor = draw_parameter(ours, tuple(state[ours].shape), 5)
        convolution = ".attn_1." in theirs and tensor.ndim == 2
        name = theirs.replace(".conv_shortcut.", ".nin_shortcut.")
        tensors[name] = tensor[:, :, None, None] if convolution else tensor
    return tensors


def open_clip() -> dict[str, Tensor]:
    """`CLIP` as OpenCLIP saves it, with a text tower's embedding beside it."""
    state = upstream_state("CLIP")
    tower = "vision_model"
    tensors = {
        "visual.class_embedding": state[f"{tower}.embeddings.class_embedding"],
        "visual.positional_embedding": state[f"{tower}.embeddings.position_embedding.weight"],
        "visual.conv1.weight": state[f"{tower}.embeddings.patch_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T,
        "positional_embedding": torch.zeros(77, 8).half(),
        "logit_scale": torch.zeros(()).half(),
    }
    for kind in ("weight", "bias"):
        tensors[f"visual.ln_pre.{kind}"] = state[f"{tower}.pre_layrnorm.{kind}"]
        tensors[f"visual.ln_post.{kind}"] = state[f"{tower}.post_layernorm.{kind}"]
        for layer in range(CLIP.num_layers):
            theirs = f"visual.transformer.resblocks.{layer}"
            ours = f"{tower}.encoder.layers.{layer}"
            fused = [state[f"{ours}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            tensors[f"{theirs}.attn.in_proj_{kind}"] = torch.cat(fused)
            tensors[f"{theirs}.attn.out_proj.{kind}"] = state[f"{ours}.self_attn.out_proj.{kind}"]
            tensors[f"{theirs}.ln_1.{kind}"] = state[f"{ours}.layer_norm1.{kind}"]
            tensors[f"{theirs}.ln_2.{kind}"] = state[f"{ours}.layer_norm2.{kind}"]
            tensors[f"{theirs}.mlp.c_fc.{kind}"] = state[f"{ours}.mlp.fc1.{kind}"]
            tensors[f"{theirs}.mlp.c_proj.{kind}"] = state[f"{ours}.mlp.fc2.{kind}"]
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def meta_dinov2(state: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """DINOv2 with transformers' published names, in Meta's layout."""
    tensors = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "mask_token": torch.zeros(1, state["layernorm.weight"].shape[0]).half(),
    }
    for kind in ("weight", "bias"):
        projection = f"embeddings.patch_embeddings.projection.{kind}"
        tensors[f"patch_embed.proj.{kind}"] = state[projection]
        tensors[f"norm.{kind}"] = state[f"layernorm.{kind}"]
        for layer in range(layers):
            theirs, ours = f"blocks.{layer}", f"encoder.layer.{layer}"
            attention = f"{ours}.attention"
            fused = [
                state[f"{attention}.attention.{part}.{kind}"] for part in ("query", "key", "value")
            ]
            tensors[f"{theirs}.attn.qkv.{kind}"] = torch.cat(fused)
            tensors[f"{theirs}.attn.proj.{kind}"] = state[f"{attention}.output.dense.{kind}"]
            for norm in ("norm1", "norm2"):
                tensors[f"{theirs}.{norm}.{kind}"] = state[f"{ours}.{norm}.{kind}"]
            linear = {"fc1": "fc1", "fc2": "fc2", "w12": "weights_in", "w3": "weights_out"}
            for their_name, our_name in linear.items():
                if f"{ours}.mlp.{our_name}.{kind}" in state:
                    tensor = state[f"{ours}.mlp.{our_name}.{kind}"]
                    tensors[f"{theirs}.mlp.{their_name}.{kind}"] = tensor
    for layer in range(layers):
        for number in (1, 2):
            scale = state[f"encoder.layer.{layer}.layer_scale{number}.lambda1"]
            tensors[f"blocks.{layer}.ls{number}.gamma"] = scale
    return tensors
