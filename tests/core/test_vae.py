"""Pixels to latents and back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pcdm_core.checkpoints import CheckpointError, inspect, load_model, save_model
from pcdm_core.config import AutoencoderConfig
from pcdm_core.presets import PRESETS
from pcdm_core.vae import ConvAutoencoder, KLAutoencoder, PatchAutoencoder, build_autoencoder
from tests.core.tiny_pipeline import randomise
from tests.core.tiny_stages import draw
from training.stages.closed_form import fit_code, normalise_code

KL = AutoencoderConfig(
    block_out_channels=(8, 8), downscale=2, layers_per_block=1, norm_num_groups=4
)


def patch_code(latent_channels: int = 6, scaling_factor: float = 1.0) -> PatchAutoencoder:
    config = AutoencoderConfig(
        kind="patch",
        latent_channels=latent_channels,
        downscale=4,
        scaling_factor=scaling_factor,
    )
    code = build_autoencoder(config)
    assert isinstance(code, PatchAutoencoder)
    return code


def pictures(count: int = 16) -> torch.Tensor:
    coarse = draw(count, 3, 4, 4).clamp(-2, 2) / 2
    return nn.functional.interpolate(coarse, (32, 24), mode="bicubic")


# --- the patch code ------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling_factor", [1.0, 0.5])
def test_a_fitted_patch_code_reconstructs_smooth_pictures(scaling_factor: float) -> None:
    code = patch_code(12, scaling_factor)
    pixels = pictures()
    fit_code(code, pixels)
    latents = code.encode(pixels)
    assert latents.shape == (16, 12, 8, 6)
    error = (code.decode(latents) - pixels).square().mean() / pixels.var()
    assert error < 0.02
    assert latents.std().item() == pytest.approx(scaling_factor, rel=0.05)


def test_more_channels_reconstruct_better() -> None:
    pixels = pictures()
    errors = []
    for channels in (1, 3, 12):
        code = patch_code(channels)
        fit_code(code, pixels)
        errors.append((code.decode(code.encode(pixels)) - pixels).square().mean().item())
    assert errors[0] > errors[1] > errors[2]


def test_full_whitening_makes_every_channel_equally_strong() -> None:
    pixels = pictures()
    spreads = {}
    for whiten in (0.0, 1.0):
        code = patch_code()
        fit_code(code, pixels, whiten=whiten)
        deviation = code.encode(pixels).std(dim=(0, 2, 3))
        spreads[whiten] = (deviation.max() / deviation.min()).item()
    assert spreads[1.0] == pytest.approx(1.0, abs=0.05)
    assert spreads[0.0] > 2


def test_whitening_does_not_change_the_reconstruction() -> None:
    pixels = pictures()
    decoded = []
    for whiten in (0.0, 1.0):
        code = patch_code()
        fit_code(code, pixels, whiten=whiten)
        decoded.append(code.decode(code.encode(pixels)))
    torch.testing.assert_close(decoded[0], decoded[1], rtol=1e-3, atol=1e-3)


def test_a_patch_code_sees_no_neighbouring_patch() -> None:
    code = patch_code()
    pixels = pictures(1)
    changed = pixels.clone()
    changed[..., 12:] = -1.0
    before, after = code.encode(pixels), code.encode(changed)
    assert torch.equal(before[..., :3], after[..., :3])
    assert not torch.equal(before[..., 3:], after[..., 3:])


# --- the patch code with convolutions ------------------------------------------------------------

CONV = AutoencoderConfig(
    kind="conv",
    latent_channels=6,
    downscale=4,
    scaling_factor=0.5,
    block_out_channels=(4, 8),
    layers_per_block=1,
)


def conv_code(trained: bool = False) -> ConvAutoencoder:
    torch.manual_seed(0)
    code = build_autoencoder(CONV)
    assert isinstance(code, ConvAutoencoder)
    if trained:
        for path in (code.encoder_path, code.decoder_path):
            randomise(path, 1)
    fit_code(code, pictures())
    return code


def test_a_fitted_code_with_convolutions_is_the_linear_code_until_it_is_trained() -> None:
    linear, code, pixels = patch_code(6, 0.5), conv_code(), pictures()
    fit_code(linear, pixels)
    latents = code.encode(pixels)
    assert latents.shape == (16, 6, 8, 6)
    assert torch.equal(latents, linear.encode(pixels))
    assert torch.equal(code.decode(latents), linear.decode(latents))
    linear_loss, loss = ((c.decode(latents) - 1).square().mean() for c in (linear, code))
    assert linear_loss == loss
    loss.backward()
    last = code.decoder_path.conv_out.weight.grad
    assert last is not None
    assert last.any()  # it learns from the first step


def test_convolutions_see_neighbouring_patches_on_both_sides() -> None:
    code, pixels = conv_code(trained=True), pictures(1)
    changed = pixels.clone()
    changed[..., 12:] = -1.0
    latents, other = code.encode(pixels), code.encode(changed)
    assert not torch.equal(latents[..., :3], other[..., :3])
    mixed = torch.cat([latents[..., :3], other[..., 3:]], dim=-1)
    assert not torch.equal(code.decode(mixed)[..., :12], code.decode(latents)[..., :12])


@torch.no_grad()
def test_normalised_channels_are_uncorrelated_and_the_pictures_stay() -> None:
    code, pixels = conv_code(trained=True), pictures()
    before = code.decode(code.encode(pixels))
    for whiten in (1.0, 0.5):
        normalise_code(code, pixels, whiten)
        latents = code.encode(pixels)
        torch.testing.assert_close(code.decode(latents), before, rtol=1e-3, atol=1e-3)
        rows = latents.movedim(1, -1).flatten(0, 2)
        correlation = torch.corrcoef(rows.T).fill_diagonal_(0)
        assert correlation.abs().max() < 1e-3
        spread = rows.std(dim=0)
        assert spread.square().mean().sqrt().item() == pytest.approx(0.5, rel=0.02)
        if whiten == 1.0:
            assert (spread.max() / spread.min()).item() == pytest.approx(1.0, abs=0.02)
        else:
            assert (spread.diff() <= 1e-4).all()
            assert spread[0] > 1.5 * spread[-1]


@torch.no_grad()
def test_flat_fields_tell_the_colours_of_patches() -> None:
    pixels = pictures()
    means = nn.functional.avg_pool2d(pixels, 4)
    linear, learned = patch_code(12, 0.5), conv_code()
    fit_code(linear, pixels)
    for number, path in enumerate((learned.encoder_path, learned.decoder_path)):
        torch.manual_seed(number)
        nn.init.normal_(path.conv_out.weight, std=0.02)  # type: ignore[arg-type]
    for code, bound in ((linear, 1e-3), (learned, 0.02)):
        latents = code.encode(pixels)
        factors, bias = code.patch_colours()
        colours = torch.einsum("nchw,cr->nrhw", latents, factors) + bias[:, None, None]
        exact = nn.functional.avg_pool2d(code.decode(latents), 4)
        assert (colours - exact).square().mean().sqrt() < bound
        assert (colours - means).square().mean().sqrt() < 0.1 * means.std()


@torch.no_grad()
def test_normalising_leaves_the_linear_code_as_it_was_fitted() -> None:
    code, pixels = conv_code(), pictures()
    before = code.encode(pixels)
    normalise_code(code, pixels)
    after = code.encode(pixels)
    torch.testing.assert_close(after.std((0, 2, 3)), before.std((0, 2, 3)), rtol=0.02, atol=0)
    # The first channels are the same but for their sign; behind, worths lie close together.
    along = (after * before).mean((0, 2, 3)) / (after.std((0, 2, 3)) * before.std((0, 2, 3)))
    assert (along[:3].abs() > 0.9).all()


@torch.no_grad()
def test_a_channel_is_worth_what_it_changes_in_pictures_not_its_own_size() -> None:
    code, pixels = conv_code(), pictures()
    before = code.encode(pixels)
    # Another scale of the same code, as training may leave it: ten times the last channel.
    scale = torch.ones(6)
    scale[-1] = 10.0
    code.encoder.weight.mul_(scale.view(-1, 1, 1, 1))
    code.encoder.bias.mul_(scale)  # type: ignore[union-attr]
    code.decoder.weight.div_(scale.view(-1, 1, 1, 1))
    assert code.encode(pixels).std((0, 2, 3))[-1] > 5 * before.std((0, 2, 3))[-1]
    normalise_code(code, pixels)
    after = code.encode(pixels)
    torch.testing.assert_close(after.std((0, 2, 3)), before.std((0, 2, 3)), rtol=0.02, atol=0)


def test_a_file_of_a_code_with_convolutions_says_what_it_is(tmp_path: Path) -> None:
    code, pixels = conv_code(trained=True), pictures(2)
    path = save_model(code, tmp_path / "autoencoder.safetensors", stage="autoencoder")
    assert inspect(path).layout == "pack's patch code with convolutions"
    again = load_model(path, stage="autoencoder")
    assert again.config == CONV
    assert torch.equal(again.decode(again.encode(pixels)), code.decode(code.encode(pixels)))
    linear = save_model(patch_code(), tmp_path / "patch.safetensors", stage="autoencoder")
    assert inspect(linear).layout == "pack's patch code"
    with pytest.raises(CheckpointError, match="does not fit the configuration: width 4; expected"):
        load_model(path, config=replace(CONV, block_out_channels=(6, 8)))


def test_levels_that_do_not_halve_to_the_downscale_are_refused() -> None:
    with pytest.raises(ValueError, match="2 levels do not make downscale 8"):
        replace(CONV, downscale=8)


# --- diffusers' autoencoder ----------------------------------------------------------------------


def test_the_mean_of_the_posterior_is_the_default() -> None:
    vae = KLAutoencoder(KL).eval()
    pixels = draw(1, 3, 16, 12)
    with torch.no_grad():
        mean = vae.encode(pixels)
        posterior = vae.vae.encode(pixels).latent_dist
        noise = draw(1, 4, 8, 6, seed=2)
        sampled = vae.encode(pixels, posterior="sample", noise=noise)
    torch.testing.assert_close(mean, posterior.mean * KL.scaling_factor)
    expected = (posterior.mean + posterior.std * noise) * KL.scaling_factor
    torch.testing.assert_close(sampled, expected)


def test_sampling_the_posterior_asks_for_its_noise() -> None:
    with pytest.raises(ValueError, match="noise"):
        KLAutoencoder(KL).encode(draw(1, 3, 16, 12), posterior="sample")


def test_decoding_takes_the_scale_back() -> None:
    vae = KLAutoencoder(KL).eval()
    latents = draw(1, 4, 8, 6)
    with torch.no_grad():
        direct = vae.vae.decode(latents / KL.scaling_factor, return_dict=False)[0]
        torch.testing.assert_close(vae.decode(latents), direct)


def test_the_published_autoencoder_has_the_published_size() -> None:
    with torch.device("meta"):
        vae = build_autoencoder(PRESETS["published"].autoencoder)
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert PRESETS["published"].autoencoder.scaling_factor == 0.18215
