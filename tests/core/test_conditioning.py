"""Conditioning as a value: rows, batches, and what unconditional means in each stage."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pcdm_core.conditioning import Conditioning, PriorConditioning
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from tests.core.tiny_pipeline import TEST, randomise
from tests.core.tiny_stages import inpainting_inputs, prior_inputs, refining_inputs


def rows(batch: int, embed: bool = True) -> Conditioning:
    """Row i holds i everywhere."""

    def fill(*shape: int) -> Tensor:
        return torch.arange(batch).float().view(batch, *[1] * len(shape)).expand(batch, *shape)

    return Conditioning(
        fill(3, 4), fill(5, 2, 2), pose=fill(6, 2, 2), embed=fill(4) if embed else None
    )


def test_inpainting_without_conditions_keeps_canvas_and_pose() -> None:
    model = InpaintingModel(TEST.inpainting)
    cond = model.condition(**inpainting_inputs(2))
    null = model.unconditional(cond)
    assert null.tokens.shape == cond.tokens.shape
    assert null.tokens.eq(0).all()
    assert null.embed is not None
    assert null.embed.eq(0).all()
    assert null.concat is cond.concat
    assert null.pose is cond.pose


def test_refining_without_conditions_drops_the_coarse_picture_too() -> None:
    assert TEST.refining is not None
    model = RefiningModel(TEST.refining)
    null = model.unconditional(model.condition(**refining_inputs(2)))
    assert null.tokens.eq(0).all()
    assert null.concat.eq(0).all()


def test_the_prior_without_conditions_keeps_both_poses() -> None:
    assert TEST.prior is not None
    model = PosePrior(TEST.prior)
    cond = model.condition(**prior_inputs(2))
    null = model.unconditional(cond)
    assert null.image_embeds.eq(0).all()
    assert null.source_pose is cond.source_pose
    assert null.target_pose is cond.target_pose


def test_the_single_stage_release_projects_zero_features() -> None:
    config = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")
    model = randomise(InpaintingModel(config), 0)
    assert isinstance(model, InpaintingModel)
    torch.nn.init.ones_(model.image_projection.net[4].bias)  # type: ignore[arg-type]
    inputs = {**inpainting_inputs(1), "target_embeds": None}
    null = model.unconditional(model.condition(**inputs))
    expected = model.image_projection(torch.zeros(1, 1, config.patch_dim))
    assert expected.abs().max() > 0
    torch.testing.assert_close(null.tokens, expected.expand_as(null.tokens), rtol=0, atol=1e-5)


def test_null_tokens_that_a_model_cannot_make_are_refused() -> None:
    model = InpaintingModel(replace(TEST.inpainting, null_tokens="encoded_zeros"))
    cond = model.condition(**inpainting_inputs(1))
    with pytest.raises(ValueError, match="encoded_zeros"):
        model.unconditional(cond)


def test_one_row_expands_and_equals_itself_in_every_row() -> None:
    wide = rows(2).select(slice(1, 2)).expand(3)
    assert len(wide) == 3
    assert wide.tokens.eq(1).all()
    assert wide.concat.shape == (3, 5, 2, 2)


def test_rows_of_the_batch_stay_as_they_are() -> None:
    cond = rows(3)
    assert torch.equal(cond.expand(3).tokens, cond.tokens)


def test_rows_that_do_not_fit_the_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="2 rows does not fit a batch of 3"):
        rows(2).expand(3)


def test_joining_puts_the_first_before_the_second_and_widens_single_rows() -> None:
    first, second = rows(2), replace(rows(2), concat=torch.ones(1, 5, 2, 2))
    joint = first.cat(second)
    assert len(joint) == 4
    assert joint.tokens[:, 0, 0].tolist() == [0, 1, 0, 1]
    assert joint.concat[:, 0, 0, 0].tolist() == [0, 1, 1, 1]


def test_joining_rows_with_and_without_an_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="embed"):
        rows(1).cat(rows(1, embed=False))


def test_choosing_rows_also_chooses_from_what_all_rows_share() -> None:
    cond = replace(rows(3), concat=torch.ones(1, 5, 2, 2))
    selection = cond.select(torch.tensor([2, 0]))
    assert selection.tokens[:, 0, 0].tolist() == [2, 0]
    assert selection.concat.shape[0] == 2


def test_moving_to_another_type_keeps_what_is_absent() -> None:
    cond = rows(1, embed=False).to(dtype=torch.float16)
    assert cond.tokens.dtype == torch.float16
    assert cond.embed is None


def test_the_priors_conditioning_has_the_same_rows() -> None:
    cond = PriorConditioning(torch.zeros(1, 4), torch.zeros(1, 1, 36), torch.ones(2, 1, 36))
    assert len(cond) == 2
    assert cond.expand(2).image_embeds.shape == (2, 4)
