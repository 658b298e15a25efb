"""Weights that know one autoencoder's latents start training on another's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from pcdm_core.config import Preset
from pcdm_core.images import from_planes, source_canvas
from pcdm_core.pose.render import pose_canvas
from pcdm_core.vae import PatchAutoencoder, build_autoencoder
from training.commands.mini_run import MiniRun
from training.config import StageRun
from training.data.in_memory import People
from training.stages.closed_form import fit_code
from training.stages.initialise import build_denoiser, with_autoencoder
from training.stages.other_code import fit_change, onto_code, teach_poses

from .test_mini import CONFIG, CONV

STILL = StageRun(steps=1, batch_size=2, learning_rate=0.0)


@pytest.fixture(scope="module")
def codes(preset: Preset, people: People) -> tuple[PatchAutoencoder, PatchAutoencoder]:
    """A code, and one whose latents are a rotation of the first one's."""
    first, second = (PatchAutoencoder(preset.autoencoder) for _ in range(2))
    fit_code(first, from_planes(people.pictures))
    generator = torch.Generator().manual_seed(3)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=generator)).Q
    with torch.no_grad():
        second.encoder.weight.copy_(torch.einsum("ij,jkhw->ikhw", turn, first.encoder.weight))
        second.encoder.bias.copy_(turn @ first.encoder.bias)
    return first, second


@torch.no_grad()
def test_a_network_moved_onto_another_code_answers_as_before_in_the_new_latents(
    codes: tuple[PatchAutoencoder, PatchAutoencoder], preset: Preset, people: People
) -> None:
    first, second = codes
    change = fit_change(first, second, from_planes(people.pictures))
    pixels = source_canvas(from_planes(people.pictures[:2]))
    skeletons = pose_canvas(*(from_planes(people.skeletons[rows]) for rows in ([0, 1], [2, 3])))
    inputs = torch.randn(2, 5, preset.patch_encoder.hidden_size), torch.randn(2, 16)
    timesteps = torch.tensor([900, 40])
    answers = []
    model = build_denoiser(preset, "inpainting").eval()
    noisy = torch.randn_like(first.encode(pixels))
    for code, turn in ((first, None), (second, change.to_new)):
        if turn is not None:
            model.load_state_dict(onto_code(model.state_dict(), change))
            noisy = torch.einsum("ij,bjhw->bihw", turn, noisy)
        cond = model.condition(*inputs, code.encode(pixels), skeletons)
        answers.append(model(noisy, timesteps, cond))
    moved = torch.einsum("ij,bjhw->bihw", change.to_new, answers[0])
    moved = moved + change.constant[:, None, None]
    assert torch.allclose(answers[1], moved, atol=1e-4)
    assert not torch.allclose(answers[1], answers[0], atol=0.1)


def test_most_of_a_code_is_linear_in_one_of_twice_the_side_and_the_reverse_is_refused(
    preset: Preset, people: People
) -> None:
    pixels = from_planes(people.pictures)
    old = PatchAutoencoder(preset.autoencoder)
    fit_code(old, nn.functional.avg_pool2d(pixels, 2))
    wide = replace(preset.autoencoder, downscale=8, latent_channels=40)
    new = PatchAutoencoder(wide)
    fit_code(new, pixels)
    change = fit_change(old, new, pixels)
    with torch.no_grad():
        expected = old.encode(nn.functional.avg_pool2d(pixels, 2))
        guess = torch.einsum("ij,bjhw->bihw", change.to_old, new.encode(pixels))
    assert (guess - expected).var() < 0.1 * expected.var()
    with pytest.raises(ValueError, match="latents of 8 pixels cannot start on latents of 4"):
        fit_change(new, old, pixels)


def test_a_pose_encoder_learns_the_features_of_one_for_pictures_of_half_the_size(
    preset: Preset, people: People
) -> None:
    torch.manual_seed(0)
    old = build_denoiser(preset, "inpainting")
    for parameter in old.pose_encoder.conv_out.parameters():
        nn.init.normal_(parameter, std=0.3)  # it starts at zero
    new = build_denoiser(with_autoencoder(preset, {"downscale": 8}), "inpainting")
    skeletons = from_planes(people.skeletons)
    with torch.no_grad():
        expected = old.pose_encoder(nn.functional.avg_pool2d(skeletons, 2))
    errors = []
    for steps in (0, 60):
        teach_poses(new, old, people, seed=1, steps=steps)
        with torch.no_grad():
            errors.append(float((new.pose_encoder(skeletons) - expected).square().mean()))
    assert errors[1] < 0.3 * errors[0]


@pytest.mark.slow
def test_a_recipe_goes_on_from_weights_of_another_code(people_folder: Path, tmp_path: Path) -> None:
    earlier = MiniRun(CONFIG, people_folder, tmp_path / "earlier")
    earlier.run_all()
    stages = {**CONFIG.stages, "prior": STILL, "inpainting": STILL, "refining": STILL}
    config = replace(CONFIG, autoencoder={**CONV, "latent_channels": 12}, stages=stages)
    run = MiniRun(config, people_folder, tmp_path / "run", start_from=earlier.weights)
    run.run_all()
    code = run.part("autoencoder")
    assert code.state_dict().keys() == build_autoencoder(run.preset.autoencoder).state_dict().keys()
    kept = "unet.mid_block.attentions.0.proj_in.weight"
    for name in ("inpainting", "refining"):
        ours, theirs = run.part(name).state_dict(), earlier.part(name).state_dict()
        assert torch.equal(ours[kept], theirs[kept])
        assert not torch.equal(ours["unet.conv_in.weight"], theirs["unet.conv_in.weight"])
    embeds = [run_.part("global_encoder").state_dict() for run_ in (earlier, run)]
    assert all(torch.equal(embeds[0][key], embeds[1][key]) for key in embeds[0])
