"""What evaluation fits on rendered people: the key-point judge and the regression baseline."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pcdm_core.config import Preset
from pcdm_core.encoders import GlobalEncoder, build_global_encoder
from pcdm_core.pose.keypoints import MIRROR
from training.data.in_memory import identity_folders
from training.evaluation import keypoint_judge
from training.evaluation.embedding_baseline import fit, fit_or_read
from training.evaluation.keypoint_judge import SIZE, KeypointJudge, expected_place, vary
from training.synthetic.__main__ import main as render


def train(people_folder: Path, out: Path) -> KeypointJudge:
    arguments = ["--data", str(people_folder), "--out", str(out), "--steps", "12", "--batch", "8"]
    assert keypoint_judge.main(arguments) == 0
    return KeypointJudge.load(out)


def test_the_same_command_gives_the_same_key_point_judge(people_folder: Path, tmp_path: Path):
    judges = [train(people_folder, tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    pictures = np.random.default_rng(0).integers(0, 256, (2, 128, 88, 3)).astype(np.uint8)
    (places, certainties), (places_again, certainties_again) = (judge(pictures) for judge in judges)
    assert np.array_equal(places, places_again)
    assert np.array_equal(certainties, certainties_again)
    assert ((places >= 0) & (places <= [88, 128])).all()
    assert "renders of 4 people in 12 steps" in judges[0].name
    assert judges[0].name == judges[1].name


def test_the_judge_learns_where_joints_are(people_folder: Path):
    folders = identity_folders(people_folder, "train")
    figures = [
        keypoint_judge.train(folders, steps=steps, batch_size=16, seed=0, views=None)[1]
        for steps in (2, 100)
    ]
    assert figures[1]["pck_0.1"] > figures[0]["pck_0.1"] + 0.1


def test_a_peak_in_a_map_is_the_place_of_its_cells_middle():
    maps = torch.full((1, 18, 24, 16), -50.0)
    maps[0, :, 6, 4] = 50.0
    place = expected_place(maps)[0, 0]
    assert (place * torch.tensor([SIZE[1], SIZE[0]])).tolist() == pytest.approx([18.0, 26.0])


def test_a_mirrored_picture_keeps_left_and_right_joints_apart():
    generator = torch.Generator().manual_seed(1)
    pictures, places = torch.zeros(64, 3, 96, 64), torch.rand(64, 18, 2, generator=generator)
    codes = torch.randint(0, 3, (64, 18), generator=generator)
    _, moved, recoded = vary(pictures, places, codes, generator)
    same = (moved == places).all((1, 2))
    assert 10 < same.sum() < 54
    expected = places[:, list(MIRROR)] * torch.tensor([-1.0, 1.0]) + torch.tensor([1.0, 0.0])
    assert torch.equal(moved[~same], expected[~same])
    assert torch.equal(recoded[~same], codes[:, list(MIRROR)][~same])


def test_without_a_judge_the_command_that_trains_one_is_named(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"training\.evaluation\.keypoint_judge"):
        KeypointJudge.load(tmp_path / "none.safetensors")


@pytest.fixture(scope="module")
def encoder(preset: Preset) -> GlobalEncoder:
    torch.manual_seed(0)
    assert preset.global_encoder is not None
    encoder = build_global_encoder(preset.global_encoder)
    for tensor in (*encoder.parameters(), *encoder.buffers()):
        torch.nn.init.normal_(tensor, std=0.02)
    return encoder


@pytest.fixture(scope="module")
def dozen(tmp_path_factory: pytest.TempPathFactory, preset: Preset) -> Path:
    folder = tmp_path_factory.mktemp("dozen")
    size = f"{preset.height}x{preset.width}"
    arguments = ["--out", str(folder), "--identities", "12", "--views", "3", "--size", size]
    render([*arguments, "--workers", "1"])
    return folder


def test_the_regression_tells_more_than_the_mean_on_people_held_out(
    dozen: Path, encoder: GlobalEncoder
):
    regression = fit(identity_folders(dozen, "train"), encoder)
    assert regression.people == 12
    assert regression.explained > 0.05


def test_a_fit_is_kept_for_its_weights_and_made_again_for_others(
    dozen: Path, encoder: GlobalEncoder, tmp_path: Path
):
    path = tmp_path / "fit.npz"
    first = fit_or_read(path, dozen, encoder, "these")
    again = fit_or_read(path, tmp_path / "gone", encoder, "these")
    assert torch.equal(first.weights, again.weights)
    with pytest.raises(FileNotFoundError, match="--train-data"):
        fit_or_read(path, tmp_path / "gone", encoder, "others")
