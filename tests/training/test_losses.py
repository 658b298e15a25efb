"""The denoising loss."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from pcdm_core.conditioning import Conditioning
from pcdm_core.config import PredictionType, ScheduleConfig
from pcdm_core.schedules import alphas_cumprod
from tests.core.tiny_stages import draw
from training.stages.losses import add_noise, clean_sample, denoising_loss, draw_timesteps, target

COND = Conditioning(torch.zeros(3, 1, 1), torch.zeros(3, 1, 1, 1))
X0, NOISE = draw(3, 2, 4, 4), draw(3, 2, 4, 4, seed=1)
TIMESTEPS = torch.tensor([0, 500, 999])


def loss_of(prediction: Tensor, schedule: ScheduleConfig, **options: Any) -> Tensor:
    return denoising_loss(
        lambda *_: prediction,
        schedule,
        alphas_cumprod(schedule),
        X0,
        COND,
        noise=NOISE,
        timesteps=TIMESTEPS,
        **options,
    )


@pytest.mark.parametrize("kind", get_args(PredictionType))
def test_a_perfect_denoiser_has_no_loss(kind: PredictionType) -> None:
    schedule = ScheduleConfig(prediction_type=kind)
    table = alphas_cumprod(schedule)

    def perfect(x_t: Tensor, timesteps: Tensor, _: Conditioning) -> Tensor:
        """Knows the picture, and finds the rest in x_t."""
        a = table[timesteps].view(-1, 1, 1, 1)
        noise = (x_t - a.sqrt() * X0) / (1 - a).sqrt()
        v = a.sqrt() * noise - (1 - a).sqrt() * X0
        return {"sample": X0, "epsilon": noise, "v_prediction": v}[kind]

    loss = denoising_loss(perfect, schedule, table, X0, COND, noise=NOISE, timesteps=TIMESTEPS)
    assert loss.item() < 1e-9
    assert loss_of(torch.zeros_like(X0), schedule).item() > 0.1


@pytest.mark.parametrize("kind", get_args(PredictionType))
def test_the_three_targets_are_one_picture_and_one_noise(kind: PredictionType) -> None:
    schedule = ScheduleConfig(prediction_type=kind)
    alpha_bar = alphas_cumprod(schedule)[TIMESTEPS]
    a = alpha_bar.view(-1, 1, 1, 1)
    x_t = add_noise(X0, NOISE, alpha_bar)
    expected = target(schedule, X0, NOISE, alpha_bar)
    # Each target gives the picture back from x_t.
    back = {
        "sample": lambda: expected,
        "epsilon": lambda: (x_t - (1 - a).sqrt() * expected) / a.sqrt(),
        "v_prediction": lambda: a.sqrt() * x_t - (1 - a).sqrt() * expected,
    }[kind]()
    torch.testing.assert_close(back, X0, rtol=1e-3, atol=1e-3)


def test_noise_grows_with_the_timestep_and_keeps_the_variance() -> None:
    table = alphas_cumprod(ScheduleConfig())
    assert torch.all(table[1:] < table[:-1])
    torch.testing.assert_close(add_noise(X0, NOISE, torch.ones(3)), X0)
    torch.testing.assert_close(add_noise(X0, NOISE, torch.zeros(3)), NOISE)
    x0, noise = draw(1, 10_000), draw(1, 10_000, seed=1)
    assert add_noise(x0, noise, torch.tensor([0.3])).std().item() == pytest.approx(1.0, abs=0.02)


def test_without_weights_the_loss_is_the_mean_squared_error() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    prediction = draw(3, 2, 4, 4, seed=9)
    expected = (prediction - X0).square().mean()
    torch.testing.assert_close(loss_of(prediction, schedule), expected)


def test_weights_choose_where_errors_count_and_not_how_much_in_all() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    left_wrong = X0.clone()
    left_wrong[..., :2] += 1.0
    right_half = torch.zeros(1, 1, 1, 4)
    right_half[..., 2:] = 1.0
    assert loss_of(left_wrong, schedule, weight=right_half).item() == 0.0
    assert loss_of(left_wrong, schedule, weight=1 - right_half).item() == pytest.approx(1.0)
    assert loss_of(X0 + 1.0, schedule, weight=right_half).item() == pytest.approx(1.0)


def test_a_samples_loss_does_not_depend_on_its_neighbours_weights() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    weight = torch.ones_like(X0)
    weight[0] *= 5.0
    wrong = X0.clone()
    wrong[0] += 1.0
    alone = torch.zeros(len(X0))
    alone[0] = 1.0
    loss = loss_of(wrong, schedule, weight=weight).item()
    assert loss == pytest.approx(alone.mean().item())


def test_the_signal_to_noise_weight_is_capped() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    snr_weight = (1 / (1 - alphas_cumprod(schedule)[TIMESTEPS])).clamp(max=5.0)
    assert snr_weight[0].item() == 5.0
    loss = loss_of(X0 + 1.0, schedule, max_snr_weight=5.0)
    torch.testing.assert_close(loss, snr_weight.mean())


def test_uniform_numbers_cover_all_timesteps_and_no_more() -> None:
    timesteps = draw_timesteps(torch.tensor([0.0, 0.0015, 0.5, 0.9999999]), ScheduleConfig())
    assert timesteps.tolist() == [0, 1, 500, 999]


def test_half_precision_predictions_are_compared_in_full() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    loss = loss_of(X0.half(), schedule)
    assert loss.dtype == torch.float32
    assert 0 < loss.item() < 1e-6


@pytest.mark.parametrize("kind", get_args(PredictionType))
def test_a_further_loss_is_of_the_picture_that_a_prediction_stands_for(
    kind: PredictionType,
) -> None:
    schedule = ScheduleConfig(prediction_type=kind)
    alpha_bar = alphas_cumprod(schedule)[TIMESTEPS]
    expected = target(schedule, X0, NOISE, alpha_bar)
    pictures: list[Tensor] = []

    def perceived(x0: Tensor) -> Tensor:
        pictures.append(x0)
        return torch.tensor([1.0, 2.0, 6.0])

    assert loss_of(expected, schedule, perceived=perceived).item() == pytest.approx(3.0)
    assert torch.allclose(pictures[0], X0, atol=2e-5)
    x_t = add_noise(X0, NOISE, alpha_bar)
    assert torch.equal(pictures[0], clean_sample(expected, x_t, alpha_bar, schedule))


def test_a_run_from_another_picture_sees_that_one_noised_and_is_asked_for_x0() -> None:
    schedule = ScheduleConfig(prediction_type="sample")
    table = alphas_cumprod(schedule)
    other, inputs = draw(3, 2, 4, 4, seed=2), list[Tensor]()

    def model(x_t: Tensor, *_: Any) -> Tensor:
        inputs.append(x_t)
        return X0

    loss = denoising_loss(
        model, schedule, table, X0, COND, noise=NOISE, timesteps=TIMESTEPS, start=other
    )
    assert loss.item() == 0.0
    assert torch.equal(inputs[0], add_noise(other, NOISE, table[TIMESTEPS]))
