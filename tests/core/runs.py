"""Tiny models in runs of the sampling loop, and how their results are compared."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from pcdm_core.models import InpaintingModel, PosePrior
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler
from tests.core.tiny_pipeline import TEST, randomise
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


def difference(result: Tensor, expected: Tensor) -> float:
    return float((result - expected).abs().max() / expected.std())


def attentions(model: Any, name: str = "") -> list[Any]:
    return [m for n, m in model.named_modules() if isinstance(m, Attention) and n.endswith(name)]


def cross_attentions(model: Any) -> list[Any]:
    return attentions(model, "attn2")


def count_calls(modules: list[nn.Module]) -> list[int]:
    """A list that grows by the number of rows at every call of one of the modules."""
    calls: list[int] = []
    for module in modules:
        module.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    return calls


def rms(result: Tensor, expected: Tensor) -> float:
    """Root of the mean square difference, in deviations of what is expected."""
    return float((result.double() - expected.double()).square().mean().sqrt() / expected.std())
