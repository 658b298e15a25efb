"""What a run is, as a YAML file; pydantic checks it before anything is computed."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from pcdm_core.checkpoints.signatures import Component
from pcdm_core.config import PredictionType
from pcdm_core.images import FitMode
from pcdm_core.quoting import short
from pcdm_core.ranges import GUIDANCE_SCALE, SEED, SIDE

TRAINED: tuple[Component, ...] = (
    "autoencoder",
    "global_encoder",
    "prior",
    "inpainting",
    "refining",
)


def _from_exponent(value: object) -> object:
    """YAML 1.1 takes `6e-4` for text: its numbers with an exponent have a point as well."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


# Strict, because pydantic also takes "10" and True for numbers, and "no" for False.
Number = Annotated[float, BeforeValidator(_from_exponent), Strict(), Field(allow_inf_nan=False)]
Weight = Annotated[Number, Field(ge=0)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Momentum = Annotated[Number, Field(ge=0, lt=1)]
Guidance = Annotated[Number, Field(ge=GUIDANCE_SCALE.low, le=GUIDANCE_SCALE.high)]
Whole = Annotated[int, Strict()]
Steps = Annotated[Whole, Field(ge=0)]
Count = Annotated[Whole, Field(ge=1)]
Side = Annotated[Whole, Field(ge=SIDE.low, le=SIDE.high)]
Switch = Annotated[bool, Strict()]
Precision = Annotated[  # `no` without quotes is YAML 1.1's False
    Literal["no", "fp16", "bf16"],
    BeforeValidator(lambda value: "no" if value is False else value),
]

_EMPTY = BeforeValidator(lambda value: {} if value is None else value)  # `coarse:` and no more
_CONFIG = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_CONFIG)
class StageRun:
    """How one stage is trained.

    `minutes`, when set, replaces `steps`: the number of steps follows the speed measured so far,
    so that a run (its learning-rate schedule included) ends in time on any machine.

    One optimiser step sees `batch_size` samples of each process `accumulate` times over;
    `global_batch` is how many the recipe wants in all, and a run that differs warns. A checkpoint
    is due after `checkpoint_minutes`, or after `checkpoint_steps` where that is set; the last
    `keep_checkpoints` of them stay.

    Conditions are dropped, each with its own chance, for what `null_conditioning` says: `zeros`
    are those that guidance uses at sampling; `encoded_zeros` what the frozen encoders make of an
    input of zeros.
    `posterior` is how latents come from the autoencoder's moments. `noised` is what the noise of
    stage 3 is put over: the truth, or the coarse picture that runs with `denoise` below 1 start
    from. Then `other_starts` is the share of samples whose noise is put over the coarse picture's
    mirror image: the sampler's own steps must not change what stage 3 makes of the picture that it
    is given as a condition. `sharpen` is how much stage 3's truths are sharpened: a network's
    answer is a mean of many, and softer than each of them.
    """

    steps: Steps = 1000
    minutes: Positive | None = None
    batch_size: Count = 16
    accumulate: Count = 1
    global_batch: Count | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"  # or sgd
    learning_rate: Weight = 6e-4
    warmup_steps: Steps = 100
    decay_fraction: Share = 0.4
    weight_decay: Weight = 0.01
    betas: tuple[Momentum, Momentum] = (0.9, 0.99)
    clip_grad_norm: Positive = 1.0
    ema_decay: Momentum | None = 0.999
    drop_tokens: Share = 0.1
    drop_embeds: Share = 0.15
    drop_coarse: Share = 0.1
    drop_source_pose: Share = 0.0
    drop_target_pose: Share = 0.0
    independent_drops: Switch = False
    null_conditioning: Literal["zeros", "encoded_zeros"] = "zeros"  # or encoded_zeros
    embeds_noise: Weight = 0.3
    noise_offset: Weight = 0.0
    posterior: Literal["mean", "sample"] = "mean"  # or sample
    noised: Literal["truth", "coarse"] = "truth"  # or coarse
    other_starts: Share = 0.0
    sharpen: Weight = 0.0
    prediction_type: PredictionType | None = None  # the preset's
    gradient_checkpointing: Switch = False
    source_weight: Weight = 0.1
    person_weight: Weight = 1.0
    head_weight: Weight = 0.0  # added to it around the head; both know rendered people only
    timestep_power: Positive = 1.0  # above 1 more timesteps of little noise are drawn
    perception: Weight = 0.0  # weight of `PerceptionRun`'s loss; knows rendered people only
    crop: Count | None = None  # autoencoder only, as what follows: squares of so many pixels
    gradients: Weight = 0.0  # weight of the error of differences between neighbouring pixels
    latent_noise: Weight = 0.0  # put over the latents, as a share of their deviation
    contrast: Weight = 1.0  # global encoder only: who is who, beside 1 of what a person looks like
    max_snr_weight: Positive | None = 5.0
    fit_pictures: Count = 2000
    checkpoint_minutes: Weight = 5.0
    checkpoint_steps: Count | None = None
    keep_checkpoints: Count = 2
    log_steps: Count = 25
    sheet_steps: Count | None = None

    def __post_init__(self) -> None:
        if self.other_starts and self.noised != "coarse":
            raise ValueError(
                f"other_starts is a share, of samples with noised: coarse; got {self.other_starts} "
                f"with noised: {self.noised}."
            )


@dataclass(frozen=True, config=_CONFIG)
class CoarseRun:
    """Stage 2's own results for training pairs, the input of stage 3; `pairs` null takes all.

    `autocast` runs the networks in bf16; None does so on a GPU alone.

    `denoise` are shares of a run of `steps` steps, taken in turn by the batches. Below 1 stage 2
    draws the target not from noise but from its noised truth, and makes that share of the steps:
    what it then gets wrong lies on the truth's own outlines. A picture drawn from noise differs
    from the truth in much that nobody can know, and a stage 3 that learns from such pairs to come
    near the truth learns to blur.
    """

    pairs: Count | None = 4000
    batch_size: Count = 16
    steps: Count = 20
    guidance_scale: Guidance | None = None
    autocast: Switch | None = None
    denoise: Annotated[tuple[Annotated[Positive, Field(le=1)], ...], Field(min_length=1)] = (1.0,)


@dataclass(frozen=True, config=_CONFIG)
class PerceptionRun:
    """A network trained on renders whose view of a picture is a loss (`perception.py`).

    `features`, `joints` and `texture` weigh the distance of its features, what it reads of the
    pose, and the energy of texture, against the denoising loss.
    """

    steps: Count = 1500
    batch_size: Count = 32
    learning_rate: Weight = 2e-3
    features: Weight = 1.0
    joints: Weight = 0.0
    texture: Weight = 0.0


@dataclass(frozen=True, config=_CONFIG)
class StudentRun:
    """A few-step student of stages 2 and 3.

    `teacher_steps` are those of the teacher within one of the student's; `guidance_scale` is the
    teacher's (the preset's where nothing is said). `rank` is that of the difference. With
    `teacher_steps: 0` the student learns from the truth, at its own timesteps alone: so it is for
    teachers whose sampler draws noise in each step, and do not always land at the same place.
    """

    steps: Count = 4
    teacher_steps: Annotated[Whole, Field(ge=0)] = 5
    rank: Count = 48
    guidance_scale: Guidance | None = None


StageName = Annotated[str, Field(pattern=f"^({'|'.join(TRAINED)})$")]


@dataclass(frozen=True, config=_CONFIG)
class PlanRun:
    """How a run whose whole time is given (`--minutes`) shares it out.

    `shares` says in their order which parts it makes, and how much of the time each gets beside the
    parts after it. A part's share is of what is left when it begins, so that a slow start shortens
    what follows and nothing is taken from the end. It begins with `people`, while others are
    rendered. `rate_seconds` of stage 2's steps, thrown away, give the machine's speed. Parts that
    get less than `compile_seconds` are not compiled. `end_seconds` are for files, sheets, and what
    the student needs after its training.
    """

    shares: Mapping[StageName | Literal["coarse", "student"], Weight] = field(default_factory=dict)
    people: Count = 64
    rate_seconds: Positive = 20.0
    compile_seconds: Weight = 90.0
    end_seconds: Weight = 10.0


Stages = Annotated[Mapping[StageName, Annotated[StageRun, _EMPTY]], _EMPTY]


@dataclass(frozen=True, config=_CONFIG)
class TrainConfig:
    """One YAML file: the preset, the people, and a `StageRun` a stage."""

    preset: str = "mini"
    choice: str | None = None  # which of the file's `choices` was taken
    height: Side | None = None  # of pictures; the preset's, as width and fit
    width: Side | None = None
    fit: FitMode | None = None
    skeleton_reduction: Whole | None = None  # the preset's; see `InpaintingConfig`
    autoencoder: Mapping[str, Any] = field(default_factory=dict)  # over the preset's fields
    global_encoder: Mapping[str, Any] = field(default_factory=dict)  # likewise
    unet: Mapping[str, Any] = field(default_factory=dict)  # likewise, of stage 2's UNet
    patch_picture_size: Count | None = None  # of the patch encoder's input; the preset's
    seed: Annotated[Whole, Field(ge=SEED.low, le=SEED.high)] = 0
    mixed_precision: Precision = "no"
    compile: Switch = False
    moments_in_memory: Switch = False  # of rendered people, see features/in_memory.py
    tensorboard: Switch = False
    wandb: Switch = False
    identities: Count = 1500
    views: Count = 8
    render_workers: Count = 2
    stages: Stages = field(default_factory=dict)
    coarse: Annotated[CoarseRun, _EMPTY] = field(default_factory=CoarseRun)
    perception: Annotated[PerceptionRun, _EMPTY] = field(default_factory=PerceptionRun)
    student: Annotated[StudentRun, _EMPTY] = field(default_factory=StudentRun)
    plan: Annotated[PlanRun, _EMPTY] = field(default_factory=PlanRun)
    smaller: str | None = None  # the choice that `--minutes` takes on a machine that is too slow:
    least_rate: Weight = 0.0  # one of fewer samples of stage 2 a second

    @property
    def trackers(self) -> tuple[str, ...]:
        """Which of accelerate's trackers log the run."""
        return tuple(name for name in ("tensorboard", "wandb") if getattr(self, name))

    def stage(self, name: str) -> StageRun:
        """The run of one stage (defaults where the file says nothing)."""
        return self.stages.get(name, StageRun())


_SECTIONS = {
    "stages": StageRun,
    "coarse": CoarseRun,
    "perception": PerceptionRun,
    "student": StudentRun,
    "plan": PlanRun,
}


def _problem(error: Mapping[str, Any]) -> str:
    """One setting: its place in the file, what was read there, and what it may be."""
    kind, path = error["type"], [str(part) for part in error["loc"] if part != "[key]"]
    key, message = ".".join(path), error["msg"].replace("Input should", "it should")
    if kind == "unexpected_keyword_argument":
        within = _SECTIONS[path[0]] if len(path) > 1 else TrainConfig
        return f"{key} is no setting. Known: {', '.join(sorted(f.name for f in fields(within)))}."
    if kind == "value_error":  # of a __post_init__, which names its settings itself
        return f"{key}: {message.removeprefix('Value error, ')}"
    return f"{key} is {short(error['input'])}: {message}."


def _section(document: dict[str, Any], path: Path, *keys: str) -> dict[str, Any]:
    """What stands below the keys; a name with nothing below it says nothing."""
    for depth, key in enumerate(keys, 1):
        section = document.get(key)
        if section is not None and not isinstance(section, dict):
            place = ".".join(map(str, keys[:depth]))
            raise ValueError(f"{path}: {place} is {short(section)}: it should be a dictionary.")
        document = section or {}
    return document


def _with_choice(document: dict[str, Any], choice: str | None, path: Path) -> dict[str, Any]:
    """The document with the settings of one of its `choices` on top."""
    choices = _section(document, path, "choices")
    choice = document.get("choice") if choice is None else choice
    merged = {name: value for name, value in document.items() if name != "choices"}
    if choice is None:
        return merged
    if choice not in list(choices):  # a list, because a file may ask for what has no hash
        names = ", ".join(map(str, choices)) or "none in this file"
        raise ValueError(f"{path}: there is no choice {choice!r}. Known: {names}.")
    below = ("choices", choice, "stages")
    stages = dict(_section(document, path, "stages"))
    for name in _section(document, path, *below):
        changes = _section(document, path, *below, name)
        stages[name] = {**_section(document, path, "stages", name), **changes}
    settings = _section(document, path, "choices", choice)
    return {**merged, **settings, "choice": choice, "stages": stages}


def add_set_option(parser: argparse.ArgumentParser) -> None:
    """`--set`, the `changes` of `load_config`."""
    parser.add_argument(
        *("--set", "-s"),
        dest="changes",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="another value of a setting, as stages.refining.batch_size=8; more than once",
    )


def _changed(
    document: dict[str, Any], names: Sequence[str], value: object, path: Path
) -> dict[str, Any]:
    """The document with a value where the names lead."""
    name, *below = names
    if below:
        value = _changed(_section(document, path, name), below, value, path)
    return {**document, name: value}


def load_config(path: Path, choice: str | None = None, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a YAML configuration.

    Args:
        choice: where a file has several sets of settings side by side (`choices`), which of them;
            None takes the file's own `choice`.
        changes: `key=value` with a path of names as the key, over what the file says.

    Raises:
        ValueError: the file is no mapping, or holds unknown settings or values of another type or
            outside their range; each is named with its place in the file.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: this is no YAML: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected settings as `name: value`, found nothing of the kind.")
    document = _with_choice(document, choice, path)
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign or key in ("choice", "choices"):
            raise ValueError(f"--set takes KEY=VALUE, and no choice (--choice); got {change!r}.")
        try:
            document = _changed(document, key.split("."), yaml.safe_load(text), path)
        except yaml.YAMLError as error:
            raise ValueError(f"--set {key}: {short(text)} is no YAML.") from error
    try:
        return TypeAdapter(TrainConfig).validate_python(document)
    except ValidationError as error:
        place = f"{path} with --set" if changes else path
        problems = [_problem(one) for one in error.errors()]
        raise ValueError("\n".join(f"{place}: {problem}" for problem in problems)) from error
