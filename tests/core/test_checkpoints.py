"""Weights files: what they are, loading, saving, converting, and what is refused and how."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pcdm_core import checkpoints
from pcdm_core.checkpoint_files import write_state_dict
from pcdm_core.checkpoint_keys import Component
from pcdm_core.checkpoints import (
    BUILDERS,
    CheckpointError,
    convert,
    detect,
    inspect,
    load_component,
    load_model,
    save_model,
    shipped_weights,
)
from pcdm_core.config import PRESETS, AutoencoderConfig, GlobalEncoderConfig, config_to_dict
from tests.core.tiny_pipeline import TEST, randomise
from tests.core.tiny_stages import CASES, x_t
from tests.parity.fixtures import drawn_state

GOLDEN = Path(__file__).parents[1] / "golden" / "parity" / "loader"

SINGLE_STAGE = replace(TEST.inpainting, embedding_dim=None, null_tokens="projected_zeros")
KL = AutoencoderConfig(
    block_out_channels=(8, 8), downscale=2, layers_per_block=1, norm_num_groups=4
)
CLIP = GlobalEncoderConfig(
    embedding_dim=20, picture_size=28, hidden_size=16, num_layers=1, num_heads=2,
    intermediate_size=32,
)  # fmt: skip

# Component, layout upstream, configuration, and the published top-level modules ("" for none).
UPSTREAM: dict[str, tuple[Component, str, Any, tuple[str, ...]]] = {
    "stage 1": ("prior", "upstream", TEST.prior, ("",)),
    "stage 2": (
        "inpainting",
        "upstream three-stage",
        TEST.inpainting,
        ("unet", "pose_proj", "image_proj_model_p"),
    ),
    "single stage": (
        "inpainting",
        "upstream single-stage",
        SINGLE_STAGE,
        ("unet", "pose_proj", "image_proj_model"),
    ),
    "stage 3": ("refining", "upstream", TEST.refining, ("unet", "image_proj_model_p")),
    "autoencoder": ("autoencoder", "diffusers AutoencoderKL", KL, ("",)),
    "DINOv2": ("patch_encoder", "transformers", TEST.patch_encoder, ("",)),
    "CLIP": ("global_encoder", "transformers CLIP", CLIP, ("",)),
}
UPSTREAM_FILES = pytest.mark.parametrize("kind", UPSTREAM)
COMPONENTS = pytest.mark.parametrize("component", BUILDERS)


def upstream_state(kind: str) -> dict[str, Tensor]:
    """fp16 weights in a published layout."""
    component, layout, config, modules = UPSTREAM[kind]
    with torch.device("meta"):
        blank = BUILDERS[component](config)
    return drawn_state(blank, component, layout, dict.fromkeys(modules, 1))


def own(component: Component) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return randomise(BUILDERS[component](getattr(TEST, component)), 3)


def same(a: nn.Module, b: nn.Module) -> bool:
    one, other = a.state_dict(), b.state_dict()
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def message(action: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(CheckpointError) as caught:
        action(*arguments, **options)
    return str(caught.value)


# --- what a file is ----------------------------------------------------------------------------


@UPSTREAM_FILES
def test_each_published_layout_is_recognised(kind: str) -> None:
    component, layout, _, _ = UPSTREAM[kind]
    signature = detect(upstream_state(kind))
    assert (signature.component, signature.layout) == (component, layout)


@COMPONENTS
def test_each_component_of_the_pack_is_recognised(component: Component) -> None:
    signature = detect(own(component).state_dict())
    assert signature.component == component
    assert signature.layout.startswith("pack's")


def test_channel_counts_alone_do_not_decide_the_stage() -> None:
    assert TEST.refining is not None
    # Nine input channels, as upstream's stage 2 has: 4.5 latent channels would be needed for eight.
    config = replace(TEST.refining, latent_channels=4)
    nine = replace(TEST.inpainting, latent_channels=4)
    assert (config.in_channels, nine.in_channels) == (8, 9)
    for stage, preset in (("refining", TEST.refining), ("inpainting", TEST.inpainting)):
        model = BUILDERS[stage](preset)  # type: ignore[index]
        assert model.unet.conv_in.in_channels in (24, 25)
        assert detect(model.state_dict()).component == stage


def test_a_summary_says_what_a_file_is_and_whose_size(tmp_path: Path) -> None:
    path = save_model(
        own("refining"), tmp_path / "x.safetensors", stage="refining", metadata={"note": "soft"}
    )
    summary = inspect(path)
    assert (summary.component, summary.preset, summary.config) == (
        "refining",
        "test",
        TEST.refining,
    )
    assert summary.metadata["note"] == "soft"
    assert summary.dtypes == ("float32",)
    assert summary.parameters == sum(t.numel() for t in own("refining").state_dict().values())


# --- saving and loading --------------------------------------------------------------------------


@COMPONENTS
def test_what_is_saved_loads_bit_for_bit_with_its_configuration(
    component: Component, tmp_path: Path
) -> None:
    model = own(component)
    save_model(model, tmp_path / f"{component}.safetensors", stage=component)
    loaded = load_component(tmp_path, component)
    assert same(model, loaded)
    assert loaded.config == model.config
    assert not loaded.training
    tensors = (*loaded.parameters(), *loaded.buffers())
    assert not any(tensor.is_meta for tensor in tensors)


@COMPONENTS
def test_a_loaded_component_computes_what_the_saved_one_did(
    component: Component, tmp_path: Path
) -> None:
    model = own(component).eval()
    loaded = load_model(save_model(model, tmp_path / "x.safetensors", stage=component))
    if component in CASES:
        cond = model.condition(**CASES[component][1](1))  # type: ignore[operator]
        arguments: tuple[Any, ...] = (x_t(model, 1), torch.tensor([5]), cond)
    else:
        size = 28 if component == "patch_encoder" else 8
        arguments = (torch.linspace(-1, 1, 3 * size * size).view(1, 3, size, size),)
    run = getattr(model, "encode", model), getattr(loaded, "encode", loaded)
    with torch.no_grad():
        # Not equal to the bit: how fast a product is computed depends on where its numbers lie.
        torch.testing.assert_close(*(each(*arguments) for each in run), rtol=1e-5, atol=1e-5)


def test_the_type_of_the_weights_can_be_chosen_twice(tmp_path: Path) -> None:
    path = save_model(own("prior"), tmp_path / "x.safetensors", stage="prior", dtype=torch.float16)
    assert {p.dtype for p in load_model(path).parameters()} == {torch.float16}
    loaded = load_model(path, dtype=torch.float32)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert same(loaded, own("prior").half().float())


def test_loaded_weights_can_be_trained_on(tmp_path: Path) -> None:
    path = save_model(own("prior"), tmp_path / "x.safetensors", stage="prior")
    assert all(parameter.requires_grad for parameter in load_model(path).parameters())


def test_a_large_model_comes_in_parts_and_loads_from_any_name(tmp_path: Path) -> None:
    model = own("inpainting")
    path = tmp_path / "inpainting.safetensors"
    limit = 150_000
    index = save_model(model, path, stage="inpainting", max_shard_bytes=limit)
    parts = sorted(tmp_path.glob("inpainting-*.safetensors"))
    assert index.name == "inpainting.safetensors.index.json"
    assert len(parts) > 2
    largest = max(tensor.nbytes for tensor in model.state_dict().values())
    assert all(part.stat().st_size <= max(limit, largest + 8192) for part in parts)
    for name in (path, index, parts[0]):
        assert same(load_model(name), model)
    assert inspect(path).preset == "test"


def test_saving_again_leaves_nothing_of_the_previous_save(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_model(own("prior"), path, stage="prior", max_shard_bytes=40_000)
    assert len(list(tmp_path.iterdir())) > 2
    save_model(own("prior"), path, stage="prior")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    save_model(own("prior"), path, stage="prior", max_shard_bytes=30_000)
    assert not path.exists()
    assert same(load_model(path), own("prior"))


def test_a_failed_save_keeps_the_previous_file_and_leaves_no_rest(tmp_path: Path) -> None:
    path = save_model(own("prior"), tmp_path / "x.safetensors", stage="prior")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_state_dict(own("prior").state_dict(), path, {"a": 1})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_hash_of_the_weights_is_kept_and_follows_the_values(tmp_path: Path) -> None:
    model = own("prior")
    first = inspect(save_model(model, tmp_path / "a.safetensors", stage="prior"))
    parts = inspect(
        save_model(model, tmp_path / "b.safetensors", stage="prior", max_shard_bytes=40_000)
    )
    assert first.metadata["weights_sha256"] == parts.metadata["weights_sha256"]
    nn.init.ones_(model.target_pose_projection.bias)  # type: ignore[arg-type,union-attr]
    other = inspect(save_model(model, tmp_path / "a.safetensors", stage="prior"))
    assert other.metadata["weights_sha256"] != first.metadata["weights_sha256"]


def test_files_keep_the_published_names_of_the_patch_encoder(tmp_path: Path) -> None:
    path = save_model(own("patch_encoder"), tmp_path / "x.safetensors", stage="patch_encoder")
    assert any(key.endswith("attention.attention.query.weight") for key in load_file(path))


# --- published files -----------------------------------------------------------------------------


@UPSTREAM_FILES
def test_converting_keeps_every_value_and_its_type(kind: str, tmp_path: Path) -> None:
    component, _, config, _ = UPSTREAM[kind]
    state = upstream_state(kind)
    published = tmp_path / "published" / "mp_rank_00_model_states.pt"
    published.parent.mkdir()
    torch.save({"module": state, "epoch": 1, "ds_config": {"a": [1]}}, published)
    summary = convert(published.parent, tmp_path / "x.safetensors", config=config)
    assert (summary.component, summary.config) == (component, config)
    assert summary.dtypes == ("float16",)
    assert len(summary.metadata["source_sha256"]) == 64
    assert summary.metadata["source"] == published.name
    direct = load_model(published, config=config)
    assert same(load_model(tmp_path / "x.safetensors"), direct)
    # The values, whatever their names: no tensor was lost, doubled or changed.
    values = sorted(t.double().sum().item() for t in direct.state_dict().values())
    given = {k: t for k, t in state.items() if "mask_token" not in k}
    if component != "patch_encoder":  # whose gate and up projections may be stored as one
        assert values == sorted(t.double().sum().item() for t in given.values())


def test_a_published_file_of_a_presets_size_needs_no_configuration(tmp_path: Path) -> None:
    save_file(upstream_state("stage 3"), tmp_path / "s3.safetensors")
    assert load_model(tmp_path / "s3.safetensors").config == TEST.refining
    assert convert(tmp_path / "s3.safetensors", tmp_path / "y.safetensors").preset == "test"


def test_a_size_of_no_preset_asks_for_its_configuration(tmp_path: Path) -> None:
    save_file(upstream_state("CLIP"), tmp_path / "clip.safetensors")
    words = message(load_model, tmp_path / "clip.safetensors")
    assert "the dimensions of no preset" in words
    assert "Give `config`" in words
    assert load_model(tmp_path / "clip.safetensors", config=CLIP).config == CLIP


def test_a_bare_dictionary_of_known_keys_loads_too(tmp_path: Path) -> None:
    torch.save(upstream_state("stage 2"), tmp_path / "s2.pt")
    assert load_model(tmp_path / "s2.pt").config == TEST.inpainting


def test_old_names_of_the_autoencoders_attention_are_understood(tmp_path: Path) -> None:
    state = upstream_state("autoencoder")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    old = dict(state)
    for new_name, old_name in names.items():
        for key in [k for k in old if f".{new_name}." in k]:
            old[key.replace(f".{new_name}.", f".{old_name}.")] = old.pop(key)
    assert old.keys() != state.keys()
    save_file(state, tmp_path / "new.safetensors")
    save_file(old, tmp_path / "old.safetensors")
    assert same(*(load_model(tmp_path / f"{n}.safetensors", config=KL) for n in ("new", "old")))


def test_of_a_whole_clip_the_picture_tower_is_taken(tmp_path: Path) -> None:
    state = upstream_state("CLIP")
    whole = {
        **state,
        "logit_scale": torch.ones(()),
        "text_model.embeddings.token_embedding.weight": torch.ones(4, 4),
        "text_projection.weight": torch.ones(4, 4),
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
    }
    save_file(whole, tmp_path / "clip.safetensors")
    model = load_model(tmp_path / "clip.safetensors", config=CLIP, dtype=torch.float32)
    # A constant that no file holds is there all the same.
    assert model(torch.zeros(1, 3, 28, 28)).isfinite().all()


# --- refused, and with which words ---------------------------------------------------------------


def test_a_stage_1_file_offered_as_stage_2_is_named(tmp_path: Path) -> None:
    torch.save({"module": upstream_state("stage 1")}, tmp_path / "s2_256.pt")
    words = message(load_model, tmp_path / "s2_256.pt", stage="inpainting")
    assert str(tmp_path / "s2_256.pt") in words
    assert "is a stage-1 model (prior), but a stage-2 model (inpainting) was asked for" in words
    assert "use s2_512.pt" in words
    assert words == message(load_model, tmp_path / "s2_256.pt", config=TEST.inpainting)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "truncated.pt")
    assert "truncated.pt (20000 bytes) is a truncated PyTorch file" in words
    assert "download it again" in words
    path = save_model(own("prior"), tmp_path / "x.safetensors", stage="prior")
    path.write_bytes(path.read_bytes()[:-100])
    words = message(load_model, path)
    assert str(path) in words
    assert "damaged or truncated safetensors" in words


def test_a_pickle_with_foreign_classes_is_refused_without_running_it(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "foreign_class.pt")
    assert "foreign_class.pt is a pickle with more than plain tensors" in words
    assert "save the dictionary of tensors alone" in words
    ran = tmp_path / "ran"

    class Malice:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (ran,)

    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"module": Malice()}))
    assert "evil.pt" in message(load_model, tmp_path / "evil.pt")
    assert not ran.exists()


def test_a_file_without_module_whose_keys_match_nothing_is_named(tmp_path: Path) -> None:
    words = message(load_model, GOLDEN / "no_module_key.pt")
    assert "no_module_key.pt (PyTorch file without `module`) holds 1 tensors" in words
    assert "Nearest is a stage-2 model (inpainting)" in words
    torch.save({"optimizer": {}, "step": 3}, tmp_path / "state.pt")
    words = message(load_model, tmp_path / "state.pt")
    assert "has no `module` entry" in words
    assert "optimizer, step" in words


def test_safetensors_of_another_model_are_named(tmp_path: Path) -> None:
    tensor = {"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2)}
    save_file(tensor, tmp_path / "sd.safetensors")
    words = message(load_model, tmp_path / "sd.safetensors")
    assert "sd.safetensors" in words
    assert "a Stable Diffusion checkpoint in its original layout" in words
    save_file({"encoder.w": torch.ones(2)}, tmp_path / "other.safetensors")
    assert "Its keys are those of another model" in message(
        load_model, tmp_path / "other.safetensors"
    )


def test_a_missing_file_lists_what_is_there(tmp_path: Path) -> None:
    assert "has no weights files" in message(load_component, tmp_path, "prior")
    save_model(own("refining"), tmp_path / "refining.safetensors", stage="refining")
    words = message(load_component, tmp_path, "prior")
    assert f"{tmp_path / 'prior.safetensors'} does not exist" in words
    assert "refining.safetensors" in words
    assert "no folder" in message(load_model, tmp_path / "nowhere" / "x.safetensors")


def test_a_folder_of_one_file_stands_for_it_and_of_several_is_refused(tmp_path: Path) -> None:
    save_model(own("refining"), tmp_path / "a.safetensors", stage="refining")
    assert same(load_model(tmp_path), own("refining"))
    save_model(own("prior"), tmp_path / "b.safetensors", stage="prior")
    words = message(load_model, tmp_path)
    assert "choose one weights file" in words
    assert "a.safetensors, b.safetensors" in words


def parts_of(folder: Path, seed: int = 3) -> list[Path]:
    model = randomise(BUILDERS["prior"](TEST.prior), seed)
    save_model(model, folder / "x.safetensors", stage="prior", max_shard_bytes=40_000)
    return sorted(folder.glob("x-*.safetensors"))


def test_missing_broken_and_foreign_parts_are_named(tmp_path: Path) -> None:
    parts = parts_of(tmp_path / "one")
    others = parts_of(tmp_path / "other", seed=4)
    path = tmp_path / "one" / "x.safetensors"
    whole = parts[1].read_bytes()

    parts[1].unlink()
    words = message(load_model, path)
    assert f"missing: {parts[1].name}" in words

    parts[1].write_bytes(whole[:-50])
    assert str(parts[1]) in message(load_model, path)

    shutil.copyfile(others[1], parts[1])
    assert "belongs to another save" in message(load_model, path)

    parts[1].write_bytes(whole)
    load_model(path)
    (tmp_path / "one" / "x.safetensors.index.json").unlink()
    assert "its index x.safetensors.index.json is missing" in message(load_model, parts[0])


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"weight_map": {"a": "../../secret.safetensors"}}', '{"weight_map": 3}']
)
def test_a_broken_index_is_named(content: str, tmp_path: Path) -> None:
    index = tmp_path / "x.safetensors.index.json"
    index.write_text(content)
    assert str(index) in message(load_model, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"<!DOCTYPE html><html>Google Drive - virus scan", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"", "neither safetensors nor a PyTorch file"),
        (b"PK\x03\x04garbage", "truncated"),
        (b"\x80\x02garbage", "plain tensors or damaged"),
    ],
)
def test_what_is_no_weights_file_is_named(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s2_512.pt"
    path.write_bytes(content)
    found = message(load_model, path)
    assert words in found
    assert str(path) in found


def test_a_configuration_that_does_not_fit_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = save_model(own("refining"), tmp_path / "x.safetensors", stage="refining")
    words = message(load_model, path, config=PRESETS["mini"].refining)
    assert "width 32" in words
    assert "expected" in words
    assert "width 64" in words


def test_missing_and_unexpected_tensors_are_listed(tmp_path: Path) -> None:
    state = own("prior").state_dict()
    state["transformer.extra.weight"] = state.pop("transformer.norm_out.weight")
    state["transformer.norm_out.bias"] = torch.zeros(3)
    save_file(state, tmp_path / "x.safetensors")
    words = message(load_model, tmp_path / "x.safetensors", config=TEST.prior)
    assert "1 missing: transformer.norm_out.weight" in words
    assert "1 unexpected: transformer.extra.weight" in words
    assert "1 misshapen: transformer.norm_out.bias [3] instead of [16]" in words


def test_files_of_other_versions_say_so(tmp_path: Path) -> None:
    state = own("prior").state_dict()
    config = {**config_to_dict(TEST.prior), "colour": 3}
    metadata = {"pcdm_format": "1", "stage": "prior", "config": json.dumps(config)}
    path = write_state_dict(state, tmp_path / "x.safetensors", metadata)
    assert "no field colour" in message(load_model, path)
    path = write_state_dict(state, tmp_path / "x.safetensors", {**metadata, "pcdm_format": "2"})
    assert "written by a newer version" in message(load_model, path)


def test_weights_are_written_as_safetensors_only(tmp_path: Path) -> None:
    words = message(save_model, own("prior"), tmp_path / "x.pt", stage="prior")
    assert "written as safetensors" in words


def test_presets_without_shipped_weights_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "WEIGHTS_FOLDER", tmp_path)
    (tmp_path / "mini").mkdir()
    assert shipped_weights() == tmp_path / "mini"
    words = message(shipped_weights, "published")
    assert "no weights ship for the preset 'published'" in words
    assert "With the pack come: mini" in words
