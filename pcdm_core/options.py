"""How the stages sample: one table for the pipeline, the command, training and measuring."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from .config import Preset
from .ranges import check_settings

DEFAULT_STEPS = Preset.steps  # of presets that say nothing else
Options = TypeVar("Options", bound="SamplingOptions")


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """What is sampled otherwise than by default.

    Attributes:
        steps: of every stage; None is the preset's.
        guidance_scale: of stages 2 and 3; None is the preset's, 1 is unguided.
        guidance_rescale: of stages 2 and 3. As published: 2.0 in stage 3; here 0 everywhere.
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

    steps: int | None = None
    guidance_scale: float | None = None
    guidance_rescale: float = 0.0
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    target_half_decode: bool = False
    hand_over_latents: bool = False

    def __post_init__(self) -> None:
        check_settings(
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            guidance_rescale=self.guidance_rescale,
            guidance_interval=self.guidance_interval,
        )

    def under(self: Options, other: SamplingOptions) -> Options:
        """These, and above them whatever the other one changes."""
        changes = {f.name: getattr(other, f.name) for f in fields(SamplingOptions)}
        defaults = {f.name: f.default for f in fields(SamplingOptions)}
        return replace(self, **{k: v for k, v in changes.items() if v != defaults[k]})

    def loop(self, preset: Preset) -> dict[str, Any]:
        """The arguments of `sampling.sample` in stages 2 and 3, with the preset's own defaults."""
        scale = self.guidance_scale
        return {
            "steps": self.steps or preset.steps,
            "guidance_scale": preset.guidance_scale if scale is None else scale,
            "guidance_rescale": self.guidance_rescale,
            "guidance_interval": self.guidance_interval,
        }
