"""`run.py run-benchmark` on a small tree of DeepFashion's and Market-1501's test layouts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from pcdm_core.images import Fit, load_picture, resize
from pcdm_core.pipeline import PCDMsPipeline
from tests.core.tiny_pipeline import STANDING, TEST, poses, save_tiny_weights, tiny_pipeline
from training.commands import measure
from training.commands.run_benchmark import main
from training.data import PictureSet, flat_stem, open_pairs
from training.evaluation.protocols import PROTOCOLS, reconstruction
from training.evaluation.render_pairs import PairRenderer, Rendering, render_pairs, rendering_key

NAMES = ["WOMEN_Tees_id_1_03_1_front", "WOMEN_Tees_id_1_03_3_back", "MEN_Denim_id_2_01_1_front"]
PAIRS = [(0, 1), (1, 0), (0, 2)]


def picture(path: Path, seed: int, size: tuple[int, int] = (256, 176)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def deepfashion(tmp_path: Path) -> Path:
    """The published set's test split, in its exact layout; returns the list of pairs."""
    root = tmp_path / "deepfashion"
    for seed, name in enumerate(NAMES):
        picture(root / "test_all_png" / f"{name}.png", seed)
        pose = root / "normalized_pose_txt" / f"{name}.txt"
        pose.parent.mkdir(exist_ok=True)
        pose.write_text("".join(f"{x} {y + 0.01 * seed}\n" for x, y in STANDING))
    rows = [
        {"source_image": f"{NAMES[s]}.jpg", "target_image": f"{NAMES[t]}.jpg"} for s, t in PAIRS
    ]
    (root / "test_data.json").write_text(json.dumps(rows))
    return root / "test_data.json"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def pipeline() -> PCDMsPipeline:
    return tiny_pipeline()


SETTINGS = Rendering(seed=3, steps=2, best_of=3)


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


@pytest.mark.slow
def test_singles_and_the_best_by_truth_lie_apart(
    deepfashion: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--pairs", str(deepfashion), "--output", str(out)]
    arguments += ["--weights", str(weights), "--steps", "2", "--device", "cpu"]
    assert main([*arguments, "--best-of", "4"]) == 0
    assert "pcdms: 3 pictures, 3 pairs" in capsys.readouterr().out
    names = {f"{NAMES[s]}_to_{NAMES[t]}.png" for s, t in PAIRS}
    expected = {f"{f}/{n}" for f in ("single", "best-of-4-by-truth") for n in names}
    first = files(out)
    assert set(first) == expected
    # Singles do not depend on whether the best of several were asked for.
    assert main([*arguments[:3], str(tmp_path / "alone"), *arguments[4:]]) == 0
    assert files(tmp_path / "alone" / "single") == files(out / "single")
    how = Fit.of(256, 176, TEST.height, TEST.width, TEST.fit)
    with Image.open(out / "single" / min(names)) as image:
        assert image.size == (how.box_width, how.box_height)
    # Evaluation takes the folder as it is.
    judged = ["--generated", str(out / "single"), "--protocol", "pcdms"]
    assert measure.main([*judged, "--gt", str(deepfashion.parent / "test_all_png")]) == 0
    assert "ssim (pcdms)*" in capsys.readouterr().out


@pytest.mark.slow
def test_a_benchmarks_files_have_no_padding_and_the_size_that_is_asked_for(
    deepfashion: Path, weights: Path, pipeline: PCDMsPipeline, tmp_path: Path
) -> None:
    assert TEST.fit == "pad"
    arguments = ["--pairs", str(deepfashion), "--weights", str(weights), "--steps", "2"]
    arguments += ["--device", "cpu", "--size", "256x256", "--output"]
    assert main([*arguments, str(tmp_path / "out")]) == 0
    (path, *_) = sorted((tmp_path / "out/single").iterdir())
    with Image.open(path) as image:
        assert image.size == (256, 256)
    # The script of PIDM has pictures and truths of 256x256, so this is its own case.
    judged = ["--generated", str(tmp_path / "out/single"), "--protocol", "pidm", "--json"]
    report = tmp_path / "report.json"
    truths = deepfashion.parent / "test_all_png"
    assert measure.main([*judged, str(report), "--gt", str(truths)]) == 0
    assert json.loads(report.read_text())["columns"][0]["count"] == 3
    # Without its padding a truth that comes back is the truth, at its own aspect.
    settings = replace(SETTINGS, undo_padding=True)
    renderer = PairRenderer(pipeline, open_pairs(deepfashion), settings)
    height, width = renderer.size
    padded = renderer._picture(1)
    how = Fit.of(256, 176, height, width, "pad")
    assert how.box_width < width or how.box_height < height
    inner = resize(load_picture(renderer.pictures.paths[1]), how.box_height, how.box_width)
    assert torch.equal(renderer.output(0, padded[0]), inner)
    sized = PairRenderer(pipeline, renderer.pictures, replace(settings, size=(256, 176)))
    assert torch.equal(sized.output(0, padded[0]), resize(inner, 256, 176))


def test_the_best_is_no_farther_from_the_truth_than_its_rivals(
    deepfashion: Path, pipeline: PCDMsPipeline
) -> None:
    pictures = open_pairs(deepfashion)
    coarse = replace(SETTINGS, refining=False)
    renderer = PairRenderer(pipeline, pictures, coarse)
    truth = renderer._picture(1)

    def likeness(samples: Tensor) -> float:
        pixels = [
            ((p[0].permute(1, 2, 0) + 1) * 127.5).round().byte().numpy() for p in (samples, truth)
        ]  # type: ignore[index]
        return reconstruction(*pixels, PROTOCOLS["pcdms"], renderer.size)["ssim"]

    best, single = renderer.best(0), renderer.single([0])
    # The single one is among the best's rivals, but drawn in another batch: a pixel may be rounded
    # to the next of 256 levels.
    assert likeness(best) >= likeness(single) - 1e-4


@pytest.mark.slow
def test_an_interrupted_benchmark_goes_on_to_the_same_pictures(
    deepfashion: Path, pipeline: PCDMsPipeline, tmp_path: Path
) -> None:
    renderer = PairRenderer(pipeline, open_pairs(deepfashion), SETTINGS)
    assert render_pairs(renderer, tmp_path / "whole") == 6
    whole = files(tmp_path / "whole")

    def same(folder: str, name: str) -> bool:
        """But for rounding: a batch of other pairs may turn a pixel to the next of 256 levels."""
        a, b = (np.asarray(Image.open(tmp_path / k / name)).astype(int) for k in (folder, "whole"))
        return bool(np.abs(a - b).max() <= 1)

    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    for number, name in enumerate(sorted(whole)):
        if number % 2:
            (tmp_path / "again" / name).unlink()
    assert render_pairs(renderer, tmp_path / "again") == 3
    again = files(tmp_path / "again")
    assert again.keys() == whole.keys()
    assert all(again[n] == whole[n] for k, n in enumerate(sorted(whole)) if not k % 2)
    assert all(same("again", name) for name in whole)
    # Neither the batch nor the number of processes matters.
    for rank in range(2):
        assert render_pairs(renderer, tmp_path / "two", share=(rank, 2), batch=1) > 0
    assert files(tmp_path / "two").keys() == whole.keys()
    assert all(same("two", name) for name in whole)


def test_pictures_of_other_settings_are_not_mixed(
    deepfashion: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--pairs", str(deepfashion), "--output", str(tmp_path / "out")]
    arguments += ["--weights", str(weights), "--steps", "2", "--device", "cpu"]
    assert main(arguments) == 0
    assert main([*arguments, "--seed", "9"]) == 2
    assert "drawn with other weights or settings" in capsys.readouterr().err


def test_the_key_changes_with_weights_and_settings(pipeline: PCDMsPipeline) -> None:
    key = rendering_key(pipeline, SETTINGS)
    assert key == rendering_key(pipeline, replace(SETTINGS, best_of=1))
    for other in ({"steps": 3}, {"size": (256, 176)}, {"undo_padding": True}):
        assert key != rendering_key(pipeline, replace(SETTINGS, **other))  # type: ignore[arg-type]
    other = tiny_pipeline()
    before = rendering_key(other, SETTINGS)
    next(other.inpainting.parameters()).data[0].add_(1e-3)
    assert before != rendering_key(other, SETTINGS)


def test_pairs_that_would_take_each_others_place_are_named(
    pipeline: PCDMsPipeline, tmp_path: Path
) -> None:
    names = ("a/Front.jpg", "a/front.jpg", "b.jpg")
    paths = tuple(tmp_path / name for name in names)
    pairs = torch.tensor([[0, 2], [0, 2], [1, 2]])
    pictures = PictureSet("test", names, paths, ((256, 176),) * 3, poses(3), pairs)
    renderer = PairRenderer(pipeline, pictures, SETTINGS)
    with pytest.raises(ValueError, match=r"a/Front.jpg to b.jpg and a/front.jpg to b.jpg would"):
        render_pairs(renderer, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_markets_and_gflas_lists_are_known_by_their_names(tmp_path: Path) -> None:
    market = tmp_path / "market"
    names = ["0002_c1s1_000451_03.jpg", "0002_c1s1_000551_01.jpg"]
    market.mkdir()
    (market / "market-pairs-test.csv").write_text(f"from,to\n{names[0]},{names[1]}\n")
    xs = [round(x * 64) for x, _ in STANDING]
    ys = [round(y * 128) for _, y in STANDING]
    rows = "".join(f"{name}: {ys}: {xs}\n" for name in names)
    (market / "market-annotation-test.csv").write_text(f"name: keypoints_y: keypoints_x\n{rows}")
    for seed, name in enumerate(names):
        picture(market / "bounding_box_test" / name, seed, (128, 64))
    assert len(open_pairs(market / "market-pairs-test.csv").pairs) == 1
    gfla = tmp_path / "gfla"
    stems = [f"WOMEN/Dresses/id_00000002/02_{view}" for view in ("1_front", "2_side")]
    for seed, stem in enumerate(stems):
        picture(gfla / "img" / f"{stem}.jpg", seed)
        pose = gfla / "pose" / f"{stem}.txt"
        pose.parent.mkdir(parents=True, exist_ok=True)
        pose.write_text("".join(f"{x * 176 + 40} {y * 256}\n" for x, y in STANDING))
    (gfla / "test_pairs.txt").write_text(f"img/{stems[0]}.jpg,img/{stems[1]}.jpg\n")
    pictures = open_pairs(gfla / "test_pairs.txt")
    assert pictures.layout == "gfla"
    # Names repeat from folder to folder, so the folders belong to them.
    assert flat_stem(pictures.names[0]) == "WOMEN-Dresses-id_00000002-02_2_side"
    (tmp_path / "pairs.txt").write_text("")
    with pytest.raises(ValueError, match="not the name of a list of pairs"):
        open_pairs(tmp_path / "pairs.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        open_pairs(tmp_path / "none.json")
