"""The samplers as tables of coefficients."""

import pytest
import torch
from torch import Tensor

from pcdm_core.config import ScheduleConfig
from pcdm_core.sampling import sample
from pcdm_core.schedules import LinearSteps, linear_steps, make_scheduler, unipc_steps
from tests.core.runs import STEPS, difference, tiny
from tests.core.tiny_pipeline import TEST
from tests.core.tiny_stages import draw


@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 50])
def test_tabulated_steps_are_the_librarys(sampler: str, prediction_type: str, steps: int) -> None:
    scheduler = make_scheduler(
        ScheduleConfig(sampler=sampler, prediction_type=prediction_type)  # type: ignore[arg-type]
    )
    coefficients = linear_steps(scheduler, steps)
    assert coefficients is not None
    assert coefficients.shape == (steps, steps + 1)
    noise, predictions = draw(2, 3, 4, 5), draw(steps, 2, 3, 4, 5, seed=1)
    scheduler.set_timesteps(steps)
    linear, x = LinearSteps(coefficients, noise), noise
    for index, t in enumerate(scheduler.timesteps):
        x = scheduler.step(predictions[index], t, x).prev_sample
        assert difference(linear.step(predictions[index], index), x) <= 5e-6


@pytest.mark.parametrize("last", [0.0, 0.03])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_a_table_over_any_noise_levels_gives_the_librarys_steps(last: float, steps: int) -> None:
    sigmas = [float(s) for s in torch.linspace(14.6, 0.5, steps).tolist()] + [last]
    linear = LinearSteps(unipc_steps(ScheduleConfig(), tuple(sigmas)), noise := draw(2, 3, 4, 5))
    scheduler = make_scheduler(ScheduleConfig(prediction_type="sample"))
    scheduler.set_timesteps(steps)
    scheduler.sigmas, scheduler.timesteps = torch.tensor(sigmas), torch.arange(steps, 0, -1)
    predictions, x = draw(steps, 2, 3, 4, 5, seed=1), noise
    for index, t in enumerate(scheduler.timesteps):
        x = scheduler.step(predictions[index], t, x).prev_sample
        assert difference(linear.step(predictions[index], index), x) <= 5e-6


def test_in_half_precision_the_tabulated_steps_are_closer_than_the_librarys() -> None:
    scheduler = make_scheduler(ScheduleConfig())
    coefficients = linear_steps(scheduler, STEPS)
    assert coefficients is not None
    noise = draw(1, 3, 4, 5).half()
    predictions = draw(STEPS, 1, 3, 4, 5, seed=1).half()
    results: list[Tensor] = []
    for dtype in (torch.float32, torch.float16):
        scheduler.set_timesteps(STEPS)
        x = noise.to(dtype)
        for index, t in enumerate(scheduler.timesteps):
            x = scheduler.step(predictions[index].to(dtype), t, x).prev_sample
        results.append(x)
    linear = LinearSteps(coefficients, noise)
    tabulated = [linear.step(predictions[index], index) for index in range(STEPS)][-1]
    assert tabulated.dtype == torch.float16
    exact, library = results
    assert difference(tabulated, exact) < 0.5 * difference(library.float(), exact)


def test_a_sampler_that_clips_or_draws_noise_has_no_table() -> None:
    assert linear_steps(make_scheduler(TEST.prior.schedule), 5) is None  # type: ignore[union-attr]
    for sampler, option in (
        ("ddim", "clip_sample"),
        ("ddim", "thresholding"),
        ("unipc", "thresholding"),
    ):
        scheduler = make_scheduler(ScheduleConfig(sampler=sampler))
        assert linear_steps(scheduler, 5) is not None
        scheduler.register_to_config(**{option: True})
        assert linear_steps(scheduler, 5) is None


def test_the_table_belongs_to_the_schedule() -> None:
    tables = [
        linear_steps(make_scheduler(config), 4)
        for config in (
            ScheduleConfig(),
            ScheduleConfig(beta_end=0.02),
            ScheduleConfig(prediction_type="sample"),
            ScheduleConfig(sampler="ddim"),
        )
    ]
    again = linear_steps(make_scheduler(ScheduleConfig()), 4)
    assert again is tables[0]
    for index, table in enumerate(tables):
        assert table is not None
        assert not any(torch.equal(table, other) for other in tables[:index])  # type: ignore


def test_the_loop_asks_the_librarys_sampler_for_no_step() -> None:
    model, cond, noise = tiny("refining", 1)
    scheduler = make_scheduler(model.config.schedule)
    sample(model, scheduler, noise, cond, steps=4)
    assert scheduler.step_index is None  # it counts its steps
