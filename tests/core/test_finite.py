"""A result that is no number is an error that names the stage, and never a picture."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.checkpoints import save_model
from pcdm_core.cli import main
from pcdm_core.finite import check_finite
from pcdm_core.images import save_picture
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.vae import PatchAutoencoder
from tests.core.tiny_pipeline import components, picture, poses, save_person, tiny_pipeline
from tests.core.tiny_pipeline import save_tiny_weights as save_weights

PARTS = {
    "patch_encoder": "What the patch encoder sees of the source",
    "global_encoder": "The global encoder's embedding of the source",
    "prior": "The prior stage's embedding",
    "inpainting": "The inpainting stage's latent",
    "refining": "The refining stage's latent",
}


def spoil(module: torch.nn.Module, value: float) -> None:
    """The last weight, so that everything before it is as it was."""
    with torch.no_grad():
        list(module.parameters())[-1].flatten()[0] = value


def run(pipeline: PCDMsPipeline, **settings: Any) -> Any:
    return pipeline(picture(), poses(1, 50), poses(2), seed=0, steps=2, **settings)


@pytest.mark.parametrize("part", PARTS)
def test_damaged_weights_are_an_error_of_their_stage(part: str) -> None:
    pipeline = tiny_pipeline()
    with torch.no_grad():
        for weight in getattr(pipeline, part).state_dict().values():
            weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=f"^{PARTS[part]}.*half precision.*weights file"):
        run(pipeline)


@pytest.mark.slow
@pytest.mark.parametrize("fast", [None, "half-decode", "latents"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_decoder_that_overflows_is_an_error_and_no_white_or_black_picture(
    fast: str | None, value: float
) -> None:
    pipeline = tiny_pipeline()
    assert isinstance(pipeline.autoencoder, PatchAutoencoder)
    spoil(pipeline.autoencoder.decoder, value)
    stage = "refining" if fast == "latents" else "inpainting"
    with pytest.raises(FloatingPointError, match=f"^The {stage} stage's picture .number 1, 2 of 2"):
        run(pipeline, fast=fast)


def test_half_precision_that_overflows_is_the_same_error() -> None:
    pipeline = tiny_pipeline()
    assert isinstance(pipeline.autoencoder, PatchAutoencoder)
    with torch.no_grad():
        pipeline.autoencoder.decoder.weight.fill_(6e4)
    for part in components().keys() & vars(pipeline).keys():
        getattr(pipeline, part).to(torch.float16)
    with pytest.raises(FloatingPointError, match=r"picture.*half precision"):
        pipeline.decode_target(torch.ones(1, 12, 4, 8, dtype=torch.float16))


def test_finite_values_pass_untouched_and_others_are_counted() -> None:
    values = torch.tensor([[1e38], [-2.0]])
    assert check_finite(values, "This") is values
    many = torch.full((12, 1), math.nan)
    with pytest.raises(
        FloatingPointError, match=r"^This \(number 1, 2, 3, 4, 5, 6, 7, 8, \.\.\. of"
    ):
        check_finite(many, "This")


def test_a_picture_that_is_no_number_is_not_written(tmp_path: Path) -> None:
    wrong = picture()
    wrong[0, 0, 0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"out\.png"):
        save_picture(wrong, tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_command_says_it_in_one_sentence_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, person, out = tmp_path / "weights", tmp_path / "person", tmp_path / "out"
    weights.mkdir()
    person.mkdir()
    save_weights(weights)
    save_person(person, views=2)
    refining = components()["refining"]
    with torch.no_grad():
        for parameter in refining.parameters():
            parameter.fill_(1e38)  # finite, so that the file itself is sound
    save_model(refining, weights / "refining.safetensors", stage="refining")
    arguments = ["generate", "--image", str(person / "00.png"), "--device", "cpu", "--steps", "2"]
    arguments += ["--source-pose", str(person / "00.json"), "--pose", str(person / "01.json")]
    assert main([*arguments, "--weights", str(weights), "--output", str(out)]) == 2
    error = capsys.readouterr().err
    assert "pcdm: The refining stage's latent came out as NaN or infinity" in error
    assert "Traceback" not in error
    assert not out.exists()
