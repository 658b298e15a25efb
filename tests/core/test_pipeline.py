"""The three stages in a row, with real tiny components and random weights."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcdm_core.images import fit, from_uint8, load_image, load_picture, to_uint8
from pcdm_core.models import PosePrior
from pcdm_core.output import PCDMsOutput
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.source_and_targets import read_source_and_targets
from pcdm_core.presets import PRESETS
from pcdm_core.stages import predict_embedding
from pcdm_core.vae import PatchAutoencoder
from tests.core.tiny_pipeline import TEST, components, picture, poses, tiny_pipeline

STEPS = 3


@pytest.fixture(scope="module")
def pipeline() -> PCDMsPipeline:
    return tiny_pipeline()


@pytest.fixture(scope="module")
def batch(pipeline: PCDMsPipeline) -> PCDMsOutput:
    """Three poses of one source."""
    return pipeline(picture(), poses(1, 50), poses(3), seed=7, steps=STEPS)


def share_of_std(a: Tensor, b: Tensor) -> float:
    return ((a - b).abs().max() / b.std()).item()


def count_calls(pipeline: PCDMsPipeline) -> Counter[str]:
    """Counts every component's forward passes from now on."""
    calls: Counter[str] = Counter()

    def count(name: str):
        return lambda *_: calls.update([name])

    for name in ("patch_encoder", "global_encoder"):
        getattr(pipeline, name).register_forward_hook(count(name))
    for name in ("inpainting", "refining"):
        getattr(pipeline, name).unet.register_forward_hook(count(name))
    assert pipeline.prior is not None
    assert isinstance(pipeline.autoencoder, PatchAutoencoder)
    pipeline.prior.transformer.proj_in.register_forward_hook(count("prior"))
    pipeline.autoencoder.encoder.register_forward_hook(count("encode"))
    return calls


def test_a_batch_of_poses_calls_each_network_once_a_step_and_encodes_the_source_once():
    pipeline = tiny_pipeline()
    calls = count_calls(pipeline)
    pipeline(picture(), poses(1, 50), poses(3), seed=0, steps=STEPS, guidance_scale=2.0)
    assert calls == {
        "patch_encoder": 1,
        "global_encoder": 1,
        "encode": 2,  # the source's canvas, and the three coarse pictures together
        "prior": STEPS,
        "inpainting": STEPS,
        "refining": STEPS,
    }


@pytest.mark.parametrize("row", range(3))
def test_a_pose_in_a_batch_equals_the_same_pose_alone(
    pipeline: PCDMsPipeline, batch: PCDMsOutput, row: int
):
    alone = pipeline(picture(), poses(1, 50), poses(1, row), seed=7, steps=STEPS)
    assert alone.target_embeds is not None
    assert batch.target_embeds is not None
    assert share_of_std(alone.target_embeds, batch.target_embeds[[row]]) < 1e-4
    assert share_of_std(alone.coarse, batch.coarse[[row]]) < 1e-4
    assert share_of_std(alone.image, batch.image[[row]]) < 1e-4


@pytest.mark.slow
def test_in_8_bits_one_value_in_10_000_of_a_batch_differs_by_1_at_most(root: Path) -> None:
    """On the shipped weights, whose stages follow each other as in `pcdm generate`."""
    person = sorted((root / "pcdm_core" / "weights" / "examples").glob("[0-9]*"))[0]
    source = load_picture(person / "00.png")
    targets = [person / f"0{number}.json" for number in (1, 2, 3)]
    read = read_source_and_targets(person / "00.json", targets, *source.shape[-2:])
    shipped = PCDMsPipeline.from_folder()
    run: dict[str, Any] = {"seed": 3, "steps": STEPS}
    result = shipped(source, read.source, read.targets, **run).image
    image = shipped(load_image(person / "00.png"), read.source, read.targets, **run).image
    assert torch.equal(image, result)  # of the file's 8 bits as of the picture
    together = to_uint8(result).astype(int)
    alone = [
        to_uint8(shipped(source, read.source, read.targets.select(row), **run).image)
        for row in range(3)
    ]
    difference = abs(np.concatenate(alone).astype(int) - together)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-4


@pytest.mark.slow
def test_every_input_reaches_the_result(pipeline: PCDMsPipeline, batch: PCDMsOutput):
    base: dict[str, Any] = {
        "source": picture(),
        "source_pose": poses(1, 50),
        "target_pose": poses(3),
        "seed": 7,
    }
    changes: tuple[dict[str, Any], ...] = (
        {"source": picture(1)},
        {"source_pose": poses(1, 51)},
        {"target_pose": poses(3, 20)},
        {"seed": 8},
        {"guidance_scale": 1.0},
        {"batch_index": [1, 1, 1]},
    )
    for change in changes:
        other = pipeline(**{**base, **change}, steps=STEPS)
        assert share_of_std(other.coarse, batch.coarse) > 1e-3, change
        assert share_of_std(other.image, batch.image) > 1e-3, change


def test_poses_of_a_batch_share_the_noise_and_further_indices_do_not(pipeline: PCDMsPipeline):
    same = poses(1).expand(3)
    result = pipeline(
        picture(), poses(1, 50), same, seed=7, steps=STEPS, batch_index=[0, 0, 1]
    ).image
    assert share_of_std(result[0], result[1]) < 1e-4
    assert share_of_std(result[2], result[1]) > 1e-3


@pytest.mark.slow
def test_a_seed_a_row_equals_each_seed_alone(pipeline: PCDMsPipeline):
    both = pipeline(picture(), poses(1, 50), poses(1).expand(2), seed=[3, 4], steps=STEPS)
    for row, seed in enumerate((3, 4)):
        alone = pipeline(picture(), poses(1, 50), poses(1), seed=seed, steps=STEPS)
        assert share_of_std(alone.image, both.image[[row]]) < 1e-4


def test_features_of_a_source_serve_further_poses_without_encoding_again():
    pipeline = tiny_pipeline()
    direct = pipeline(picture(), poses(1, 50), poses(2), seed=1, steps=STEPS)
    features = pipeline.encode_source(picture())
    calls = count_calls(pipeline)
    again = pipeline(features, poses(1, 50), poses(2), seed=1, steps=STEPS)
    assert torch.equal(again.image, direct.image)
    assert calls["patch_encoder"] == calls["global_encoder"] == 0
    assert calls["encode"] == 1  # the coarse pictures


def test_the_stages_alone_make_what_the_whole_makes(pipeline: PCDMsPipeline, batch: PCDMsOutput):
    features = pipeline.encode_source(picture())
    pose: dict[str, Any] = {"source_pose": poses(1, 50), "target_pose": poses(3)}
    sampling: dict[str, Any] = {"seed": 7, "steps": STEPS}
    embeds = pipeline.predict_embedding(features, **pose, **sampling)
    coarse = pipeline.inpaint(features, **pose, target_embeds=embeds, **sampling)
    refined = pipeline.refine(features, coarse, **sampling)
    assert embeds is not None
    assert batch.target_embeds is not None
    assert torch.equal(embeds, batch.target_embeds)
    assert torch.equal(coarse, batch.coarse)
    assert torch.equal(refined, batch.image)


def test_three_sources_in_one_batch_equal_each_alone(pipeline: PCDMsPipeline):
    sources = torch.cat([picture(k) for k in range(3)])
    together = pipeline(sources, poses(3, 50), poses(3), seed=2, steps=STEPS)
    alone = pipeline(sources[1:2], poses(1, 51), poses(1, 1), seed=2, steps=STEPS)
    assert share_of_std(alone.image, together.image[1:2]) < 1e-4


def test_refining_takes_a_coarse_picture_from_a_file(pipeline: PCDMsPipeline):
    features = pipeline.encode_source(picture())
    coarse = picture(4)
    from_file = from_uint8(to_uint8(coarse))
    result = pipeline.refine(features, coarse, seed=0, steps=STEPS)
    assert share_of_std(pipeline.refine(features, from_file, seed=0, steps=STEPS), result) < 0.05
    assert share_of_std(pipeline.refine(features, picture(5), seed=0, steps=STEPS), result) > 0.1


def test_pictures_and_mask_are_in_range_and_have_the_presets_size(batch: PCDMsOutput):
    for result in (batch.image, batch.coarse):
        assert result.shape == (3, 3, TEST.height, TEST.width)
        assert result.min() >= -1
        assert result.max() <= 1
        assert result.std() > 0
    assert batch.mask.shape == (3, 1, TEST.height, TEST.width)
    assert 0.05 < batch.mask.mean() < 0.8
    assert batch.notes == ()


def test_without_refining_the_coarse_picture_is_the_result(pipeline: PCDMsPipeline):
    result = pipeline(picture(), poses(1, 50), poses(1), seed=0, steps=STEPS, with_refining=False)
    assert torch.equal(result.image, result.coarse)


def test_a_preset_without_prior_and_refining_gives_one_picture():
    inpainting = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")
    preset = replace(TEST, prior=None, global_encoder=None, refining=None, inpainting=inpainting)
    result = tiny_pipeline(preset)(picture(), poses(1, 50), poses(2), seed=0, steps=STEPS)
    assert result.target_embeds is None
    assert torch.equal(result.image, result.coarse)


@pytest.mark.slow
@pytest.mark.parametrize(("height", "width"), [(101, 67), (40, 90), (64, 48), (200, 31)])
def test_a_picture_of_any_size_is_served_and_given_back_at_its_size(
    pipeline: PCDMsPipeline, height: int, width: int
):
    source = picture(0, height, width)
    pose, target = poses(1, 50), poses(2)
    result = pipeline(source, pose, target, seed=0, steps=STEPS, restore=True)
    assert result.image.shape == result.coarse.shape == (2, 3, height, width)
    assert result.mask.shape == (2, 1, height, width)
    fitted, how = fit(source, TEST.height, TEST.width, TEST.fit)
    by_hand = pipeline(
        fitted, pose.moved(how.points), target.moved(how.points), seed=0, steps=STEPS
    )
    assert torch.equal(result.image, how.undo(by_hand.image))


def test_a_partial_pose_is_served_and_differs_from_the_whole(
    pipeline: PCDMsPipeline, batch: PCDMsOutput
):
    whole = poses(3)
    visible = whole.visible.clone()
    visible[:, 8:14] = False  # no legs
    partial = Keypoints(whole.xy, visible)
    result = pipeline(picture(), poses(1, 50), partial, seed=7, steps=STEPS)
    assert result.image.isfinite().all()
    assert share_of_std(result.coarse, batch.coarse) > 1e-3
    assert result.mask.sum() < batch.mask.sum()


def test_a_pose_without_a_visible_joint_is_refused_by_its_number(pipeline: PCDMsPipeline):
    some = poses(3)
    visible = some.visible.clone()
    visible[1] = False
    empty = Keypoints(some.xy, visible)
    with pytest.raises(ValueError, match="target pose number 2 has no visible joint"):
        pipeline(picture(), poses(1), empty, seed=0, steps=STEPS)
    with pytest.raises(ValueError, match="source pose has no visible joint"):
        pipeline(picture(), empty.select(1), some, seed=0, steps=STEPS)
    outside = Keypoints(some.xy + 2.0, some.visible)
    with pytest.raises(ValueError, match="inside the picture"):
        pipeline(picture(), poses(1), outside, seed=0, steps=STEPS)


def test_hands_are_dropped_with_a_note_where_the_preset_draws_none(pipeline: PCDMsPipeline):
    body = poses(1)
    hands = Keypoints(
        body.xy, body.visible, torch.full((1, 2, 21, 2), 0.5), torch.ones(1, 2, 21).bool()
    )
    with_hands = pipeline(picture(), poses(1, 50), hands, seed=0, steps=STEPS)
    without = pipeline(picture(), poses(1, 50), body, seed=0, steps=STEPS)
    assert torch.equal(with_hands.image, without.image)
    assert "hand" in with_hands.notes[0]


def test_batches_that_do_not_fit_are_refused_with_both_numbers(pipeline: PCDMsPipeline):
    two = torch.cat([picture(0), picture(1)])
    with pytest.raises(ValueError, match="2 source pictures for 3 target poses"):
        pipeline(two, poses(1), poses(3), seed=0, steps=STEPS)
    with pytest.raises(ValueError, match="2 source poses for 3 target poses"):
        pipeline(picture(), poses(2), poses(3), seed=0, steps=STEPS)
    with pytest.raises(ValueError, match="batch_index has 1 numbers for 3"):
        pipeline(picture(), poses(1), poses(3), seed=0, steps=STEPS, batch_index=[0])
    with pytest.raises(ValueError, match="seed has 2 numbers for 3"):
        pipeline(picture(), poses(1), poses(3), seed=[0, 1], steps=STEPS)
    with pytest.raises(ValueError, match="no target pose"):
        pipeline(picture(), poses(1), poses(0), seed=0, steps=STEPS)


def test_progress_is_told_stage_by_stage(pipeline: PCDMsPipeline):
    progress: list[tuple[str, int, int]] = []

    def note(*step: Any) -> None:
        progress.append(step)

    pipeline(picture(), poses(1, 50), poses(1), seed=0, steps=2, callback=note)
    stages = ("prior", "inpainting", "refining")
    assert progress == [(stage, step, 2) for stage in stages for step in (1, 2)]


def test_without_a_number_every_stage_takes_the_presets_steps():
    own = PCDMsPipeline(replace(PRESETS["test"], steps=3), **components())  # type: ignore[arg-type]
    progress: list[tuple[str, int, int]] = []

    def note(*step: Any) -> None:
        progress.append(step)

    result = own(picture(), poses(1, 50), poses(1), seed=0, callback=note)
    assert {steps for _, _, steps in progress} == {3}
    assert torch.equal(result.image, own(picture(), poses(1, 50), poses(1), seed=0, steps=3).image)


def test_a_prior_without_its_image_encoder_is_refused():
    parts = components()
    del parts["global_encoder"]
    with pytest.raises(ValueError, match="global image encoder"):
        PCDMsPipeline(PRESETS["test"], **parts)  # type: ignore[arg-type]


def test_the_priors_temperature_scales_its_noise_and_at_zero_seeds_agree(pipeline: PCDMsPipeline):
    embeds = pipeline.encode_source(picture()).image_embeds
    assert embeds is not None

    def spread(temperature: float) -> float:
        assert TEST.prior is not None
        cool = PosePrior(replace(TEST.prior, temperature=temperature))
        assert pipeline.prior is not None
        cool.load_state_dict(pipeline.prior.state_dict())
        draws = [
            predict_embedding(cool, embeds, poses(1, 50), poses(1), seed=seed, steps=4)
            for seed in (1, 2)
        ]
        return float((draws[0] - draws[1]).abs().max())

    assert spread(0.0) == 0.0
    assert 0.0 < spread(0.3) < spread(1.0)
    published = PRESETS["published"].prior
    assert published is not None
    assert published.temperature == 1.0
