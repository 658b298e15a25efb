"""The samplers of the nodes on a device without float64; runs in a process of its own."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tests import narrow_device
from tests.hosts import PACK, ROOT, load_pack


class Half:
    """A model that predicts half of what it gets."""

    latent_image = None
    inner_model = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=None))

    def __call__(self, x: Tensor, sigma: Tensor, **_: Any) -> Tensor:
        return x / (2 + sigma.view(-1, 1, 1, 1))


def facts() -> dict[str, float]:
    """The largest difference from the CPU of each published sampler."""
    load_pack(ROOT, PACK)
    samplers = importlib.import_module(f"{PACK}.nodes.samplers")
    config = importlib.import_module(f"{PACK}.pcdm_core.config")
    mode = narrow_device.register()
    noise = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    differences: dict[str, float] = {}
    for name in ("unipc", "ddim", "ddpm_trailing"):
        schedule = config.ScheduleConfig(sampler=name, prediction_type="sample")
        sampler, sigmas = samplers.PublishedSampler(schedule), samplers.sigmas_of(schedule, 5)
        function, options = sampler.sampler_function, sampler.extra_options
        expected = function(Half(), noise, sigmas, disable=True, **options)
        with mode:
            x, there = noise.to(narrow_device.NAME), sigmas.to(narrow_device.NAME)
            samples = function(Half(), x, there, disable=True, **options).cpu()
        differences[name] = float((samples - expected).abs().max())
    return differences
