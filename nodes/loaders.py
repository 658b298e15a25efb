"""Loaders: weights of `models/pcdm`, or those that come with the pack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.sd
from comfy_api.latest import io

from ..pcdm_core.checkpoints import CheckpointError, Component, load_model
from ..pcdm_core.checkpoints.components import preset_of
from ..pcdm_core.config import Preset
from ..pcdm_core.presets import PRESETS
from . import weights
from .checks import check_global_encoder, check_vae
from .managed import Resident, resident_dtype
from .types import EncodersSocket, LoadedEncoders, LoadedPrior, PriorSocket
from .vae import PatchVAE
from .vision import Encoder, OwnEncoder, host_global_encoder, host_patch_encoder
from .weights import SAME_SET, check_choices

CATEGORY = "PCDM/loaders"


def _weights_input(component: Component, tooltip: str) -> io.Combo.Input:
    advice, offered = "", weights.choices(component)
    if weights.SHIPPED_STUDENT in offered:
        advice = " That for 4 steps is faster: set steps to 4 in its sampler, guidance_scale to 1."
    return io.Combo.Input(
        "weights",
        options=offered,
        default=weights.SHIPPED,
        tooltip=f"{tooltip} Files are looked for in models/pcdm; the shipped set needs no download "
        f"and knows rendered people only.{advice}",
    )


class PCDMLoadPrior(io.ComfyNode):
    """PCDM_PRIOR from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMLoadPrior",
            display_name="PCDM Load Prior",
            category=CATEGORY,
            description="Stage 1 of PCDMs: predicts the embedding of the target picture.",
            inputs=[_weights_input("prior", "The stage-1 model.")],
            outputs=[
                PriorSocket.Output(
                    "prior", display_name="prior", tooltip="For PCDM Predict Target Embedding."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = None) -> str | bool:
        """Before anything runs."""
        return check_choices({"prior": weights})

    @classmethod
    def execute(cls, weights: str) -> io.NodeOutput:
        path = _path(weights, "prior")
        prior = load_model(path, stage="prior")
        prior = prior.to(resident_dtype(prior))
        preset = _preset("prior", prior, path)
        return io.NodeOutput(LoadedPrior(preset, Resident(prior)))


class PCDMLoadInpainting(io.ComfyNode):
    """MODEL of stage 2 from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMLoadInpainting",
            display_name="PCDM Load Inpainting Model",
            category=CATEGORY,
            description="Stage 2 of PCDMs: draws the person of the source in the target pose. A "
            "MODEL like any other: LoRA loaders, attention patches and samplers act on it.",
            inputs=[_weights_input("inpainting", "The stage-2 model.")],
            outputs=[
                io.Model.Output(
                    "model", display_name="model", tooltip="For the PCDM inpainting nodes."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = None) -> str | bool:
        """Before anything runs."""
        return check_choices({"inpainting": weights})

    @classmethod
    def execute(cls, weights: str) -> io.NodeOutput:
        return io.NodeOutput(_load_unet(weights, "inpainting"))


class PCDMLoadRefining(io.ComfyNode):
    """MODEL of stage 3 from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMLoadRefining",
            display_name="PCDM Load Refining Model",
            category=CATEGORY,
            description="Stage 3 of PCDMs: restores texture in the coarse picture. A MODEL like "
            "any other: LoRA loaders, attention patches and samplers act on it.",
            inputs=[_weights_input("refining", "The stage-3 model.")],
            outputs=[
                io.Model.Output(
                    "model", display_name="model", tooltip="For the PCDM refining nodes."
                )
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = None) -> str | bool:
        """Before anything runs."""
        return check_choices({"refining": weights})

    @classmethod
    def execute(cls, weights: str) -> io.NodeOutput:
        return io.NodeOutput(_load_unet(weights, "refining"))


class PCDMLoadEncoders(io.ComfyNode):
    """PCDM_ENCODERS and VAE from files."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMLoadEncoders",
            display_name="PCDM Load Encoders",
            category=CATEGORY,
            description="The image encoders and the autoencoder that the stages see pictures "
            "through: the shipped set or files of models/pcdm, or for the published presets what "
            "Load CLIP Vision and Load VAE give. Their preset must be that of the models.",
            inputs=[
                _weights_input(
                    "patch_encoder",
                    "The patch encoder (DINOv2); its neighbours come along. Unused where dinov2 is "
                    "connected.",
                ),
                io.Combo.Input(
                    "global_encoder",
                    options=weights.choices("global_encoder"),
                    default=SAME_SET,
                    tooltip="The encoder that the prior sees the source through (CLIP vision "
                    "tower). By default global_encoder.safetensors beside the patch encoder. "
                    "Unused where clip_vision is connected.",
                ),
                io.Vae.Input(
                    "autoencoder",
                    optional=True,
                    tooltip="A VAE of ComfyUI's own, for the published and simplified presets. "
                    "Without one, autoencoder.safetensors beside the patch encoder.",
                ),
                io.ClipVision.Input(
                    "dinov2",
                    optional=True,
                    tooltip="Load CLIP Vision with DINOv2-giant, for the published and simplified "
                    "presets. Pictures are prepared as published, not as ComfyUI does.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="Load CLIP Vision with CLIP ViT-H, for the published prior; the "
                    "simplified preset needs none.",
                ),
            ],
            outputs=[
                EncodersSocket.Output(
                    "encoders", display_name="encoders", tooltip="For all PCDM nodes with a source."
                ),
                io.Vae.Output(
                    "vae", display_name="vae", tooltip="For VAE Decode after a stock sampler."
                ),
            ],
        )

    @classmethod
    def validate_inputs(
        cls, weights: str | None = None, global_encoder: str | None = None
    ) -> str | bool:
        """Before anything runs."""
        return check_choices({"patch_encoder": weights, "global_encoder": global_encoder})

    @classmethod
    def execute(
        cls,
        weights: str,
        global_encoder: str,
        autoencoder: Any = None,
        dinov2: Any = None,
        clip_vision: Any = None,
    ) -> io.NodeOutput:
        path = None if dinov2 is not None else _path(weights, "patch_encoder")
        general_path = None if clip_vision is not None else _global_path(global_encoder, path)
        patch, preset = _patch_encoder(dinov2, path)
        general = _global_encoder(clip_vision, general_path, preset)
        code = _own_autoencoder(path, preset)
        preset = _with_autoencoder(preset, code)
        vae = _load_vae(path, preset, code) if autoencoder is None else autoencoder
        check_vae(preset, vae)
        return io.NodeOutput(LoadedEncoders(preset, patch, general, vae), vae)


def _path(choice: str, component: Any) -> Path:
    return weights.path_of(choice, component)


def _preset(component: Any, model: Any, path: Path) -> Preset:
    return preset_of(component, model.config, path)


def _load_unet(choice: str, component: Any) -> Any:
    path = _path(choice, component)
    core: Any = load_model(path, stage=component)
    preset = _preset(component, core, path)
    core = weights.as_chosen(core, choice, component)
    code = _own_autoencoder(path, preset)
    # Here, because a node's description must not need the host's network classes.
    from .comfy_model import make_model

    preset = _with_autoencoder(preset, code)
    channels = core.config.latent_channels
    if channels != preset.autoencoder.latent_channels:
        raise CheckpointError(
            f"{path} was trained on latents of {channels} channels, and the autoencoder of its "
            f"folder makes {preset.autoencoder.latent_channels}. Put the autoencoder.safetensors "
            f"of the same set of weights beside it."
        )
    return make_model(core, preset, code)


def _own_autoencoder(path: Path | None, preset: Preset) -> Any:
    """The autoencoder in the folder of a component, of a preset that has one of the pack's own."""
    if path is None or preset.autoencoder.kind == "kl":
        return None
    beside = weights.sibling(path, "autoencoder")
    loaded = None if beside is None else load_model(beside, stage="autoencoder")
    return None if loaded is None or loaded.config.kind == "kl" else loaded


def _with_autoencoder(preset: Preset, code: Any) -> Preset:
    """The preset with the autoencoder that its weights were trained with, where that is known."""
    return preset if code is None else replace(preset, autoencoder=code.config)


def _patch_encoder(dinov2: Any, path: Path | None) -> tuple[Encoder, Preset]:
    if path is None:
        encoder = host_patch_encoder(dinov2)
        return encoder, next(p for p in PRESETS.values() if p.patch_encoder == encoder.config)
    loaded = load_model(path, stage="patch_encoder")
    return OwnEncoder(loaded), _preset("patch_encoder", loaded, path)


def _global_path(choice: str, patch_encoder: Path | None) -> Path | None:
    if choice != SAME_SET:
        return _path(choice, "global_encoder")
    return None if patch_encoder is None else weights.sibling(patch_encoder, "global_encoder")


def _global_encoder(clip_vision: Any, path: Path | None, preset: Preset) -> Encoder | None:
    if clip_vision is not None:
        encoder = host_global_encoder(clip_vision)
        check_global_encoder(preset, encoder.config)
        return encoder
    if path is None:
        return None
    loaded = load_model(path, stage="global_encoder")
    check_global_encoder(preset, loaded.config)
    return OwnEncoder(loaded)


def _load_vae(patch_encoder: Path | None, preset: Preset, code: Any = None) -> Any:
    if code is not None:
        return PatchVAE(code.float())
    if patch_encoder is None:
        raise CheckpointError(
            "With dinov2 connected a VAE has to be connected to the input autoencoder too: Load "
            "VAE with any VAE of Stable Diffusion 1 or 2."
        )
    beside = weights.sibling(patch_encoder, "autoencoder")
    if beside is None:
        raise CheckpointError(
            f"There is no autoencoder.safetensors beside {patch_encoder}. Put it there, or connect "
            f"a VAE to the input autoencoder (for the {preset.name} preset: Load VAE)."
        )
    loaded = load_model(beside, stage="autoencoder")
    return comfy.sd.VAE(sd=loaded.vae.state_dict())
