"""What the loop computes once instead of in every step, and that the numbers stay."""

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from pcdm_core.config import ScheduleConfig
from pcdm_core.models import InpaintingModel, PosePrior
from pcdm_core.models.attention import AttentionContext, ContextAttention, attention_context
from pcdm_core.sampling import sample
from pcdm_core.schedules import LinearSteps, linear_steps, make_scheduler
from tests.core.tiny_pipeline import TEST, poses, randomise, tiny_pipeline
from tests.core.tiny_pipeline import picture as draw_picture
from tests.core.tiny_stages import CASES, draw, inpainting_inputs, x_t

STEPS = 20
SIMPLIFIED = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")


def simplified_inputs(batch: int) -> dict[str, Any]:
    return {**inpainting_inputs(batch), "target_embeds": None}


MODELS = {**CASES, "simplified": (lambda: InpaintingModel(SIMPLIFIED), simplified_inputs)}
EVERY = pytest.mark.parametrize("stage", MODELS)
LATENT = pytest.mark.parametrize("stage", ["inpainting", "refining", "simplified"])


def tiny(stage: str, batch: int) -> tuple[Any, Any, Tensor]:
    build, inputs = MODELS[stage]
    model = randomise(build(), 0).eval()
    for layer in attentions(model):  # a bias of zero would hide whether it is used
        layer.to_out[0].bias.data = draw(layer.query_dim, seed=9)
    with torch.no_grad():
        return model, model.condition(**inputs(batch)), x_t(model, batch)


def joint_rows(model: Any, cond: Any, batch: int) -> Any:
    return model.unconditional(cond).expand(batch).cat(cond.expand(batch))


def run(model: Any, cond: Any, noise: Tensor, **options: Any) -> Tensor:
    if isinstance(model, PosePrior):
        options["step_noise"] = draw(STEPS - 1, 1, noise.shape[1], seed=8)
    scheduler = make_scheduler(model.config.schedule)
    null = model.unconditional(cond)
    return sample(model, scheduler, noise, cond, null, steps=STEPS, **options)


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.std())


def attentions(model: Any, name: str = "") -> list[Any]:
    return [m for n, m in model.named_modules() if isinstance(m, Attention) and n.endswith(name)]


def cross_attentions(model: Any) -> list[Any]:
    return attentions(model, "attn2")


def count_calls(modules: list[nn.Module]) -> list[int]:
    """A list that grows by the number of rows at every call of one of the modules."""
    calls: list[int] = []
    for module in modules:
        module.register_forward_hook(lambda _, given, __: calls.append(len(given[0])))
    return calls


@EVERY
@pytest.mark.parametrize("null_rows", [0, 3])
def test_one_pass_gives_the_same_prediction(stage: str, null_rows: int) -> None:
    model, cond, x = tiny(stage, 3)
    timesteps = torch.tensor([3, 500, 999])
    if null_rows:
        cond, x, timesteps = joint_rows(model, cond, 3), torch.cat([x, x]), timesteps.repeat(2)
    with torch.no_grad():
        plain = model(x, timesteps, cond)
        assert difference(model.prepare(cond, null_rows)(x, timesteps), plain) <= 5e-6


@EVERY
@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_the_whole_loop_gives_the_same_sample(stage: str, guidance_scale: float) -> None:
    model, cond, noise = tiny(stage, 3)
    plain = run(model, cond, noise, guidance_scale=guidance_scale, savings=False)
    saved = run(model, cond, noise, guidance_scale=guidance_scale)
    assert difference(saved, plain) <= 5e-5


@EVERY
def test_without_savings_the_loop_is_the_models_and_the_librarys_steps_to_the_bit(
    stage: str,
) -> None:
    model, cond, noise = tiny(stage, 2)
    off = run(model, cond, noise, guidance_scale=2.0, savings=False)
    scheduler, joint, x = make_scheduler(model.config.schedule), joint_rows(model, cond, 2), noise
    scheduler.set_timesteps(STEPS)
    step_noise = draw(STEPS - 1, 1, noise.shape[-1], seed=8)
    with torch.no_grad():
        for index, t in enumerate(scheduler.timesteps):
            out = model(torch.cat([x, x]), t.repeat(4), joint)
            guided = out[:2] + 2.0 * (out[2:] - out[:2])
            if stage == "prior":
                drawn = step_noise[index] if t > 0 else None
                x = scheduler.ancestral_step(guided, index, x, drawn)
            else:
                x = scheduler.step(guided, t, x).prev_sample
    assert torch.equal(off, x)


@LATENT
def test_a_plain_pass_is_the_librarys_to_the_bit(stage: str) -> None:
    model, cond, x = tiny(stage, 2)
    timesteps = torch.tensor([3, 700])
    with torch.no_grad():
        ours = model(x, timesteps, cond)
        model.unet.set_attn_processor(AttnProcessor2_0())
        assert torch.equal(model(x, timesteps, cond), ours)


@LATENT
@pytest.mark.parametrize("savings", [True, False])
def test_keys_and_values_are_projected_once_a_run(stage: str, savings: bool) -> None:
    model, cond, noise = tiny(stage, 2)
    layers = cross_attentions(model)
    keys = count_calls([layer.to_k for layer in layers])
    values = count_calls([layer.to_v for layer in layers])
    run(model, cond, noise, guidance_scale=2.0, savings=savings)
    # The simplified release's null tokens are not zero: its null rows are projected, once too.
    rows = 2 if savings and stage != "simplified" else 4
    assert keys == values == [rows] * len(layers) * (1 if savings else STEPS)
    assert layers


@pytest.mark.parametrize("stage", ["inpainting", "refining"])
def test_null_rows_give_the_output_bias_and_ask_no_query(stage: str) -> None:
    model, cond, x = tiny(stage, 2)
    joint = joint_rows(model, cond, 2)
    layers = cross_attentions(model)
    outputs: list[Tensor] = []
    for layer in layers:
        layer.register_forward_hook(lambda _, __, output: outputs.append(output))
    queries = count_calls([layer.to_q for layer in layers])
    both, timesteps = torch.cat([x, x]), torch.full((4,), 500)
    with torch.no_grad():
        model(both, timesteps, joint)
        plain = list(outputs)
        assert queries == [4] * len(layers)
        outputs.clear()
        queries.clear()
        model.prepare(joint, 2)(both, timesteps)
    assert queries == [2] * len(layers)
    biases = sorted(layer.to_out[0].bias[0].item() for layer in layers)
    for found in (plain, outputs):
        assert all(torch.equal(o[:2], o[:1, :1].expand_as(o[:2])) for o in found)
        assert sorted(o[0, 0, 0].item() for o in found) == biases
        assert all((o[2:] - o[:1, :1]).abs().max() > 1e-3 for o in found)


def test_null_rows_are_kept_where_their_tokens_or_a_projection_leave_zero() -> None:
    model, cond, _ = tiny("inpainting", 2)
    tokens = joint_rows(model, cond, 2).tokens
    with torch.no_grad():
        assert attention_context(model.unet, tokens, 2).null_rows == 2
        touched = tokens.clone()
        touched[1, -1, -1] = 1e-30
        assert attention_context(model.unet, touched, 2).null_rows == 0
        projection = cross_attentions(model)[-1].to_v
        projection.bias = nn.Parameter(torch.zeros(projection.out_features))
        context = attention_context(model.unet, tokens, 2)
    assert isinstance(context, AttentionContext)
    assert context.null_rows == 0
    assert all(len(tensor) == 4 for pair in context.keys_values for tensor in pair)


def test_a_bias_on_the_values_changes_nothing_about_the_result() -> None:
    model, cond, noise = tiny("inpainting", 2)
    for layer in cross_attentions(model):
        layer.to_v.bias = nn.Parameter(draw(layer.to_v.out_features))
    plain = run(model, cond, noise, guidance_scale=2.0, savings=False)
    assert difference(run(model, cond, noise, guidance_scale=2.0), plain) <= 5e-5


def test_the_prior_makes_its_pose_tokens_once_a_run() -> None:
    model, cond, noise = tiny("prior", 2)
    calls = count_calls([model.source_pose_encoder, model.target_pose_encoder])
    run(model, cond, noise, guidance_scale=2.0)
    assert calls == [4, 4]
    calls.clear()
    run(model, cond, noise, guidance_scale=2.0, savings=False)
    assert calls == [4, 4] * STEPS


@LATENT
def test_every_attention_of_the_unet_knows_the_context_and_weights_keep_their_names(
    stage: str, caplog: pytest.LogCaptureFixture
) -> None:
    model, cond, x = tiny(stage, 1)
    names = list(model.unet.state_dict())
    processors = model.unet.attn_processors
    assert all(isinstance(p, ContextAttention) for p in processors.values())
    numbers = [p.layer for p in processors.values() if p.layer is not None]
    assert sorted(numbers) == list(range(len(cross_attentions(model))))
    library = logging.getLogger("diffusers")
    library.addHandler(caplog.handler)
    try:
        with torch.no_grad():
            model.prepare(cond)(x, torch.tensor([500]))
    finally:
        library.removeHandler(caplog.handler)
    assert caplog.messages == []
    model.unet.set_attn_processor(AttnProcessor2_0())
    assert list(model.unet.state_dict()) == names


# --- the sampler's table -------------------------------------------------------------------------


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


def test_the_saved_loop_asks_the_librarys_sampler_for_no_step() -> None:
    model, cond, noise = tiny("refining", 1)
    scheduler = make_scheduler(model.config.schedule)
    sample(model, scheduler, noise, cond, steps=4)
    assert scheduler.step_index is None  # it counts its steps
    sample(model, scheduler, noise, cond, steps=4, savings=False)
    assert scheduler.step_index == 4


# --- end to end ----------------------------------------------------------------------------------


def test_the_pipeline_gives_the_same_pictures_and_passes_the_switch_on() -> None:
    pipeline = tiny_pipeline()
    assert pipeline.prior is not None
    assert pipeline.refining is not None
    models = (pipeline.inpainting, pipeline.refining)
    keys = [layer.to_k for model in models for layer in cross_attentions(model)]
    calls = count_calls([*keys, pipeline.prior.target_pose_encoder])
    counts: list[int] = []
    results = []
    for savings in (True, False):
        calls.clear()
        results.append(
            pipeline(
                draw_picture(), poses(1, 50), poses(2), seed=0, steps=3, guidance_scale=2.0,
                savings=savings,
            )
        )  # fmt: skip
        counts.append(len(calls))
    assert counts == [len(keys) + 1, 3 * (len(keys) + 1)]
    assert difference(results[0].image, results[1].image) <= 5e-5
    assert difference(results[0].coarse, results[1].coarse) <= 5e-5
