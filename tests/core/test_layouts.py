"""Files of other programs are read as they are; a network of another size is named."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import save_file
from torch import Tensor

from pcdm_core.checkpoints import build, convert, inspect, load_model
from pcdm_core.checkpoints.files import WeightsFile
from pcdm_core.checkpoints.layouts import translate
from pcdm_core.checkpoints.signatures import SIGNATURES, dinov2_published
from pcdm_core.cli import main
from pcdm_core.config import (
    AutoencoderConfig,
    GlobalEncoderConfig,
    InpaintingConfig,
    PatchEncoderConfig,
    UNetConfig,
)
from tests.core.foreign_files import meta_dinov2, open_clip, original_vae
from tests.core.tiny_pipeline import TEST
from tests.core.weights_files import CLIP, KL, message, same, tiny_component, upstream_state


def in_memory(tensors: dict[str, Tensor]) -> WeightsFile:
    return WeightsFile(Path("file.safetensors"), tensors, {}, "safetensors")


def test_an_original_autoencoder_is_converted_as_diffusers_converts_it() -> None:
    expected = convert_ldm_vae_checkpoint(
        original_vae(), {"down_block_types": [0, 0], "up_block_types": [0, 0]}
    )
    tensors = translate(in_memory(original_vae())).tensors
    assert tensors.keys() == expected.keys() == upstream_state("autoencoder").keys()
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)


@pytest.mark.parametrize("prefix", ["", "first_stage_model.", "module."])
def test_an_original_autoencoder_works_alone_and_inside_a_checkpoint(
    prefix: str, tmp_path: Path
) -> None:
    tensors = {prefix + name: tensor for name, tensor in original_vae().items()}
    if prefix == "first_stage_model.":
        tensors["model.diffusion_model.input_blocks.0.0.weight"] = torch.ones(2)
        tensors["cond_stage_model.x"] = torch.ones(2)
    save_file(tensors, tmp_path / "vae.safetensors")
    save_file(translate(in_memory(original_vae())).tensors, tmp_path / "diffusers.safetensors")
    vae = load_model(tmp_path / "vae.safetensors", config=KL)
    assert same(vae, load_model(tmp_path / "diffusers.safetensors", config=KL))
    summary = inspect(tmp_path / "vae.safetensors")
    assert summary.component == "autoencoder"
    assert "the original layout of Stable Diffusion" in summary.container
    whole = "whole checkpoint" in summary.container
    assert whole == (prefix == "first_stage_model.")
    converted = convert(tmp_path / "vae.safetensors", tmp_path / "out.safetensors", config=KL)
    assert converted.component == "autoencoder"
    assert same(load_model(tmp_path / "out.safetensors"), vae)


def test_a_checkpoint_of_sdxl_is_refused_although_its_autoencoder_has_the_right_shapes(
    tmp_path: Path,
) -> None:
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in original_vae().items()}
    tensors["conditioner.embedders.0.x"] = torch.ones(2)
    save_file(tensors, tmp_path / "sdxl.safetensors")
    for action in (inspect, load_model):
        words = message(action, tmp_path / "sdxl.safetensors")
        assert "sdxl.safetensors (safetensors) is a checkpoint of SDXL" in words
        assert "Choose a VAE of Stable Diffusion 1 or 2" in words


def test_openclips_picture_tower_is_read(tmp_path: Path) -> None:
    save_file(upstream_state("CLIP"), tmp_path / "transformers.safetensors")
    torch.save({"state_dict": open_clip(), "epoch": 3}, tmp_path / "open_clip.pt")
    assert same(
        load_model(tmp_path / "open_clip.pt", config=CLIP),
        load_model(tmp_path / "transformers.safetensors", config=CLIP),
    )


@pytest.mark.parametrize("swiglu", [False, True])
def test_metas_dinov2_is_read(swiglu: bool, tmp_path: Path) -> None:
    config = replace(TEST.patch_encoder, swiglu=swiglu)
    model = build("patch_encoder", config).half()
    state = {
        name.removeprefix("model."): tensor
        for name, tensor in dinov2_published(model.state_dict()).items()
    }
    foreign = meta_dinov2(state, config.num_layers)
    torch.save({f"module.{name}": tensor for name, tensor in foreign.items()}, tmp_path / "d.pth")
    assert same(load_model(tmp_path / "d.pth", config=config), model)


def test_the_entries_of_a_training_checkpoint_beside_its_weights_are_left_out(
    tmp_path: Path,
) -> None:
    torch.save({"state_dict": upstream_state("stage 3"), "epoch": 1}, tmp_path / "s3.pt")
    assert inspect(tmp_path / "s3.pt").container == "PyTorch checkpoint with `state_dict`"
    assert load_model(tmp_path / "s3.pt").config == TEST.refining


def test_values_of_a_pickle_stay_on_disk_until_they_are_looked_at(tmp_path: Path) -> None:
    torch.save({"module": upstream_state("stage 1")}, tmp_path / "s1.pt")
    assert inspect(tmp_path / "s1.pt", mapped=True) == inspect(tmp_path / "s1.pt")


# --- networks of another size --------------------------------------------------------------------

UNET = UNetConfig(cross_attention_dim=768, num_heads=(8, 8, 8, 8))
OTHERS = {
    "DINOv2-large (hidden_size 1024)": PatchEncoderConfig(
        hidden_size=1024, num_layers=1, num_heads=16, swiglu=False
    ),
    "CLIP ViT-L (embedding_dim 768, hidden_size 1024)": GlobalEncoderConfig(
        embedding_dim=768, hidden_size=1024, num_layers=1, intermediate_size=4096
    ),
    "CLIP ViT-bigG (embedding_dim 1280, hidden_size 1664)": GlobalEncoderConfig(
        embedding_dim=1280, hidden_size=1664, num_layers=1, intermediate_size=8192
    ),
    "a VAE of Stable Diffusion 3 or FLUX (latent_channels 16)": AutoencoderConfig(
        latent_channels=16
    ),
    "one with context 768": InpaintingConfig(unet=UNET),
}
FITTING = {
    PatchEncoderConfig: "DINOv2-giant (hidden_size 1536)",
    GlobalEncoderConfig: "CLIP ViT-H (embedding_dim 1024, hidden_size 1280)",
    AutoencoderConfig: "a VAE of Stable Diffusion 1 or 2 (latent_channels 4)",
    InpaintingConfig: "one with context 1024",
}


@pytest.mark.parametrize("title", OTHERS)
def test_a_network_of_another_size_is_named_beside_the_one_that_fits(
    title: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = OTHERS[title]
    component = next(c for c in ("patch_encoder", "global_encoder", "autoencoder", "inpainting")
                     if isinstance(config, type(getattr(TEST, c))))  # fmt: skip
    # Only the tensors by which a file is recognised, and without storage of their own.
    rows = [row for row in SIGNATURES if row.component == component and row.layout[:4] == "pack"]
    state = build(component, config, "meta").state_dict()
    keys = [key for row in rows for key in row.shapes if key in state]
    tensors = {key: torch.zeros(1).half().expand(state[key].shape) for key in keys}
    torch.save(tensors, tmp_path / "file.pt")
    words = message(load_model, tmp_path / "file.pt")
    assert "is " + title in words
    assert f"need {FITTING[type(config)]}" in words
    assert "config" not in words
    assert words == message(convert, tmp_path / "file.pt", tmp_path / "out.safetensors")
    assert main(["inspect", str(tmp_path / "file.pt")]) == 0
    assert f"note: It is {title}" in capsys.readouterr().out


# --- what is no weights file ---------------------------------------------------------------------


def test_a_zip_is_named_with_what_is_in_it(tmp_path: Path) -> None:
    content = io.BytesIO()
    torch.save(upstream_state("stage 1"), content)
    for name in ("weights.zip", "weights.pt"):
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("PCDMs/s1_256.pt", content.getvalue())
            archive.writestr("PCDMs/readme.txt", "hello")
        words = message(load_model, tmp_path / name)
        assert "is a zip archive, not weights; in it: PCDMs/s1_256.pt, PCDMs/readme.txt" in words
        assert "`pcdm models place`, which unpacks it" in words


@pytest.mark.parametrize(
    "start", [b"\n\n   <!DOCTYPE html>", b"\xef\xbb\xbf<HTML>", b"\r\n<!-- x --><html>", b" <?xml"]
)
def test_a_web_page_is_named_whatever_it_begins_with(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "s1.pt").write_bytes(start + b"<body>Quota exceeded</body>")
    assert "s1.pt" in message(load_model, tmp_path / "s1.pt")
    assert "is a web page, not weights" in message(inspect, tmp_path / "s1.pt")


def test_a_shipped_kind_of_file_is_translated_to_itself() -> None:
    file = in_memory(tiny_component("prior").state_dict())
    assert translate(file) is file
