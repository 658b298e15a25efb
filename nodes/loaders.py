"""Loaders: weights of `models/pcdm`, or those that come with the pack."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import comfy.sd
import folder_paths
from comfy_api.latest import io

from ..pcdm_core.checkpoints import CheckpointError, Component, load_model
from ..pcdm_core.checkpoints.components import preset_of
from ..pcdm_core.checkpoints.load import open_model
from ..pcdm_core.config import Preset
from ..pcdm_core.presets import PRESETS
from ..pcdm_core.published.verify import check_part
from . import weights
from .checks import check_global_encoder, check_vae
from .managed import Resident, resident_dtype
from .newer import ADVANCED, search_aliases
from .notes import nearest_before, tell
from .types import EncodersSocket, LoadedEncoders, LoadedPrior, PriorSocket
from .vae import PatchVAE
from .vision import Encoder, OwnEncoder, host_global_encoder, host_patch_encoder
from .weights import SAME_SET, check_choices

CATEGORY = "PCDM/loaders"


def _weights_input(component: Component, tooltip: str) -> io.Combo.Input:
    advice, offered = "", weights.choices(component)
    if weights.student_choice() in offered:
        advice = " The one for 4 steps is faster; set steps to 4 in the sampler."
    return io.Combo.Input(
        "weights",
        options=offered,
        default=weights.shipped_choice(),
        tooltip=f"{tooltip} The shipped set needs no download and draws small rendered people; for "
        f"photographs put the published weights into models/pcdm.{advice}",
    )


class PCDMLoadPrior(io.ComfyNode):
    """PCDM_PRIOR from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="PCDMLoadPrior",
            display_name="PCDM Load Prior",
            category=CATEGORY,
            description="Loads stage 1, which predicts what the person will look like in the "
            "new pose.",
            **search_aliases("stage 1, pcdms weights", "先验模型, 权重"),
            inputs=[_weights_input("prior", "Weights of stage 1.")],
            outputs=[
                PriorSocket.Output(
                    "prior",
                    display_name="prior",
                    tooltip="Connect to PCDM Predict Target Embedding.",
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
        prior = _load_resident(path, "prior")
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
            description="Loads stage 2, which draws the person in the new pose. The output is "
            "an ordinary MODEL: LoRA loaders, attention patches and any sampler "
            "work with it.",
            **search_aliases("stage 2, pcdms weights, person image synthesis", "重绘模型, 权重"),
            inputs=[_weights_input("inpainting", "Weights of stage 2.")],
            outputs=[
                io.Model.Output(
                    "model",
                    display_name="model",
                    tooltip="Connect to PCDM Inpainting Sampler, or to PCDM Inpainting "
                    "Conditioning and a KSampler.",
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
            description="Loads stage 3, which brings back the texture of the source picture. "
            "The output is an ordinary MODEL: LoRA loaders, attention patches and "
            "any sampler work with it.",
            **search_aliases("stage 3, pcdms weights, texture", "精修模型, 权重"),
            inputs=[_weights_input("refining", "Weights of stage 3.")],
            outputs=[
                io.Model.Output(
                    "model",
                    display_name="model",
                    tooltip="Connect to PCDM Refining Sampler, or to PCDM Refining Conditioning "
                    "and a KSampler.",
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
            description="Loads the parts that turn pictures into what the models work with, "
            "and back: two image encoders and an autoencoder (VAE). Choose the "
            "same set of weights as in the other loaders.",
            **search_aliases("dinov2, clip vision, vae", "编码器"),
            inputs=[
                _weights_input(
                    "patch_encoder",
                    "The patch encoder (DINOv2); the other parts come from the same folder. Not "
                    "used if dinov2 is connected.",
                ),
                io.Combo.Input(
                    "global_encoder",
                    options=weights.choices("global_encoder"),
                    default=SAME_SET,
                    **ADVANCED,
                    tooltip="The encoder that stage 1 uses (CLIP vision). By default the one "
                    "beside the patch encoder. Not used if clip_vision is connected.",
                ),
                io.Vae.Input(
                    "autoencoder",
                    optional=True,
                    tooltip="For the published weights: any VAE of Stable Diffusion 1 or 2, from "
                    "Load VAE. If nothing is connected, the autoencoder beside the patch "
                    "encoder is used.",
                ),
                io.ClipVision.Input(
                    "dinov2",
                    optional=True,
                    tooltip="For the published weights: DINOv2-giant, from Load CLIP Vision. The "
                    "pack prepares the pictures for it as the models were trained.",
                ),
                io.ClipVision.Input(
                    "clip_vision",
                    optional=True,
                    tooltip="For the published weights: CLIP ViT-H, from Load CLIP Vision. Stage "
                    "1 needs it; the simplified weights do without.",
                ),
            ],
            outputs=[
                EncodersSocket.Output(
                    "encoders",
                    display_name="encoders",
                    tooltip="Connect to every PCDM node that takes the source picture.",
                ),
                io.Vae.Output(
                    "vae", display_name="vae", tooltip="Connect to VAE Decode after a KSampler."
                ),
            ],
            hidden=[io.Hidden.unique_id, io.Hidden.prompt],
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
        loaded = LoadedEncoders(preset, patch, general, vae)
        return io.NodeOutput(loaded, vae, ui=_tell_of_vae(cls, autoencoder, path))


def _tell_of_vae(node: type[io.ComfyNode], vae: Any, patch_encoder: Path | None) -> Any:
    """Say whether the file of the VAE is a known one: that of SDXL has the same shapes."""
    if vae is not None:
        names = [
            entry["inputs"] for _, entry in nearest_before(node, "autoencoder", ("VAELoader",))
        ]
        paths = [folder_paths.get_full_path("vae", str(entry.get("vae_name"))) for entry in names]
    else:
        paths = [] if patch_encoder is None else [weights.sibling(patch_encoder, "autoencoder")]
    checks = [check for path in paths if path is not None and (check := check_part(path))]
    faults = (check.words for check in checks if not check.good)
    return tell(node, *faults, fact=" ".join(check.words for check in checks if check.good))


def _path(choice: str, component: Any) -> Path:
    return weights.path_of(choice, component)


def _preset(component: Any, model: Any, path: Path) -> Preset:
    return preset_of(component, model.config, path)


def _load_resident(path: Path, component: Component) -> Any:
    """A module outside the UNets, read in the type that it will have."""
    stored = open_model(path, stage=component)
    return stored.load(dtype=resident_dtype(stored.model))


def _load_unet(choice: str, component: Any) -> Any:
    path = _path(choice, component)
    core: Any = load_model(path, stage=component)
    preset = _preset(component, core, path)
    core = weights.as_chosen(core, choice, component)
    preset = weights.settings_as_chosen(preset, choice)
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
    loaded = _load_resident(path, "patch_encoder")
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
    loaded = _load_resident(path, "global_encoder")
    check_global_encoder(preset, loaded.config, _preset("global_encoder", loaded, path).name)
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
