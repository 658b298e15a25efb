"""Steps, guidance and denoise of a stage: numbers, or what the weights were made for.

A widget holds a number only, so one number that means nothing else stands for "the preset's".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import comfy.samplers
from comfy_api.latest import io

from ..pcdm_core.config import Preset, RefiningConfig, ScheduleConfig
from ..pcdm_core.presets import PRESETS
from ..pcdm_core.ranges import GUIDANCE_RESCALE, GUIDANCE_SCALE, SEED, SHARE, Range
from .newer import ADVANCED
from .stage_model import StageModel

PUBLISHED = "published"
MOST_STEPS = ScheduleConfig.num_train_timesteps  # of all presets
STEPS_OR_OWN = Range(1, MOST_STEPS, preset=0)
GUIDANCE_OR_OWN = replace(GUIDANCE_SCALE, preset=-1)
DENOISE_OR_OWN = replace(SHARE, preset=-1)
RANGES: Mapping[str, Range] = {
    "steps": STEPS_OR_OWN,
    "guidance_scale": GUIDANCE_OR_OWN,
    "denoise": DENOISE_OR_OWN,
}
_SAMPLERS = {
    "unipc": "UniPC",
    "ddim": "DDIM",
    "ddim_trailing": "DDIM",
    "ddpm_trailing": "DDPM",
    "unclip": "unCLIP",
}
_WITHOUT_WEIGHTS = "test"  # a preset that nobody has weights of


@dataclass(frozen=True)
class StageSettings:
    """What a sampler node runs with, and what to say of it.

    Attributes:
        values: the widgets, with the preset's in place of the numbers that stand for them.
        fact: which of them are the preset's; empty where all were set.
        warning: which were set to what another preset takes; empty where none was.
    """

    values: dict[str, Any]
    fact: str
    warning: str


def stage_settings(inner: StageModel, widgets: Mapping[str, Any]) -> StageSettings:
    """The settings of a stage from widgets, of which those of `RANGES` may be the preset's."""
    preset, refining = inner.preset, isinstance(inner.core_config, RefiningConfig)
    defaults = _settings_of(preset, refining)
    names = [name for name in defaults if name in widgets]
    values = {name: own_or_set(name, widgets[name], defaults[name]) for name in names}
    sampler = _SAMPLERS[inner.core_config.schedule.sampler]
    words = {"steps": f"{defaults['steps']} steps of {sampler}"}
    words |= {name: f"{name} {defaults[name]:g}" for name in names if name not in words}
    ours = [words[name] for name in names if widgets[name] == RANGES[name].preset]
    warnings = [
        f"{name} is {values[name]:g}, which is for {' and '.join(others)}; the weights of this "
        f"node, {preset.name}, take {defaults[name]:g}. {RANGES[name].preset} is always "
        "the weights' own."
        for name in names
        if (others := _others_with(name, values[name], preset, refining))
        and values[name] != defaults[name]
    ]
    fact = f"As {preset.name} takes it: {', '.join(ours)}." if ours else ""
    return StageSettings({**widgets, **values}, fact, " ".join(warnings))


def own_or_set(name: str, value: float, default: float) -> float:
    """A widget's number, or in place of the one for "the preset's" the preset's own."""
    return default if value == RANGES[name].preset else value


def _settings_of(preset: Preset, refining: bool) -> dict[str, float]:
    return {
        "steps": preset.steps,
        "guidance_scale": preset.guidance_scale,
        "denoise": preset.refining_denoise if refining else 1.0,
    }


def _others_with(name: str, value: float, preset: Preset, refining: bool) -> list[str]:
    """Other presets that have the stage, and take this value."""
    return [
        other.name
        for other in PRESETS.values()
        if _WITHOUT_WEIGHTS not in (preset.name, other.name)
        and other.name != preset.name
        and (other.refining is not None or not refining)
        and _settings_of(other, refining)[name] == value
    ]


def steps_input() -> io.Input:
    """How many steps; 0 is the preset's number."""
    return io.Int.Input(
        "steps",
        **STEPS_OR_OWN.bounds,
        tooltip="Number of denoising steps. More take longer. 0 takes as many as the weights were "
        "made for.",
    )


def sampling_inputs() -> list[io.Input]:
    """The widgets of the sampler nodes, in the order and with the names that artists know."""
    stock = comfy.samplers.KSampler
    return [
        io.Int.Input(
            "seed",
            default=0,
            **SEED.bounds,
            control_after_generate=True,
            tooltip="Another seed gives another picture. All poses of a batch share the "
            "noise of one seed.",
        ),
        steps_input(),
        io.Float.Input(
            "guidance_scale",
            **GUIDANCE_OR_OWN.bounds,
            step=0.1,
            round=0.01,
            **ADVANCED,
            tooltip="How strongly the result follows the source and the pose. 1 means no "
            "guidance. -1 takes what the weights were made for.",
        ),
        io.Combo.Input(
            "sampler_name",
            options=[PUBLISHED, *stock.SAMPLERS],
            default=PUBLISHED,
            **ADVANCED,
            tooltip="'published' is the sampler that belongs to the weights. Change it "
            "only to experiment.",
        ),
        io.Combo.Input(
            "scheduler",
            options=[PUBLISHED, *stock.SCHEDULERS],
            default=PUBLISHED,
            **ADVANCED,
            tooltip="How the steps are spaced. 'published' is the spacing that belongs to "
            "the weights.",
        ),
        io.Float.Input(
            "denoise",
            **DENOISE_OR_OWN.bounds,
            step=0.01,
            **ADVANCED,
            tooltip="1 starts from pure noise. Lower values keep more of the picture that "
            "the run starts from. -1 takes what the weights were made for.",
        ),
        io.Float.Input(
            "guidance_rescale",
            default=0.0,
            **GUIDANCE_RESCALE.bounds,
            step=0.05,
            **ADVANCED,
            tooltip="Tames the contrast of pictures drawn with guidance. 0 is off; the "
            "authors' script for stage 3 uses 2.",
        ),
    ]
