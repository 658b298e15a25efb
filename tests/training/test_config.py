"""The configuration of a run: the recipe's files, and what is refused in any file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pcdm_core.presets import PRESETS, find_preset
from training.config import CoarseRun, StageRun, TrainConfig, load_config
from training.stages.initialise import sized_preset

CONFIGS = Path(__file__).parents[2] / "training/configs"
RECIPES = ["deepfashion-256x176", "deepfashion-512x352", "market-128x64"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_read_at_the_papers_size_and_rate(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.yaml")
    preset = sized_preset(find_preset(config.preset), config)
    assert f"{preset.height}x{preset.width}" == name.split("-")[1]
    assert set(config.stages) == {"prior", "inpainting", "refining"}
    for run in config.stages.values():
        assert run.learning_rate == 1e-4
        assert (run.ema_decay, run.max_snr_weight, run.null_conditioning) == (
            None,
            None,
            "encoded_zeros",
        )
        assert (run.noise_offset, run.betas) == (0.1, (0.9, 0.999))
    assert config.stage("inpainting").independent_drops
    assert config.stage("refining").drop_tokens == 0.0


def test_a_recipe_of_small_pictures_draws_thin_skeletons() -> None:
    config = load_config(CONFIGS / "market-128x64.yaml")
    preset = sized_preset(find_preset(config.preset), config)
    assert preset.inpainting.skeleton_reduction == 2
    assert find_preset("published").inpainting.skeleton_reduction == 1
    with pytest.raises(
        ValueError, match="skeleton_reduction is 0; give a whole number from 1 to 8"
    ):
        sized_preset(PRESETS["test"], TrainConfig(skeleton_reduction=0))


def test_the_scripts_settings_stand_beside_the_papers() -> None:
    config = load_config(CONFIGS / "deepfashion-512x352.yaml", choice="script")
    assert (config.height, config.width, config.choice) == (512, 512, "script")
    rates = [config.stage(n).learning_rate for n in ("prior", "inpainting", "refining")]
    assert rates == [1e-5, 1e-4, 1e-5]
    # What they agree on is not lost by choosing.
    assert config.stage("prior").clip_grad_norm == 10.0
    with pytest.raises(ValueError, match=r"no choice 'thesis'. Known: paper, script"):
        load_config(CONFIGS / "deepfashion-512x352.yaml", choice="thesis")


STAGE = "stages.prior."
REFUSED = [
    ("posterior: mode", "posterior is 'mode': it should be 'mean' or 'sample'"),
    ("null_conditioning: zero", "null_conditioning is 'zero': it should be 'zeros' or 'encoded_"),
    ("optimizer: adam", "optimizer is 'adam': it should be 'adamw' or 'sgd'"),
    ("prediction_type: x0", "prediction_type is 'x0': it should be 'epsilon', 'v_prediction' or"),
    ("batch_size: 0", "batch_size is 0: it should be greater than or equal to 1"),
    ("batch_size: 2.5", "batch_size is 2.5: it should be a valid integer"),
    ("steps: '10'", "steps is '10': it should be a valid integer"),
    ("steps: true", "steps is True: it should be a valid integer"),
    ("learning_rate: fast", "learning_rate is 'fast': it should be a valid number"),
    ("learning_rate: -1.0e-4", "learning_rate is -0.0001: it should be greater than or equal to 0"),
    ("weight_decay: .nan", "weight_decay is nan: it should be a finite number"),
    ("betas: 3", "betas is 3: it should be a valid tuple"),
    ("betas: [0.9]", "betas.1 is [0.9]: Field required"),
    ("betas: [0.9, 1.0]", "betas.1 is 1.0: it should be less than 1"),
    ("drop_coarse: 1.5", "drop_coarse is 1.5: it should be less than or equal to 1"),
    ("independent_drops: 'no'", "independent_drops is 'no': it should be a valid boolean"),
    ("stepz: 3", "stepz is no setting. Known: accumulate, batch_size, "),
]
STAGE_REFUSED = [(f"stages: {{prior: {{{line}}}}}", STAGE + words) for line, words in REFUSED]
FILE_REFUSED = [
    ("compile: 'no'", "compile is 'no': it should be a valid boolean"),
    ("mixed_precision: half", "mixed_precision is 'half': it should be 'no', 'fp16' or 'bf16'"),
    ("fit: stretch", "fit is 'stretch': it should be 'squash' or 'pad'"),
    ("seed: -1", "seed is -1: it should be greater than or equal to 0"),
    ("identitiez: 3", "identitiez is no setting. Known: autoencoder, choice, coarse, compile, "),
    ("stages: 3", "stages is 3: it should be a valid dictionary"),
    ("stages: {prior: 3}", "stages.prior is 3: it should be a dictionary"),
    ("coarse: {denoise: []}", "coarse.denoise is []: Tuple should have at least 1 item"),
    ("coarse: {denoise: [0.4, 1.5]}", "coarse.denoise.1 is 1.5: it should be less than or equal"),
    ("perception: {features: much}", "perception.features is 'much': it should be a valid number"),
    ("student: {rank: 0}", "student.rank is 0: it should be greater than or equal to 1"),
    ("choice: a\nchoices: 3", "choices is 3: it should be a dictionary"),
    ("choice: a\nchoices: {a: {stages: {prior: 3}}}", "choices.a.stages.prior is 3: it should be"),
    ("choice: [a]", "there is no choice ['a']. Known: none in this file"),
    ("stages: {", "this is no YAML: "),
]


@pytest.mark.parametrize(("text", "words"), STAGE_REFUSED + FILE_REFUSED)
def test_a_setting_that_means_nothing_is_refused_by_file_and_place(
    text: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(f"{path}: {words}")):
        load_config(path)


def test_every_wrong_setting_of_a_file_is_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("compile: 'no'\nstages: {prior: {betas: 3, steps: '10'}}", encoding="utf-8")
    with pytest.raises(ValueError, match="compile") as caught:
        load_config(path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert all(line.startswith(f"{path}: ") for line in lines)


def test_numbers_words_and_empty_sections_are_read_as_they_are_meant(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    text = "mixed_precision: no\ncoarse:\nstages: {prior: {learning_rate: 6e-4}, refining: }"
    path.write_text(text, encoding="utf-8")
    config = load_config(path)
    assert config.stage("prior").learning_rate == 0.0006  # text for YAML 1.1
    assert config.mixed_precision == "no"  # False for YAML 1.1
    assert (config.coarse, config.stages["refining"]) == (CoarseRun(), StageRun())


def test_a_setting_of_the_command_line_goes_over_the_files() -> None:
    path = CONFIGS / "deepfashion-512x352.yaml"
    changes = ["stages.refining.batch_size=8", "stages.prior.betas=[0.5, 0.9]", "wandb=true"]
    config = load_config(path, "script", [*changes, "coarse.pairs=20", "stages.prior.steps=3"])
    assert (config.stage("refining").batch_size, config.coarse.pairs) == (8, 20)
    assert (config.stage("prior").betas, config.stage("prior").steps) == ((0.5, 0.9), 3)
    assert config.trackers == ("tensorboard", "wandb")
    plain = load_config(path, "script")
    assert config.stage("inpainting") == plain.stage("inpainting")
    assert config.stage("refining").learning_rate == plain.stage("refining").learning_rate == 1e-5


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "stages.refining.batch_sise=8",
            "--set: stages.refining.batch_sise is no setting",
        ),
        ("stages.refining.batch_size=many", "with --set: stages.refining.batch_size is 'many': it"),
        ("preset.size=3", "preset is 'published': it should be a dictionary"),
        ("seed", "--set takes KEY=VALUE, and no choice (--choice); got 'seed'"),
        ("choice=script", "--set takes KEY=VALUE, and no choice"),
        ("seed={", "--set seed: '{' is no YAML"),
    ],
)
def test_a_setting_of_the_command_line_is_refused_by_its_name(change: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        load_config(CONFIGS / "deepfashion-512x352.yaml", changes=[change])


def test_another_prediction_reaches_the_models_schedule() -> None:
    config = TrainConfig(stages={"inpainting": StageRun(prediction_type="v_prediction")})
    preset = sized_preset(PRESETS["test"], config)
    assert preset.inpainting.schedule.prediction_type == "v_prediction"
    assert PRESETS["test"].inpainting.schedule.prediction_type == "sample"
    with pytest.raises(ValueError, match="predictions of the sample alone"):
        sized_preset(
            PRESETS["test"], TrainConfig(stages={"prior": StageRun(prediction_type="epsilon")})
        )
    with pytest.raises(ValueError, match="multiples of 4"):
        sized_preset(PRESETS["test"], TrainConfig(height=65))


def test_a_recipe_file_holds_nothing_that_the_trainer_ignores() -> None:
    for name in RECIPES:
        document = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
        for stage, run in document["stages"].items():
            unused = {"prior": {"drop_tokens", "drop_coarse", "posterior"}}.get(stage, set())
            assert not unused & set(run)
