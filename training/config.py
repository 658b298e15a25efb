"""What a run is, as a YAML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

from pcdm_core.checkpoint_keys import Component

TRAINED: tuple[Component, ...] = (
    "autoencoder",
    "global_encoder",
    "prior",
    "inpainting",
    "refining",
)

_WORDS: Mapping[str, tuple[str | None, ...]] = {
    "optimizer": ("adamw", "sgd"),
    "null_conditioning": ("zeros", "encoded_zeros"),
    "posterior": ("mean", "sample"),
    "noised": ("truth", "coarse"),
    "prediction_type": (None, "epsilon", "v_prediction", "sample"),
}


@dataclass(frozen=True)
class StageRun:
    """How one stage is trained.

    `minutes`, when set, replaces `steps`: the number of steps follows the speed measured so far,
    so that a run (its learning-rate schedule included) ends in time on any machine.

    One optimiser step sees `batch_size` samples of each process `accumulate` times over. A
    checkpoint is due after `checkpoint_minutes`, or after `checkpoint_steps` where that is set; the
    last `keep_checkpoints` of them stay.

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

    steps: int = 1000
    minutes: float | None = None
    batch_size: int = 16
    accumulate: int = 1
    optimizer: str = "adamw"  # or sgd
    learning_rate: float = 6e-4
    warmup_steps: int = 100
    decay_fraction: float = 0.4
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    clip_grad_norm: float = 1.0
    ema_decay: float | None = 0.999
    drop_tokens: float = 0.1
    drop_embeds: float = 0.15
    drop_coarse: float = 0.1
    drop_source_pose: float = 0.0
    drop_target_pose: float = 0.0
    independent_drops: bool = False
    null_conditioning: str = "zeros"  # or encoded_zeros
    embeds_noise: float = 0.3
    noise_offset: float = 0.0
    posterior: str = "mean"  # or sample
    noised: str = "truth"  # or coarse
    other_starts: float = 0.0
    sharpen: float = 0.0
    prediction_type: str | None = None  # the preset's
    gradient_checkpointing: bool = False
    source_weight: float = 0.1
    person_weight: float = 1.0
    head_weight: float = 0.0  # added to it around the head; both know rendered people only
    timestep_power: float = 1.0  # above 1 more timesteps of little noise are drawn
    perception: float = 0.0  # weight of `PerceptionRun`'s loss; knows rendered people only
    crop: int | None = None  # autoencoder only, as what follows: squares of so many pixels
    gradients: float = 0.0  # weight of the error of differences between neighbouring pixels
    latent_noise: float = 0.0  # put over the latents, as a share of their deviation
    max_snr_weight: float | None = 5.0
    fit_pictures: int = 2000
    checkpoint_minutes: float = 5.0
    checkpoint_steps: int | None = None
    keep_checkpoints: int = 2
    log_steps: int = 25
    sheet_steps: int | None = None

    def __post_init__(self) -> None:
        for name, known in _WORDS.items():
            if getattr(self, name) not in known:
                words = ", ".join(map(str, known))
                raise ValueError(f"{name} is one of {words}; got {getattr(self, name)!r}.")
        if not 0 <= self.other_starts <= 1 or (self.other_starts and self.noised != "coarse"):
            raise ValueError(
                f"other_starts is a share, of samples with noised: coarse; got {self.other_starts} "
                f"with noised: {self.noised}."
            )
        for name in ("perception", "sharpen", "gradients", "latent_noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is at least 0; got {getattr(self, name)}.")
        if self.timestep_power <= 0:
            raise ValueError(f"timestep_power is above 0; got {self.timestep_power}.")
        for name in ("batch_size", "accumulate", "keep_checkpoints", "log_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class CoarseRun:
    """Stage 2's own results for training pairs, the input of stage 3; `pairs` null takes all.

    `autocast` runs the networks in bf16; None does so on a GPU alone.

    `denoise` are shares of a run of `steps` steps, taken in turn by the batches. Below 1 stage 2
    draws the target not from noise but from its noised truth, and makes that share of the steps:
    what it then gets wrong lies on the truth's own outlines. A picture drawn from noise differs
    from the truth in much that nobody can know, and a stage 3 that learns from such pairs to come
    near the truth learns to blur.
    """

    pairs: int | None = 4000
    batch_size: int = 16
    steps: int = 20
    guidance_scale: float | None = None
    autocast: bool | None = None
    denoise: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if not self.denoise or not all(0 < share <= 1 for share in self.denoise):
            raise ValueError(f"denoise are shares above 0, 1 at most; got {self.denoise}.")


@dataclass(frozen=True)
class PerceptionRun:
    """A network trained on renders whose view of a picture is a loss (`perception.py`).

    `features`, `joints` and `texture` weigh the distance of its features, what it reads of the
    pose, and the energy of texture, against the denoising loss.
    """

    steps: int = 1500
    batch_size: int = 32
    learning_rate: float = 2e-3
    features: float = 1.0
    joints: float = 0.0
    texture: float = 0.0


@dataclass(frozen=True)
class StudentRun:
    """A few-step student of stages 2 and 3.

    `teacher_steps` are those of the teacher within one of the student's; `guidance_scale` is the
    teacher's (the preset's where nothing is said). `rank` is that of the difference.
    """

    steps: int = 4
    teacher_steps: int = 5
    rank: int = 48
    guidance_scale: float | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "teacher_steps", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"student.{name} is at least 1; got {getattr(self, name)}.")


@dataclass(frozen=True)
class TrainConfig:
    """One YAML file: the preset, the people, and a `StageRun` a stage."""

    preset: str = "mini"
    choice: str | None = None  # which of the file's `choices` was taken
    height: int | None = None  # of pictures; the preset's, as width and fit
    width: int | None = None
    fit: str | None = None
    skeleton_reduction: int | None = None  # the preset's; see `InpaintingConfig`
    autoencoder: Mapping[str, Any] = field(default_factory=dict)  # over the preset's fields
    patch_picture_size: int | None = None  # of the patch encoder's input; the preset's
    seed: int = 0
    mixed_precision: str = "no"
    compile: bool = False
    tensorboard: bool = False
    identities: int = 1500
    views: int = 8
    render_workers: int = 2
    stages: Mapping[str, StageRun] = field(default_factory=dict)
    coarse: CoarseRun = field(default_factory=CoarseRun)
    perception: PerceptionRun = field(default_factory=PerceptionRun)
    student: StudentRun = field(default_factory=StudentRun)

    def stage(self, name: str) -> StageRun:
        """The run of one stage (defaults where the file says nothing)."""
        return self.stages.get(name, StageRun())


def _build(cls: type, values: Mapping[str, Any], where: str) -> Any:
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise ValueError(
            f"{where}: unknown setting {', '.join(unknown)}. Known: {', '.join(sorted(known))}."
        )
    try:
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from error


def _chosen(
    document: dict[str, Any], choice: str | None, path: Path
) -> tuple[dict[str, Any], str | None]:
    """The document with the settings of one of its `choices` on top, and which that is."""
    choices = document.pop("choices", {}) or {}
    choice = document.pop("choice", None) if choice is None else choice
    if choice is None:
        return document, None
    if choice not in choices:
        known = ", ".join(choices) or "none in this file"
        raise ValueError(f"{path}: there is no choice {choice!r}. Known: {known}.")
    given = dict(choices[choice])
    stages = {name: dict(run or {}) for name, run in (document.get("stages") or {}).items()}
    for name, run in (given.pop("stages", {}) or {}).items():
        stages[name] = {**stages.get(name, {}), **run}
    return {**document, **given, "stages": stages}, choice


def load_config(
    path: Path, overrides: Mapping[str, Any] | None = None, choice: str | None = None
) -> TrainConfig:
    """Read a YAML configuration.

    Args:
        choice: where a file has several sets of settings side by side (`choices`), which of them;
            None takes the file's own `choice`.

    Raises:
        ValueError: the file is no mapping or holds an unknown setting; both are named.
    """
    document = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    if not isinstance(document, dict):
        raise ValueError(f"{path}: expected settings as `name: value`, found nothing of the kind.")
    document, choice = _chosen(document, choice, path)
    stages = document.pop("stages", {}) or {}
    coarse = document.pop("coarse", {}) or {}
    perception = document.pop("perception", {}) or {}
    student = document.pop("student", {}) or {}
    unknown = sorted(set(stages) - set(TRAINED))
    if unknown:
        raise ValueError(
            f"{path}: unknown stage {', '.join(unknown)}. Known: {', '.join(TRAINED)}."
        )
    config = _build(TrainConfig, document, str(path))
    return replace(
        config,
        choice=choice,
        stages={n: _build(StageRun, v or {}, f"{path}: stages.{n}") for n, v in stages.items()},
        coarse=_build(CoarseRun, coarse, f"{path}: coarse"),
        perception=_build(PerceptionRun, perception, f"{path}: perception"),
        student=_build(StudentRun, student, f"{path}: student"),
        **dict(overrides or {}),
    )
