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

Component = Literal[
    "prior", "inpainting", "refining", "autoencoder", "patch_encoder", "global_encoder"
]
Shape = tuple[int | str, ...]
Facts = dict[str, int | str]
StateDict = dict[str, Tensor]

TITLES: Mapping[Component, str] = {
    "prior": "a stage-1 model (prior)",
    "inpainting": "a stage-2 model (inpainting)",
    "refining": "a stage-3 model (refining)",
    "autoencoder": "an autoencoder",
    "patch_encoder": "a patch encoder (DINOv2)",
    "global_encoder": "a global encoder (CLIP vision tower or linear)",
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
            number wherever the word occurs, and names a fact of `facts_of`.
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
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What the file is, in words."""
        return f"{TITLES[self.component]} in the {self.layout} layout"

    def match(self, shapes: Mapping[str, tuple[int, ...]]) -> Facts | str:
        """The file's facts by name, or a sentence saying what does not fit."""
        for prefix in self.absent:
            present = next((key for key in shapes if key.startswith(prefix)), None)
            if present is not None:
                return f"it has {present}"
        missing = [key for key in self.shapes if key not in shapes]
        if missing:
            return f"it lacks {', '.join(missing)}"
        facts: Facts = dict(self.constants)
        for key, expected in self.shapes.items():
            found = shapes[key]
            agrees = len(found) == len(expected) and all(
                (facts.setdefault(e, f) if isinstance(e, str) else e) == f
                for e, f in zip(expected, found, strict=True)
            )
            if not agrees:
                return f"{key} is {list(found)}, expected {list(expected)}"
        return facts

    def to_ours(self, tensors: StateDict) -> StateDict:
        """The same tensors under the names of our modules."""
        return {
            self._renamed(key): tensor
            for key, tensor in tensors.items()
            if not key.startswith(self.dropped)
        }

    def _renamed(self, key: str) -> str:
        for theirs, ours in self.inner:
            key = key.replace(theirs, ours)
        for theirs, ours in self.renames:
            if key.startswith(theirs):
                return ours + key.removeprefix(theirs)
        return key


# --- the rows ------------------------------------------------------------------------------------

_UNET: Mapping[str, Shape] = {
    "unet.conv_in.weight": ("width", "in", 3, 3),
    "unet.conv_out.weight": ("latent", "width", 3, 3),
}
_CLASS = {"unet.class_embedding.linear_1.weight": ("time", "embedding")}


def _projection(prefix: str) -> dict[str, Shape]:
    return {
        f"{prefix}.net.0.weight": ("patch_hidden", "patch"),
        f"{prefix}.net.4.weight": ("context", "patch_hidden"),
    }


def _pose(prefix: str) -> dict[str, Shape]:
    return {f"{prefix}.conv_in.weight": ("pose", 3, 3, 3)}


def _prior(source: str, target: str, projection: str, transformer: str) -> dict[str, Shape]:
    return {
        f"{source}.net.0.weight": ("pose_hidden", 36),
        f"{target}.net.4.weight": ("pose", "pose_hidden"),
        f"{projection}.weight": ("width", "pose"),
        f"{transformer}prd_embedding": (1, 1, "width"),
        f"{transformer}proj_in.weight": ("width", "embedding"),
    }


_OLD_VAE_ATTENTION = (
    (".query.", ".to_q."),
    (".key.", ".to_k."),
    (".value.", ".to_v."),
    (".proj_attn.", ".to_out.0."),
)


def _kl(prefix: str) -> dict[str, Shape]:
    return {
        f"{prefix}encoder.conv_in.weight": ("width", 3, 3, 3),
        f"{prefix}decoder.conv_in.weight": ("top", "latent", 3, 3),
    }


_PATCH_CODE: Mapping[str, Shape] = {
    "encoder.weight": ("latent", 3, "downscale", "downscale"),
    "decoder.weight": ("latent", 3, "downscale", "downscale"),
}


def _dinov2(prefix: str) -> dict[str, Shape]:
    return {
        f"{prefix}embeddings.cls_token": (1, 1, "hidden"),
        f"{prefix}embeddings.position_embeddings": (1, "positions", "hidden"),
        f"{prefix}embeddings.patch_embeddings.projection.weight": ("hidden", 3, "patch", "patch"),
        f"{prefix}layernorm.weight": ("hidden",),
    }


def _clip(prefix: str) -> dict[str, Shape]:
    return {
        f"{prefix}vision_model.embeddings.position_embedding.weight": ("positions", "hidden"),
        f"{prefix}vision_model.embeddings.patch_embedding.weight": ("hidden", 3, "patch", "patch"),
        f"{prefix}visual_projection.weight": ("embedding", "hidden"),
    }


SIGNATURES: tuple[Signature, ...] = (
    Signature(
        "prior",
        "upstream",
        _prior("pose_encoder", "pose_encoder1", "encoder_hidden_states_proj1", ""),
        renames=(
            ("pose_encoder.", "source_pose_encoder."),
            ("pose_encoder1.", "target_pose_encoder."),
            ("encoder_hidden_states_proj.", "source_pose_projection."),
            ("encoder_hidden_states_proj1.", "target_pose_projection."),
            ("", "transformer."),
        ),
    ),
    Signature(
        "prior",
        "pack's",
        _prior(
            "source_pose_encoder", "target_pose_encoder", "target_pose_projection", "transformer."
        ),
    ),
    Signature(
        "inpainting",
        "upstream three-stage",
        {**_UNET, **_CLASS, **_pose("pose_proj"), **_projection("image_proj_model_p")},
        renames=(("pose_proj.", "pose_encoder."), ("image_proj_model_p.", "image_projection.")),
    ),
    Signature(
        "inpainting",
        "upstream single-stage",
        {**_UNET, **_pose("pose_proj"), **_projection("image_proj_model")},
        absent=("unet.class_embedding.",),
        renames=(("pose_proj.", "pose_encoder."), ("image_proj_model.", "image_projection.")),
    ),
    Signature(
        "inpainting",
        "pack's",
        {**_UNET, **_CLASS, **_pose("pose_encoder"), **_projection("image_projection")},
    ),
    Signature(
        "inpainting",
        "pack's single-stage",
        {**_UNET, **_pose("pose_encoder"), **_projection("image_projection")},
        absent=("unet.class_embedding.",),
    ),
    Signature(
        "refining",
        "upstream",
        {**_UNET, **_projection("image_proj_model_p")},
        absent=("unet.class_embedding.", "pose_proj."),
        renames=(("image_proj_model_p.", "image_projection."),),
    ),
    Signature(
        "refining",
        "pack's",
        {**_UNET, **_projection("image_projection")},
        absent=("unet.class_embedding.", "pose_encoder."),
    ),
    Signature(
        "autoencoder",
        "diffusers AutoencoderKL",
        _kl(""),
        renames=(("", "vae."),),
        inner=_OLD_VAE_ATTENTION,
        constants={"kind": "kl"},
    ),
    Signature("autoencoder", "pack's AutoencoderKL", _kl("vae."), constants={"kind": "kl"}),
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
            "encoder_path.conv_out.weight": ("latent", "top", 1, 1),
            "decoder_path.conv_in.weight": ("top", "latent", 3, 3),
        },
        constants={"kind": "conv"},
    ),
    Signature(
        "patch_encoder",
        "transformers",
        _dinov2(""),
        renames=(("", "model."),),
        dropped=("embeddings.mask_token",),
    ),
    Signature(
        "patch_encoder",
        "transformers classifier",
        _dinov2("dinov2."),
        renames=(("dinov2.", "model."),),
        dropped=("dinov2.embeddings.mask_token", "classifier."),
    ),
    Signature("patch_encoder", "pack's", _dinov2("model.")),
    Signature(
        "global_encoder",
        "transformers CLIP",
        _clip(""),
        renames=(("", "model."),),
        dropped=(
            "text_model.",
            "text_projection.",
            "logit_scale",
            "vision_model.embeddings.position_ids",
        ),
        constants={"kind": "clip"},
    ),
    Signature("global_encoder", "pack's CLIP", _clip("model."), constants={"kind": "clip"}),
    Signature(
        "global_encoder",
        "pack's linear",
        {"mean": ("inputs",), "projection": ("embedding", "inputs")},
        constants={"kind": "linear"},
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
    """The names of the published files (and of transformers 4), which our files keep."""
    back = tuple((new, old) for old, new in _DINOV2_NAMES)
    result: StateDict = {}
    for key, tensor in tensors.items():
        if ".mlp.up_proj." in key:
            continue
        gate = _GATE.fullmatch(key)
        if gate:
            up = tensors[f"{gate[1]}up_proj{gate[2]}"]
            result[f"{gate[1]}weights_in{gate[2]}"] = torch.cat([tensor, up])
        else:
            result[_replace(key, back)] = tensor
    return result


def dinov2_current(tensors: StateDict) -> StateDict:
    """The names of transformers 5."""
    result: StateDict = {}
    for key, tensor in tensors.items():
        joined = _JOINED.fullmatch(key)
        if joined:
            gate, up = tensor.chunk(2)
            result[f"{joined[1]}gate_proj{joined[2]}"] = gate
            result[f"{joined[1]}up_proj{joined[2]}"] = up
        else:
            result[_replace(key, _DINOV2_NAMES)] = tensor
    return result
