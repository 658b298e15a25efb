"""Manifests' configurations as the pack's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from pcdm_core.config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    InpaintingConfig,
    PatchEncoderConfig,
    PriorConfig,
    RefiningConfig,
    ScheduleConfig,
    UNetConfig,
)
from pcdm_core.schedules import make_scheduler

from .fixtures import BadFolderError, Fixture

Values = Mapping[str, Any]


def schedule(fixture: Fixture) -> ScheduleConfig:
    """The manifest's scheduler, as long as the pack's has the same settings."""
    stated: Values = fixture.stated("scheduler", "config")
    name = str(fixture.stated("scheduler", "cls"))
    samplers = {"UniPC": "unipc", "DDIM": "ddim", "UnCLIP": "unclip"}
    sampler = next((s for start, s in samplers.items() if name.startswith(start)), None)
    if sampler is None:
        raise BadFolderError(f"{fixture.path}: the scheduler {name} is none of the pack's.")
    default = ScheduleConfig()
    config = ScheduleConfig(
        beta_schedule=stated.get("beta_schedule", default.beta_schedule),
        beta_start=stated.get("beta_start", default.beta_start),
        beta_end=stated.get("beta_end", default.beta_end),
        num_train_timesteps=stated["num_train_timesteps"],
        prediction_type=stated["prediction_type"],
        sampler=sampler,  # type: ignore[arg-type]
        clip_sample_range=(
            stated.get("clip_sample_range")
            if sampler == "unclip" and stated.get("clip_sample")
            else None
        ),
    )
    # The pack fixes the other settings: where a fixture has others, comparing means nothing.
    ours = make_scheduler(config).config
    for key, value in stated.items():
        if key.startswith("_") or key not in ours:
            continue
        if _plain(ours[key]) != _plain(value):
            raise BadFolderError(
                f"{fixture.path}: its scheduler has {key} {value!r}, the pack's {ours[key]!r}."
            )
    return config


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else value


def unet(stated: Values) -> UNetConfig:
    """A diffusers UNet configuration."""
    widths, heads = stated["block_out_channels"], stated["attention_head_dim"]
    if stated.get("use_linear_projection") is not True:
        raise BadFolderError("The pack's UNets have linear projections around attention.")
    return UNetConfig(
        block_out_channels=tuple(widths),
        attention_levels=tuple("CrossAttn" in block for block in stated["down_block_types"]),
        num_heads=(heads,) * len(widths) if isinstance(heads, int) else tuple(heads),
        layers_per_block=stated["layers_per_block"],
        cross_attention_dim=stated["cross_attention_dim"],
        norm_num_groups=stated["norm_num_groups"],
        sample_size=stated["sample_size"],
    )


def prior(fixture: Fixture) -> PriorConfig:
    """Stage 1."""
    config, fixed = fixture.stated("config"), fixture.stated("hard_coded")
    return PriorConfig(
        num_layers=config["num_layers"],
        num_heads=config["num_attention_heads"],
        head_dim=config["attention_head_dim"],
        embedding_dim=config["embedding_dim"],
        pose_hidden_dim=fixed["pose_hidden"],
        pose_dim=fixed["pose_out"],
        embedding_mean=fixed["clip_mean"],
        embedding_std=fixed["clip_std"],
        schedule=schedule(fixture),
    )


def inpainting(fixture: Fixture, weights: Mapping[str, Tensor] | None) -> InpaintingConfig:
    """Stage 2, or the single-stage release, whose manifest states the UNet alone.

    Args:
        weights: tensors in the published layout, which show what the manifest does not state.
    """
    config = fixture.stated("config")
    single = config["unet"].get("class_embed_type") is None
    name = "image_proj_model" if single else "image_proj_model_p"
    projection, pose = config.get(name), config.get("pose_proj")
    if weights is not None and projection is None:
        hidden, width = weights[f"{name}.net.0.weight"].shape
        projection = {"in_dim": width, "hidden_dim": hidden}
    if weights is not None and pose is None:
        layers = ["conv_in"]
        while f"pose_proj.blocks.{2 * len(layers) - 1}.weight" in weights:
            layers.append(f"blocks.{2 * len(layers) - 1}")
        channels = [len(weights[f"pose_proj.{layer}.weight"]) for layer in layers]
        pose = {"block_out_channels": channels}
    if projection is None or pose is None:
        raise BadFolderError(f"{fixture.path}: neither manifest nor weights tell {name}, pose_proj")
    return InpaintingConfig(
        unet=unet(config["unet"]),
        latent_channels=config["unet"]["out_channels"],
        patch_dim=projection["in_dim"],
        patch_hidden_dim=projection["hidden_dim"],
        embedding_dim=None if single else config["unet"]["projection_class_embeddings_input_dim"],
        pose_channels=tuple(pose["block_out_channels"]),
        null_tokens="projected_zeros" if single else "zeros",
        schedule=schedule(fixture),
    )


def refining(fixture: Fixture) -> RefiningConfig:
    """Stage 3."""
    config = fixture.stated("config")
    return RefiningConfig(
        unet=unet(config["unet"]),
        latent_channels=config["unet"]["out_channels"],
        patch_dim=config["image_proj_model_p"]["in_dim"],
        patch_hidden_dim=config["image_proj_model_p"]["hidden_dim"],
        schedule=schedule(fixture),
    )


def autoencoder(stated: Values) -> AutoencoderConfig:
    """A diffusers AutoencoderKL configuration."""
    return AutoencoderConfig(
        kind="kl",
        latent_channels=stated["latent_channels"],
        downscale=2 ** (len(stated["block_out_channels"]) - 1),
        scaling_factor=stated["scaling_factor"],
        block_out_channels=tuple(stated["block_out_channels"]),
        layers_per_block=stated["layers_per_block"],
        norm_num_groups=stated["norm_num_groups"],
    )


def patch_encoder(stated: Values) -> PatchEncoderConfig:
    """A transformers Dinov2 configuration."""
    default = PatchEncoderConfig()
    return PatchEncoderConfig(
        hidden_size=stated["hidden_size"],
        num_layers=stated["num_hidden_layers"],
        num_heads=stated["num_attention_heads"],
        patch_size=stated["patch_size"],
        table_size=stated["image_size"],
        picture_size=stated["image_size"],
        swiglu=stated["use_swiglu_ffn"],
        layer_norm_eps=stated.get("layer_norm_eps", default.layer_norm_eps),
    )


def global_encoder(stated: Values) -> GlobalEncoderConfig:
    """A transformers CLIP vision configuration."""
    return GlobalEncoderConfig(
        kind="clip",
        embedding_dim=stated["projection_dim"],
        picture_size=stated["image_size"],
        hidden_size=stated["hidden_size"],
        num_layers=stated["num_hidden_layers"],
        num_heads=stated["num_attention_heads"],
        intermediate_size=stated["intermediate_size"],
        patch_size=stated["patch_size"],
        hidden_act=stated["hidden_act"],
    )
