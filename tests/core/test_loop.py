"""The loop is the model's and the library's steps, in inference mode, and waits for nobody."""

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from pcdm_core.schedules import make_scheduler
from tests.core.runs import EVERY, STEPS, difference, joint_rows, run, tiny
from tests.core.tiny_stages import draw


@EVERY
def test_only_the_passes_run_in_inference_mode(stage: str) -> None:
    model, cond, noise = tiny(stage, 1)
    within: list[bool] = []
    layer = next(m for m in model.modules() if isinstance(m, nn.LayerNorm | nn.GroupNorm))
    layer.register_forward_hook(lambda *_: within.append(torch.is_inference_mode_enabled()))
    handed: list[torch.Tensor] = []
    result = run(model, cond, noise, callback=lambda _, x: handed.append(x))
    assert any(within)
    assert not any(tensor.is_inference() for tensor in (result, *handed))


@pytest.mark.slow
@EVERY
def test_the_loop_is_the_models_and_the_librarys_steps(stage: str) -> None:
    model, cond, noise = tiny(stage, 2)
    ours = run(model, cond, noise, guidance_scale=2.0)
    scheduler, joint, x = make_scheduler(model.config.schedule), joint_rows(model, cond, 2), noise
    scheduler.set_timesteps(STEPS)
    step_noise = draw(STEPS - 1, 1, noise.shape[-1], seed=8)
    with torch.no_grad():
        for index, t in enumerate(scheduler.timesteps):
            out = model(torch.cat([x, x]), t.repeat(4), joint)
            guided = out[:2] + 2.0 * (out[2:] - out[:2])
            if stage == "prior":
                row = step_noise[index] if t > 0 else None
                x = scheduler.ancestral_step(guided, index, x, row)
            else:
                x = scheduler.step(guided, t, x).prev_sample
    assert difference(ours, x) <= 5e-5


class HostReads(TorchDispatchMode):
    """Counts what makes the host wait for a device: values read from a tensor."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        self.count += name in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "item")
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_no_step_of_the_loop_reads_a_value_back(stage: str, guidance_scale: float) -> None:
    model, cond, noise = tiny(stage, 2)
    reads: list[int] = []
    with HostReads() as mode:
        run(
            model,
            cond,
            noise,
            guidance_scale=guidance_scale,
            callback=lambda _, __: reads.append(mode.count),
        )
    assert len(reads) == STEPS
    assert reads[-1] == reads[0]
