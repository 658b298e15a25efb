"""The ranges of numeric settings, one place for Python, the command line and the nodes.

Standard library only: the command line reads its options before anything heavy is loaded.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from .quoting import short


@dataclass(frozen=True)
class Range:
    """What a number may be; NaN and infinity never are in a range.

    Attributes:
        low: the least number.
        high: the greatest one; None is no bound.
        whole: whole numbers only.
        above: `low` itself is left out.
        preset: a number outside that is taken too and stands for the preset's own; None is none.
    """

    low: int
    high: int | None = None
    whole: bool = True
    above: bool = False
    preset: int | None = None

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.above:
            return f"{kind} that lies above {self.low} and is {self.high} at most"
        if self.high is None:
            return f"{kind} of at least {self.low}"
        words = "" if self.preset is None else f", or {self.preset} for the preset's own"
        return f"{kind} from {self.low} to {self.high}{words}"

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, Integral if self.whole else Real):
            return False
        number: Any = value
        if number == self.preset:
            return True
        # NaN is neither above nor below anything.
        inside = self.low < number if self.above else self.low <= number
        return inside and number < math.inf and (self.high is None or number <= self.high)

    @property
    def bounds(self) -> dict[str, Any]:
        """`min` and `max`, as a node's input takes them; the preset's own number is the default."""
        if self.preset is None:
            return {"min": self.low, "max": self.high}
        return {"min": self.preset, "max": self.high, "default": self.preset}

    def check(self, name: str, value: object) -> None:
        """Refuse what is outside.

        Raises:
            ValueError: the setting's name, what it is and what it may be.
        """
        if value not in self:
            raise ValueError(f"{name} is {short(value)}; give {self}.")

    def parse(self, text: str) -> Any:
        """The number of an option on the command line, as `type` of argparse.

        Raises:
            ArgumentTypeError: no number of the range; argparse puts the option's name before it.
        """
        try:
            value = int(text) if self.whole else float(text)
        except ValueError:
            value = None
        if value not in self:
            raise argparse.ArgumentTypeError(f"got {short(text)}; give {self}")
        return value


COUNT = Range(1)
NUMBER = Range(0)
SHARE = Range(0, 1, whole=False)

SEED = Range(0, 2**64 - 1)  # what torch's generators take
STEPS = Range(1)  # the upper end is that of the noise table, see `schedules.check_steps`
GUIDANCE_SCALE = Range(0, 100, whole=False)
GUIDANCE_RESCALE = Range(0, 4, whole=False)
DENOISE = Range(0, 1, whole=False, above=True)
PICTURES = Range(1, 64)
BATCH_INDEX = Range(0, 65535)  # noise of every lower index is drawn too
DRAWS = Range(1, 10_000)  # of a row: one for each step
POSES = Range(1, 1024)  # of a movement
SIDE = Range(1, 65535)  # of a picture in pixels; no JPEG is larger

_BY_NAME: Mapping[str, Range] = {
    "seed": SEED,
    "steps": STEPS,
    "guidance_scale": GUIDANCE_SCALE,
    "guidance_rescale": GUIDANCE_RESCALE,
    "guidance_interval": SHARE,
    "denoise": DENOISE,
    "pictures": PICTURES,
    "batch_index": BATCH_INDEX,
    "draws": DRAWS,
    "chunk": COUNT,
    "count": POSES,
    "threshold": SHARE,
    "strength": SHARE,
    "height": SIDE,
    "width": SIDE,
}


def check_settings(**settings: object) -> None:
    """Refuse settings that are no number of their range, each under its own name.

    None stands for a default and passes; of a sequence every number is checked.

    Raises:
        ValueError: which setting, what it is and what it may be.
    """
    for name, value in settings.items():
        if isinstance(value, Sequence) and not isinstance(value, str):
            for one in value:
                _BY_NAME[name].check(name, one)
        elif value is not None:
            _BY_NAME[name].check(name, value)


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `HEIGHTxWIDTH`, as `type` of argparse.

    Raises:
        ArgumentTypeError: it is something else, or a side is outside its range.
    """
    height, cross, width = text.partition("x")
    if not cross:
        raise argparse.ArgumentTypeError(f"{short(text)} is no HEIGHTxWIDTH, such as 768x512")
    return SIDE.parse(height), SIDE.parse(width)
