"""Files of other programs are read as they are; a network of another size is named."""

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint
from safetensors.torch import save_file
from torch import Tensor, nn

from pcdm_core.checkpoints import build, convert, inspect, layouts, load_model
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
from tests.bounds import bounded
from tests.core.foreign_files import meta_dinov2, open_clip, original_vae
from tests.core.tiny_pipeline import TEST
from tests.core.weights_files import CLIP, KL, message, same, tiny_component, upstream_state


def published_names(model: nn.Module) -> dict[str, Tensor]:
    """A patch encoder's tensors as transformers publishes them."""
    return {
        name.removeprefix("model."): tensor
        for name, tensor in dinov2_published(model.state_dict()).items()
    }


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
    foreign = meta_dinov2(published_names(model), config.num_layers)
    torch.save({f"module.{name}": tensor for name, tensor in foreign.items()}, tmp_path / "d.pth")
    assert same(load_model(tmp_path / "d.pth", config=config), model)


@pytest.mark.parametrize(
    ("layout", "end"),
    [
        ("OpenCLIP", "attn.in_proj_weight"),
        ("OpenCLIP", "visual.proj"),
        ("Meta", "attn.qkv.weight"),
    ],
)
@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 1), (4,)], ids=str)
def test_the_names_of_a_layout_with_other_shapes_are_refused_by_the_tensors_name(
    layout: str, end: str, shape: tuple[int, ...], tmp_path: Path
) -> None:
    dinov2 = published_names(tiny_component("patch_encoder"))
    tensors = open_clip() if layout == "OpenCLIP" else meta_dinov2(dinov2, 1)
    key = next(name for name in tensors if name.endswith(end))
    save_file({**tensors, key: torch.zeros(shape)}, tmp_path / "odd.safetensors")
    for action in (inspect, load_model):
        sentence = message(action, tmp_path / "odd.safetensors")
        assert "odd.safetensors" in sentence
        assert f"the names of {layout}'s layout but other shapes" in sentence
        assert f"{end} is {list(shape)}" in sentence


@pytest.mark.parametrize("part", ["gate_proj", "up_proj", "both", "weights_in"])
def test_halves_of_a_layer_that_do_not_go_together_are_refused(part: str, tmp_path: Path) -> None:
    config = replace(TEST.patch_encoder, swiglu=True)
    tensors = published_names(build("patch_encoder", config).half())
    key = next(name for name in tensors if name.endswith("weights_in.weight"))
    gate, up = (key.replace("weights_in", name) for name in ("gate_proj", "up_proj"))
    halves = dict(zip((gate, up), tensors.pop(key).chunk(2), strict=True))
    if part == "weights_in":
        halves = {key: halves[gate][:1]}
    elif part == "both":
        halves[up] = halves[up][:, :1]
    else:
        del halves[gate if part == "up_proj" else up]
    torch.save({**tensors, **halves}, tmp_path / "dinov2.pt")
    words = message(load_model, tmp_path / "dinov2.pt", config=config)
    assert "dinov2.pt" in words
    assert "does not fit its configuration" in words


MANY = 80_000  # names: if each were held against all others, it would be a hang, see `bounded`


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x{}", "decoder.up.{}.x", "visual.{}", "blocks.{}.x"])
def test_a_header_is_read_in_a_time_that_grows_with_its_entries(name: str, tmp_path: Path) -> None:
    shapes = {
        "encoder.mid.attn_1.q.weight": [1],
        "decoder.up.0.block.0.conv1.weight": [1],
        "visual.conv1.weight": [1],
        "visual.proj": [1, 1],
        "patch_embed.proj.weight": [1],
        "norm.weight": [1],
        "norm.bias": [1],
        "blocks.0.attn.qkv.weight": [3],
    }
    others = ("encoder", "norm", "patch", name.partition(".")[0])
    shapes = {key: shape for key, shape in shapes.items() if key.startswith(others)}
    shapes |= {name.format(number): [1] for number in range(MANY)}
    save_file({key: torch.zeros(shape) for key, shape in shapes.items()}, tmp_path / "many.pt")
    with bounded(500):
        words = message(inspect, tmp_path / "many.pt")
    assert "many.pt" in words
    assert "tensors of no known layout" in words


@pytest.mark.parametrize("number", ["9" * 5000, "\u0663", "12345"], ids=["long", "arabic", "five"])
def test_a_level_of_an_autoencoder_that_is_none_is_refused(number: str, tmp_path: Path) -> None:
    tensors = {**original_vae(), f"decoder.up.{number}.block.0.conv1.weight": torch.zeros(1)}
    save_file(tensors, tmp_path / "vae.safetensors")
    words = message(load_model, tmp_path / "vae.safetensors", config=KL)
    assert "vae.safetensors" in words
    assert "1 unexpected: decoder.up" in words.replace("vae.decoder", "decoder")


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


@pytest.mark.parametrize("name", ["file.safetensors", "file.pt"])
def test_values_are_looked_at_a_little_at_a_time_and_all_of_them(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layouts, "_PART", 400)
    stored = {
        "large": torch.arange(1000.0).reshape(50, 20),
        "one row": torch.arange(500.0).reshape(1, 500),
        "number": torch.tensor(7.0),
        "nothing": torch.zeros(0, 3),
        "small": torch.arange(8.0),
    }
    if name.endswith(".pt"):
        torch.save(stored, tmp_path / name)
    else:
        save_file(stored, tmp_path / name)
    pieces: dict[str, list[Tensor]] = {}
    for key, piece in layouts.tensors_in_turn(layouts.read_weights(tmp_path / name, mapped=True)):
        assert piece.nbytes <= 400 or len(piece) == 1
        pieces.setdefault(key, []).append(piece.clone())
    assert pieces.keys() == stored.keys()
    for key, tensor in stored.items():
        whole = torch.cat(pieces[key]) if tensor.ndim else pieces[key][0]
        assert torch.equal(whole, tensor), key


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
