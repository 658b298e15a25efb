"""What does not belong together is refused in one sentence that names both sides."""

from __future__ import annotations

from typing import Any

from ..pcdm_core.config import GlobalEncoderConfig, Preset
from ..pcdm_core.presets import PRESETS
from .types import LoadedEncoders, TargetEmbedding


def check_encoders(preset: Preset, encoders: LoadedEncoders, latents: bool = True) -> None:
    """Refuse encoders whose tokens or latents the preset's models cannot read.

    Args:
        latents: False for a model that sees none.
    """
    encoder_preset = encoders.preset
    if encoder_preset.name != preset.name and (
        encoder_preset.patch_encoder != preset.patch_encoder
        or encoder_preset.autoencoder != preset.autoencoder
    ):
        raise ValueError(
            f"The model is of the {preset.name} preset, the encoders of the "
            f"{encoder_preset.name} preset. Load both of one preset."
        )
    if latents and encoder_preset.autoencoder != preset.autoencoder:
        codes = [
            f"{code.kind}, {code.latent_channels} channels, 1/{code.downscale} of the size"
            for code in (preset.autoencoder, encoder_preset.autoencoder)
        ]
        raise ValueError(
            f"The model was trained on latents of another autoencoder ({codes[0]}) than that of "
            f"the encoders ({codes[1]}). Choose weights of one folder in all loaders."
        )


def check_global_encoder(preset: Preset, config: GlobalEncoderConfig, name: str = "") -> None:
    """Refuse a global encoder beside a patch encoder of another preset.

    Args:
        name: of the preset that the encoder's own file belongs to, where it has one.
    """
    if preset.global_encoder in (None, config) or preset.name == name:
        return
    others = (other.name for other in PRESETS.values() if other.global_encoder == config)
    name = name or next(others, "no known")
    raise ValueError(
        f"The patch encoder is of the {preset.name} preset, the global encoder of the "
        f"{name} preset. Load both of one preset (published: DINOv2-giant "
        f"and CLIP ViT-H)."
    )


def check_vae(preset: Preset, vae: Any) -> None:
    """Refuse an autoencoder whose latents have another number of channels."""
    channels = preset.autoencoder.latent_channels
    vae_channels = getattr(vae, "latent_channels", channels)
    if vae_channels != channels:
        raise ValueError(
            f"The VAE has latents of {vae_channels} channels, the encoders' {preset.name} preset "
            f"has {channels}. Connect a VAE of Stable Diffusion 1 or 2 to the published presets, "
            f"and none to the shipped set."
        )


def check_embedding(preset: Preset, embedding: TargetEmbedding | None, pictures: int) -> None:
    """Refuse a target embedding that is missing, superfluous, or made for something else."""
    needs = preset.inpainting.embedding_dim is not None
    if needs and embedding is None:
        raise ValueError(
            f"The {preset.name} inpainting model needs a target embedding. Connect PCDM Predict "
            f"Target Embedding, with the prior of the same preset."
        )
    if not needs and embedding is not None:
        raise ValueError(
            f"The {preset.name} inpainting model takes no target embedding. Disconnect it; this "
            f"preset works without a prior."
        )
    if embedding is not None and embedding.preset.name != preset.name:
        raise ValueError(
            f"The model is of the {preset.name} preset, the target embedding of the "
            f"{embedding.preset.name} preset. Load both of one preset."
        )
    if embedding is not None and embedding.pictures != pictures:
        raise ValueError(
            f"PCDM Predict Target Embedding made {embedding.pictures} pictures of each pose, this "
            f"node is to draw {pictures}. Set pictures to the same number on both."
        )
