"""Faster sampling at some cost in quality. Each preset changes the pictures; none is a default.

How much they change is measured by `python -m training.evaluation.compare_settings --variants
fast`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .options import SamplingOptions


@dataclass(frozen=True)
class SpeedPreset(SamplingOptions):
    """Sampling options that stand above the arguments of a call.

    Attributes:
        about: one line for a menu.
    """

    about: str

    def check_coarse(self) -> None:
        """Refuse to be asked for coarse pictures where there are none.

        Raises:
            ValueError: latents are handed over.
        """
        if self.hand_over_latents:
            raise ValueError(
                f"The preset makes no coarse picture ({self.about}): leave --save-coarse out, or "
                f"add --no-refining."
            )


EXACT = SpeedPreset("nothing is changed")
"""Stands for no preset."""

STUDENT = "student"
"""The preset for a few-step student, whose weights are the pipeline's `student`."""

_MIDDLE = (0.2, 0.8)

FAST_PRESETS: Mapping[str, SpeedPreset] = {
    "10-steps": SpeedPreset("10 steps in every stage", steps=10),
    "8-steps": SpeedPreset("8 steps in every stage", steps=8),
    "4-steps": SpeedPreset("4 steps in every stage", steps=4),
    "guidance-interval": SpeedPreset(
        "guidance in the middle 60 % of the steps", guidance_interval=_MIDDLE
    ),
    "half-decode": SpeedPreset("only the target's half is decoded", target_half_decode=True),
    "latents": SpeedPreset("stage 3 takes stage 2's latents as they are", hand_over_latents=True),
    "fast": SpeedPreset(
        "10 steps, the middle 60 % of them guided, half decode, latents handed over",
        steps=10,
        guidance_interval=_MIDDLE,
        target_half_decode=True,
        hand_over_latents=True,
    ),
    STUDENT: SpeedPreset(
        "4 steps without guidance, of weights that were trained for it", steps=4, guidance_scale=1.0
    ),
}


def add_fast_options(parser: argparse.ArgumentParser) -> None:
    """`--fast NAME`, with what each does, and `--student FOLDER`."""
    menu = "; ".join(f"{name}: {preset.about}" for name, preset in FAST_PRESETS.items())
    text = f"changes the pictures, and stands above --steps and --guidance-scale: {menu}"
    parser.add_argument("--fast", choices=tuple(FAST_PRESETS), help=text.replace("%", "%%"))
    about = "folder of a few-step student (with --fast student by default that of the weights)"
    parser.add_argument("--student", type=Path, help=about)


Fast = SpeedPreset | str | None
"""A preset, or its name."""


def find_fast(fast: Fast) -> SpeedPreset:
    """The preset of a name; None is `EXACT`, a preset is itself.

    Raises:
        ValueError: no such name; the known ones are listed.
    """
    if fast is None:
        return EXACT
    if isinstance(fast, SpeedPreset):
        return fast
    if fast not in FAST_PRESETS:
        raise ValueError(f"Unknown fast preset {fast!r}. Known: {', '.join(FAST_PRESETS)}.")
    return FAST_PRESETS[fast]


def sampling_options(fast: Fast = None, **options: Any) -> SamplingOptions:
    """`SamplingOptions` of these fields, and above them what a preset or its name says.

    Raises:
        ValueError: an unknown preset, or a setting outside its range.
    """
    return SamplingOptions(**options).under(find_fast(fast))


FastPreset = SpeedPreset  # the old name, for one release
