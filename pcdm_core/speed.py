"""Faster sampling at some cost in quality. Each preset changes the pictures; none is a default.

How much they change is measured by `python -m training.evaluation.compare_settings --variants
fast`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .ranges import check_settings


@dataclass(frozen=True)
class FastPreset:
    """What is done otherwise than by default, and stands above the arguments of a call.

    Attributes:
        about: one line for a menu.
        steps: of every stage; None leaves them.
        guidance_scale: of stages 2 and 3; None leaves it.
        guidance_interval: the part of the steps, as shares of their number, that is guided; the
            others ask the network once a picture instead of twice (arXiv 2404.07724).
        target_half_decode: decode the target's half of stage 2's canvas alone. The published
            decoder's norms and attention see the whole canvas, so the picture changes a little; a
            code of single patches gives the same.
        hand_over_latents: give stage 2's latents to stage 3 without decoding and encoding them.
            There is no coarse picture then.

    Raises:
        ValueError: a setting that is no number of its range, see `ranges`.
    """

    about: str
    steps: int | None = None
    guidance_scale: float | None = None
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    target_half_decode: bool = False
    hand_over_latents: bool = False

    def __post_init__(self) -> None:
        check_settings(
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            guidance_interval=self.guidance_interval,
        )

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


EXACT = FastPreset("nothing is changed")
"""Stands for no preset."""

STUDENT = "student"
"""The preset for a few-step student, whose weights are the pipeline's `student`."""

_MIDDLE = (0.2, 0.8)

FAST_PRESETS: Mapping[str, FastPreset] = {
    "10-steps": FastPreset("10 steps in every stage", steps=10),
    "8-steps": FastPreset("8 steps in every stage", steps=8),
    "4-steps": FastPreset("4 steps in every stage", steps=4),
    "guidance-interval": FastPreset(
        "guidance in the middle 60 % of the steps", guidance_interval=_MIDDLE
    ),
    "half-decode": FastPreset("only the target's half is decoded", target_half_decode=True),
    "latents": FastPreset("stage 3 takes stage 2's latents as they are", hand_over_latents=True),
    "fast": FastPreset(
        "10 steps, the middle 60 % of them guided, half decode, latents handed over",
        steps=10,
        guidance_interval=_MIDDLE,
        target_half_decode=True,
        hand_over_latents=True,
    ),
    STUDENT: FastPreset(
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


def find_fast(fast: FastPreset | str | None) -> FastPreset:
    """The preset of a name; None is `EXACT`, a preset is itself.

    Raises:
        ValueError: no such name; the known ones are listed.
    """
    if fast is None:
        return EXACT
    if isinstance(fast, FastPreset):
        return fast
    if fast not in FAST_PRESETS:
        raise ValueError(f"Unknown fast preset {fast!r}. Known: {', '.join(FAST_PRESETS)}.")
    return FAST_PRESETS[fast]
