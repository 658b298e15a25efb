"""The paper's recipe: its starts, and a run of each stage on a small data set."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PriorTransformer, UNet2DConditionModel
from PIL import Image

from pcdm_core.checkpoints import load_component
from pcdm_core.config import STAGES, Preset
from pcdm_core.encoders import LinearImageEncoder, PatchImageEncoder
from pcdm_core.images import load_picture
from pcdm_core.models import InpaintingModel, PosePrior
from pcdm_core.presets import PRESETS
from pcdm_core.vae import PatchAutoencoder
from training.coarse.pairs import coarse_of
from training.commands.components import save_components
from training.commands.export import export_run, main
from training.commands.train_stage import RecipeRun
from training.config import CoarseRun, StageRun, TrainConfig
from training.data import open_pictures, pair_file
from training.stages import PriorStage
from training.stages.initialise import (
    build_denoiser,
    enable_checkpointing,
    start_from_base,
)

from . import workers

# --- what a step draws ----------------------------------------------------------------------------


def test_the_noise_offset_is_one_number_a_sample_or_channel() -> None:
    plain = workers.noise_stage("inpainting", StageRun())
    offset = workers.noise_stage("inpainting", StageRun(noise_offset=0.1))
    pairs, samples = torch.tensor([[0, 6], [1, 7]]), torch.tensor([5, 9])
    difference = offset.prepare(samples, pairs)["noise"] - plain.prepare(samples, pairs)["noise"]
    flat = difference.flatten(2)
    torch.testing.assert_close(flat, flat[..., :1].expand_as(flat), rtol=0, atol=1e-6)
    assert len(flat[..., 0].unique()) == flat.shape[0] * flat.shape[1]
    wide = workers.noise_stage("prior", StageRun(noise_offset=0.1))
    narrow = workers.noise_stage("prior", StageRun())
    moved = wide.prepare(samples, pairs)["noise"] - narrow.prepare(samples, pairs)["noise"]
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), rtol=0, atol=1e-6)
    assert moved.abs().min() > 0


def test_stage_1_drops_the_picture_and_each_pose_by_itself() -> None:
    run = StageRun(drop_embeds=0.2, drop_source_pose=0.3, drop_target_pose=0.4)
    stage = workers.noise_stage("prior", run)
    count = 4000
    pairs = torch.tensor([[0, 6]]).expand(count, 2)
    batch = stage.prepare(torch.arange(count), pairs)
    gone = torch.stack(
        [~batch[n].flatten(1).any(1) for n in ("image_embeds", "source_pose", "target_pose")]
    ).double()
    shares = gone.mean(1).tolist()
    assert shares == pytest.approx([0.2, 0.3, 0.4], abs=0.03)
    assert float((gone[0] * gone[1]).mean()) == pytest.approx(0.06, abs=0.02)
    assert isinstance(stage, PriorStage)


@pytest.mark.parametrize("name", ["prior", "inpainting"])
def test_gradient_checkpointing_changes_no_gradient(name: str) -> None:
    gradients = []
    for checkpointed in (False, True):
        stage = workers.noise_stage(name, StageRun())
        if checkpointed:
            enable_checkpointing(stage.model)  # type: ignore[arg-type]
        stage.train()
        stage(stage.prepare(torch.arange(2), torch.tensor([[0, 6], [1, 7]]))).backward()
        gradients.append([p.grad for p in stage.parameters() if p.grad is not None])
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(again, plain)


# --- starts ---------------------------------------------------------------------------------------


def test_stage_2_starts_from_a_stable_diffusion_unet(tmp_path: Path) -> None:
    preset = PRESETS["test"]
    model = build_denoiser(preset, "inpainting")
    assert isinstance(model, InpaintingModel)
    config = {k: v for k, v in model.unet.config.items() if not k.startswith("_")}
    base = UNet2DConditionModel.from_config({**config, "in_channels": 12, "class_embed_type": None})
    base.save_pretrained(tmp_path / "unet")
    fresh = {k: v.clone() for k, v in model.state_dict().items()}
    start = start_from_base(model, tmp_path)
    ours, theirs = model.state_dict(), base.state_dict()
    for name, tensor in theirs.items():
        if not name.startswith("conv_in."):
            assert torch.equal(ours[f"unet.{name}"], tensor), name
    assert start.copied == len(theirs) - 2
    for name in ("unet.conv_in.weight", "pose_encoder.conv_in.weight"):
        assert name in start.fresh
        assert torch.equal(ours[name], fresh[name])


def test_stage_1_starts_from_kandinskys_prior(tmp_path: Path) -> None:
    model = build_denoiser(PRESETS["test"], "prior")
    assert isinstance(model, PosePrior)
    base = PriorTransformer(
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=2,
        embedding_dim=24,
        num_embeddings=7,
        additional_embeddings=4,
    )
    base.save_pretrained(tmp_path / "prior")
    start = start_from_base(model, tmp_path / "prior")
    block = "transformer_blocks.1.attn1.to_q.weight"
    assert torch.equal(model.transformer.state_dict()[block], base.state_dict()[block])
    assert "transformer.proj_in.weight" in start.fresh
    assert not any("transformer_blocks" in name for name in start.fresh)


def test_a_base_model_of_another_width_is_refused(tmp_path: Path) -> None:
    model = build_denoiser(PRESETS["test"], "inpainting")
    PriorTransformer(
        num_attention_heads=2, attention_head_dim=8, num_layers=1, embedding_dim=24
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="Give the folder of Stable Diffusion"):
        start_from_base(model, tmp_path)
    with pytest.raises(FileNotFoundError, match="as safetensors"):
        start_from_base(model, tmp_path / "none")


# --- a run ----------------------------------------------------------------------------------------

STEP = StageRun(
    steps=3,
    batch_size=2,
    warmup_steps=0,
    ema_decay=0.9,
    null_conditioning="encoded_zeros",
    independent_drops=True,
    embeds_noise=0.0,
    noise_offset=0.1,
    posterior="sample",
    checkpoint_steps=2,
    log_steps=1,
    sheet_steps=3,
)
CONFIG = TrainConfig(
    preset="test",
    tensorboard=True,
    stages={"prior": STEP, "inpainting": STEP, "refining": replace(STEP, drop_tokens=0.0)},
)


@pytest.fixture(scope="module")
def run_folder(
    people_folder: Path, preset: Preset, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """All three stages, one after the other, on rendered people as a data set."""
    out = tmp_path_factory.mktemp("recipe")
    assert preset.global_encoder is not None
    torch.manual_seed(4)
    parts = {
        "autoencoder": PatchAutoencoder(preset.autoencoder),
        "patch_encoder": PatchImageEncoder(preset.patch_encoder),
        "global_encoder": LinearImageEncoder(preset.global_encoder),
    }
    parts["global_encoder"].projection.normal_(std=0.1)
    save_components(parts, out / "encoders", preset, {})  # type: ignore[arg-type]
    pictures = open_pictures(people_folder)
    pictures = replace(pictures, pairs=pictures.pairs[:10])
    (out / "coarse-elsewhere").mkdir()
    for source, target in pictures.pairs[:8].tolist():
        path = out / "coarse-elsewhere" / pair_file(pictures, source, target)
        shutil.copy(pictures.paths[target], path)
    for stage in STAGES:
        run = RecipeRun(
            CONFIG,
            stage,
            pictures,
            out / "encoders",
            out / "cache",
            out,
            coarse=out / "coarse-elsewhere",
        )
        run.train()
    return out


@pytest.mark.slow
def test_every_stage_trains_from_the_cache_and_leaves_weights(run_folder: Path) -> None:
    for name in ("prior", "inpainting", "refining"):
        part = load_component(run_folder / "weights", name)
        assert all(tensor.isfinite().all() for tensor in part.state_dict().values())
        rows = [json.loads(r) for r in (run_folder / name / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows] == [1, 2, 3]
        assert all(np.isfinite(row["loss"]) for row in rows)
        assert {"learning_rate", "grad_norm", "steps_per_second", "epoch", "repeats"} <= set(
            rows[0]
        )
        assert any((run_folder / name / "tensorboard").iterdir())


def test_sheets_show_a_row_a_pair(run_folder: Path, preset: Preset) -> None:
    with Image.open(run_folder / "inpainting/sheets/inpainting_00000003.png") as sheet:
        assert sheet.size == (4 * preset.width, 4 * preset.height)
    with Image.open(run_folder / "refining/sheets/refining_00000003.png") as sheet:
        assert sheet.size == (3 * preset.width, 4 * preset.height)
    assert not (run_folder / "prior/sheets").exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prior", "inpainting", "refining"])
def test_an_exported_checkpoint_is_what_training_ended_with(
    name: str, run_folder: Path, tmp_path: Path
) -> None:
    # The last checkpoint is that of the end, whose averaged weights the run saved by itself.
    (path,) = export_run(run_folder / name, tmp_path)
    assert path.name == f"{name}.safetensors"
    ours = load_component(tmp_path, name)
    theirs = load_component(run_folder / "weights", name)
    assert ours.config == theirs.config
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[key], tensor), key
    export_run(run_folder / name, tmp_path / "raw", averaged=False)
    raw = load_component(tmp_path / "raw", name).state_dict()
    assert any(not torch.equal(raw[key], tensor) for key, tensor in theirs.state_dict().items())


@pytest.mark.slow
def test_the_export_command_writes_every_stage(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run_folder), "--out", str(tmp_path / "pcdm")]) == 0
    assert "inpainting, " in capsys.readouterr().out
    names = {path.name for path in (tmp_path / "pcdm").iterdir()}
    assert names == {f"{n}.safetensors" for n in ("prior", "inpainting", "refining")}
    assert main([str(tmp_path / "none"), "--out", str(tmp_path / "x")]) == 2
    assert "neither checkpoints nor finished weights" in capsys.readouterr().err


def test_a_broken_picture_is_found_by_filling_the_cache_and_takes_no_part(
    people_folder: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(people_folder, tmp_path / "data")
    pictures = open_pictures(tmp_path / "data")
    cut = pictures.paths[1]
    cut.write_bytes(cut.read_bytes()[:-40])
    decoded: list[Path] = []

    def watched(path: Path) -> torch.Tensor:
        decoded.append(path)
        return load_picture(path)

    monkeypatch.setattr("training.features.fill.load_picture", watched)

    def start() -> RecipeRun:
        places = run_folder / "encoders", tmp_path / "cache", tmp_path
        run = RecipeRun(CONFIG, "prior", pictures, *places)
        run.features()
        return run

    run = start()
    assert sorted(decoded) == sorted(pictures.paths)  # each once, the broken one too
    assert cut not in run.pictures.paths
    assert len(run.pictures) == len(pictures) - 1
    assert any("damaged" in problem.what for problem in run.pictures.problems)
    assert len(run.rows()) < len(pictures.pairs)
    decoded.clear()
    assert start().pictures.names == run.pictures.names
    assert decoded == [cut]


def test_encoders_of_other_widths_are_refused_before_a_picture_is_read(
    people_folder: Path, run_folder: Path, preset: Preset, tmp_path: Path
) -> None:
    pictures = open_pictures(people_folder)
    wide = replace(preset.patch_encoder, hidden_size=2 * preset.patch_encoder.hidden_size)
    torch.manual_seed(0)
    shutil.copytree(run_folder / "encoders", tmp_path / "encoders")
    save_components(
        {"patch_encoder": PatchImageEncoder(wide)},
        tmp_path / "encoders",
        replace(preset, patch_encoder=wide),
        {},
    )
    with pytest.raises(
        ValueError, match=r"patch_encoder.s hidden_size is \d+, and the preset test has"
    ):
        RecipeRun(CONFIG, "inpainting", pictures, tmp_path / "encoders", tmp_path / "c", tmp_path)
    assert not (tmp_path / "c").exists()
    RecipeRun(CONFIG, "prior", pictures, tmp_path / "encoders", tmp_path / "c", tmp_path)


def test_pairs_without_a_coarse_picture_are_left_out_and_listed(
    people_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(people_folder)
    pictures = replace(pictures, pairs=pictures.pairs[:10])
    with_coarse, paths = coarse_of(pictures, run_folder / "coarse-elsewhere")
    present = {path.name for path in (run_folder / "coarse-elsewhere").iterdir()}
    assert {path.name for path in paths} == present
    assert len(with_coarse.pairs) == len(paths)
    assert len(with_coarse.pairs) + len(with_coarse.problems) == 10
    with pytest.raises(ValueError, match="no coarse picture of any"):
        coarse_of(pictures, tmp_path)


@pytest.mark.slow
def test_stage_3_draws_its_coarse_pictures_with_the_runs_own_stages(
    people_folder: Path, run_folder: Path, tmp_path: Path
) -> None:
    pictures = open_pictures(people_folder)
    pictures = replace(pictures, pairs=pictures.pairs[:10])
    coarse = CoarseRun(pairs=4, batch_size=3, steps=2, guidance_scale=2.0)
    config = replace(CONFIG, coarse=coarse, stages={"refining": replace(STEP, drop_tokens=0.0)})

    def start(config: TrainConfig = config, out: Path = tmp_path) -> RecipeRun:
        arguments = (pictures, run_folder / "encoders", tmp_path / "cache", out)
        weights = run_folder / "weights"
        return RecipeRun(config, "refining", *arguments, coarse_weights=weights)

    run = start()
    (folder,) = (tmp_path / "coarse").iterdir()
    files = {path.name: path for path in (folder / "single").iterdir()}
    assert len(files) == len(run.pictures.pairs) == 4
    assert {path.name for path in run.coarse} == set(files)
    assert any(run.train().glob("refining.safetensors*"))
    # What is there is not drawn again; what is missing comes out the same but for rounding.
    first = min(files)
    before = np.asarray(Image.open(files[first])).astype(int)
    times = {name: path.stat().st_mtime_ns for name, path in files.items()}
    files[first].unlink()
    start()
    assert np.abs(np.asarray(Image.open(files[first])) - before).max() <= 1
    assert [n for n, p in files.items() if p.stat().st_mtime_ns != times[n]] == [first]
    # Other settings have another folder.
    start(replace(config, coarse=replace(coarse, steps=3)))
    assert len(list((tmp_path / "coarse").iterdir())) == 2
    with pytest.raises(ValueError, match="no finished prior and inpainting there"):
        RecipeRun(
            config,
            "refining",
            pictures,
            run_folder / "encoders",
            tmp_path / "cache",
            tmp_path / "n",
        )
