"""Figures under published protocols: sizes, ranges, left-out pictures, weights, the command."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from training.commands.measure import main
from training.evaluation.distances import frechet_distance
from training.evaluation.folders import (
    Column,
    evaluate_folders,
    pair_up,
    read_pixels,
    whole_batches,
)
from training.evaluation.inception import InceptionV3
from training.evaluation.lpips import LPIPS
from training.evaluation.protocols import FILTERS, PROTOCOLS, brought_to, reconstruction
from training.evaluation.weight_files import ALEXNET, INCEPTION, Published, read_weights


def noise(seed: int, height: int = 96, width: int = 64) -> np.ndarray:
    """Smooth noise, uint8 [H, W, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three generated pictures with their truths, and four of the training split."""
    for number in range(3):
        truth = noise(number)
        save(tmp_path / "gt" / f"p{number}_b.png", truth)
        spoilt = (truth * 0.9).astype(np.uint8)
        save(tmp_path / "generated" / f"p{number}_a_to_p{number}_b.png", spoilt)
    for number in range(4):
        save(tmp_path / "train" / f"{number}.jpg", noise(10 + number))
    return tmp_path


@pytest.mark.parametrize(("how", "flag"), [("cubic", "INTER_CUBIC"), ("linear", "INTER_LINEAR")])
@pytest.mark.parametrize("size", [(256, 176), (128, 64), (300, 301)])
def test_pictures_are_resized_as_opencv_does(how: str, flag: str, size: tuple[int, int]) -> None:
    cv2 = pytest.importorskip("cv2", reason="opencv is for development")
    picture = np.random.default_rng(0).integers(0, 256, (200, 190, 3), dtype=np.uint8)
    expected = cv2.resize(
        picture.astype(np.float32), size[::-1], interpolation=getattr(cv2, flag)
    ) / np.float32(255)
    np.testing.assert_allclose(brought_to(picture, size, how), expected, rtol=0, atol=2e-6)  # type: ignore[arg-type]


def test_a_picture_of_the_size_stays_as_it_is() -> None:
    picture = noise(0)
    for how in FILTERS:
        assert np.array_equal(brought_to(picture, (96, 64), how), picture / np.float32(255))  # type: ignore[arg-type]


def test_l1_mae_and_psnr_are_what_they_say() -> None:
    truth = np.full((60, 60, 3), 100, np.uint8)
    truth[::2] = 140
    figures = reconstruction(truth + np.uint8(10), truth, PROTOCOLS["pcdms"], (60, 60))
    assert figures["l1"] == pytest.approx(10 / 255, rel=1e-5)
    assert figures["mae"] == pytest.approx(10 / 250, rel=1e-5)
    assert figures["psnr"] == pytest.approx(20 * np.log10(25.5), rel=1e-5)


def test_protocols_differ_where_their_scripts_do() -> None:
    truth, picture = noise(0), noise(1)
    figures = {
        name: reconstruction(picture, truth, protocol, (96, 64))
        for name, protocol in PROTOCOLS.items()
    }
    assert figures["pcdms"]["ssim"] == figures["pidm"]["ssim"] != figures["cfld"]["ssim"]
    assert "ssim-51" not in figures["pcdms"]
    assert figures["pidm"]["ssim-51"] == figures["cfld"]["ssim-51"]


def test_pidm_prepares_truths_as_its_script_does() -> None:
    picture, truth = noise(1, 64, 64), noise(0, 96, 66)
    figures = reconstruction(picture, truth, PROTOCOLS["pidm"], (96, 66))
    square = np.asarray(Image.fromarray(truth).resize((64, 64), Image.Resampling.BICUBIC))
    assert figures == reconstruction(picture, square, PROTOCOLS["pidm"], (1, 1))


@pytest.mark.parametrize("size", [(64, 56), (128, 80)])
def test_cfld_resizes_floats_and_cuts_them_to_8_bits(size: tuple[int, int]) -> None:
    picture, truth = noise(1), noise(0)
    # As in its pose_transfer_test.py: interpolate, times 255, clamp, uint8.
    planes = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    planes = torch.nn.functional.interpolate(planes, size, mode="bicubic", antialias=True)
    expected = (planes.float() * 255.0).clamp(0, 255).to(torch.uint8).to(torch.float32) / 255.0
    result = brought_to(picture, size, PROTOCOLS["cfld"].resize)
    assert np.array_equal(result, expected[0].permute(1, 2, 0).numpy())
    # Its truths come by Pillow's bicubic, as torchvision's Resize does it.
    small = np.asarray(Image.fromarray(truth).resize(size[::-1], Image.Resampling.BICUBIC))
    same = reconstruction(picture, truth, PROTOCOLS["cfld"], size)
    assert same == reconstruction(picture, small, PROTOCOLS["cfld"], size)


def test_only_what_a_script_prints_is_marked_as_its_own() -> None:
    assert PROTOCOLS["cfld"].reports == ("ssim", "psnr", "ssim-51")
    assert set(PROTOCOLS["pidm"].reports) == {"ssim", "psnr", "l1", "mae", "ssim-51"}
    assert set(PROTOCOLS["pcdms"].reports) == {"ssim", "psnr", "l1", "mae"}


def test_a_report_says_which_columns_are_the_scripts_and_how_sizes_met(folders: Path) -> None:
    for number in range(3):
        save(folders / "gt" / f"p{number}_b.png", noise(number, 80, 60))
    reports = {
        name: evaluate_folders(folders / "generated", folders / "gt", protocol, size=(88, 60))
        for name, protocol in PROTOCOLS.items()
    }
    published = {c.name: c.published for c in reports["cfld"].columns}
    assert (published["l1"], published["mae"], published["psnr"]) == (False, False, True)
    assert reports["cfld"].notes == (
        "pictures of 96x64: to 88x60 by PyTorch's antialiased bicubic, cut to 8 bits",
        "truths of 80x60: to 88x60 by Pillow's bicubic",
    )
    assert reports["pidm"].notes == (
        "pictures of 96x64: as they are; for LPIPS and FID to 88x60 by OpenCV's bilinear",
        "truths of 80x60: to the pictures' size by Pillow's bicubic (data/prepare_data.py); for "
        "LPIPS and FID to 88x60 by OpenCV's bilinear",
    )
    assert reports["pidm"].columns[0].count == 3
    assert all(note in reports["pcdms"].table() for note in reports["pcdms"].notes)


def test_what_does_not_fill_a_batch_is_left_out_as_published() -> None:
    assert whole_batches(8570, PROTOCOLS["pcdms"].lpips_batch) == 8512
    assert whole_batches(48674, PROTOCOLS["pcdms"].fid_batch) == 48640
    assert whole_batches(8570, PROTOCOLS["cfld"].fid_batch) == 8570
    assert whole_batches(40, 64) == 40


def weights_of(network: torch.nn.Module, path: Path, names: dict[str, str]) -> Published:
    """A file of random weights under the published names, known by its own digest."""
    state = network.state_dict()
    torch.save({theirs: state[ours] for ours, theirs in names.items()}, path)
    return Published(path.name, (hashlib.sha256(path.read_bytes()).hexdigest(),))


def random_lpips(folder: Path) -> LPIPS:
    torch.manual_seed(0)
    network = LPIPS()
    for head in network.heads:
        torch.nn.init.uniform_(head.weight)  # type: ignore[arg-type]
    layers = dict(zip(range(5), (0, 3, 6, 8, 10), strict=True))
    names = {
        f"convolutions.{k}.{kind}": f"features.{place}.{kind}"
        for k, place in layers.items()
        for kind in ("weight", "bias")
    }
    heads = {f"heads.{k}.weight": f"lin{k}.model.1.weight" for k in layers}
    alexnet = weights_of(network, folder / "alexnet.pth", names)
    lines = weights_of(network, folder / "heads.pth", heads)
    loaded = LPIPS.from_files(folder / "alexnet.pth", folder / "heads.pth", (alexnet, lines))
    for ours, theirs in zip(network.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    return loaded


def test_lpips_is_no_distance_between_equals_and_sees_the_range(tmp_path: Path) -> None:
    network = random_lpips(tmp_path)
    a, b = torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)
    assert network(a, a).tolist() == [0.0, 0.0]
    assert (network(a, b) > 0).all()
    assert not torch.allclose(network(a, b), network(2 * a - 1, 2 * b - 1))


@pytest.mark.slow
def test_inception_has_torchvisions_tensors_and_2048_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = InceptionV3()
    # torchvision's 27,161,264 less the classifier and the auxiliary one.
    assert sum(p.numel() for p in network.parameters()) == 27_161_264 - 2_049_000 - 3_326_696
    names = {n: n for n in network.state_dict() if "num_batches" not in n}
    assert "Mixed_7c.branch3x3dbl_3b.bn.running_var" in names
    published = weights_of(network, tmp_path / "inception.pth", names)
    loaded = InceptionV3.from_file(tmp_path / "inception.pth", published)
    pictures = torch.rand(2, 3, 96, 64)
    features = loaded(pictures)
    assert features.shape == (2, 2048)
    torch.testing.assert_close(features, network.eval()(pictures))
    assert not torch.equal(features[0], features[1])


def test_a_weight_file_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alexnet-owt-7be5be79.pth"
    with pytest.raises(FileNotFoundError, match="Give alexnet-owt-7be5be79"):
        read_weights(path, ALEXNET)
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(ValueError, match=r"SHA-256 begins with \w{8}, expected 7be5be79 or"):
        read_weights(path, ALEXNET)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match=r"\d+ of \d+ tensors are missing"):
        InceptionV3.from_file(path, Published(INCEPTION.name, (digest,)))


@pytest.mark.slow
def test_features_of_the_training_split_are_computed_once(
    folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    opened: list[Path] = []

    def watched(path: Path) -> np.ndarray:
        opened.append(path)
        return read_pixels(path)

    monkeypatch.setattr("training.evaluation.folders.read_pixels", watched)

    def measure(name: str = "cfld", **options: Path) -> list[Column]:
        opened.clear()
        arguments = folders / "generated", folders / "gt", PROTOCOLS[name]
        train = folders / "train"
        report = evaluate_folders(
            *arguments, size=(96, 64), train=train, inception=network, **options
        )
        return [column for column in report.columns if column.name.startswith("fid")]

    def train_pictures() -> int:
        return sum(path.parent.name == "train" for path in opened)

    first = measure()
    assert train_pictures() == 4
    (path,) = folders.glob("train.*.fid.safetensors")
    assert measure() == first
    assert train_pictures() == 0
    # Another resize, and another picture, are other features.
    measure("pcdms")
    assert train_pictures() == 4
    save(folders / "train" / "3.jpg", noise(99))
    assert measure()[0].value != first[0].value
    assert train_pictures() == 4
    measure(features=folders / "elsewhere")
    assert len(list((folders / "elsewhere").iterdir())) == 1
    assert path.is_file()
    for column in first:
        assert column.note == "too few pictures for a FID: 3 for 2048 features; the field has 8,570"


@pytest.mark.slow
def test_every_column_is_there_with_its_count(folders: Path) -> None:
    torch.manual_seed(0)
    (folders / "generated" / "x_to_nobody.png").write_bytes(b"")
    report = evaluate_folders(
        folders / "generated",
        folders / "gt",
        PROTOCOLS["pcdms"],
        size=(96, 64),
        train=folders / "train",
        lpips=random_lpips(folders),
        inception=InceptionV3().eval(),
    )
    columns = {column.name: column for column in report.columns}
    assert list(columns) == [
        "ssim", "psnr", "l1", "mae", "lpips [-1,1]", "lpips [0,1]", "fid train", "fid test"
    ]  # fmt: skip
    assert [columns[n].published for n in ("lpips [-1,1]", "lpips [0,1]")] == [False, True]
    assert [columns[n].published for n in ("fid train", "fid test")] == [True, False]
    assert all(
        column.value is not None and column.count == 3
        for column in columns.values()
        if column.name[:3] != "fid"
    )
    assert "no nobody in" in report.problems[0]


@pytest.mark.slow
def test_fid_is_the_distance_of_inceptions_features(folders: Path) -> None:
    torch.manual_seed(0)
    network = InceptionV3().eval()
    report = evaluate_folders(
        folders / "generated",
        folders / "gt",
        PROTOCOLS["cfld"],
        size=(96, 64),
        inception=network,
    )
    columns = {column.name: column for column in report.columns}

    def planes(pixels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1) / 255

    truths = torch.stack([planes(noise(k)) for k in range(3)])
    ours = torch.stack(
        [
            torch.from_numpy((noise(k) * 0.9).astype(np.uint8)).permute(2, 0, 1) / 255
            for k in range(3)
        ]
    )
    expected = frechet_distance(network(ours).numpy(), network(truths).numpy())
    assert columns["fid test"].value == pytest.approx(expected, rel=1e-4)
    assert columns["fid train"].value is None
    assert columns["fid train"].note == "needs --train"


def test_the_command_prints_the_protocol_beside_every_column(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--generated", str(folders / "generated"), "--gt", str(folders / "gt")]
    arguments += ["--protocol", "pidm", "--size", "96x64", "--device", "cpu"]
    assert main([*arguments, "--json", str(folders / "report.json")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for column in (
        "ssim",
        "ssim-51",
        "psnr",
        "l1",
        "mae",
        "lpips [-1,1]",
        "lpips [0,1]",
        "fid train",
    ):
        assert any(line.startswith(f"{column} (pidm)") for line in lines), column
    assert any("needs --alexnet and --lpips" in line for line in lines)
    assert any("needs --inception" in line for line in lines)
    report = json.loads((folders / "report.json").read_text())
    assert report["columns"][0]["count"] == 3
    assert main([*arguments, "--inception", str(folders / "none.pth")]) == 2
    assert "no such file. Give inception_v3_google" in capsys.readouterr().err
    assert main([*arguments, "--lpips", "heads.pth"]) == 2
    assert "both of its weight files" in capsys.readouterr().err


def test_folders_without_pictures_or_pairs_get_a_sentence(
    folders: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(generated: str, truths: str) -> str:
        arguments = ["--protocol", "cfld", "--generated", str(folders / generated)]
        assert main([*arguments, "--gt", str(folders / truths)]) == 2
        return capsys.readouterr().err

    assert "no such folder of pictures" in run("none", "gt")
    assert "none of its 3 pictures has a truth" in run("gt", "train")


@pytest.mark.parametrize(
    ("result", "pattern"),
    [
        ("A_1front_to_B_2side.png", None),  # ours, CFLD
        ("A_1front_2_B_2side_vis.png", None),  # GFLA, DPTN, NTED, PISE, CASD
        ("A_1front.jpg___B_2side.jpg_vis.jpg", None),  # PATN
        ("A_2_x_2_B_2side_vis.png", None),
        ("B_2side.png", None),
        ("gen-B_2side-0001.png", r"gen-(.+)-\d+"),
    ],
)
def test_results_of_other_repositories_are_found_by_their_names(
    tmp_path: Path, result: str, pattern: str | None
) -> None:
    for folder, name in (("gen", result), ("gt", "B_2side.jpg"), ("gt", "A_1front.png")):
        (tmp_path / folder).mkdir(exist_ok=True)
        save(tmp_path / folder / name, np.zeros((16, 12, 3), np.uint8))
    pairs, problems = pair_up(tmp_path / "gen", tmp_path / "gt", pattern)
    assert [(one.name, truth.name) for one, truth in pairs] == [(result, "B_2side.jpg")]
    assert not problems


@pytest.mark.parametrize("pattern", ["(", "no group"])
def test_a_pattern_that_is_none_is_named(tmp_path: Path, pattern: str) -> None:
    save(tmp_path / "a.png", np.zeros((16, 12, 3), np.uint8))
    with pytest.raises(ValueError, match="--pattern"):
        pair_up(tmp_path, tmp_path, pattern)


def test_a_name_that_several_truths_have_is_nobodys(tmp_path: Path) -> None:
    black = np.zeros((16, 12, 3), np.uint8)
    for name in ("gen/a_to_01.png", "gen/a_to_q-01.png", "gt/p/01.png", "gt/q/01.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        save(tmp_path / name, black)
    pairs, problems = pair_up(tmp_path / "gen", tmp_path / "gt")
    assert [truth.parent.name for _, truth in pairs] == ["q"]
    assert len(problems) == 1


def test_a_strip_of_pictures_takes_no_part(tmp_path: Path) -> None:
    for name, width in (("gen/a_to_b.png", 60), ("gen/c_to_b.png", 12), ("gt/b.png", 12)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        save(tmp_path / name, noise(width, 16, width))
    report = evaluate_folders(tmp_path / "gen", tmp_path / "gt", PROTOCOLS["cfld"])
    assert "side by side" in report.problems[0]
    assert report.columns[0].count == 1
