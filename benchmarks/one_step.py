"""One step of each stage at its real size: what a CPU can measure of the published models.

Each stage is built alone with random weights and given away again, so that the largest of them
sets the memory. A step is what the pack's loop does between two noise levels: the network on the
null and the conditional rows, guidance, and the sampler. The prior has no guidance, as published.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from pcdm_core.config import Preset
from pcdm_core.models import PosePrior
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler

from .inputs import noise_case, random_component
from .published_baseline import GUIDANCE, plain_sample
from .timing import peak_bytes, spread


def draw(*shape: int) -> Tensor:
    """Noise from a fixed seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def condition(preset: Preset, stage: str, model: Any) -> tuple[Any, Tensor]:
    """The conditioning of one pose and x_t, of noise in the shapes that the encoders give."""
    channels, scale = preset.autoencoder.latent_channels, preset.autoencoder.downscale
    height, width = preset.height // scale, preset.width // scale
    patches = (preset.patch_encoder.picture_size // preset.patch_encoder.patch_size) ** 2 + 1
    tokens = draw(1, patches, preset.patch_encoder.hidden_size)
    if stage == "prior":
        case, embeds = noise_case(preset, 1), draw(1, model.config.embedding_dim)
        return model.condition(embeds, case.source_pose, case.targets), embeds
    if stage == "refining":
        latents = draw(1, channels, height, width)
        return model.condition(tokens, latents), latents
    canvas = draw(1, channels, height, 2 * width)
    dim = model.config.embedding_dim
    pose_map = draw(1, 3, preset.height, 2 * preset.width)
    return model.condition(tokens, None if dim is None else draw(1, dim), canvas, pose_map), canvas


class TwoSteps:
    """A loop over two steps; what lies between their ends is one whole step.

    Args:
        plain: the scripts' loop in place of the pack's; the prior has only the pack's.
    """

    def __init__(self, model: Any, cond: Any, x_t: Tensor, *, plain: bool) -> None:
        self.model, self.cond, self.x_t = model, cond, x_t
        self.plain = plain and not isinstance(model, PosePrior)
        self.guided = not isinstance(model, PosePrior)

    def __call__(self, told: Callable[[int], None] = lambda _: None) -> None:
        """`told` is called with 0 at the end of the first step, and with 1 of the second."""
        model, scheduler = self.model, make_scheduler(self.model.config.schedule)
        null = model.unconditional(self.cond) if self.guided else None
        options: dict[str, Any] = {
            "steps": 2,
            "guidance_scale": GUIDANCE,
            "callback": lambda index, _: told(index),
        }
        if self.plain:
            plain_sample(model, scheduler, self.x_t, self.cond, null, **options)
        else:
            options["step_noise"] = torch.zeros_like(self.x_t)[None]
            sample(model, scheduler, self.x_t, self.cond, null, **options)

    def seconds(self) -> tuple[float, float, float]:
        """Of one step, its processor time, and seconds of all that came before the first one."""
        ends, busy = [time.perf_counter()], [time.process_time()]

        def end(_: int) -> None:
            ends.append(time.perf_counter())
            busy.append(time.process_time())

        self(end)
        step = ends[2] - ends[1]
        return step, busy[2] - busy[1], max(ends[1] - ends[0] - step, 0.0)

    def flops(self) -> int:
        """Of one step."""
        ends: list[int] = []
        with FlopCounterMode(display=False) as counter:
            self(lambda _: ends.append(counter.get_total_flops()))
        return ends[1] - ends[0]


@torch.no_grad()
def measure_stage(preset: Preset, stage: str, rounds: int) -> dict[str, Any]:
    """Both paths' step in turn, in fp32 on the CPU."""
    model = random_component(preset, stage, "cpu")
    cond, x_t = condition(preset, stage, model)
    ways = {way: TwoSteps(model, cond, x_t, plain=way == "plain") for way in ("plain", "pack")}
    counted: dict[str, int] = {}
    # One run for both counts, which warms up as well: at this size a step takes many seconds.
    peak = {
        way: peak_bytes(lambda way=way, loop=loop: counted.update({way: loop.flops()}), "cpu")
        for way, loop in ways.items()
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    busy: dict[str, list[float]] = {way: [] for way in ways}
    before: list[float] = []
    for _ in range(rounds):
        for way, loop in ways.items():  # in turn, so that a busy machine slows both
            step, processor, first = loop.seconds()
            times[way].append(step)
            busy[way].append(processor)
            before += [first] if way == "pack" else []
    weights = sum(parameter.nbytes for parameter in model.parameters())

    def ratio(of: dict[str, list[float]]) -> dict[str, float]:
        rows = zip(of["pack"], of["plain"], strict=True)
        return spread([mine / theirs for mine, theirs in rows])

    return {
        "stage": stage,
        "seconds": {way: spread(values) for way, values in times.items()},
        "seconds_to_prepare": spread(before)["median"],
        "processor_seconds": {way: spread(values) for way, values in busy.items()},
        "ratio": ratio(times),
        "processor_ratio": ratio(busy),
        "tflop": {way: count / 1e12 for way, count in counted.items()},
        "peak_bytes": {way: weights + value for way, value in peak.items()},
        "weight_bytes": weights,
    }


def measure_steps(preset: Preset, rounds: int) -> list[dict[str, Any]]:
    """Stage after stage; only one of them is in memory."""
    rows: list[dict[str, Any]] = []
    for stage in ("prior", "inpainting", "refining"):
        if getattr(preset, stage) is not None:
            rows.append(measure_stage(preset, stage, rounds))
            gc.collect()
    return rows
