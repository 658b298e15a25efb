"""`pcdm models list`, `place` and `verify` on tiny files in the published layouts."""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pcdm_core.checkpoints import build, inspect, load_model
from pcdm_core.checkpoints.signatures import dinov2_published
from pcdm_core.cli import main
from pcdm_core.config import AutoencoderConfig
from pcdm_core.files import file_hash
from pcdm_core.published import place as placing
from pcdm_core.published.table import Source, files_of, model_files
from pcdm_core.published.verify import names_hash
from tests.core.foreign_files import meta_dinov2, open_clip, original_vae
from tests.core.tiny_pipeline import TEST, save_person
from tests.core.weights_files import upstream_state
from tests.hosts import ROOT
from tests.published.conftest import OF_FULL_SIZE, PUBLISHED, SIMPLIFIED

Printed = pytest.CaptureFixture[str]
NAMES = {file.python for file in files_of("published")}
IN_COMFYUI = {file.comfyui for file in files_of("published")}


def run(*words: Any) -> int:
    return main(["models", *map(str, words)])


def tree(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def publish(path: Path, component: str, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Let this file be the one of the table, with its size and hash."""
    row = next(file for file in model_files() if file.component == component)
    source = replace(row.source, bytes=path.stat().st_size, sha256=file_hash(path))
    rows = [replace(file, sources=(source,)) if file == row else file for file in model_files()]
    monkeypatch.setattr("pcdm_core.published.verify.model_files", lambda: tuple(rows))
    return source


def test_a_folder_of_downloads_becomes_a_picture_with_two_commands(
    downloads: Path, tmp_path: Path, capsys: Printed
) -> None:
    weights, person = tmp_path / "weights", save_person(tmp_path / "person", views=2)
    assert run("place", downloads, "--weights", weights) == 0
    printed = capsys.readouterr().out
    assert "stage 1, prior: converted to" in printed
    assert f"DINOv2-giant: linked to {weights / 'patch_encoder.safetensors'}" in printed
    assert f"not used: {downloads / 's2_256.pt'}" in printed
    assert "that of SDXL has the same shapes" in printed
    assert f"All files of published are in place for --weights {weights}." in printed
    assert tree(weights) == NAMES
    size = (downloads / "s2_512.pt").stat().st_size
    options = ["--image", person / "00.png", "--source-pose", person / "00.json"]
    options += ["--pose", person / "01.json", "--output", tmp_path / "out.png", "--steps", "1"]
    options += ["--weights", weights, "--device", "cpu"]
    assert main(["generate", *map(str, options)]) == 0
    assert (tmp_path / "out.png").is_file()
    assert (downloads / "s2_512.pt").stat().st_size == size


def test_comfyui_gets_every_file_where_its_loaders_look(
    downloads: Path, comfyui: Path, capsys: Printed
) -> None:
    assert run("list", "--preset", "published", "--comfyui", comfyui) == 0
    assert capsys.readouterr().out.count(f"in {comfyui}: missing") == 6
    assert run("place", downloads, "--comfyui", comfyui) == 0
    assert "ComfyUI: press R there" in capsys.readouterr().out
    assert tree(comfyui / "models") == IN_COMFYUI
    assert run("list", "--preset", "published", "--comfyui", comfyui / "models") == 0
    assert capsys.readouterr().out.count(": there (") == 6
    # What is there already stays, and is not made again.
    before = {p: p.stat().st_mtime_ns for p in comfyui.rglob("*.safetensors")}
    assert run("place", downloads, "--comfyui", comfyui) == 0
    assert capsys.readouterr().out.count(": already at ") == 6
    assert before == {p: p.stat().st_mtime_ns for p in comfyui.rglob("*.safetensors")}


def test_everything_that_is_missing_is_named_with_its_address(
    downloads: Path, tmp_path: Path, capsys: Printed
) -> None:
    (downloads / "s3-512.pt").unlink()
    (downloads / "vae.safetensors").unlink()
    (downloads / "page.pt").write_bytes(b"  <!DOCTYPE html>")
    assert run("place", downloads, "--weights", tmp_path / "weights") == 2
    printed = capsys.readouterr()
    for component in ("refining", "autoencoder"):
        file = next(file for file in files_of("published") if file.component == component)
        assert f"{file.title}: {file.source.name}, {file.source.address}" in printed.err
    assert "page.pt (17 bytes) is a web page" in printed.out
    assert tree(tmp_path / "weights") == NAMES - {"refining.safetensors", "autoencoder.safetensors"}


def test_another_file_of_a_name_is_kept_until_its_replacement_is_asked_for(
    downloads: Path, tmp_path: Path, capsys: Printed
) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    other = {name: tensor + 1 for name, tensor in upstream_state("stage 3").items()}
    save_file(other, weights / "refining.safetensors")
    (weights / "autoencoder.safetensors").write_bytes(b"not even weights")
    digest = file_hash(weights / "refining.safetensors")
    assert run("place", downloads, "--weights", weights) == 2
    words = capsys.readouterr().err
    assert "refining.safetensors: another file than" in words
    assert "autoencoder.safetensors: another file than" in words
    assert "--replace writes over it" in words
    assert file_hash(weights / "refining.safetensors") == digest
    assert run("place", downloads, "--weights", weights, "--replace") == 0
    assert inspect(weights / "refining.safetensors").metadata["source"] == "s3-512.pt"


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_is_made_where_a_link_cannot_be(
    links: bool, downloads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    def no_links(*paths: Any, **options: Any) -> None:
        raise OSError(1, "Operation not permitted")

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    weights = tmp_path / "weights"
    assert run("place", downloads, "--weights", weights, *(["--copy"] if links else [])) == 0
    assert "DINOv2-giant: copied to" in capsys.readouterr().out
    original = downloads / "dinov2-giant" / "model.safetensors"
    assert not (weights / "patch_encoder.safetensors").samefile(original)
    assert file_hash(weights / "patch_encoder.safetensors") == file_hash(original)
    assert tree(weights) == NAMES


def test_a_zip_is_unpacked_and_foreign_layouts_are_converted(
    downloads: Path, comfyui: Path, capsys: Printed
) -> None:
    with zipfile.ZipFile(downloads / "drive-download-001.zip", "w") as archive:
        for name in ("s1_256.pt", "s2_512.pt", "s3-512.pt"):
            archive.write(downloads / name, f"../../PCDMs/{name}")
            (downloads / name).unlink()
    state = upstream_state("DINOv2")
    (downloads / "dinov2-giant" / "model.safetensors").unlink()
    foreign = meta_dinov2(state, PUBLISHED.patch_encoder.num_layers)
    torch.save(foreign, downloads / "dinov2_vitg14_pretrain.pth")
    original = original_vae(PUBLISHED.autoencoder)
    checkpoint = {f"first_stage_model.{name}": tensor for name, tensor in original.items()}
    (downloads / "vae.safetensors").unlink()
    torch.save({"state_dict": checkpoint, "global_step": 1}, downloads / "v2-1.ckpt")
    clip = downloads / "model (1).safetensors"
    torch.save({f"module.{k}": v for k, v in load_file(clip).items()}, downloads / "clip.bin")
    clip.unlink()
    (downloads / "s2_256.pt").unlink()
    assert run("place", downloads, "--comfyui", comfyui) == 0
    assert tree(comfyui / "models") == IN_COMFYUI
    assert capsys.readouterr().out.count("converted to") == 6
    models = comfyui / "models"
    placed = load_file(models / "clip_vision" / "dinov2-giant.safetensors")
    assert placed.keys() == {name for name in state if "mask_token" not in name}
    assert all(torch.equal(placed[name], state[name]) for name in placed)
    names = load_file(models / "clip_vision" / "clip-vit-h.safetensors")
    assert "vision_model.pre_layrnorm.weight" in names
    vae = load_file(models / "vae" / "vae-ft-mse-840000-ema-pruned.safetensors")
    assert "encoder.down_blocks.0.resnets.0.conv1.weight" in vae
    assert load_model(models / "pcdm" / "published" / "prior.safetensors").config == TEST.prior
    assert run("place", downloads, "--comfyui", comfyui) == 0
    assert capsys.readouterr().out.count(": already at ") == 6


def test_the_preset_is_the_one_whose_models_are_there(
    downloads: Path, tmp_path: Path, capsys: Printed
) -> None:
    torch.save({"module": upstream_state("single stage")}, downloads / "pcdms_ckpt.pt")
    assert run("place", downloads, "--weights", tmp_path / "weights") == 2
    assert "--preset published (three stages) or --preset simplified" in capsys.readouterr().err
    for name in ("s1_256", "s2_256", "s2_512", "s3-512"):
        (downloads / f"{name}.pt").unlink()
    assert run("place", downloads, "--weights", tmp_path / "weights") == 0
    assert "All files of simplified are in place" in capsys.readouterr().out
    assert tree(tmp_path / "weights") == {file.python for file in files_of("simplified")}
    assert inspect(tmp_path / "weights" / "inpainting.safetensors").config == SIMPLIFIED.inpainting


def test_the_list_says_what_is_there_and_what_lies_under_another_name(
    downloads: Path, tmp_path: Path, capsys: Printed
) -> None:
    assert run("list", "--weights", downloads) == 0
    printed = capsys.readouterr().out
    assert printed.count("`pcdm models place` puts it in place") == 8
    assert printed.count(": missing") == 1  # the single stage
    assert run("place", downloads, "--weights", tmp_path / "weights") == 0
    capsys.readouterr()
    assert run("list", "--preset", "published", "--weights", tmp_path / "weights") == 0
    assert capsys.readouterr().out.count(": there (") == 6
    assert run("list", "--comfyui", tmp_path / "weights") == 2
    assert "not a ComfyUI" in capsys.readouterr().err


def test_verify_finds_damage_and_says_what_is_unchecked(
    downloads: Path, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    dinov2 = downloads / "dinov2-giant" / "model.safetensors"
    publish(dinov2, "patch_encoder", monkeypatch)
    weights = tmp_path / "weights"
    assert run("place", downloads, "--weights", weights, "--copy") == 0
    assert run("verify", weights, downloads) == 0
    printed = capsys.readouterr().out
    assert "Size and SHA-256 are those of dinov2-giant.safetensors" in printed
    assert "made of s1_256.pt, and as it was written" in printed
    assert "No SHA-256 was published for it" in printed

    for name in ("patch_encoder", "prior"):
        content = bytearray((weights / f"{name}.safetensors").read_bytes())
        content[-1] ^= 1
        (weights / f"{name}.safetensors").write_bytes(content)
    whole = (weights / "autoencoder.safetensors").read_bytes()
    (weights / "autoencoder.safetensors").write_bytes(whole[:-9])
    assert run("verify", weights) == 2
    printed = capsys.readouterr()
    assert "has the size of dinov2-giant.safetensors but another SHA-256" in printed.out
    assert "Its weights are not those that were written" in printed.out
    assert "is a damaged or truncated safetensors file" in printed.out
    assert "3 of 6 files cannot be used as they are" in printed.err
    # What is damaged is not placed either.
    dinov2.write_bytes((weights / "patch_encoder.safetensors").read_bytes())
    assert run("place", downloads, "--weights", tmp_path / "new") == 2
    assert "it is damaged or changed. Download it again" in capsys.readouterr().err
    assert "patch_encoder.safetensors" not in tree(tmp_path / "new")
    assert run("verify", tmp_path / "person") == 2


def test_verify_looks_at_every_tensor(tmp_path: Path, capsys: Printed) -> None:
    state = upstream_state("stage 3")
    key = "unet.up_blocks.0.resnets.1.conv2.bias"
    faults = {
        "lacks": {name: tensor for name, tensor in state.items() if name != key},
        "shape": {**state, key: state[key][:-1].clone()},
        "value": {**state, key: state[key] * float("nan")},
    }
    for name, tensors in faults.items():
        torch.save({"module": tensors}, tmp_path / f"{name}.pt")
    assert run("verify", tmp_path) == 2
    printed = capsys.readouterr()
    ours = "unet.up_blocks.0.resnets.1.conv2.bias"
    assert f"1 missing: {ours}" in printed.out
    assert f"1 misshapen: {ours} [63] instead of [64]" in printed.out
    assert f"the tensor {ours} holds NaN or infinity" in printed.out
    assert "3 of 3 files cannot be used" in printed.err


def test_verify_knows_the_names_of_the_published_networks_without_building_them() -> None:
    for file in model_files():
        config = getattr(OF_FULL_SIZE[file.presets[0]], file.component)
        state = build(file.component, config, "meta").state_dict()
        blank = {name: torch.empty_like(tensor, device="meta") for name, tensor in state.items()}
        assert names_hash(dinov2_published(blank)) == file.tensors_sha256, file.title


def test_a_vae_of_a_known_size_and_another_hash_is_named_by_inspect_and_convert(
    downloads: Path, tmp_path: Path, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = downloads / "vae.safetensors"
    row = next(file for file in model_files() if file.component == "autoencoder")
    source = replace(row.source, bytes=vae.stat().st_size, sha256=file_hash(vae))
    rows = tuple(
        replace(file, sources=(source,)) if file == row else file for file in model_files()
    )
    monkeypatch.setattr("pcdm_core.published.verify.model_files", lambda: rows)
    copy = tmp_path / "copy.safetensors"
    assert main(["convert", str(vae), str(copy)]) == 0
    assert f"values: Size and SHA-256 are those of {source.name}." in capsys.readouterr().out
    assert main(["inspect", str(copy)]) == 0
    assert f"values: It was made of {source.name}, whose SHA-256" in capsys.readouterr().out
    content = bytearray(vae.read_bytes())
    content[-1] ^= 1
    vae.write_bytes(content)
    for words in (["inspect", vae], ["convert", vae, copy]):
        assert main(list(map(str, words))) == 0
        printed = capsys.readouterr().out
        assert f"has the size of {source.name} but another SHA-256" in printed
        assert "that of SDXL has the same shapes and gives wrong colours" in printed
    assert main(["inspect", str(ROOT / "pcdm_core/weights/mini/autoencoder.safetensors")]) == 0
    assert "values:" not in capsys.readouterr().out


def test_files_in_other_folders_of_a_comfyui_are_found(
    downloads: Path, comfyui: Path, tmp_path: Path, capsys: Printed
) -> None:
    assert run("place", downloads, "--weights", tmp_path / "shared" / "pcdm") == 0
    text = f"""
mine:
    base_path: {tmp_path / "shared"}
    pcdm: pcdm
    vae: |
        nowhere
        pcdm/
empty:
beside:
    clip_vision: ../downloads
"""
    (comfyui / "extra_model_paths.yaml").write_text(text, encoding="utf-8")
    capsys.readouterr()
    for folder in (comfyui, comfyui / "models"):
        assert run("list", "--preset", "published", "--comfyui", folder) == 0
        printed = capsys.readouterr().out
        assert printed.count(": there (") == 6
        assert f": there ({tmp_path / 'shared' / 'pcdm' / 'prior.safetensors'})" in printed
    for damaged in ("a: [1", "- 1", "a: {vae: 3}"):
        (comfyui / "extra_model_paths.yaml").write_text(damaged, encoding="utf-8")
        assert run("list", "--comfyui", comfyui) == 2
        assert "extra_model_paths.yaml is no list of folders" in capsys.readouterr().err


MEMORY = """
import sys
from pathlib import Path
from pcdm_core.cli import main
status = main(["models", "verify", sys.argv[1]])
(peak,) = [s for s in Path("/proc/self/status").read_text().splitlines() if s[:5] == "VmHWM"]
print(status, int(peak.split()[1]) // 1000)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("name", ["own.safetensors", "foreign.safetensors", "foreign.pt"])
@pytest.mark.slow
def test_verify_needs_less_memory_than_the_file(name: str, tmp_path: Path) -> None:
    blank = build("autoencoder", AutoencoderConfig(), "meta").state_dict()  # of full size
    tensors = {k.removeprefix("vae."): torch.zeros(v.shape) for k, v in blank.items()}
    if name.endswith(".pt"):
        torch.save(tensors, tmp_path / name)
    elif name.startswith("own"):
        placing.write_state_dict(tensors, tmp_path / name, {"format": "pt"})
    else:
        save_file(tensors, tmp_path / name)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / name)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    status, megabytes = map(int, result.stdout.splitlines()[-1].split())
    assert status == 0, result.stdout
    assert megabytes < 300, result.stdout


def test_an_openclip_file_is_recognised(downloads: Path, tmp_path: Path, capsys: Printed) -> None:
    torch.save(open_clip(), tmp_path / "open_clip.bin")
    assert main(["inspect", str(tmp_path / "open_clip.bin")]) == 0
    printed = capsys.readouterr().out
    assert "component: global_encoder" in printed
    assert "OpenCLIP's layout" in printed
    assert json.loads((ROOT / "pcdm_core/published/files.json").read_text(encoding="utf-8"))


def test_steps_follow_the_weights(downloads: Path, tmp_path: Path, capsys: Printed) -> None:
    torch.save({"module": upstream_state("single stage")}, downloads / "pcdms_ckpt.pt")
    weights, person = tmp_path / "weights", save_person(tmp_path / "person", views=2)
    assert run("place", downloads, "--weights", weights, "--preset", "simplified") == 0
    options = ["generate", "--image", person / "00.png", "--source-pose", person / "00.json"]
    options += ["--pose", person / "01.json", "--output", tmp_path / "out.png"]
    options += ["--weights", weights, "--device", "cpu"]
    assert main(list(map(str, options))) == 0
    assert "Preset simplified: 50 steps a stage, " in (printed := capsys.readouterr().err)
    assert "50/50" in printed
    assert main([*map(str, options), "--steps", "2"]) == 0
    assert "2/2" in capsys.readouterr().err
