"""Pictures to embeddings."""

import pytest
import torch
from torch import nn

from pcdm_core.checkpoints.signatures import dinov2_current, dinov2_published
from pcdm_core.config import GlobalEncoderConfig, PatchEncoderConfig
from pcdm_core.encoders import (
    GlobalImageEncoder,
    LinearImageEncoder,
    PatchImageEncoder,
    build_global_encoder,
)
from pcdm_core.images import CLIP_MEAN, CLIP_STD
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import randomise
from tests.core.tiny_stages import draw
from training.stages.closed_form import fit_encoder

DINO = PatchEncoderConfig(hidden_size=24, num_layers=2, num_heads=2, table_size=70, picture_size=56)
CLIP = GlobalEncoderConfig(
    embedding_dim=20, picture_size=28, hidden_size=16, num_layers=1, num_heads=2,
    intermediate_size=32,
)  # fmt: skip
LINEAR = GlobalEncoderConfig(kind="linear", embedding_dim=6, picture_size=4)


def pictures(count: int, height: int = 40, width: int = 30) -> torch.Tensor:
    coarse = draw(count, 3, 5, 5).clamp(-2, 2) / 2
    return nn.functional.interpolate(coarse, (height, width), mode="bilinear")


# --- pixels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", [PatchImageEncoder(DINO), build_global_encoder(CLIP)])
def test_pixels_are_squashed_and_normalised_with_clips_statistics(
    encoder: PatchImageEncoder | GlobalImageEncoder,
) -> None:
    grey = encoder.pixels(torch.zeros(2, 3, 40, 30))
    size = encoder.config.picture_size
    assert grey.shape == (2, 3, size, size)
    expected = (128 / 255 - torch.tensor(CLIP_MEAN)) / torch.tensor(CLIP_STD)
    torch.testing.assert_close(grey[0, :, 0, 0], expected, rtol=0, atol=0.01)


def test_a_tall_picture_keeps_its_head_and_feet() -> None:
    picture = torch.full((1, 3, 60, 20), -1.0)
    picture[:, :, :6] = 1.0
    picture[:, :, -6:] = 1.0
    pixels = PatchImageEncoder(DINO).pixels(picture)
    assert pixels[0, 0, 0, 28] > 1.5
    assert pixels[0, 0, -1, 28] > 1.5
    assert pixels[0, 0, 28, 28] < -1.5


# --- patch tokens --------------------------------------------------------------------------------


def test_tokens_are_one_for_the_picture_and_one_a_patch() -> None:
    encoder = PatchImageEncoder(DINO)
    assert encoder(encoder.pixels(pictures(2))).shape == (2, 1 + 4 * 4, 24)
    assert encoder(draw(1, 3, 70, 70)).shape == (1, 1 + 5 * 5, 24)
    assert encoder(draw(1, 3, 42, 28)).shape == (1, 1 + 3 * 2, 24)


def test_the_giant_encoder_of_the_published_preset_gives_257_tokens() -> None:
    config = PRESETS["published"].patch_encoder
    with torch.device("meta"):
        encoder = PatchImageEncoder(config)
    assert encoder(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 257, 1536)


def test_the_position_table_is_used_as_it_is_at_its_own_size() -> None:
    embeddings = PatchImageEncoder(DINO).model.embeddings
    table = embeddings.position_embeddings
    assert embeddings.interpolate_pos_encoding(torch.empty(1, 26, 24), 70, 70) is table


def test_the_position_table_is_resampled_off_centre_as_published() -> None:
    embeddings = PatchImageEncoder(DINO).model.embeddings
    # A ramp along the rows: cell r of five holds r. Resampling to the size four would be symmetric
    # about the middle, 2; the published factor 4.1 / 5 reads every cell a little before that.
    ramp = torch.arange(5.0).view(5, 1, 1).expand(5, 5, 24).reshape(1, 25, 24)
    with torch.no_grad():
        embeddings.position_embeddings[:, 1:] = ramp
        table = embeddings.interpolate_pos_encoding(torch.empty(1, 17, 24), 56, 56)
    rows = table[0, 1:, 0].view(4, 4)[:, 0]
    assert torch.all(rows[1:] > rows[:-1])
    assert torch.all(rows + rows.flip(0) < 3.95)


def test_a_gradient_reaches_every_tensor_of_the_patch_encoder() -> None:
    encoder = randomise(PatchImageEncoder(DINO), 0)
    encoder(draw(2, 3, 56, 56)).square().mean().backward()
    untouched = [
        name
        for name, parameter in encoder.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert [name for name in untouched if not name.endswith(("k_proj.bias", "key.bias"))] == []


def test_a_new_patch_encoder_starts_as_the_library_starts_it() -> None:
    torch.manual_seed(0)
    embeddings = PatchImageEncoder(DINO).model.embeddings
    assert embeddings.position_embeddings.std().item() == pytest.approx(0.02, rel=0.2)


def test_names_of_both_library_generations_are_the_same_weights() -> None:
    state = randomise(PatchImageEncoder(DINO), 0).state_dict()
    published = dinov2_published(state)
    assert any(key.endswith("attention.attention.query.weight") for key in published)
    assert any(key.endswith("mlp.weights_in.weight") for key in published)
    assert dinov2_published(published).keys() == published.keys()
    current = dinov2_current(published)
    assert any(key.endswith("attention.q_proj.weight") for key in current)
    back = dinov2_published(current)
    assert back.keys() == published.keys()
    assert all(torch.equal(back[key], published[key]) for key in back)


@pytest.mark.parametrize("shape", [(1, 3, 50, 56), (1, 1, 56, 56), (3, 56, 56)])
def test_pixels_that_are_no_patches_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiple of 14"):
        PatchImageEncoder(DINO)(torch.zeros(shape))


# --- one vector a picture ------------------------------------------------------------------------


def test_the_clip_encoder_projects_and_does_not_normalise() -> None:
    encoder = randomise(build_global_encoder(CLIP), 0)
    assert isinstance(encoder, GlobalImageEncoder)
    pixels = encoder.pixels(pictures(3))
    embeds = encoder(pixels)
    assert embeds.shape == (3, 20)
    assert (embeds.norm(dim=1) - 1).abs().min() > 0.01
    pooled = encoder.model.vision_model(pixels).pooler_output
    torch.testing.assert_close(embeds, pooled @ encoder.model.visual_projection.weight.T)


def test_the_linear_encoder_whitens_the_pictures_it_was_fitted_on() -> None:
    encoder = LinearImageEncoder(LINEAR)
    pixels = encoder.pixels(pictures(200))
    fit_encoder(encoder, pixels)
    embeds = encoder(pixels).double()
    assert embeds.mean(0).abs().max() < 1e-4
    torch.testing.assert_close(
        embeds.T @ embeds / len(embeds), torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_both_ways_of_fitting_find_the_same_components() -> None:
    # 4 x 4 x 3 = 48 inputs: fewer pictures than inputs take the other eigenproblem.
    few = LinearImageEncoder(LINEAR)
    pixels = few.pixels(pictures(40))
    fit_encoder(few, pixels)
    many = LinearImageEncoder(LINEAR)
    fit_encoder(many, pixels.repeat(2, 1, 1, 1))
    torch.testing.assert_close(few.mean, many.mean)
    torch.testing.assert_close(few.projection, many.projection, rtol=1e-3, atol=1e-3)


def test_the_first_component_carries_the_most_variance() -> None:
    encoder = LinearImageEncoder(LINEAR)
    pixels = encoder.pixels(pictures(100))
    fit_encoder(encoder, pixels)
    # Whitened by its deviation, a component of more variance has a shorter row.
    lengths = encoder.projection.norm(dim=1)
    assert torch.all(lengths[1:] > lengths[:-1])


def test_too_few_pictures_and_other_sizes_are_refused() -> None:
    encoder = LinearImageEncoder(LINEAR)
    with pytest.raises(ValueError, match="more than 6 pictures, got 6"):
        fit_encoder(encoder, torch.zeros(6, 3, 4, 4))
    with pytest.raises(ValueError, match="with the encoder's `pixels`"):
        fit_encoder(encoder, pictures(20))
    with pytest.raises(ValueError, match="with the encoder's `pixels`"):
        build_global_encoder(CLIP)(torch.zeros(1, 3, 30, 30))
