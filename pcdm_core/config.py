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

from .quoting import one_line, short
from .ranges import Range

BetaSchedule = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
PredictionType = Literal["epsilon", "v_prediction", "sample"]
NullConditioning = Literal["zeros", "encoded_zeros", "projected_zeros"]
Stage = Literal["prior", "inpainting", "refining"]
STAGES: tuple[Stage, ...] = ("prior", "inpainting", "refining")
NORM_GROUPS = 8
"""Of the group norms of a `conv` global encoder; its first level has at least as many channels."""

MOST_LEVELS = 8
_WIDTH = Range(1, 16384)
_SIDE = Range(1, 4096)  # pixels or latents
_SIGNED = Range(-1000, 1000, whole=False)
_FACTOR = Range(0, 1000, whole=False, above=True)
_BETA = Range(0, 1, whole=False, above=True)
# A file may say anything; no network of the pack comes near the upper ends.
RANGES: Mapping[str, Range] = {
    "beta_start": _BETA,
    "beta_end": _BETA,
    "num_train_timesteps": Range(2, 10_000),
    "clip_sample_range": _FACTOR,
    "block_out_channels": _WIDTH,
    "pose_channels": _WIDTH,
    "num_heads": Range(1, 1024),
    "layers_per_block": Range(1, 8),
    "cross_attention_dim": _WIDTH,
    "norm_num_groups": Range(1, 1024),
    "sample_size": _SIDE,
    "num_layers": Range(1, 100),
    "head_dim": Range(1, 1024),
    "embedding_dim": _WIDTH,
    "pose_hidden_dim": _WIDTH,
    "pose_dim": _WIDTH,
    "embedding_mean": _SIGNED,
    "embedding_std": _FACTOR,
    "missing_joint": _SIGNED,
    "temperature": Range(0, 100, whole=False),
    "latent_channels": Range(1, 1024),
    "patch_dim": _WIDTH,
    "patch_hidden_dim": _WIDTH,
    "skeleton_reduction": Range(1, 8),
    "downscale": Range(1, 64),
    "scaling_factor": _FACTOR,
    "hidden_size": _WIDTH,
    "intermediate_size": Range(1, 65536),
    "patch_size": Range(1, 256),
    "table_size": _SIDE,
    "picture_size": _SIDE,
    "layer_norm_eps": _BETA,
}


class Ranged:
    """A configuration whose numbers are within `RANGES`, from wherever they come.

    Raises:
        ValueError: one is not, or two do not go together; the field is named.
    """

    def __post_init__(self) -> None:
        here: Any = self
        for one in fields(here):
            value = getattr(self, one.name)
            for number in value if isinstance(value, tuple) else (value,):
                if number is not None and one.name in RANGES:
                    RANGES[one.name].check(one.name, number)


def _check_divides(name: str, number: int, divisor_name: str, divisor: int) -> None:
    if number % divisor:
        raise ValueError(f"{name} {number} is no multiple of {divisor_name}, which is {divisor}.")


@dataclass(frozen=True)
class ScheduleConfig(Ranged):
    """A noise table, what the network predicts, and the sampler of the published scripts."""

    beta_schedule: BetaSchedule = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000
    prediction_type: PredictionType = "epsilon"
    sampler: Literal["unipc", "ddim", "unclip", "ddim_trailing", "ddpm_trailing"] = "unipc"
    clip_sample_range: float | None = None  # unclip only: x0 is clamped to +- this

    @property
    def ancestral(self) -> bool:
        """Whether each step of the sampler but the last draws noise."""
        return self.sampler in ("unclip", "ddpm_trailing")


@dataclass(frozen=True)
class UNetConfig(Ranged):
    """Widths of a stock `UNet2DConditionModel`; one entry a level, from fine to coarse."""

    block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280)
    attention_levels: tuple[bool, ...] = (True, True, True, False)
    num_heads: tuple[int, ...] = (5, 10, 20, 20)
    layers_per_block: int = 2
    cross_attention_dim: int = 1024
    norm_num_groups: int = 32
    sample_size: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        widths, levels, heads = self.block_out_channels, self.attention_levels, self.num_heads
        if not len(levels) == len(widths) == len(heads):
            raise ValueError(
                f"UNetConfig: {len(widths)} widths, {len(levels)} attention levels and "
                f"{len(heads)} head counts; give one of each a level."
            )
        for width, count in zip(widths, heads, strict=True):
            _check_divides("block_out_channels", width, "norm_num_groups", self.norm_num_groups)
            _check_divides("block_out_channels", width, "num_heads", count)


@dataclass(frozen=True)
class PriorConfig(Ranged):
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
class InpaintingConfig(Ranged):
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


@dataclass(frozen=True)
class RefiningConfig(Ranged):
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
class AutoencoderConfig(Ranged):
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
        super().__post_init__()
        levels = len(self.block_out_channels)
        halvings = {"conv": levels, "kl": levels - 1}.get(self.kind)
        if halvings is not None and self.downscale != 2**halvings:
            raise ValueError(
                f"block_out_channels: a {self.kind} autoencoder halves the picture {halvings} "
                f"times, so {levels} levels do not make downscale {self.downscale}."
            )
        for width in self.block_out_channels if self.kind == "kl" else ():
            _check_divides("block_out_channels", width, "norm_num_groups", self.norm_num_groups)


@dataclass(frozen=True)
class PatchEncoderConfig(Ranged):
    """A DINOv2 vision transformer (transformers' `Dinov2Model`); defaults are DINOv2-giant."""

    hidden_size: int = 1536
    num_layers: int = 40
    num_heads: int = 24
    patch_size: int = 14
    table_size: int = 518  # the picture size whose patch grid the position table holds
    picture_size: int = 224  # the picture size that the stages feed
    swiglu: bool = True
    layer_norm_eps: float = 1e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_divides("hidden_size", self.hidden_size, "num_heads", self.num_heads)
        _check_divides("picture_size", self.picture_size, "patch_size", self.patch_size)


@dataclass(frozen=True)
class GlobalEncoderConfig(Ranged):
    """One vector a picture.

    `clip` is CLIP's vision tower, `linear` a closed-form projection, `conv` convolutions:
    `num_layers` levels, each of which halves the picture and doubles the width, up to `hidden_size`
    channels.
    """

    kind: Literal["clip", "linear", "conv"] = "clip"
    embedding_dim: int = 1024
    picture_size: int = 224
    hidden_size: int = 1280  # clip and conv, as num_layers
    num_layers: int = 32
    num_heads: int = 16  # clip only, as all that follows
    intermediate_size: int = 5120
    patch_size: int = 14
    hidden_act: Literal["gelu", "quick_gelu"] = "gelu"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "clip":
            _check_divides("hidden_size", self.hidden_size, "num_heads", self.num_heads)
            _check_divides("picture_size", self.picture_size, "patch_size", self.patch_size)
        if self.kind == "conv":
            side, width = 2**self.num_layers, NORM_GROUPS * 2 ** (self.num_layers - 1)
            _check_divides("picture_size", self.picture_size, "2^num_layers", side)
            _check_divides("hidden_size", self.hidden_size, "8 * 2^(num_layers - 1)", width)


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


def config_to_dict(config: Any) -> dict[str, Any]:
    """Any configuration of this module as JSON-ready values; `config_from_dict` reads it back."""
    return asdict(config)


def config_from_dict(cls: type[C], values: Any) -> C:
    """Rebuild a configuration written by `config_to_dict`.

    Raises:
        ValueError: there are no fields, one is unknown to this version, or its value is of another
            kind or beyond what any network of the pack has; it is named.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{cls.__name__} has named fields, found {short(values)}")
    hints = get_type_hints(cls)
    unknown = sorted(set(values) - {f.name for f in fields(cls)})  # type: ignore[arg-type]
    if unknown:
        raise ValueError(
            f"{cls.__name__} has no field {one_line(', '.join(unknown))}. The file was written by "
            f"another version of this pack; update the pack or convert the file again."
        )
    return cls(**{name: _value(name, hints[name], value) for name, value in values.items()})


def _value(name: str, hint: Any, value: Any) -> Any:
    """A field's value from JSON, where it is what the field's type says; see `Ranged` too."""
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
    if hint in (bool, int, str) and type(value) is hint:
        return value
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        RANGES[name].check(name, value)  # before an integer that no float can hold is made one
        return float(value)
    kind = getattr(hint, "__name__", hint)
    raise ValueError(f"{name}: expected {kind} within its bounds, found {short(value)}")
