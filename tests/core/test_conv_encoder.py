"""The convolutional global encoder: its size, its file, and a pipeline and nodes that use it."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from pcdm_core.checkpoints import inspect, load_component, save_model
from pcdm_core.checkpoints.components import load_components
from pcdm_core.checkpoints.files import CheckpointError, read_metadata
from pcdm_core.config import GlobalEncoderConfig, Preset
from pcdm_core.encoders import ConvImageEncoder, LinearImageEncoder, build_global_encoder
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.presets import PRESETS
from tests.core.tiny_pipeline import TEST, components, picture, poses, randomise

SMALL = GlobalEncoderConfig(
    kind="conv", embedding_dim=24, picture_size=16, num_layers=2, hidden_size=16
)
# The fields that files of the kinds before it name; another one would not load in older versions.
FIELDS = (
    "kind", "embedding_dim", "picture_size", "hidden_size", "num_layers", "num_heads",
    "intermediate_size", "patch_size", "hidden_act",
)  # fmt: skip


def learned_preset() -> Preset:
    """The test preset with a convolutional encoder, whose embedding has another width."""
    inpainting = TEST.inpainting
    unet = replace(inpainting.unet, cross_attention_dim=24)
    assert TEST.prior is not None
    return replace(
        TEST,
        global_encoder=SMALL,
        prior=replace(TEST.prior, embedding_dim=24),
        inpainting=replace(inpainting, unet=unet, embedding_dim=24),
    )


def save_learned(folder: Path) -> Path:
    """Weights of `learned_preset` as training writes them."""
    for name, part in components(learned_preset()).items():
        path = folder / f"{name}.safetensors"
        save_model(part, path, stage=name, metadata={"preset": "test"})  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("width", [32, 64, 128])
def test_an_encoder_of_the_example_takes_less_than_two_megabytes(
    width: int, tmp_path: Path
) -> None:
    config = replace(SMALL, embedding_dim=width, picture_size=64, num_layers=4, hidden_size=128)
    encoder = build_global_encoder(config)
    assert isinstance(encoder, ConvImageEncoder)
    assert encoder(encoder.pixels(picture(0, 96, 64))).shape == (1, width)
    path = tmp_path / "global_encoder.safetensors"
    save_model(encoder, path, stage="global_encoder", dtype=torch.float16)
    assert path.stat().st_size < 2_000_000


def test_its_file_brings_back_the_embeddings_and_says_what_it_is(tmp_path: Path) -> None:
    encoder = randomise(build_global_encoder(SMALL), 0).eval()
    path = tmp_path / "global_encoder.safetensors"
    save_model(encoder, path, stage="global_encoder")
    assert inspect(path).component == "global_encoder"
    again = load_component(tmp_path, "global_encoder")
    pixels = encoder.pixels(picture())  # type: ignore[operator]
    assert again.config == SMALL
    with torch.no_grad():
        torch.testing.assert_close(again(pixels), encoder(pixels))
    with pytest.raises(ValueError, match="with the encoder's `pixels`"):
        encoder(pixels[..., :8])


def test_files_of_the_linear_encoder_say_what_they_said_before(tmp_path: Path) -> None:
    linear = load_component(Path("pcdm_core/weights/mini").resolve(), "global_encoder")
    assert isinstance(linear, LinearImageEncoder)
    path = tmp_path / "global_encoder.safetensors"
    save_model(linear, path, stage="global_encoder")
    assert tuple(json.loads(read_metadata(path)["config"])) == FIELDS
    assert tuple(field.name for field in fields(GlobalEncoderConfig)) == FIELDS
    assert PRESETS["mini"].global_encoder == linear.config


@pytest.mark.parametrize(
    ("field", "value"),
    [("num_layers", 5), ("num_layers", 100), ("hidden_size", 24), ("picture_size", 18)],
)
def test_levels_that_do_not_halve_are_refused_in_words(
    field: str, value: int, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"(picture_size|hidden_size) \d+ is no multiple of"):
        replace(SMALL, **{field: value})
    path = tmp_path / "global_encoder.safetensors"
    save_model(build_global_encoder(SMALL), path, stage="global_encoder")
    content = path.read_bytes()
    before = f'\\"{field}\\": {getattr(SMALL, field)},'.encode()
    after = f'\\"{field}\\": {value},'.encode()
    assert content.count(before) == 1
    length = int.from_bytes(content[:8], "little") + len(after) - len(before)
    path.write_bytes(length.to_bytes(8, "little") + content[8:].replace(before, after))
    with pytest.raises(CheckpointError, match="is no multiple of"):
        load_component(tmp_path, "global_encoder")


def test_an_encoder_of_another_width_is_refused_by_the_prior() -> None:
    parts = components(learned_preset())
    parts["prior"] = components(TEST)["prior"]
    pipeline = PCDMsPipeline(learned_preset(), **parts)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expects source embeddings \[B, 16\], got \[1, 24\]"):
        pipeline(picture(), poses(1), poses(1, 5), seed=1, steps=2)


def test_a_folder_of_weights_with_it_draws(tmp_path: Path) -> None:
    preset, parts = load_components(save_learned(tmp_path))
    assert preset.global_encoder == SMALL
    pipeline = PCDMsPipeline(preset, **parts)
    output = pipeline(picture(), poses(1), poses(1, 5), seed=1, steps=2)
    assert output.image.isfinite().all()
