"""Files of other programs under the names that `signatures` knows.

Autoencoders come in Stable Diffusion's original layout, alone or inside a whole checkpoint, CLIP as
OpenCLIP saves it, DINOv2 as Meta publishes it, and any of them with `module.` before every name.
Shapes alone are needed, so tensors on the device "meta" do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from safetensors import safe_open
from torch import Tensor

from ..quoting import one_line, short
from .files import CheckpointError, PathLike, WeightsFile, read_state_dict
from .signatures import StateDict

CHECKPOINT = "the autoencoder of a whole checkpoint"
ORIGINAL_VAE = "the original layout of Stable Diffusion"
_FIRST_STAGE = "first_stage_model."
_VAE_PARTS = ("encoder.", "decoder.", "quant_conv.", "post_quant_conv.")
_WRAPPER = "module."
_PART = 12_000_000

_VAE_NAMES = (
    (".mid.block_1.", ".mid_block.resnets.0."),
    (".mid.block_2.", ".mid_block.resnets.1."),
    (".mid.attn_1.norm.", ".mid_block.attentions.0.group_norm."),
    (".mid.attn_1.proj_out.", ".mid_block.attentions.0.to_out.0."),
    (".mid.attn_1.", ".mid_block.attentions.0.to_"),
    (".nin_shortcut.", ".conv_shortcut."),
    (".norm_out.", ".conv_norm_out."),
    (".downsample.", ".downsamplers.0."),
    (".upsample.", ".upsamplers.0."),
    (".block.", ".resnets."),
    ("encoder.down.", "encoder.down_blocks."),
)
_UP = re.compile(r"decoder\.up\.([0-9]{1,4})\.")  # longer numbers are no levels

_CLIP_NAMES = (
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.conv1.", "vision_model.embeddings.patch_embedding."),
    ("visual.ln_pre.", "vision_model.pre_layrnorm."),
    ("visual.ln_post.", "vision_model.post_layernorm."),
    ("visual.proj", "visual_projection.weight"),
    ("visual.transformer.resblocks.", "vision_model.encoder.layers."),
    (".ln_1.", ".layer_norm1."),
    (".ln_2.", ".layer_norm2."),
    (".mlp.c_fc.", ".mlp.fc1."),
    (".mlp.c_proj.", ".mlp.fc2."),
    (".attn.out_proj.", ".self_attn.out_proj."),
)
_DINOV2_NAMES = (
    ("cls_token", "embeddings.cls_token"),
    ("mask_token", "embeddings.mask_token"),
    ("pos_embed", "embeddings.position_embeddings"),
    ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
    ("blocks.", "encoder.layer."),
    (".attn.proj.", ".attention.output.dense."),
    (".ls1.gamma", ".layer_scale1.lambda1"),
    (".ls2.gamma", ".layer_scale2.lambda1"),
    (".mlp.w12.", ".mlp.weights_in."),
    (".mlp.w3.", ".mlp.weights_out."),
)


def read_weights(path: PathLike, *, mapped: bool = False) -> WeightsFile:
    """As `read_state_dict`, with the names of a layout that `signatures` has where one is known."""
    return translate(read_state_dict(path, mapped=mapped))


def tensors_in_turn(file: WeightsFile) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a file has on the disk, large ones by rows: `_PART` bytes are in memory.

    What has been looked at of a mapping counts as memory of the process: every part has its own,
    which goes when the caller has let go of the last tensor.
    """
    parts, size = list[list[tuple[str, int, int]]]([[]]), 0
    for name, tensor in file.tensors.items():
        rows = max(1, len(tensor)) if tensor.ndim else 1
        step = max(1, rows * _PART // max(tensor.nbytes, 1))
        for start in range(0, rows, step):
            size += min(step, rows - start) * tensor.nbytes // rows
            if size > _PART and parts[-1]:
                parts.append([])
                size = 0
            parts[-1].append((name, start, step))
    for part in parts:
        if file.container == "safetensors":  # under its own names: to open others takes memory too
            with safe_open(file.path, framework="pt") as opened:
                tensors = {name: opened.get_tensor(name) for name, *_ in part}
        else:
            tensors = read_weights(file.path, mapped=True).tensors
        for name, start, step in part:
            yield name, tensors[name][start : start + step] if tensors[name].ndim else tensors[name]
        del tensors


def translate(file: WeightsFile) -> WeightsFile:
    """The file under names that `signatures` knows; `container` says what was done.

    Raises:
        CheckpointError: the autoencoder of SDXL, which has the right shapes and the wrong weights;
            or the names are those of a layout and the shapes are not.
    """
    tensors, words = file.tensors, [file.container]
    if all(key.startswith(_WRAPPER) for key in tensors):
        tensors = {key.removeprefix(_WRAPPER): tensor for key, tensor in tensors.items()}
        words.append(f"names without `{_WRAPPER}`")
    if any(key.startswith(_FIRST_STAGE) for key in tensors):
        if any(key.startswith("conditioner.") for key in tensors):
            raise CheckpointError(
                f"{file.name} is a checkpoint of SDXL. Its autoencoder has the shapes of Stable "
                f"Diffusion 1 and 2 but other weights. Choose a VAE of Stable Diffusion 1 or 2."
            )
        tensors = {
            key.removeprefix(_FIRST_STAGE): tensor
            for key, tensor in tensors.items()
            if key.startswith(_FIRST_STAGE)
        }
        words.append(CHECKPOINT)
    for layout, keys, translated in _LAYOUTS:
        if keys <= tensors.keys():
            try:
                tensors = translated(tensors)
            except ValueError as error:
                raise CheckpointError(
                    f"{file.name} has the names of {layout} but other shapes: {error}. Copy or "
                    f"download it again, or choose another file."
                ) from error
            words.append(layout)
            break
    return file if len(words) == 1 else replace(file, tensors=tensors, container=", ".join(words))


def _renamed(key: str, names: Iterable[tuple[str, str]]) -> str:
    for theirs, ours in names:
        # A name that no point precedes stands at the start: `cls_token` is also a part of others.
        if theirs.startswith(".") or key.startswith(theirs):
            key = key.replace(theirs, ours, 1)
    return key


def _vae(tensors: StateDict) -> StateDict:
    """diffusers' names; the attention's 1x1 convolutions become linear layers."""
    top = max((int(match[1]) for key in tensors if (match := _UP.match(key))), default=0)
    result: StateDict = {}
    for key, tensor in tensors.items():
        if not key.startswith(_VAE_PARTS):
            continue  # of a training: the discriminator, an average of the weights
        # Theirs count from the picture inwards, diffusers' in the order of the computation.
        key = _UP.sub(lambda match: f"decoder.up_blocks.{top - int(match[1])}.", key)
        key = _renamed(key, _VAE_NAMES)
        result[key] = tensor.flatten(1) if ".attentions." in key and tensor.ndim > 1 else tensor
    return result


def _split(tensors: StateDict, fused: re.Pattern[str], parts: tuple[str, ...]) -> StateDict:
    """One matrix or vector of queries, keys and values becomes three.

    Raises:
        ValueError: it is none of three equal parts.
    """
    result: StateDict = {}
    for key, tensor in tensors.items():
        if match := fused.fullmatch(key):
            if not tensor.ndim or len(tensor) % len(parts):
                raise ValueError(f"{one_line(key, 80)} is {short(list(tensor.shape))}")
            names = (f"{match[1]}{part}.{match[2]}" for part in parts)
            result |= dict(zip(names, tensor.chunk(3), strict=True))
        else:
            result[key] = tensor
    return result


def _open_clip(tensors: StateDict) -> StateDict:
    """transformers' names for the picture tower; the text's is left out."""
    if tensors["visual.proj"].ndim != 2:
        raise ValueError(f"visual.proj is {short(list(tensors['visual.proj'].shape))}")
    fused = re.compile(r"(vision_model\..*\.)attn\.in_proj_(weight|bias)")
    tower = {
        _renamed(key, _CLIP_NAMES): tensor.mT if key == "visual.proj" else tensor
        for key, tensor in tensors.items()
        if key.startswith("visual.")
    }
    return _split(tower, fused, ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"))


def _meta_dinov2(tensors: StateDict) -> StateDict:
    """transformers' names."""
    names = {_renamed(key, _DINOV2_NAMES): tensor for key, tensor in tensors.items()}
    for part in ("weight", "bias"):
        names[f"layernorm.{part}"] = names.pop(f"norm.{part}")
    fused = re.compile(r"(.*\.)attn\.qkv\.(weight|bias)")
    parts = ("query", "key", "value")
    return _split(names, fused, tuple(f"attention.attention.{part}" for part in parts))


_LAYOUTS: tuple[tuple[str, set[str], Callable[[StateDict], StateDict]], ...] = (
    (ORIGINAL_VAE, {"encoder.mid.attn_1.q.weight", "decoder.up.0.block.0.conv1.weight"}, _vae),
    ("OpenCLIP's layout", {"visual.conv1.weight", "visual.proj"}, _open_clip),
    (
        "Meta's layout",
        {"patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "norm.weight", "norm.bias"},
        _meta_dinov2,
    ),
)
