"""Cached features are those of the encoders, and are made once."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from pcdm_core.config import AutoencoderConfig, GlobalEncoderConfig, Preset
from pcdm_core.encoders import GlobalImageEncoder, PatchImageEncoder
from pcdm_core.images import load_picture
from pcdm_core.pose.render import pose_canvas, render_pose
from pcdm_core.vae import KLAutoencoder
from training.config import StageRun
from training.data import ContentIndex, open_pictures
from training.data.in_memory import people_of_pictures
from training.data.pairs import numbered
from training.features.cached import CachedFeatures, FeatureCache, FrozenEncoders
from training.features.fill import Filling, encode, fill, missing_tasks
from training.features.protocol import OnlineFeatures
from training.features.store import CacheError, table_name
from training.loop.precision import EncoderPrecision
from training.loop.trainer import PairSource, Trainer
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
    pictures = open_pictures(people_folder)
    digests = ContentIndex(folder / "index.json").digests(pictures.paths)
    pictures = replace(pictures, pairs=pictures.pairs[:18])
    # Any pictures can stand for coarse ones; these are no targets of the pairs.
    coarse = [pictures.paths[-1 - row % 4] for row in range(18)]
    cache = FeatureCache(folder, pictures, digests, real, encoders, coarse=coarse)
    assert cache.fill(KINDS, batch=6, rows_per_file=12).features > 0
    return cache


def online(cache: FeatureCache) -> OnlineFeatures:
    encoders = cache.encoders
    people = people_of_pictures(cache.pictures, cache.preset)
    features = OnlineFeatures(
        people, encoders.autoencoder, encoders.patch_encoder, encoders.global_encoder
    )
    return features


KINDS = ("embeds", "tokens", "source", "pair", "picture", "coarse")
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
    stored = ask(CachedFeatures(cache, "cpu", "inpainting"), kind, pairs)
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
    features = CachedFeatures(other, "cpu", "inpainting")
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
    features = CachedFeatures(cache, "cpu", name)
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
    assert fresh.fill(KINDS[:4]) == Filling(0, {})
    fresh.complete("inpainting")


def copy_of(cache: FeatureCache, folder: Path, **changes: Any) -> FeatureCache:
    """The same data set and encoders, with tables elsewhere."""
    arguments = (folder, cache.pictures, cache.digests, cache.preset, cache.encoders)
    return FeatureCache(*arguments, coarse=cache.coarse, **changes)


def same_tables(a: FeatureCache, b: FeatureCache) -> bool:
    """Every feature but for the batch it was computed in."""
    for kind in KINDS:
        keys = list(a.inputs(kind))
        ours, theirs = (cache.table(kind).read(keys) for cache in (a, b))
        if float((ours - theirs).abs().max()) > 1e-5 * float(theirs.std()):
            return False
    return True


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that filling decodes, as it does so."""
    paths: list[Path] = []

    def watched(path: Path) -> Tensor:
        paths.append(path)
        return load_picture(path)

    monkeypatch.setattr("training.features.fill.load_picture", watched)
    return paths


@pytest.mark.slow
def test_a_picture_is_decoded_once_for_all_tables_and_pairs(
    cache: FeatureCache, tmp_path: Path, decoded: list[Path]
) -> None:
    other = copy_of(cache, tmp_path)
    features = other.fill(KINDS, batch=4).features
    assert features == sum(len(other.table(kind)) for kind in KINDS[:-1])
    plain = [path for path in decoded if path not in cache.coarse]
    assert sorted(plain) == sorted(set(cache.pictures.paths) - set(cache.coarse))
    assert same_tables(other, cache)


@pytest.mark.slow
def test_an_interrupted_cache_goes_on_with_what_is_missing(
    cache: FeatureCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(cache: FeatureCache, kind: str, inputs: Any) -> Tensor:
        if kind == "pair" and len(inputs) > 1:  # one is asked for its size
            raise KeyboardInterrupt
        return encode(cache, kind, inputs)

    with monkeypatch.context() as patch:
        patch.setattr("training.features.fill.encode", stopped)
        with pytest.raises(KeyboardInterrupt):
            copy_of(cache, tmp_path).fill(KINDS, batch=2, rows_per_file=2)
    begun = copy_of(cache, tmp_path)
    present = sum(len(begun.table(kind)) for kind in KINDS[:-1])
    assert present > 0
    total = sum(len(cache.table(kind)) for kind in KINDS[:-1])
    assert begun.fill(KINDS).features == total - present
    assert same_tables(begun, cache)


@pytest.mark.slow
def test_processes_take_stretches_of_the_same_list(
    cache: FeatureCache, tmp_path: Path, decoded: list[Path]
) -> None:
    caches = [copy_of(cache, tmp_path) for _ in range(2)]
    tasks = [missing_tasks(one, KINDS) for one in caches]
    assert tasks[0] == tasks[1]
    for rank, one in enumerate(caches):
        filling = fill(one, tasks[rank], share=(rank, 2), batch=4)
        assert filling.features == pytest.approx(len(tasks[0]) / 2, abs=1)
    # A person at the border, and no more, is decoded twice.
    assert len(decoded) <= len({*cache.pictures.paths, *cache.coarse}) + len(cache.coarse) + 4
    assert same_tables(copy_of(cache, tmp_path), cache)


def test_a_deleted_file_of_a_cache_is_made_again_beside_the_others(
    cache: FeatureCache, tmp_path: Path
) -> None:
    copy_of(cache, tmp_path).fill(["embeds"], rows_per_file=8)
    (folder,) = tmp_path.iterdir()
    (folder / "part-000-000001.arrow").unlink()
    again = copy_of(cache, tmp_path)
    assert again.fill(["embeds"], rows_per_file=8).features > 0
    assert len(again.table("embeds")) == len(cache.table("embeds"))


def test_a_cache_larger_than_its_disk_is_refused_before_it_is_filled(
    cache: FeatureCache,
    tmp_path: Path,
    decoded: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level("INFO"):
        copy_of(cache, tmp_path / "there").fill(["embeds"])
    assert "21 features take 0.0 GB, and " in caplog.text
    size = sum(p.stat().st_size for p in (tmp_path / "there").rglob("*.arrow"))
    width = cache.table("embeds").shape
    assert width == (16,)
    assert size >= 21 * (16 * 4 + 32)
    decoded.clear()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=21 * 96 - 1))
    with pytest.raises(CacheError, match=r"here: 21 features take .* Make room"):
        copy_of(cache, tmp_path / "here").fill(["embeds"])
    assert not (tmp_path / "here").exists()
    assert decoded == []
    copy_of(cache, tmp_path / "here", dtype="float16").fill(["embeds"])


def test_features_in_bf16_are_near_the_others(cache: FeatureCache, tmp_path: Path) -> None:
    half = copy_of(cache, tmp_path, precision="bf16")
    half.fill(["tokens"])
    keys = list(cache.inputs("tokens"))
    ours, theirs = (c.table("tokens").read(keys) for c in (half, cache))
    error = float((ours - theirs).abs().max() / theirs.std())
    assert 1e-5 < error < 0.1


def test_features_in_tf32_are_computed_so(cache: FeatureCache, tmp_path: Path) -> None:
    matmul, seen = torch.backends.cuda.matmul, list[bool]()
    caches = [copy_of(cache, tmp_path, precision=name) for name in get_args(EncoderPrecision)]
    encoder = cache.encoders.of("tokens")
    with encoder.register_forward_pre_hook(lambda *_: seen.append(matmul.allow_tf32)):
        for one in caches:
            encode(one, "tokens", [torch.zeros(1, 3, 28, 28)])
    assert seen == [False, True, False]
    assert len({one.table("tokens").folder for one in caches}) == 3


def test_missing_features_are_counted_before_training(cache: FeatureCache, tmp_path: Path) -> None:
    empty = FeatureCache(tmp_path, cache.pictures, cache.digests, cache.preset, cache.encoders)
    with pytest.raises(CacheError, match=r"21 of 21 features are missing\. Fill the cache"):
        empty.complete("prior")
    with pytest.raises(CacheError, match="features are missing"):
        CachedFeatures(empty, "cpu", "prior").embeds(torch.arange(2))


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
    assert len(other.table("embeds").missing(other.inputs("embeds"))) == 1


# --- the step -------------------------------------------------------------------------------------


def cached_trainer(
    name: str, cache: FeatureCache, folder: Path, device: str
) -> tuple[Trainer, PairSource]:
    """A stage on cached features. On `meta` tensors have no values, and whoever asks for one is
    refused: that is what a GPU would have to be waited for."""
    accelerator = Accelerator(cpu=True)
    if device == "meta":
        accelerator = SimpleNamespace(  # type: ignore[assignment]
            device=torch.device("meta"),
            num_processes=1,
            process_index=0,
            distributed_type="NO",
            autocast=nullcontext,
            no_sync=lambda module: nullcontext(),
            backward=lambda loss: loss.backward(),
            clip_grad_norm_=torch.nn.utils.clip_grad_norm_,
            prepare_optimizer=lambda optimizer: optimizer,
        )
    stage = build(name, cache, CachedFeatures(cache, device, name))
    rows = cache.pictures.pairs
    if name == "refining":
        rows = numbered(rows)
    run = replace(PUBLISHED, batch_size=4, ema_decay=None)
    return Trainer(stage, run, accelerator, folder), PairSource(rows, 5)


@pytest.mark.parametrize("name", ["prior", "inpainting", "refining"])
def test_a_step_asks_nothing_of_the_device(name: str, cache: FeatureCache, tmp_path: Path) -> None:
    trainer, source = cached_trainer(name, cache, tmp_path, "meta")
    for kind in ("embeds", "tokens", "picture"):
        trainer.stage.features._null(kind)
    loss = trainer.train_step(source)
    assert loss.is_meta


def test_the_next_batch_is_read_while_this_one_computes(
    cache: FeatureCache, tmp_path: Path
) -> None:
    trainer, source = cached_trainer("prior", cache, tmp_path, "cpu")
    features, begun = trainer.stage.features, threading.Semaphore(0)
    read, forward = features.read, trainer.stage.forward
    steps: list[int] = []

    def watched(pairs: Tensor) -> Any:
        begun.release()
        return read(pairs)

    def patient(batch: dict[str, Tensor]) -> Tensor:
        # This batch's reading and the next one's: the latter does not wait for this to end.
        assert all(begun.acquire(timeout=30) for _ in range(1 if steps else 2))
        steps.append(trainer.step)
        return forward(batch)

    features.read, trainer.stage.forward = watched, patient
    for _ in range(3):
        trainer.train_step(source)
    assert steps == [0, 1, 2]


def test_reading_ahead_changes_no_bit_and_survives_another_source(
    cache: FeatureCache, tmp_path: Path
) -> None:
    losses: list[list[float]] = []
    for ahead in (True, False):
        trainer, source = cached_trainer("inpainting", cache, tmp_path / str(ahead), "cpu")
        if not ahead:
            trainer.inputs = trainer.read  # type: ignore[method-assign]
        other = PairSource(source.rows.flip(0), 5)
        losses.append([float(trainer.train_step(s)) for s in (source, source, other, source)])
    assert losses[0] == losses[1]
    assert len(set(losses[0])) == 4
