"""What weight files look like, as data: this is the only place that knows upstream's names.

A renamed checkpoint is supported by one more `Signature` row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from ..config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    InpaintingConfig,
    PatchEncoderConfig,
    PriorConfig,
    RefiningConfig,
)
from ..quoting import one_line, short

Component = Literal[
    "prior", "inpainting", "refining", "autoencoder", "patch_encoder", "global_encoder"
]
Shape = tuple[int | str, ...]
Facts = dict[str, int | str | None]
StateDict = dict[str, Tensor]

TITLES: Mapping[Component, str] = {
    "prior": "a stage-1 model (prior)",
    "inpainting": "a stage-2 model (inpainting)",
    "refining": "a stage-3 model (refining)",
    "autoencoder": "an autoencoder",
    "patch_encoder": "a patch encoder (DINOv2)",
    "global_encoder": "a global encoder (CLIP vision tower, linear or convolutional)",
}

CONFIGS: Mapping[Component, type[Any]] = {
    "prior": PriorConfig,
    "inpainting": InpaintingConfig,
    "refining": RefiningConfig,
    "autoencoder": AutoencoderConfig,
    "patch_encoder": PatchEncoderConfig,
    "global_encoder": GlobalEncoderConfig,
}


@dataclass(frozen=True)
class Signature:
    """One layout of one component.

    Attributes:
        shapes: keys that must exist, with their shapes; a word stands for any number, the same
            number wherever the word occurs, and names what `detect.facts_of` finds in a
            configuration.
        absent: no key may start with these.
        renames: key prefixes there and here; the first that fits is replaced.
        inner: parts of keys there and here, replaced wherever they occur.
        dropped: keys that start with these are of no use here.
        constants: facts that the layout itself tells.
    """

    component: Component
    layout: str
    shapes: Mapping[str, Shape]
    absent: tuple[str, ...] = ()
    renames: tuple[tuple[str, str], ...] = ()
    inner: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()
    constants: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the file is, in words."""
        return f"{TITLES[self.component]} in the {self.layout} layout"

    def match(self, shapes: Mapping[str, tuple[int, ...]]) -> Facts | str:
        """The file's facts by name, or a sentence saying what does not fit."""
        for prefix in self.absent:
            present = next((key for key in shapes if key.startswith(prefix)), None)
            if present is not None:
                return f"it has {one_line(present, 80)}"
        missing = [key for key in self.shapes if key not in shapes]
        if missing:
            return f"it lacks {', '.join(missing)}"
        facts: Facts = dict(self.constants)
        for key, expected in self.shapes.items():
            shape = shapes[key]
            agrees = len(shape) == len(expected) and all(
                (facts.setdefault(e, side) if isinstance(e, str) else e) == side
                for e, side in zip(expected, shape, strict=True)
            )
            if not agrees:
                return f"{key} is {short(list(shape))}, expected {list(expected)}"
        return facts

    def to_ours(self, tensors: StateDict) -> StateDict:
        """The same tensors under the names of our modules."""
        return {
            self.our_name(key): tensor
            for key, tensor in tensors.items()
            if not key.startswith(self.dropped)
        }

    def our_name(self, key: str) -> str:
        """The name that our module has for a tensor of this layout."""
        for theirs, ours in self.inner:
            key = key.replace(theirs, ours)
        for theirs, ours in self.renames:
            if key.startswith(theirs):
                return ours + key.removeprefix(theirs)
        return key

    def ours(self, layout: str = "pack's") -> Signature:
        """The row of the files that the pack writes: the same tensors under our names."""
        shapes = {self.our_name(key): shape for key, shape in self.shapes.items()}
        return Signature(
            self.component, layout, shapes, absent=self.absent, constants=self.constants
        )


# --- the rows ------------------------------------------------------------------------------------

_PRIOR = Signature(
    "prior",
    "upstream",
    {
        "pose_encoder.net.0.weight": ("pose_hidden_dim", 36),
        "pose_encoder1.net.4.weight": ("pose_dim", "pose_hidden_dim"),
        "encoder_hidden_states_proj1.weight": ("token_width", "pose_dim"),
        "prd_embedding": (1, 1, "token_width"),
        "proj_in.weight": ("token_width", "embedding_dim"),
    },
    renames=(
        ("pose_encoder.", "source_pose_encoder."),
        ("pose_encoder1.", "target_pose_encoder."),
        ("encoder_hidden_states_proj.", "source_pose_projection."),
        ("encoder_hidden_states_proj1.", "target_pose_projection."),
        ("", "transformer."),
    ),
)


def _unet(projection: str, **more: Shape) -> dict[str, Shape]:
    return {
        "unet.conv_in.weight": ("width", "in_channels", 3, 3),
        "unet.conv_out.weight": ("latent_channels", "width", 3, 3),
        f"{projection}.net.0.weight": ("patch_hidden_dim", "patch_dim"),
        f"{projection}.net.4.weight": ("context", "patch_hidden_dim"),
        **more,
    }


_POSE: dict[str, Shape] = {"pose_proj.conv_in.weight": ("pose", 3, 3, 3)}
_CLASS: dict[str, Shape] = {"unet.class_embedding.linear_1.weight": ("time", "embedding_dim")}
_THREE_STAGE = Signature(
    "inpainting",
    "upstream three-stage",
    _unet("image_proj_model_p", **_POSE, **_CLASS),
    renames=(("pose_proj.", "pose_encoder."), ("image_proj_model_p.", "image_projection.")),
)
_SINGLE_STAGE = Signature(
    "inpainting",
    "upstream single-stage",
    _unet("image_proj_model", **_POSE),
    absent=("unet.class_embedding.",),
    renames=(("pose_proj.", "pose_encoder."), ("image_proj_model.", "image_projection.")),
    constants={"embedding_dim": None},
)
_REFINING = Signature(
    "refining",
    "upstream",
    _unet("image_proj_model_p"),
    absent=("unet.class_embedding.", "pose_proj.", "pose_encoder."),
    renames=(("image_proj_model_p.", "image_projection."),),
)
_KL = Signature(
    "autoencoder",
    "diffusers AutoencoderKL",
    {
        "encoder.conv_in.weight": ("width", 3, 3, 3),
        "decoder.conv_in.weight": ("top_width", "latent_channels", 3, 3),
    },
    renames=(("", "vae."),),
    inner=(  # names of old files
        (".query.", ".to_q."),
        (".key.", ".to_k."),
        (".value.", ".to_v."),
        (".proj_attn.", ".to_out.0."),
    ),
    constants={"kind": "kl"},
)
_PATCH_CODE: Mapping[str, Shape] = {
    "encoder.weight": ("latent_channels", 3, "downscale", "downscale"),
    "decoder.weight": ("latent_channels", 3, "downscale", "downscale"),
}


def _dinov2(prefix: str) -> dict[str, Shape]:
    table = f"{prefix}embeddings."
    return {
        f"{table}cls_token": (1, 1, "hidden_size"),
        f"{table}position_embeddings": (1, "positions", "hidden_size"),
        f"{table}patch_embeddings.projection.weight": (
            "hidden_size",
            3,
            "patch_size",
            "patch_size",
        ),
        f"{prefix}layernorm.weight": ("hidden_size",),
    }


_DINOV2 = Signature(
    "patch_encoder",
    "transformers",
    _dinov2(""),
    renames=(("", "model."),),
    dropped=("embeddings.mask_token",),
)
_CLIP = Signature(
    "global_encoder",
    "transformers CLIP",
    {
        "vision_model.embeddings.position_embedding.weight": ("positions", "hidden_size"),
        "vision_model.embeddings.patch_embedding.weight": (
            "hidden_size",
            3,
            "patch_size",
            "patch_size",
        ),
        "visual_projection.weight": ("embedding_dim", "hidden_size"),
    },
    renames=(("", "model."),),
    dropped=(
        "text_model.",
        "text_projection.",
        "logit_scale",
        "vision_model.embeddings.position_ids",
    ),
    constants={"kind": "clip"},
)

SIGNATURES: tuple[Signature, ...] = (
    _PRIOR,
    _PRIOR.ours(),
    _THREE_STAGE,
    _SINGLE_STAGE,
    _THREE_STAGE.ours(),
    _SINGLE_STAGE.ours("pack's single-stage"),
    _REFINING,
    _REFINING.ours(),
    _KL,
    _KL.ours("pack's AutoencoderKL"),
    Signature(
        "autoencoder",
        "pack's patch code",
        _PATCH_CODE,
        absent=("encoder_path.", "decoder_path."),
        constants={"kind": "patch"},
    ),
    Signature(
        "autoencoder",
        "pack's patch code with convolutions",
        {
            **_PATCH_CODE,
            "encoder_path.conv_in.weight": ("width", 12, 3, 3),
            "encoder_path.conv_out.weight": ("latent_channels", "top_width", 1, 1),
            "decoder_path.conv_in.weight": ("top_width", "latent_channels", 3, 3),
        },
        constants={"kind": "conv"},
    ),
    _DINOV2,
    Signature(
        "patch_encoder",
        "transformers classifier",
        _dinov2("dinov2."),
        renames=(("dinov2.", "model."),),
        dropped=("dinov2.embeddings.mask_token", "classifier."),
    ),
    _DINOV2.ours(),
    _CLIP,
    _CLIP.ours("pack's CLIP"),
    Signature(
        "global_encoder",
        "pack's linear",
        {"mean": ("inputs",), "projection": ("embedding_dim", "inputs")},
        constants={"kind": "linear"},
    ),
    Signature(
        "global_encoder",
        "pack's convolutional",
        {
            "levels.0.down.weight": ("first_width", 3, 3, 3),
            "norm.weight": ("hidden_size",),
            "projection.weight": ("embedding_dim", "features"),
        },
        constants={"kind": "conv"},
    ),
)


# --- DINOv2's names, which differ between versions of transformers -------------------------------

_DINOV2_NAMES = (
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".mlp.weights_out.", ".mlp.down_proj."),
)
_JOINED = re.compile(r"(.*\.mlp\.)weights_in(\..*)")
_GATE = re.compile(r"(.*\.mlp\.)gate_proj(\..*)")


def _replace(key: str, names: tuple[tuple[str, str], ...]) -> str:
    for old, new in names:
        key = key.replace(old, new)
    return key


def dinov2_published(tensors: StateDict) -> StateDict:
    """The names of the published files (and of transformers 4), which our files keep.

    What does not go together stays apart, and fits no network.
    """
    back = tuple((new, old) for old, new in _DINOV2_NAMES)
    result: StateDict = {}
    for key, tensor in tensors.items():
        if ".mlp.up_proj." in key:
            continue
        gate = _GATE.fullmatch(key)
        up = tensors.get(f"{gate[1]}up_proj{gate[2]}") if gate else None
        if gate and up is not None and up.shape == tensor.shape:
            result[f"{gate[1]}weights_in{gate[2]}"] = torch.cat([tensor, up])
        else:
            result[_replace(key, back)] = tensor
    return result


def dinov2_current(tensors: StateDict) -> StateDict:
    """The names of transformers 5."""
    result: StateDict = {}
    for key, tensor in tensors.items():
        joined = _JOINED.fullmatch(key)
        if joined and tensor.ndim and len(tensor) % 2 == 0:
            gate, up = tensor.chunk(2)
            result[f"{joined[1]}gate_proj{joined[2]}"] = gate
            result[f"{joined[1]}up_proj{joined[2]}"] = up
        else:
            result[_replace(key, _DINOV2_NAMES)] = tensor
    return result
