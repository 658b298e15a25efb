"""Every dimension of every preset, as data.

`config.py` says what the fields mean; its defaults are the values of `published`, noise tables
included.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    InpaintingConfig,
    PatchEncoderConfig,
    Preset,
    PriorConfig,
    RefiningConfig,
    ScheduleConfig,
    UNetConfig,
)

_SIMPLIFIED_SCHEDULE = ScheduleConfig(sampler="ddim")

_PUBLISHED = Preset(
    name="published",
    prior=PriorConfig(),
    inpainting=InpaintingConfig(),
    refining=RefiningConfig(),
    autoencoder=AutoencoderConfig(),
    patch_encoder=PatchEncoderConfig(),
    global_encoder=GlobalEncoderConfig(),
    height=512,
    width=512,
    fit="squash",
)

_SIMPLIFIED = Preset(
    name="simplified",
    prior=None,
    inpainting=InpaintingConfig(
        embedding_dim=None, null_tokens="projected_zeros", schedule=_SIMPLIFIED_SCHEDULE
    ),
    refining=None,
    autoencoder=AutoencoderConfig(),
    patch_encoder=PatchEncoderConfig(),
    global_encoder=None,
    height=512,
    width=512,
    fit="squash",
    steps=50,
)

# Ends in (almost) pure noise. The published table keeps sqrt(alpha_bar) = .068 there: a latent of
# few positions shows its mean tone through that, and sampling, which starts from pure noise, then
# sets tones at random.
_X0 = ScheduleConfig(
    beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type="sample"
)

_MINI_PRIOR = PriorConfig(
    num_layers=3,
    num_heads=6,
    head_dim=32,
    embedding_dim=128,
    pose_hidden_dim=128,
    pose_dim=128,
    embedding_mean=0.0,
    embedding_std=1.0,
    temperature=0.0,  # one draw errs more than the mean of many (docs/log/mini-weights.md)
    schedule=ScheduleConfig(
        beta_schedule="squaredcos_cap_v2",
        prediction_type="sample",
        sampler="unclip",
        clip_sample_range=20.0,
    ),
)

_MINI_REFINING = RefiningConfig(
    unet=UNetConfig(
        block_out_channels=(64, 64, 128),
        attention_levels=(False, True, True),
        num_heads=(2, 2, 4),
        layers_per_block=1,
        cross_attention_dim=128,
        sample_size=64,
    ),
    latent_channels=16,
    patch_dim=128,
    patch_hidden_dim=128,
    schedule=_X0,
)

_MINI = Preset(
    name="mini",
    prior=_MINI_PRIOR,
    inpainting=InpaintingConfig(
        unet=UNetConfig(
            block_out_channels=(64, 128, 192),
            attention_levels=(False, True, True),
            num_heads=(2, 4, 6),
            layers_per_block=1,
            cross_attention_dim=128,
            sample_size=64,
        ),
        latent_channels=16,
        patch_dim=128,
        patch_hidden_dim=128,
        embedding_dim=128,
        pose_channels=(8, 16, 32, 64),
        draws_hands=False,
        # Without noise an early mistake stays to the end (docs/log/learned-code.md).
        schedule=replace(_X0, sampler="ddpm_trailing"),
    ),
    refining=_MINI_REFINING,
    autoencoder=AutoencoderConfig(
        kind="conv",
        latent_channels=16,
        downscale=8,
        scaling_factor=1.0,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
    ),
    patch_encoder=PatchEncoderConfig(
        hidden_size=128,
        num_layers=2,
        num_heads=4,
        patch_size=8,
        table_size=96,
        picture_size=96,
        swiglu=False,
    ),
    global_encoder=GlobalEncoderConfig(kind="linear", embedding_dim=128, picture_size=32),
    height=192,
    width=128,
    fit="pad",
    guidance_scale=1.0,
    refining_denoise=0.05,
)

_TEST_UNET = UNetConfig(
    block_out_channels=(32, 64),
    attention_levels=(False, True),
    num_heads=(1, 2),
    layers_per_block=1,
    cross_attention_dim=16,
    sample_size=8,
)
_TEST_PATCHES: dict[str, Any] = {
    "unet": _TEST_UNET,
    "latent_channels": 12,
    "patch_dim": 24,
    "patch_hidden_dim": 16,
}

_TEST = replace(
    _MINI,
    name="test",
    prior=replace(
        _MINI_PRIOR,
        num_layers=2,
        num_heads=2,
        head_dim=8,
        embedding_dim=16,
        pose_hidden_dim=16,
        pose_dim=16,
        temperature=1.0,
    ),
    inpainting=replace(
        _MINI.inpainting,
        **_TEST_PATCHES,
        embedding_dim=16,
        pose_channels=(8, 16, 16),
        schedule=_X0,
    ),
    refining=replace(_MINI_REFINING, **_TEST_PATCHES),
    autoencoder=AutoencoderConfig(
        kind="patch", latent_channels=12, downscale=4, scaling_factor=1.0
    ),
    patch_encoder=PatchEncoderConfig(
        hidden_size=24,
        num_layers=1,
        num_heads=2,
        table_size=28,
        picture_size=28,
        swiglu=False,
    ),
    global_encoder=GlobalEncoderConfig(kind="linear", embedding_dim=16, picture_size=8),
    height=64,
    width=48,
    guidance_scale=1.5,
    refining_denoise=1.0,
)

PRESETS: Mapping[str, Preset] = {p.name: p for p in (_PUBLISHED, _SIMPLIFIED, _MINI, _TEST)}


def find_preset(name: str) -> Preset:
    """The preset of that name.

    Raises:
        ValueError: no such preset; the known names are listed.
    """
    if name not in PRESETS:
        raise ValueError(f"Unknown preset {name!r}. Known presets: {', '.join(PRESETS)}.")
    return PRESETS[name]
