"""Cached features are those of the encoders, and are made once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pcdm_core.config import AutoencoderConfig, GlobalEncoderConfig, Preset
from pcdm_core.encoders import GlobalImageEncoder, PatchImageEncoder
from pcdm_core.pose.render import pose_canvas, render_pose
from pcdm_core.vae import KLAutoencoder
from training.config import StageRun
from training.data import ContentIndex, open_pictures
from training.data.in_memory import people_of_pictures
from training.features.cached import CachedFeatures, FeatureCache, FrozenEncoders
from training.features.protocol import OnlineFeatures
from training.features.store import CacheError, FeatureTable, fill, table_name
from training.stages import Frozen, InpaintingStage, PriorStage, RefiningStage, StageModule
from training.stages.initialise import build_denoiser

PUBLISHED = StageRun(
    drop_tokens=0.3,
    drop_embeds=0.3,
    drop_coarse=0.3,
    drop_source_pose=0.3,
    drop_target_pose=0.3,
    independent_drops=True,
    null_conditioning="encoded_zeros",
    posterior="sample",
    noise_offset=0.1,
    embeds_noise=0.0,
    source_weight=1.0,
    max_snr_weight=None,
)


@pytest.fixture(scope="module")
def real(preset: Preset) -> Preset:
    """The preset `test` with the published kinds of encoders, whose depth makes them inexact."""
    return replace(
        preset,
        autoencoder=AutoencoderConfig(
            latent_channels=12, downscale=4, block_out_channels=(8, 8, 8), norm_num_groups=4
        ),
        global_encoder=GlobalEncoderConfig(
            embedding_dim=16,
            picture_size=28,
            hidden_size=32,
            num_layers=2,
            num_heads=2,
            intermediate_size=64,
        ),
    )


@pytest.fixture(scope="module")
def encoders(real: Preset) -> FrozenEncoders:
    torch.manual_seed(0)
    assert real.global_encoder is not None
    return FrozenEncoders(
        KLAutoencoder(real.autoencoder).requires_grad_(False).eval(),
        PatchImageEncoder(real.patch_encoder).requires_grad_(False).eval(),
        GlobalImageEncoder(real.global_encoder).requires_grad_(False).eval(),
    )


@pytest.fixture(scope="module")
def cache(
    people_folder: Path,
    real: Preset,
    encoders: FrozenEncoders,
    tmp_path_factory: pytest.TempPathFactory,
) -> FeatureCache:
    """Filled by six pictures at a time."""
    folder = tmp_path_factory.mktemp("cache")
    pictures, digests = ContentIndex(folder / "index.json").check(open_pictures(people_folder))
    pictures = replace(pictures, pairs=pictures.pairs[:18])
    # Any pictures can stand for coarse ones; these are no targets of the pairs.
    coarse = [pictures.paths[-1 - row % 4] for row in range(18)]
    cache = FeatureCache(folder, pictures, digests, real, encoders, coarse=coarse)
    for kind in ("embeds", "tokens", "source", "pair", "picture", "coarse"):
        assert cache.fill(kind, batch=6, rows_per_file=12) > 0
    return cache


def online(cache: FeatureCache) -> OnlineFeatures:
    encoders = cache.encoders
    people = people_of_pictures(cache.pictures, cache.preset)
    features = OnlineFeatures(
        people, encoders.autoencoder, encoders.patch_encoder, encoders.global_encoder
    )
    return features


FEATURES = ("embeds", "tokens", "source", "pair", "picture", "poses", "null")


def ask(features: OnlineFeatures | CachedFeatures, kind: str, pairs: Tensor) -> Tensor:
    source, target = pairs.unbind(1)
    if kind == "null":
        nulls = (features.null_embed(), features.null_tokens(), features.null_moments())
        return torch.cat([null.flatten() for null in nulls])
    return {
        "embeds": lambda: features.embeds(target),
        "tokens": lambda: features.patch_tokens(source),
        "source": lambda: features.source_moments(source),
        "pair": lambda: features.pair_moments(source, target),
        "picture": lambda: features.picture_moments(target),
        "poses": lambda: features.pose_maps(source, target),
    }[kind]()


@pytest.mark.slow
@pytest.mark.parametrize("kind", FEATURES)
def test_cached_and_online_features_agree(kind: str, cache: FeatureCache) -> None:
    pairs = cache.pictures.pairs[[3, 0, 17, 8, 11]]
    with torch.no_grad():
        live = ask(online(cache), kind, pairs)
    stored = ask(CachedFeatures(cache, "cpu"), kind, pairs)
    assert stored.shape == live.shape
    assert float((stored - live).abs().max()) <= 1e-5 * float(live.std())
    assert float(live.std()) > 0


@pytest.mark.parametrize("reduction", [1, 2])
def test_all_ways_to_a_pose_map_draw_the_skeletons_of_the_preset(
    reduction: int, cache: FeatureCache
) -> None:
    inpainting = replace(cache.preset.inpainting, skeleton_reduction=reduction)
    preset = replace(cache.preset, inpainting=inpainting)
    other = FeatureCache(
        cache.folder, cache.pictures, cache.digests, preset, cache.encoders, coarse=cache.coarse
    )
    source, target = cache.pictures.pairs[[3, 8]].unbind(1)
    features = CachedFeatures(other, "cpu")
    maps = features.pose_maps(source, target)
    assert torch.equal(maps, online(other).pose_maps(source, target))
    size = preset.height, preset.width
    both = [
        render_pose(features.poses.select(rows.tolist()), *size, reduction=reduction)
        for rows in (source, target)
    ]
    torch.testing.assert_close(maps, pose_canvas(*both), rtol=0, atol=1e-6)


def build(name: str, cache: FeatureCache, features: OnlineFeatures | CachedFeatures) -> StageModule:
    torch.manual_seed(3)
    model = build_denoiser(cache.preset, name)
    encoders = cache.encoders
    assert encoders.autoencoder is not None
    frozen = Frozen(encoders.autoencoder, torch.nn.Identity())
    if name == "prior":
        return PriorStage(model, features, PUBLISHED, 5)  # type: ignore[arg-type]
    if name == "inpainting":
        return InpaintingStage(model, None, frozen, features, PUBLISHED, 5)  # type: ignore[arg-type]
    return RefiningStage(model, frozen, features, None, PUBLISHED, 5)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["prior", "inpainting", "refining"])
def test_equal_features_give_equal_losses(name: str, cache: FeatureCache) -> None:
    features = CachedFeatures(cache, "cpu")
    live = online(cache)
    # The encoders' own answers are replaced by the table's, so that the features are equal.
    live.embeds = features.embeds  # type: ignore[method-assign]
    live.patch_tokens = features.patch_tokens  # type: ignore[method-assign]
    live.source_moments = features.source_moments  # type: ignore[method-assign]
    live.pair_moments = features.pair_moments  # type: ignore[method-assign]
    live.picture_moments = features.picture_moments  # type: ignore[method-assign]
    live.coarse_moments = features.coarse_moments  # type: ignore[method-assign]
    live.null_embed = features.null_embed  # type: ignore[method-assign]
    live.null_tokens = features.null_tokens  # type: ignore[method-assign]
    live.null_moments = features.null_moments  # type: ignore[method-assign]
    pairs = cache.pictures.pairs[:6]
    if name == "refining":
        pairs = torch.cat([pairs, torch.arange(6)[:, None]], dim=1)
    losses: list[Tensor] = []
    for source in (features, live):
        stage = build(name, cache, source)
        with torch.no_grad():
            losses.append(stage(stage.prepare(torch.arange(40, 46), pairs)))
    assert torch.equal(*losses)
    assert float(losses[0]) > 0


def test_a_filled_cache_computes_nothing_again(cache: FeatureCache) -> None:
    fresh = FeatureCache(cache.folder, cache.pictures, cache.digests, cache.preset, cache.encoders)
    assert [fresh.fill(kind) for kind in ("embeds", "tokens", "source", "pair")] == [0] * 4
    fresh.complete("inpainting")


def test_an_interrupted_cache_goes_on_with_what_is_missing(tmp_path: Path) -> None:
    keys = [bytes([n]) * 32 for n in range(10)]
    requests: list[list[int]] = []

    def compute(numbers: list[int]) -> Tensor:
        requests.append(numbers)
        if sum(map(len, requests)) > 6:
            raise KeyboardInterrupt
        return torch.tensor(numbers, dtype=torch.float32)[:, None]

    with pytest.raises(KeyboardInterrupt):
        fill(FeatureTable(tmp_path), keys, compute, batch=2, rows_per_file=4)
    assert len(FeatureTable(tmp_path)) == 4
    requests.clear()
    table = FeatureTable(tmp_path)
    assert fill(table, keys, compute, batch=3, rows_per_file=6) == 6
    assert requests == [[4, 5, 6], [7, 8, 9]]
    assert table.read(list(reversed(keys)))[:, 0].tolist() == list(range(9, -1, -1))


def test_processes_fill_a_cache_together(tmp_path: Path) -> None:
    keys = [bytes([n]) * 32 for n in range(7)]

    def compute(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float32)[:, None]

    # The second opens the table when the first has filled its share.
    added = [fill(FeatureTable(tmp_path), keys, compute, share=(n, 2)) for n in range(2)]
    assert added == [4, 3]
    assert FeatureTable(tmp_path).read(keys)[:, 0].tolist() == list(range(7))


def test_a_deleted_file_of_a_cache_is_made_again_beside_the_others(tmp_path: Path) -> None:
    keys = [bytes([n]) * 32 for n in range(6)]

    def compute(numbers: list[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.float32)[:, None]

    fill(FeatureTable(tmp_path), keys, compute, rows_per_file=2)
    (tmp_path / "part-000-000001.arrow").unlink()
    assert fill(FeatureTable(tmp_path), keys, compute) == 2
    assert FeatureTable(tmp_path).read(keys)[:, 0].tolist() == list(range(6))


def test_missing_features_are_counted_before_training(cache: FeatureCache, tmp_path: Path) -> None:
    empty = FeatureCache(tmp_path, cache.pictures, cache.digests, cache.preset, cache.encoders)
    with pytest.raises(CacheError, match=r"21 of 21 features are missing\. Fill the cache"):
        empty.complete("prior")
    with pytest.raises(CacheError, match="features are missing"):
        CachedFeatures(empty, "cpu").embeds(torch.arange(2))


def test_a_damaged_file_of_a_cache_is_named(tmp_path: Path) -> None:
    table = FeatureTable(tmp_path)
    table.append([bytes(32)], torch.zeros(1, 4))
    (path,) = tmp_path.glob("*.arrow")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CacheError, match=r"part-000-000000\.arrow: damaged.*Delete this file"):
        FeatureTable(tmp_path)


def test_other_weights_sizes_and_kinds_have_other_tables(encoders: FrozenEncoders) -> None:
    encoder = encoders.patch_encoder
    assert encoder is not None
    name = table_name("tokens", encoder, (64, 48), "pad", "float32")
    assert name == table_name("tokens", encoder, (64, 48), "pad", "float32")
    others = {
        table_name("embeds", encoder, (64, 48), "pad", "float32"),
        table_name("tokens", encoder, (48, 64), "pad", "float32"),
        table_name("tokens", encoder, (64, 48), "squash", "float32"),
        table_name("tokens", encoder, (64, 48), "pad", "float16"),
    }
    with torch.no_grad():
        encoder.model.layernorm.weight[0] += 1e-3
        others.add(table_name("tokens", encoder, (64, 48), "pad", "float32"))
        encoder.model.layernorm.weight[0] -= 1e-3
    assert len(others | {name}) == 6


def test_a_picture_of_new_content_is_encoded_again(cache: FeatureCache) -> None:
    changed = [bytes([7]) * 32, *cache.digests[1:]]
    other = FeatureCache(cache.folder, cache.pictures, changed, cache.preset, cache.encoders)
    assert len(other.table("embeds").missing(other.keys("embeds"))) == 1
