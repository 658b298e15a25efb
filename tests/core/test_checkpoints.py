"""Weights files: what they are, loading, saving, and converting published ones."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pcdm_core.checkpoints import (
    build,
    convert,
    detect,
    inspect,
    load_component,
    load_model,
    save_model,
)
from pcdm_core.checkpoints.components import preset_of
from pcdm_core.checkpoints.files import CheckpointError, read_metadata, read_state_dict
from pcdm_core.checkpoints.signatures import CONFIGS, Component
from pcdm_core.checkpoints.write import weights_hash, write_state_dict
from pcdm_core.config import Preset
from tests.core.tiny_pipeline import TEST
from tests.core.tiny_stages import CASES, x_t
from tests.core.weights_files import (
    CLIP,
    KL,
    UPSTREAM,
    message,
    same,
    tiny_component,
    upstream_state,
)

UPSTREAM_FILES = pytest.mark.parametrize("kind", UPSTREAM)
COMPONENTS = pytest.mark.parametrize("component", CONFIGS)


# --- what a file is ----------------------------------------------------------------------------


@UPSTREAM_FILES
def test_each_published_layout_is_recognised(kind: str) -> None:
    component, layout, _, _ = UPSTREAM[kind]
    signature = detect(upstream_state(kind))
    assert (signature.component, signature.layout) == (component, layout)


@COMPONENTS
def test_each_component_of_the_pack_is_recognised(component: Component) -> None:
    signature = detect(tiny_component(component).state_dict())
    assert signature.component == component
    assert signature.layout.startswith("pack's")


def test_channel_counts_alone_do_not_decide_the_stage() -> None:
    # Twelve latent channels give 25 and 24 inputs, where upstream's four give 9 and 8.
    for stage, preset in (("refining", TEST.refining), ("inpainting", TEST.inpainting)):
        model = build(stage, preset)  # type: ignore[index]
        assert model.unet.conv_in.in_channels in (24, 25)
        assert detect(model.state_dict()).component == stage


def test_a_summary_says_what_a_file_is_and_whose_size(tmp_path: Path) -> None:
    path = save_model(
        tiny_component("refining"),
        tmp_path / "x.safetensors",
        stage="refining",
        metadata={"note": "soft"},
    )
    summary = inspect(path)
    assert (summary.component, summary.preset, summary.config) == (
        "refining",
        "test",
        TEST.refining,
    )
    assert summary.metadata["note"] == "soft"
    assert summary.dtypes == ("float32",)
    assert summary.parameters == sum(
        t.numel() for t in tiny_component("refining").state_dict().values()
    )


# --- saving and loading --------------------------------------------------------------------------


@COMPONENTS
def test_what_is_saved_loads_bit_for_bit_with_its_configuration(
    component: Component, tmp_path: Path
) -> None:
    model = tiny_component(component)
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
    model = tiny_component(component).eval()
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
    path = save_model(
        tiny_component("prior"), tmp_path / "x.safetensors", stage="prior", dtype=torch.float16
    )
    assert {p.dtype for p in load_model(path).parameters()} == {torch.float16}
    loaded = load_model(path, dtype=torch.float32)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    assert same(loaded, tiny_component("prior").half().float())


def test_loaded_weights_can_be_trained_on(tmp_path: Path) -> None:
    path = save_model(tiny_component("prior"), tmp_path / "x.safetensors", stage="prior")
    assert all(parameter.requires_grad for parameter in load_model(path).parameters())


def test_a_large_model_comes_in_parts_and_loads_from_any_name(tmp_path: Path) -> None:
    model = tiny_component("inpainting")
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
    save_model(tiny_component("prior"), path, stage="prior", max_shard_bytes=40_000)
    assert len(list(tmp_path.iterdir())) > 2
    save_model(tiny_component("prior"), path, stage="prior")
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
    save_model(tiny_component("prior"), path, stage="prior", max_shard_bytes=30_000)
    assert not path.exists()
    assert same(load_model(path), tiny_component("prior"))


def test_a_failed_save_keeps_the_previous_file_and_leaves_no_rest(tmp_path: Path) -> None:
    path = save_model(tiny_component("prior"), tmp_path / "x.safetensors", stage="prior")
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_state_dict(tiny_component("prior").state_dict(), path, {"a": 1})  # type: ignore[dict-item]
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("limit", [None, 400])
def test_equal_saves_are_equal_files(limit: int | None, tmp_path: Path) -> None:
    tensors = {f"layer{n}": torch.full((40,), float(n)) for n in range(8)}
    # As text that JSON escapes, and enough of it that an order by chance would show.
    note = {f"name {n} \n\u00e9\u2028": f'"{n}" \\ \t' for n in range(12)}
    saves: list[list[bytes]] = []
    for number in range(2):
        folder = tmp_path / str(number)
        write_state_dict(tensors, folder / "weights.safetensors", note, limit)
        saves.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert saves[0] == saves[1]
    assert len(saves[0]) > 1 or limit is None
    file = read_state_dict(tmp_path / "0" / "weights.safetensors")
    assert file.metadata == note | {"weights_sha256": weights_hash(tensors)}
    assert read_metadata(tmp_path / "0" / "weights.safetensors") == file.metadata
    assert all(torch.equal(file.tensors[name], tensor) for name, tensor in tensors.items())


@pytest.mark.slow
def test_weights_know_the_size_that_they_were_trained_at(tmp_path: Path) -> None:
    path, config = tmp_path / "inpainting.safetensors", TEST.inpainting
    note = {"preset": "test", "height": "96", "width": "72", "fit": "squash"}

    def preset(**change: str) -> Preset:
        save_model(
            tiny_component("inpainting"), path, stage="inpainting", metadata={**note, **change}
        )
        return preset_of("inpainting", config, path)

    assert preset() == replace(TEST, height=96, width=72, fit="squash")
    for change in ({"height": "98"}, {"width": "-4"}, {"height": "40000"}, {"fit": "stretch"}):
        with pytest.raises(CheckpointError, match="as picture size and fit"):
            preset(**change)
    save_model(tiny_component("inpainting"), path, stage="inpainting", metadata={"preset": "test"})
    assert preset_of("inpainting", config, path) == TEST
    other = replace(config, draws_hands=True)
    assert preset_of("inpainting", other, path) == replace(TEST, inpainting=other)
    save_model(tiny_component("inpainting"), path, stage="inpainting")
    with pytest.raises(CheckpointError, match="that of no preset"):
        preset_of("inpainting", other, path)


def test_a_hash_of_the_weights_is_kept_and_follows_the_values(tmp_path: Path) -> None:
    model = tiny_component("prior")
    first = inspect(save_model(model, tmp_path / "a.safetensors", stage="prior"))
    parts = inspect(
        save_model(model, tmp_path / "b.safetensors", stage="prior", max_shard_bytes=40_000)
    )
    assert first.metadata["weights_sha256"] == parts.metadata["weights_sha256"]
    nn.init.ones_(model.target_pose_projection.bias)  # type: ignore[arg-type,union-attr]
    other = inspect(save_model(model, tmp_path / "a.safetensors", stage="prior"))
    assert other.metadata["weights_sha256"] != first.metadata["weights_sha256"]


def test_files_keep_the_published_names_of_the_patch_encoder(tmp_path: Path) -> None:
    path = save_model(
        tiny_component("patch_encoder"), tmp_path / "x.safetensors", stage="patch_encoder"
    )
    assert any(key.endswith("attention.attention.query.weight") for key in load_file(path))


# --- published files -----------------------------------------------------------------------------


@pytest.mark.slow
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
    weights = {k: t for k, t in state.items() if "mask_token" not in k}
    if component != "patch_encoder":  # whose gate and up projections may be stored as one
        assert values == sorted(t.double().sum().item() for t in weights.values())


def test_a_published_file_of_a_presets_size_needs_no_configuration(tmp_path: Path) -> None:
    save_file(upstream_state("stage 3"), tmp_path / "s3.safetensors")
    assert load_model(tmp_path / "s3.safetensors").config == TEST.refining
    assert convert(tmp_path / "s3.safetensors", tmp_path / "y.safetensors").preset == "test"


def test_a_size_of_no_preset_is_named_beside_the_one_that_fits(tmp_path: Path) -> None:
    save_file(upstream_state("CLIP"), tmp_path / "clip.safetensors")
    words = message(load_model, tmp_path / "clip.safetensors")
    assert "the dimensions of no preset" in words
    assert "one with embedding_dim 20, hidden_size 16, positions 5" in words
    assert "need CLIP ViT-H (embedding_dim 1024, hidden_size 1280, positions 257)" in words
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
