"""Noise, samplers, guidance, and the one loop."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pcdm_core.ancestral import UnCLIPWithNoise
from pcdm_core.conditioning import Conditioning
from pcdm_core.config import ScheduleConfig
from pcdm_core.inputs import draw_step_noise
from pcdm_core.models import InpaintingModel, PosePrior
from pcdm_core.presets import PRESETS
from pcdm_core.sampling import draw_noise, guide, sample
from pcdm_core.schedules import alphas_cumprod, make_scheduler
from tests.core.tiny_pipeline import TEST, randomise
from tests.core.tiny_stages import CASES, draw, inpainting_inputs, x_t
from training.stages.losses import add_noise

PUBLISHED, SIMPLIFIED = PRESETS["published"], PRESETS["simplified"]
STEPS = 4
STOCHASTIC = ScheduleConfig(sampler="ddpm_trailing", prediction_type="sample")


def run(model: Any, cond: Any, noise: Tensor, **options: Any) -> Tensor:
    """The loop as each stage runs it; the prior's step noise is the same for every row."""
    if isinstance(model, PosePrior):
        step_noise = draw(STEPS - 1, 1, noise.shape[1], seed=8).expand(-1, len(noise), -1)
        options["step_noise"] = step_noise
    scheduler = make_scheduler(model.config.schedule)
    return sample(model, scheduler, noise, cond, steps=STEPS, **options)


def tiny(stage: str, batch: int) -> tuple[Any, Any, Tensor]:
    build, inputs = CASES[stage]
    model = randomise(build(), 0).eval()
    with torch.no_grad():
        return model, model.condition(**inputs(batch)), x_t(model, batch)


STAGES = pytest.mark.parametrize("stage", CASES)


# --- noise ---------------------------------------------------------------------------------------


def test_noise_is_that_of_the_rows_index_in_any_batch() -> None:
    several = draw_noise((2, 3), 5, [0, 1, 2, 3], draws=2)
    alone = draw_noise((2, 3), 5, [3], draws=2)
    assert torch.equal(several[:, 3:], alone)
    assert not torch.equal(several[:, 2], several[:, 3])


def test_rows_of_one_index_share_their_noise() -> None:
    noise = draw_noise((4,), 5, [0, 0, 0])[0]
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(noise[0], noise[2])


def test_noise_is_the_seeds_sample_after_sample() -> None:
    generator = torch.Generator().manual_seed(5)
    expected = [torch.randn(4, generator=generator) for _ in range(4)]
    noise = draw_noise((4,), 5, [0, 1], draws=2)
    assert torch.equal(noise[:, 0], torch.stack(expected[:2]))
    assert torch.equal(noise[:, 1], torch.stack(expected[2:]))


def test_another_seed_gives_other_noise_and_the_global_generator_is_left_alone() -> None:
    state = torch.get_rng_state()
    assert not torch.equal(draw_noise((4,), 5, [0]), draw_noise((4,), 6, [0]))
    assert torch.equal(torch.get_rng_state(), state)


# --- samplers ------------------------------------------------------------------------------------


def test_the_published_timesteps_are_kept() -> None:
    unipc = make_scheduler(PUBLISHED.inpainting.schedule)
    unipc.set_timesteps(20)
    assert unipc.timesteps.tolist() == [
        999, 949, 899, 849, 799, 749, 699, 649, 599, 549,
        500, 450, 400, 350, 300, 250, 200, 150, 100, 50,
    ]  # fmt: skip
    assert unipc.sigmas[-1].item() == pytest.approx(0.0291675, abs=1e-6)
    assert PUBLISHED.prior is not None
    unclip = make_scheduler(PUBLISHED.prior.schedule)
    unclip.set_timesteps(20)
    assert unclip.timesteps.tolist() == [
        999, 946, 894, 841, 789, 736, 684, 631, 578, 526,
        473, 421, 368, 315, 263, 210, 158, 105, 53, 0,
    ]  # fmt: skip
    assert unclip.config.clip_sample_range == 10.0
    ddim = make_scheduler(SIMPLIFIED.inpainting.schedule)
    ddim.set_timesteps(50)
    assert ddim.timesteps.tolist() == list(range(981, 0, -20))


@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
def test_training_and_sampling_share_the_noise_table(sampler: str) -> None:
    config = replace(ScheduleConfig(), sampler=sampler)  # type: ignore[arg-type]
    assert torch.equal(make_scheduler(config).alphas_cumprod, alphas_cumprod(config))


def test_the_priors_table_is_the_one_it_trains_with() -> None:
    assert TEST.prior is not None
    config = TEST.prior.schedule
    torch.testing.assert_close(
        make_scheduler(config).alphas_cumprod, alphas_cumprod(config), rtol=1e-5, atol=1e-9
    )


@pytest.mark.parametrize("sampler", ["unipc", "ddim", "unclip", "ddpm_trailing"])
def test_a_perfect_denoiser_returns_the_picture(sampler: str) -> None:
    config = ScheduleConfig(
        sampler=sampler,  # type: ignore[arg-type]
        prediction_type="sample",
        clip_sample_range=10.0 if sampler == "unclip" else None,
    )
    x0, start = draw(2, 3, 4, 4, seed=1), draw(2, 3, 4, 4)
    cond = Conditioning(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1))
    scheduler = make_scheduler(config)
    step_noise = draw(9, *x0.shape, seed=2) if config.ancestral else None
    result = sample(lambda *_: x0, scheduler, start, cond, steps=10, step_noise=step_noise)
    if sampler == "unclip":
        expected = x0 * (scheduler.betas[0] / (1 - scheduler.alphas_cumprod[0]))
    elif sampler == "ddpm_trailing":
        expected = x0  # down to the sample itself
    else:
        # As published, both end at the noise of t = 0, which is all that is left of the start's.
        table = alphas_cumprod(config)
        first = table[scheduler.timesteps[0]]
        noise = (start - first.sqrt() * x0) / (1 - first).sqrt()
        expected = add_noise(x0, noise, table[:1])
    torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4)


def test_the_ancestral_step_is_the_librarys_with_noise_from_outside() -> None:
    assert TEST.prior is not None
    scheduler = make_scheduler(TEST.prior.schedule)
    assert isinstance(scheduler, UnCLIPWithNoise)
    scheduler.set_timesteps(5)
    x, predicted = draw(1, 8), draw(1, 8, seed=1)
    steps = scheduler.timesteps.tolist()
    for index, t in enumerate(steps):
        noise = torch.randn(1, 8, generator=torch.Generator().manual_seed(3))
        following = steps[index + 1] if index + 1 < len(steps) else None
        expected = scheduler.step(
            predicted,
            t,
            x,
            prev_timestep=following,
            generator=torch.Generator().manual_seed(3),
        ).prev_sample
        result = scheduler.ancestral_step(predicted, index, x, noise)
        torch.testing.assert_close(result, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("steps", [4, 20])
def test_ddpm_is_the_librarys_ddim_with_noise_from_outside(steps: int) -> None:
    scheduler = make_scheduler(STOCHASTIC)
    scheduler.set_timesteps(steps)
    x, predicted = draw(2, 8), draw(2, 8, seed=1)
    for index, t in enumerate(scheduler.timesteps.tolist()):
        noise = draw(2, 8, seed=index)
        expected = scheduler.step(predicted, t, x, eta=1.0, variance_noise=noise).prev_sample
        result = scheduler.ancestral_step(predicted, index, x, noise)
        torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("steps", "denoise"), [(7, 1.0), (15, 1.0), (3, 0.4)])
def test_ddpm_keeps_the_noise_of_each_timestep(steps: int, denoise: float) -> None:
    """Also for numbers of steps that do not divide the table, where the library's steps slip."""
    scheduler, table = make_scheduler(STOCHASTIC), alphas_cumprod(STOCHASTIC)
    x0, noise = torch.zeros(1, 60_000), draw(1, 60_000, seed=1)
    seen: list[tuple[float, float]] = []

    def perfect(x_t: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        seen.append((float(x_t.var()), float(1 - table[timesteps[0]])))
        return x0

    cond = Conditioning(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1, 1))
    step_noise = draw(steps - 1, *x0.shape, seed=3)
    loop = {"steps": steps, "denoise": denoise, "start": x0, "step_noise": step_noise}
    assert torch.equal(sample(perfect, scheduler, noise, cond, **loop), x0)
    assert len(seen) == steps
    for variance, expected in seen:
        assert variance == pytest.approx(expected, rel=0.03)


def test_step_noise_is_of_the_seed_after_the_rows_own() -> None:
    noise = draw_step_noise((4,), [5, 2**64 - 1], 2, [0, 1], steps=3)
    assert torch.equal(noise[:, :1], draw_noise((4,), 6, [0], draws=2))
    assert torch.equal(noise[:, 1:], draw_noise((4,), 0, [1], draws=2))
    assert draw_step_noise((4,), 5, 2, steps=1).shape == (0, 2, 4)


@pytest.mark.parametrize("limit", [0.5, 6.0])
def test_the_prior_clamps_to_the_range_of_its_configuration(limit: float) -> None:
    assert TEST.prior is not None
    scheduler = make_scheduler(replace(TEST.prior.schedule, clip_sample_range=limit))
    scheduler.set_timesteps(2)
    # Of the last step only the prediction is left, times 0.9995.
    end = scheduler.ancestral_step(torch.full((1, 4), 100.0), 1, torch.zeros(1, 4), None)
    assert end.max().item() == pytest.approx(limit, rel=1e-3)


# --- guidance ------------------------------------------------------------------------------------


def test_guidance_moves_away_from_the_unconditional_prediction() -> None:
    uncond, cond = draw(2, 4), draw(2, 4, seed=1)
    assert torch.equal(guide(uncond, cond, 0.0), uncond)
    torch.testing.assert_close(guide(uncond, cond, 1.0), cond)
    torch.testing.assert_close(guide(uncond, cond, 3.0), cond + 2 * (cond - uncond))


def test_full_rescaling_gives_each_sample_the_conditional_deviation() -> None:
    uncond, cond = draw(2, 4, 3, 3), draw(2, 4, 3, 3, seed=1)
    rescaled = guide(uncond, cond, 5.0, 1.0)
    for row in range(2):
        assert rescaled[row].std().item() == pytest.approx(cond[row].std().item(), rel=1e-5)


def test_the_published_rescaling_of_two_extrapolates() -> None:
    uncond, cond = draw(1, 4, 3, 3), draw(1, 4, 3, 3, seed=1)
    guided = guide(uncond, cond, 2.0)
    expected = guided * (2 * cond.std() / guided.std() - 1)
    torch.testing.assert_close(guide(uncond, cond, 2.0, 2.0), expected)


@STAGES
def test_guidance_of_one_is_no_guidance(stage: str) -> None:
    model, cond, noise = tiny(stage, 2)
    plain = run(model, cond, noise)
    assert torch.equal(run(model, cond, noise, uncond=model.unconditional(cond)), plain)
    guided = run(model, cond, noise, uncond=model.unconditional(cond), guidance_scale=2.0)
    assert (guided - plain).abs().max() > 1e-3 * plain.std()


# --- the loop ------------------------------------------------------------------------------------


@STAGES
def test_the_same_noise_gives_the_same_result(stage: str) -> None:
    model, cond, noise = tiny(stage, 1)
    assert torch.equal(run(model, cond, noise), run(model, cond, noise))


@STAGES
def test_a_sample_does_not_depend_on_its_neighbours(stage: str) -> None:
    model, cond, noise = tiny(stage, 2)
    null = model.unconditional(cond)
    options = {"guidance_scale": 2.0, "guidance_rescale": 0.7}
    both = run(model, cond, noise, uncond=null, **options)
    for row in range(2):
        rows = slice(row, row + 1)
        alone = run(model, cond.select(rows), noise[rows], uncond=null.select(rows), **options)
        assert (both[rows] - alone).abs().max() <= 1e-4 * alone.std()


@pytest.mark.parametrize(("guidance_scale", "rows"), [(1.0, 3), (2.0, 6)])
def test_a_batch_of_poses_makes_one_network_call_a_step(guidance_scale: float, rows: int) -> None:
    model = randomise(InpaintingModel(TEST.inpainting), 0).eval()
    assert isinstance(model, InpaintingModel)
    calls: list[int] = []
    model.unet.register_forward_hook(lambda _, arguments, __: calls.append(len(arguments[0])))
    one, three = inpainting_inputs(1), inpainting_inputs(3)
    with torch.no_grad():
        cond = model.condition(
            one["patch_tokens"], three["target_embeds"], one["source_latents"], three["pose_map"]
        )
    null = model.unconditional(cond)
    result = run(model, cond, x_t(model, 3), uncond=null, guidance_scale=guidance_scale)
    assert calls == [rows] * STEPS
    assert len(result) == 3


def test_one_row_of_conditioning_serves_a_batch_of_noises() -> None:
    model, cond, _ = tiny("inpainting", 1)
    result = run(model, cond, x_t(model, 2), uncond=model.unconditional(cond), guidance_scale=2.0)
    assert (result[0] - result[1]).abs().max() > 1e-3


def test_the_callback_sees_every_step_and_the_result_last() -> None:
    model, cond, noise = tiny("refining", 1)
    visits: list[tuple[int, Tensor]] = []
    result = run(model, cond, noise, callback=lambda index, x: visits.append((index, x)))
    assert [index for index, _ in visits] == list(range(STEPS))
    assert torch.equal(visits[-1][1], result)


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_very_few_steps_still_give_a_finite_result(steps: int) -> None:
    model, cond, noise = tiny("refining", 1)
    result = sample(model, make_scheduler(model.config.schedule), noise, cond, steps=steps)
    assert result.isfinite().all()


def test_impossible_numbers_of_steps_are_refused() -> None:
    model, cond, noise = tiny("refining", 1)
    with pytest.raises(ValueError, match="at least 1"):
        sample(model, make_scheduler(model.config.schedule), noise, cond, steps=0)
    prior, cond, noise = tiny("prior", 1)
    with pytest.raises(ValueError, match="2 steps or more"):
        sample(prior, make_scheduler(prior.config.schedule), noise, cond, steps=1)


def test_ancestral_samplers_ask_for_their_step_noise() -> None:
    prior, cond, noise = tiny("prior", 1)
    with pytest.raises(ValueError, match="step_noise"):
        sample(prior, make_scheduler(prior.config.schedule), noise, cond, steps=3)
    model, cond, noise = tiny("refining", 1)
    with pytest.raises(ValueError, match="step_noise"):
        sample(model, make_scheduler(STOCHASTIC), noise, cond, steps=3)


def test_schedules_that_do_not_exist_are_refused() -> None:
    with pytest.raises(ValueError, match="unipc, ddim, unclip"):
        make_scheduler(replace(ScheduleConfig(), sampler="euler"))  # type: ignore[arg-type]
    for sampler in ("unclip", "ddpm_trailing"):
        with pytest.raises(ValueError, match=f"{sampler} sampler takes predictions of the sample"):
            make_scheduler(ScheduleConfig(sampler=sampler, prediction_type="epsilon"))


# --- from a picture instead of noise -------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["unipc", "ddim"])
def test_a_small_denoise_keeps_what_it_starts_from(sampler: str) -> None:
    model, cond, noise = tiny("refining", 2)
    start = draw(*noise.shape, seed=4)
    scheduler = make_scheduler(replace(model.config.schedule, sampler=sampler))
    visits: list[tuple[int, Tensor]] = []

    def perfect(x_t: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        visits.append((int(timesteps[0]), x_t))
        return start

    result = sample(perfect, scheduler, noise, cond, start=start, denoise=0.1, steps=5)
    torch.testing.assert_close(result, start, rtol=0, atol=0.05)
    assert len(visits) == 5  # the last five of fifty
    (first, x_t), (last, _) = visits[0], visits[-1]
    assert 80 <= first <= 101
    assert last <= 21
    share = alphas_cumprod(model.config.schedule)[first].expand(2)
    torch.testing.assert_close(x_t, add_noise(start, noise, share))


@pytest.mark.parametrize("sampler", ["unipc", "ddim", "ddim_trailing"])
def test_a_share_too_small_for_its_steps_takes_the_last_timesteps(
    sampler: str,
) -> None:
    model, cond, noise = tiny("refining", 2)
    start = draw(*noise.shape, seed=4)
    scheduler = make_scheduler(replace(model.config.schedule, sampler=sampler))
    visits: list[int] = []

    def perfect(x_t: Tensor, timesteps: Tensor, cond: Any) -> Tensor:
        visits.append(int(timesteps[0]))
        return start

    options: dict[str, Any] = {"start": start, "steps": 20}
    result = sample(perfect, scheduler, noise, cond, denoise=0.001, **options)
    torch.testing.assert_close(result, start, rtol=0, atol=0.05)
    assert len(set(visits)) == 20
    assert max(visits) <= 21


def test_a_run_from_a_picture_needs_one_and_a_share_of_the_way() -> None:
    model, cond, noise = tiny("refining", 1)
    with pytest.raises(ValueError, match="needs something to start from"):
        run(model, cond, noise, denoise=0.5)
    for denoise in (0.0, 1.5):
        with pytest.raises(ValueError, match="above 0 and is 1 at most"):
            run(model, cond, noise, start=noise, denoise=denoise)
