"""Loaders: weights of `models/pcdm`, or those that come with the pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import comfy.sd
from comfy_api.latest import io

from ..pcdm_core.checkpoints import CheckpointError, load_model
from ..pcdm_core.config import Preset
from ..pcdm_core.vae import PatchAutoencoder
from . import weights
from .memory import Resident, resident_dtype
from .types import EncoderModules, EncodersSocket, LoadedEncoders, LoadedPrior, PriorSocket
from .vae import PatchVAE

CATEGORY = "PCDM/loaders"
SAME_SET = "of the same set"


def _weights_input(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input(
        "weights",
        options=weights.choices(),
        default=weights.SHIPPED,
        tooltip=f"{tooltip} Files are looked for in models/pcdm; the shipped set needs no download "
        f"and knows rendered people only.",
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
            inputs=[_weights_input("The stage-1 model.")],
            outputs=[
                PriorSocket.Output(
                    "prior", display_name="prior", tooltip="For PCDM Predict Target Embedding."
                )
            ],
        )

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
            inputs=[_weights_input("The stage-2 model.")],
            outputs=[
                io.Model.Output(
                    "model", display_name="model", tooltip="For the PCDM inpainting nodes."
                )
            ],
        )

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
            inputs=[_weights_input("The stage-3 model.")],
            outputs=[
                io.Model.Output(
                    "model", display_name="model", tooltip="For the PCDM refining nodes."
                )
            ],
        )

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
            "through. Their preset must be that of the models.",
            inputs=[
                _weights_input("The patch encoder (DINOv2); its neighbours come along."),
                io.Combo.Input(
                    "global_encoder",
                    options=[SAME_SET, *weights.choices()[1:]],
                    default=SAME_SET,
                    tooltip="The encoder that the prior sees the source through (CLIP vision "
                    "tower). By default global_encoder.safetensors beside the patch encoder.",
                ),
                io.Vae.Input(
                    "autoencoder",
                    optional=True,
                    tooltip="A VAE of ComfyUI's own, for the published and simplified presets. "
                    "Without one, autoencoder.safetensors beside the patch encoder.",
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
    def execute(cls, weights: str, global_encoder: str, autoencoder: Any = None) -> io.NodeOutput:
        path = _path(weights, "patch_encoder")
        patch = load_model(path, stage="patch_encoder")
        preset = _preset("patch_encoder", patch, path)
        modules = EncoderModules(patch, _load_global(global_encoder, path))
        modules = modules.to(resident_dtype(modules))
        vae = _load_vae(path, preset) if autoencoder is None else autoencoder
        return io.NodeOutput(LoadedEncoders(preset, Resident(modules), vae), vae)


def _path(choice: str, component: Any) -> Path:
    return weights.path_of(choice, component)


def _preset(component: Any, model: Any, path: Path) -> Preset:
    return weights.preset_of(component, model.config, path)


def _load_unet(choice: str, component: Any) -> Any:
    path = _path(choice, component)
    core: Any = load_model(path, stage=component)
    preset = _preset(component, core, path)
    beside = weights.sibling(path, "autoencoder")
    decoder = None
    if preset.autoencoder.kind == "patch" and beside is not None:
        decoder = load_model(beside, stage="autoencoder")
    # Here, because a node's description must not need the host's network classes.
    from .comfy_model import make_model

    return make_model(core, preset, decoder)


def _load_global(choice: str, patch_encoder: Path) -> Any:
    if choice != SAME_SET:
        return load_model(_path(choice, "global_encoder"), stage="global_encoder")
    beside = weights.sibling(patch_encoder, "global_encoder")
    return None if beside is None else load_model(beside, stage="global_encoder")


def _load_vae(patch_encoder: Path, preset: Preset) -> Any:
    beside = weights.sibling(patch_encoder, "autoencoder")
    if beside is None:
        raise CheckpointError(
            f"There is no autoencoder.safetensors beside {patch_encoder}. Put it there, or connect "
            f"a VAE to the input autoencoder (for the {preset.name} preset: Load VAE)."
        )
    loaded = load_model(beside, stage="autoencoder")
    if isinstance(loaded, PatchAutoencoder):
        return PatchVAE(loaded.float())
    return comfy.sd.VAE(sd=loaded.vae.state_dict())
