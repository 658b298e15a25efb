"""What describes a stage: frozen dataclasses, one a part, and a preset of all of them.

`presets.py` holds the values; defaults here are those of the published models. Nothing else in
the package knows a channel count, a width, a prediction type or a latent format. Sizes are written
height x width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
NullConditioning = Literal["zeros", "encoded_zeros", "projected_zeros"]
Stage = Literal["prior", "inpainting", "refining"]
STAGES: tuple[Stage, ...] = ("prior", "inpainting", "refining")


@dataclass(frozen=True)
class ScheduleConfig:
    """A noise table, what the network predicts, and the sampler of the published scripts."""

    beta_schedule: BetaSchedule = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000
    prediction_type: PredictionType = "epsilon"
    sampler: Literal["unipc", "ddim", "unclip", "ddim_trailing"] = "unipc"
    clip_sample_range: float | None = None  # unclip only: x0 is clamped to +- this


@dataclass(frozen=True)
class UNetConfig:
    """Widths of a stock `UNet2DConditionModel`; one entry a level, from fine to coarse."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_heads: tuple[int, ...] = (5, 10, 20, 20)
    layers_per_block: int = 2
    cross_attention_dim: int = 1024
    norm_num_groups: int = 32
    sample_size: int = 64


@dataclass(frozen=True)
class PriorConfig:
    """Stage 1 (paper section 3.2; upstream `stage1_prior_transformer.py`)."""

    num_layers: int = 20
    num_heads: int = 32
    head_dim: int = 64
    embedding_dim: int = 1024
    pose_hidden_dim: int = 512
    pose_dim: int = 1024
    embedding_mean: float = -0.016  # As published: constants in the code, not in the checkpoint.
    embedding_std: float = 0.415
    missing_joint: float = -1.0  # unverified for the published weights
    temperature: float = 1.0  # times the sampler's noise; near 0 it gives the likeliest embedding
    schedule: ScheduleConfig = field(
        default_factory=lambda: ScheduleConfig(
            beta_schedule="squaredcos_cap_v2",
            prediction_type="sample",
            sampler="unclip",
            clip_sample_range=10.0,
        )
    )


@dataclass(frozen=True)
class InpaintingConfig:
    """Stage 2 (paper section 3.3; upstream `stage2_inpaint_unet_2d_condition.py`).

    `skeleton_reduction`: skeletons are drawn at so many times the picture's size and averaged down.
    Their lines, as published 4 pixels to each side of a limb at every size, are so much thinner.
    """

    unet: UNetConfig = field(default_factory=UNetConfig)
    latent_channels: int = 4
    patch_dim: int = 1536
    patch_hidden_dim: int = 768
    embedding_dim: int | None = 1024  # None: the simplified release, without target embedding
    pose_channels: tuple[int, ...] = (16, 32, 96, 256)
    draws_hands: bool = True
    skeleton_reduction: int = 1
    null_tokens: NullConditioning = "zeros"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    @property
    def in_channels(self) -> int:
        """Noisy latents, mask, masked latents."""
        return 2 * self.latent_channels + 1

    def __post_init__(self) -> None:
        if self.skeleton_reduction not in range(1, 9):
            raise ValueError(f"skeleton_reduction is 1 to 8; got {self.skeleton_reduction}.")


@dataclass(frozen=True)
class RefiningConfig:
    """Stage 3 (paper section 3.4; upstream `stage3_train_refined_model.py`)."""

    unet: UNetConfig = field(default_factory=UNetConfig)
    latent_channels: int = 4
    patch_dim: int = 1536
    patch_hidden_dim: int = 768
    null_tokens: NullConditioning = "zeros"
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)

    @property
    def in_channels(self) -> int:
        """Noisy latents, coarse latents."""
        return 2 * self.latent_channels


@dataclass(frozen=True)
class AutoencoderConfig:
    """Pixels to latents.

    `kl` is diffusers' `AutoencoderKL`, `patch` a linear code of patches, `conv` that code and
    residual convolutions on both sides. Widths go from fine to coarse; the first level of `kl` has
    the picture's size, the first of `conv` half of it.
    """

    kind: Literal["kl", "patch", "conv"] = "kl"
    latent_channels: int = 4
    downscale: int = 8
    scaling_factor: float = 0.18215
    block_out_channels: tuple[int, ...] = (128, 256, 512, 512)  # kl and conv
    layers_per_block: int = 2  # kl and conv: of the encoder, the decoder has one more
    norm_num_groups: int = 32  # kl only

    def __post_init__(self) -> None:
        if self.kind == "conv" and self.downscale != 2 ** len(self.block_out_channels):
            raise ValueError(
                f"block_out_channels: a conv autoencoder halves the picture once a level, so "
                f"{len(self.block_out_channels)} levels do not make downscale {self.downscale}."
            )


@dataclass(frozen=True)
class PatchEncoderConfig:
    """A DINOv2 vision transformer (transformers' `Dinov2Model`); defaults are DINOv2-giant."""

    hidden_size: int = 1536
    num_layers: int = 40
    num_heads: int = 24
    patch_size: int = 14
    table_size: int = 518  # the picture size whose patch grid the position table holds
    picture_size: int = 224  # the picture size that the stages feed
    swiglu: bool = True
    layer_norm_eps: float = 1e-6


@dataclass(frozen=True)
class GlobalEncoderConfig:
    """One vector a picture: `clip` is CLIP's vision tower, `linear` a closed-form projection."""

    kind: Literal["clip", "linear"] = "clip"
    embedding_dim: int = 1024
    picture_size: int = 224
    hidden_size: int = 1280  # clip only, as all that follows
    num_layers: int = 32
    num_heads: int = 16
    intermediate_size: int = 5120
    patch_size: int = 14
    hidden_act: str = "gelu"


@dataclass(frozen=True)
class Preset:
    """A family of weights that belong together.

    `height` and `width` are the size the stages run at; `output_height` and `output_width` what a
    user gets; `fit` is how a picture of another size comes to it: `squash` (as published, the
    aspect is lost and given back at the end) or `pad`.
    """

    name: str
    prior: PriorConfig | None
    inpainting: InpaintingConfig
    refining: RefiningConfig | None
    autoencoder: AutoencoderConfig
    patch_encoder: PatchEncoderConfig
    global_encoder: GlobalEncoderConfig | None
    height: int
    width: int
    fit: Literal["squash", "pad"]
    steps: int = 20  # default of every stage
    guidance_scale: float = 2.0  # default of stages 2 and 3
    refining_denoise: float = 1.0  # default of stage 3; below 1 it starts from the coarse picture


C = TypeVar("C")

# A file may say anything; no network of the pack comes near these.
LARGEST = 65536
MOST_LEVELS = 8
MOST = {"num_layers": 100, "layers_per_block": 8}


def config_to_dict(config: Any) -> dict[str, Any]:
    """Any configuration of this module as JSON-ready values; `config_from_dict` reads it back."""
    return asdict(config)


def config_from_dict(cls: type[C], values: Mapping[str, Any]) -> C:
    """Rebuild a configuration written by `config_to_dict`.

    Raises:
        ValueError: a field is unknown to this version, or its value is of another kind or beyond
            what any network of the pack has; it is named.
    """
    hints = get_type_hints(cls)
    names = {f.name for f in fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - names)
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {', '.join(unknown)}. The file was written by another "
            f"version of this pack; update the pack or convert the file again."
        )
    return cls(**{name: _value(name, hints[name], value) for name, value in values.items()})


def _value(name: str, hint: Any, value: Any) -> Any:
    """A field's value from JSON, where it is what the field's type says."""
    options = get_args(hint)
    several = isinstance(value, (list, tuple)) and 0 < len(value) <= MOST_LEVELS
    if get_origin(hint) is tuple and several:
        return tuple(_value(name, options[0], item) for item in value)
    if hint in (ScheduleConfig, UNetConfig) and isinstance(value, Mapping):
        return config_from_dict(hint, value)
    if get_origin(hint) is Literal and isinstance(value, str) and value in options:
        return value
    if get_origin(hint) is UnionType:
        rest = [option for option in options if option is not NoneType]
        return None if value is None else _value(name, rest[0], value)
    if hint in (bool, str) and type(value) is hint:
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if hint is int and isinstance(value, int) and 0 < value <= MOST.get(name, LARGEST):
            return value
        if hint is float and -LARGEST <= value <= LARGEST:
            return float(value)
    text = repr(value)
    raise ValueError(
        f"{name}: expected {getattr(hint, '__name__', hint)} within its bounds, found "
        f"{text if len(text) < 60 else text[:60] + '...'}"
    )
