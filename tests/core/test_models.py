"""The three denoisers: the published layouts, gradients, batches, and what they refuse."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pcdm_core.conditioning import Conditioning, PriorConditioning
from pcdm_core.models import InpaintingModel, PosePrior, RefiningModel
from pcdm_core.models.unet import PoseConv2d
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import TEST, poses, randomise
from tests.core.tiny_stages import CASES, WIDTH, draw, inpainting_inputs, prior_inputs, x_t

STAGES = pytest.mark.parametrize("stage", CASES)


@pytest.mark.parametrize(
    ("preset", "stage", "kind", "parameters", "tensors"),
    [
        ("published", "prior", PosePrior, 1_027_166_208, 354),
        ("published", "inpainting", InpaintingModel, 871_932_692, 712),
        ("published", "refining", RefiningModel, 867_891_652, 692),
        ("simplified", "inpainting", InpaintingModel, 868_981_012, 708),
    ],
)
def test_the_published_presets_have_the_published_number_of_weights(
    preset: str, stage: str, kind: type[nn.Module], parameters: int, tensors: int
) -> None:
    with torch.device("meta"):
        model = kind(getattr(PRESETS[preset], stage))
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert len(model.state_dict()) == tensors


@STAGES
def test_a_gradient_reaches_every_trainable_tensor(stage: str) -> None:
    build, inputs = CASES[stage]
    # Randomised, because upstream starts the pose encoder's last layer at zero.
    model = randomise(build(), 0)
    cond = model.condition(**inputs(2))
    model(x_t(model, 2), torch.tensor([3, 700]), cond).square().sum().backward()
    untouched = [
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # A key's bias adds the same to all scores of a query, so softmax is blind to it.
    assert [name for name in untouched if not name.endswith("to_k.bias")] == []


@STAGES
def test_a_batch_of_two_equals_two_of_one(stage: str) -> None:
    build, inputs = CASES[stage]
    model = randomise(build(), 0).eval()
    x, timesteps = x_t(model, 2), torch.tensor([3, 700])
    with torch.no_grad():
        cond = model.condition(**inputs(2))
        both = model(x, timesteps, cond)
        single = [
            model(x[i : i + 1], timesteps[i : i + 1], cond.select(slice(i, i + 1))) for i in (0, 1)
        ]
    assert (both - torch.cat(single)).abs().max() <= 1e-4 * both.std()
    assert (both[0] - both[1]).abs().max() > 0.1 * both.std()


@STAGES
def test_every_condition_changes_the_prediction(stage: str) -> None:
    build, inputs = CASES[stage]
    model = randomise(build(), 0).eval()
    x, timesteps = x_t(model, 1), torch.tensor([500])
    with torch.no_grad():
        arguments = inputs(1)
        reference = model(x, timesteps, model.condition(**arguments))
        for name, value in arguments.items():
            other = poses(1, 77) if not isinstance(value, Tensor) else value.flip(-1)
            changed = model(x, timesteps, model.condition(**{**arguments, name: other}))
            assert (changed - reference).abs().max() > 1e-3 * reference.std(), name


def test_one_source_goes_with_any_number_of_targets() -> None:
    model = randomise(InpaintingModel(TEST.inpainting), 0).eval()
    one, three = inpainting_inputs(1), inpainting_inputs(3)
    shared = {"patch_tokens": one["patch_tokens"], "source_latents": one["source_latents"]}
    with torch.no_grad():
        joint = model.condition(**{**three, **shared}).expand(3)
        repeated = {name: value.expand(3, *value.shape[1:]) for name, value in shared.items()}
        apart = model.condition(**{**three, **repeated}).expand(3)
    for name in ("tokens", "concat", "pose", "embed"):
        torch.testing.assert_close(getattr(joint, name), getattr(apart, name), rtol=0, atol=1e-6)


def test_the_pose_is_added_after_the_first_convolution() -> None:
    conv = PoseConv2d(2, 4, kernel_size=3, padding=1)
    x, pose = draw(1, 2, 5, 5), draw(1, 4, 5, 5, seed=1)
    torch.testing.assert_close(conv(torch.cat([x, pose], dim=1)), conv(x) + pose)


def test_the_mask_marks_the_source_half_as_known() -> None:
    cond = InpaintingModel(TEST.inpainting).condition(**inpainting_inputs(1))
    mask = cond.concat[0, 0]
    assert mask[:, :WIDTH].eq(1).all()
    assert mask[:, WIDTH:].eq(0).all()


def test_the_target_embedding_joins_the_context_as_it_is() -> None:
    inputs = inpainting_inputs(1)
    cond = InpaintingModel(TEST.inpainting).condition(**inputs)
    assert torch.equal(cond.tokens[:, -1], inputs["target_embeds"])
    assert cond.embed is inputs["target_embeds"]


def test_a_missing_joint_reaches_the_prior_as_its_code() -> None:
    assert TEST.prior is not None
    model = PosePrior(replace(TEST.prior, missing_joint=-7.0))
    pose = poses(1)
    pose.visible[0, 4] = False
    cond = model.condition(prior_inputs(1)["image_embeds"], pose, poses(1))
    assert cond.source_pose[0, 0, 8:10].tolist() == [-7.0, -7.0]
    assert not cond.target_pose.eq(-7.0).any()


def test_the_priors_space_is_normalised_and_back() -> None:
    assert PRESETS["published"].prior is not None
    with torch.device("meta"):
        model = PosePrior(PRESETS["published"].prior)
    embeds = draw(2, 1024)
    torch.testing.assert_close(model.denormalise(model.normalise(embeds)), embeds)
    torch.testing.assert_close(model.normalise(embeds), (embeds + 0.016) / 0.415)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"target_embeds": None}, "Run the prior first"),
        ({"target_embeds": draw(1, 7)}, "Load the prior of the same preset"),
        ({"patch_tokens": draw(1, 5, 7)}, "Load the image encoder of the same preset"),
        ({"source_latents": draw(1, 4, 8, 12)}, "Load the autoencoder of the same preset"),
        ({"pose_map": draw(1, 3, 16, 48)}, "draw the skeletons at the canvas's size"),
    ],
)
def test_inputs_of_another_preset_are_refused(change: dict[str, Any], words: str) -> None:
    model = InpaintingModel(TEST.inpainting)
    with pytest.raises(ValueError, match=words):
        model.condition(**{**inpainting_inputs(1), **change})


def test_the_single_stage_release_takes_no_target_embedding() -> None:
    config = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")
    model = InpaintingModel(config)
    inputs = inpainting_inputs(1)
    with pytest.raises(ValueError, match="Leave the prior out"):
        model.condition(**inputs)
    cond = model.condition(**{**inputs, "target_embeds": None})
    assert cond.embed is None
    assert cond.tokens.shape[1] == inputs["patch_tokens"].shape[1]


def test_a_prior_refuses_embeddings_of_another_encoder() -> None:
    model = PosePrior(TEST.prior)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Load the image encoder of the same preset"):
        model.condition(draw(1, 7), poses(1), poses(1))


def test_unequal_lists_of_levels_are_refused() -> None:
    with pytest.raises(ValueError, match="give one of each a level"):
        replace(TEST.inpainting.unet, num_heads=(1, 2, 3))


@pytest.mark.parametrize("size", [(8, 6), (7, 5), (9, 13)])
def test_sizes_that_halve_unevenly_keep_their_size(size: tuple[int, int]) -> None:
    assert TEST.refining is not None
    model = RefiningModel(TEST.refining).eval()
    x = draw(1, TEST.refining.latent_channels, *size)
    cond = Conditioning(draw(1, 5, TEST.refining.unet.cross_attention_dim), x)
    with torch.no_grad():
        assert model(x, torch.tensor([10]), cond).shape == x.shape


def test_attention_in_the_prior_sees_all_tokens() -> None:
    # With a causal mask the first token, the source pose, could not see the target pose.
    model = randomise(PosePrior(TEST.prior), 0).eval()  # type: ignore[arg-type]
    outputs: list[Tensor] = []
    block = model.transformer.transformer_blocks[0]
    block.register_forward_hook(lambda _, __, output: outputs.append(output))
    embeds = prior_inputs(1)["image_embeds"]
    with torch.no_grad():
        for first in (0, 40):
            cond: PriorConditioning = model.condition(embeds, poses(1), poses(1, first))
            model(draw(1, embeds.shape[1]), torch.tensor([5]), cond)
    assert (outputs[0][:, 0] - outputs[1][:, 0]).abs().max() > 1e-4
