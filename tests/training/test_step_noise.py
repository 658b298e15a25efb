"""What training draws with a sampler that has noise in each step."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pcdm_core.config import Preset
from tests.training.students import stage_of
from training.coarse.render import CoarseRenderer
from training.commands.components import Components, load_components
from training.config import CoarseRun
from training.data.in_memory import People
from training.loop import sample_rng
from training.loop.sample_sheets import draw_sheet

COARSE = CoarseRun(batch_size=2, steps=4, guidance_scale=1.0, denoise=(1.0, 0.5), autocast=False)
PAIRS = torch.tensor([[0, 1], [2, 3]])


def parts_of(teacher: Path, *, stochastic: bool) -> Components:
    parts = load_components(teacher, torch.device("cpu"))
    if stochastic:
        config = parts.inpainting.config
        schedule = replace(config.schedule, sampler="ddpm_trailing")
        parts.inpainting.config = replace(config, schedule=schedule)
    return parts


def test_a_samples_step_noise_does_not_depend_on_its_neighbours() -> None:
    both = sample_rng.step_normal(3, 5, torch.tensor([7, 8]), (2, 3), 4)
    assert both.shape == (3, 2, 2, 3)
    alone = sample_rng.step_normal(3, 5, torch.tensor([8]), (2, 3), 4)
    assert torch.equal(both[:, 1:], alone)
    assert not torch.equal(both[0], both[1])
    assert sample_rng.step_normal(3, 5, torch.tensor([7, 8]), (2, 3), 1).shape == (0, 2, 2, 3)


def test_coarse_pictures_are_drawn_with_the_weights_own_sampler(
    teacher: Path, people: People, preset: Preset
) -> None:
    drawn: dict[bool, np.ndarray] = {}
    keys: set[str] = set()
    for stochastic in (False, True):
        parts = parts_of(teacher, stochastic=stochastic)
        known = people.with_embeds(parts.global_encoder)
        renderer = CoarseRenderer(preset, parts, COARSE, 0)
        keys.add(renderer.key(known, PAIRS))
        batches = [renderer(known, PAIRS, torch.arange(k, k + 2)) for k in (0, 2)]
        drawn[stochastic] = np.concatenate(batches)  # of pure noise, then of the noised truth
        again = renderer(known, PAIRS, torch.arange(2))
        assert np.array_equal(again, batches[0])
    assert len(keys) == 2
    assert (drawn[True] != drawn[False]).mean() > 0.1


def test_sheets_show_the_weights_own_sampler(teacher: Path, people: People) -> None:
    stage, rows = stage_of("inpainting", teacher, people)
    plain = draw_sheet(stage, rows[:2], steps=3)
    stage.schedule = replace(stage.schedule, sampler="ddpm_trailing")
    stochastic = draw_sheet(stage, rows[:2], steps=3)
    assert plain is not None
    assert stochastic is not None
    assert np.array_equal(stochastic, draw_sheet(stage, rows[:2], steps=3))
    assert (plain != stochastic).any()
