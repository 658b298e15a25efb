"""Presets that change the numbers: what each does otherwise, and that nothing does by default."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pcdm_core.checkpoints import CheckpointError
from pcdm_core.checkpoints.components import find_student, load_components
from pcdm_core.checkpoints.files import read_metadata
from pcdm_core.cli import main
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.placement import Keep
from pcdm_core.presets import PRESETS
from pcdm_core.sampling import sample
from pcdm_core.schedules import make_scheduler
from pcdm_core.speed import EXACT, FAST_PRESETS, SpeedPreset, find_fast
from tests.core.tiny_pipeline import (
    TEST,
    components,
    picture,
    poses,
    randomise,
    save_tiny_weights,
    tiny_pipeline,
)
from tests.core.tiny_stages import CASES, x_t

STEPS = 5


@pytest.fixture(scope="module")
def pipeline() -> PCDMsPipeline:
    return tiny_pipeline()


def rows_of(module: nn.Module) -> list[int]:
    """A list that grows by the number of rows at every call."""
    rows: list[int] = []
    module.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    return rows


def guided(interval: tuple[float, float], scale: float = 2.0):
    build, inputs = CASES["refining"]
    torch.manual_seed(0)  # of the biases
    model = randomise(build(), 0).eval()
    with torch.no_grad():
        cond = model.condition(**inputs(2))
    rows = rows_of(model.unet)
    result = sample(
        model,
        make_scheduler(model.config.schedule),
        x_t(model, 2),
        cond,
        model.unconditional(cond),
        steps=STEPS,
        guidance_scale=scale,
        guidance_interval=interval,
    )
    return result, rows


def test_outside_the_interval_the_conditional_rows_go_alone() -> None:
    result, rows = guided((0.2, 0.8))
    assert rows == [2, 4, 4, 4, 2]
    whole, all_rows = guided((0.0, 1.0))
    assert all_rows == [4] * STEPS
    unguided, _ = guided((0.0, 1.0), scale=1.0)
    assert (result - whole).abs().max() > 1e-3
    assert (result - unguided).abs().max() > 1e-3


def test_an_empty_interval_is_no_guidance() -> None:
    empty, rows = guided((0.5, 0.5))
    unguided, _ = guided((0.0, 1.0), scale=1.0)
    assert rows == [2] * STEPS
    assert torch.equal(empty, unguided)


def call(pipeline: PCDMsPipeline, **options: object):
    return pipeline(picture(), poses(1, 50), poses(2), seed=0, **{"steps": STEPS, **options})  # type: ignore[arg-type]


def test_no_preset_changes_nothing(pipeline: PCDMsPipeline) -> None:
    assert find_fast(None) == SpeedPreset(EXACT.about)
    assert torch.equal(call(pipeline).image, call(pipeline, fast=EXACT).image)


def test_steps_of_a_preset_stand_above_those_of_the_call(pipeline: PCDMsPipeline) -> None:
    steps: list[tuple[str, int]] = []
    fast = call(pipeline, fast="4-steps", callback=lambda s, _, n: steps.append((s, n)))
    assert set(steps) == {(stage, 4) for stage in ("prior", "inpainting", "refining")}
    assert torch.equal(fast.image, call(pipeline, steps=4).image)


def test_a_student_is_asked_once_a_step(pipeline: PCDMsPipeline) -> None:
    student = call(pipeline, fast="student", guidance_scale=3.0)
    assert torch.equal(student.image, call(pipeline, steps=4, guidance_scale=1.0).image)


def test_half_decode_is_exact_for_a_code_of_patches_and_decodes_half(
    pipeline: PCDMsPipeline,
) -> None:
    decoded: list[Tensor] = []
    hook = pipeline.autoencoder.decoder.register_forward_hook(  # type: ignore[union-attr]
        lambda _, inputs, __: decoded.append(inputs[0])
    )
    half = call(pipeline, fast="half-decode")
    whole = call(pipeline)
    hook.remove()
    widths = [latents.shape[-1] for latents in decoded]
    assert widths[0] * 2 == widths[2]
    assert (half.image - whole.image).abs().max() < 1e-5


@pytest.mark.slow
def test_half_decode_of_the_published_kind_changes_the_picture_a_little() -> None:
    kl = replace(
        PRESETS["published"].autoencoder,
        latent_channels=TEST.autoencoder.latent_channels,
        downscale=4,
        block_out_channels=(8, 16, 16),
        layers_per_block=1,
        norm_num_groups=4,
    )
    preset = replace(TEST, autoencoder=kl)
    published = PCDMsPipeline(preset, **components(preset))  # type: ignore[arg-type]
    latents = torch.randn(1, 12, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = published.decode_target(latents)
    half = published.decode_target(latents, fast="half-decode")
    assert half.shape == whole.shape
    assert 1e-4 < (half - whole).abs().mean() < whole.std()


def test_latents_are_handed_over_without_a_coarse_picture(pipeline: PCDMsPipeline) -> None:
    encoded = rows_of(pipeline.autoencoder.encoder)  # type: ignore[union-attr]
    handed = call(pipeline, fast="latents")
    assert encoded == [1]  # the source's canvas alone
    assert handed.coarse is None
    through_pixels = call(pipeline)
    assert through_pixels.coarse is not None
    assert (handed.image - through_pixels.image).abs().max() > 1e-4
    # With nothing to hand them to, they become the coarse picture.
    alone = call(pipeline, fast="latents", with_refining=False)
    assert torch.equal(alone.image, call(pipeline, with_refining=False).image)


def test_the_combined_preset_goes_back_to_the_sources_size(pipeline: PCDMsPipeline) -> None:
    result = pipeline(picture(0, 80, 50), poses(1, 50), poses(1), seed=0, fast="fast", restore=True)
    assert result.image.shape == (1, 3, 80, 50)
    assert result.coarse is None


def test_refining_without_anything_coarse_is_refused(pipeline: PCDMsPipeline) -> None:
    features = pipeline.encode_source(picture())
    with pytest.raises(ValueError, match="needs the coarse pictures, or their latents"):
        pipeline.refine(features, seed=0)


def test_an_unknown_name_is_refused_with_the_known_ones(pipeline: PCDMsPipeline) -> None:
    with pytest.raises(ValueError, match=r"'quick'.*10-steps.*student"):
        call(pipeline, fast="quick")
    assert all(find_fast(name) is preset for name, preset in FAST_PRESETS.items())


def test_the_command_refuses_a_coarse_picture_that_is_never_made(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["generate", "--image", "a.png", "--source-pose", "a.json", "--pose", "b.json"]
    assert main([*arguments, "--save-coarse", "--fast", "latents"]) == 2
    assert "leave --save-coarse out" in capsys.readouterr().err


def test_the_student_that_ships_belongs_on_the_weights_that_ship_and_is_small() -> None:
    folder = find_student()
    assert folder is not None
    assert 8e6 < sum(path.stat().st_size for path in folder.iterdir()) < 16e6
    _, plain = load_components()
    _, student = load_components(student=True)
    for name, sampler in (("inpainting", "ddpm_trailing"), ("refining", "ddim_trailing")):
        assert student[name].config.schedule.sampler == sampler
        weights = plain[name].state_dict()
        moved = [bool((w - weights[k]).any()) for k, w in student[name].state_dict().items()]
        if name == "inpainting":
            assert sum(moved) > len(moved) / 2
        else:  # of stage 3 only the sampler differs
            assert not any(moved)
    for name in ("autoencoder", "patch_encoder", "global_encoder", "prior"):
        for key, tensor in student[name].state_dict().items():
            assert torch.equal(tensor, plain[name].state_dict()[key])


@pytest.mark.parametrize("keep", ["all", "one"])
def test_a_student_takes_its_own_steps_and_waits_in_its_files(keep: Keep) -> None:
    pipeline = PCDMsPipeline.from_folder(student=True, keep=keep)
    assert (pipeline.preset.steps, pipeline.preset.guidance_scale) == (4, 1.0)
    if keep == "one":
        assert all(tensor.is_meta for tensor in pipeline.inpainting.parameters())
    steps: set[int] = set()
    result = pipeline(picture(), poses(1), poses(1), seed=1, callback=lambda *s: steps.add(s[2]))
    assert steps == {4}
    preset, parts = load_components(student=True)
    assert preset.steps == 4
    whole = PCDMsPipeline(preset, **parts)
    again = whole(picture(), poses(1), poses(1), seed=1, fast="student")
    assert torch.equal(result.image, again.image)


def test_a_whole_student_takes_the_steps_that_its_file_names(tmp_path: Path) -> None:
    folder = save_tiny_weights(tmp_path)
    path = folder / "inpainting.safetensors"
    tensors, metadata = load_file(path), read_metadata(path)
    for steps in ("4", "none"):
        save_file(tensors, path, {**metadata, "student_steps": steps})
        if steps == "4":
            preset = PCDMsPipeline.from_folder(folder).preset
            assert (preset.steps, preset.guidance_scale) == (4, 1.0)
    with pytest.raises(CheckpointError, match="'none' as the student's steps"):
        PCDMsPipeline.from_folder(folder)
