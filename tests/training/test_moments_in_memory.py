"""Moments of people in memory: what is kept is what is computed, away from the seam."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pcdm_core.config import Preset
from pcdm_core.vae import ConvAutoencoder
from training.commands.mini_run import MiniRun
from training.data.in_memory import CoarsePictures, People
from training.features.in_memory import MomentsInMemory
from training.features.protocol import OnlineFeatures

from .test_mini import CONFIG, CONV

PAIRS = torch.tensor([[0, 1], [2, 0], [1, 1], [7, 2]])
HALF = {"rtol": 1e-3, "atol": 1e-3}  # of fp16


@pytest.fixture
def code(preset: Preset) -> ConvAutoencoder:
    torch.manual_seed(3)
    code = ConvAutoencoder(replace(preset.autoencoder, kind="conv", block_out_channels=(8, 16)))
    for tensor in code.state_dict().values():
        torch.nn.init.normal_(tensor, std=0.1)
    return code.requires_grad_(False)


def counted(code: ConvAutoencoder) -> list[int]:
    """How many pictures each later call encodes."""
    sizes: list[int] = []
    code.encoder.register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    return sizes


def test_a_row_is_encoded_once_and_alone(people: People, code: ConvAutoencoder) -> None:
    sizes = counted(code)
    features = MomentsInMemory(people, code)
    features.source_moments(PAIRS[:, 0])
    first = len(sizes)
    again = features.source_moments(PAIRS[:2, 0])
    assert len(sizes) == first
    assert set(sizes) == {1}
    alone = MomentsInMemory(people, code).source_moments(PAIRS[:1, 0])
    assert torch.equal(alone[0], again[0])


def test_moments_are_those_of_the_pictures_but_for_the_seam(
    people: People, code: ConvAutoencoder
) -> None:
    online, features = OnlineFeatures(people, code), MomentsInMemory(people, code)
    source, target = PAIRS.unbind(1)
    torch.testing.assert_close(
        features.source_moments(source), online.source_moments(source), **HALF
    )
    torch.testing.assert_close(
        features.picture_moments(target), online.picture_moments(target), **HALF
    )
    mine, theirs = (f.pair_moments(source, target) for f in (features, online))
    apart = (mine - theirs).abs().amax((0, 1, 2))
    middle = len(apart) // 2
    reach = int((apart > 2e-3).nonzero()[:, 0].sub(middle).abs().max())
    assert 0 < reach <= 6 < middle
    # A linear code has no seam.
    linear = ConvAutoencoder(code.config)
    online, features = OnlineFeatures(people, linear), MomentsInMemory(people, linear)
    torch.testing.assert_close(
        features.pair_moments(source, target), online.pair_moments(source, target), **HALF
    )


def test_people_that_come_later_get_rows_and_others_keep_theirs(
    people: People, code: ConvAutoencoder
) -> None:
    few = People(**{name: value[:8] for name, value in vars(people).items()})
    features = MomentsInMemory(few, code)
    before = features.source_moments(torch.tensor([3]))
    features.people = people
    sizes = counted(code)
    after = features.source_moments(torch.tensor([3, len(people) - 1]))
    assert torch.equal(before[0], after[0])
    assert after.isfinite().all()
    assert len(sizes) == 2  # one to know the shape, one for the new row


def test_coarse_pictures_have_their_own_rows(people: People, code: ConvAutoencoder) -> None:
    coarse = CoarsePictures(people.pictures[4:6].flip(-1), torch.tensor([[0, 1], [1, 0]]))
    numbers = torch.tensor([1, 0, 1])
    online = OnlineFeatures(people, code, coarse=coarse)
    features = MomentsInMemory(people, code, coarse=coarse)
    torch.testing.assert_close(
        features.coarse_moments(numbers), online.coarse_moments(numbers), **HALF
    )
    with pytest.raises(ValueError, match="Stage 3 needs coarse pictures"):
        MomentsInMemory(people, code).coarse_moments(numbers)


def test_a_recipe_that_asks_for_it_trains_on_them(tmp_path: Path, people_folder: Path) -> None:
    config = replace(CONFIG, autoencoder=CONV, moments_in_memory=True)
    run = MiniRun(config, people_folder, tmp_path)
    run.run_all()
    assert isinstance(run.features(run.frozen()), MomentsInMemory)
    assert run.has("inpainting", "refining")
