"""Each layout on a small tree of exactly its form, whole and with holes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from pcdm_core.config import Preset
from pcdm_core.files import file_hash
from pcdm_core.images import load_picture, to_uint8
from tests.core.pose_dialects import BODY
from training.data import ContentIndex, PictureSet, open_pictures
from training.data.__main__ import main
from training.data.layouts import flat_name
from training.evaluation.folders import read_pixels

# One body in pixels of 256x176; the left ear is missing in every format.
XY = np.stack([np.linspace(20, 150, 18), np.linspace(10, 250, 18)], axis=1).round()
MISSING = 17
IN_MARGINS = XY + np.array([40, 0])
FRACTIONS = torch.from_numpy(XY / [176, 256])


def picture(path: Path, size: tuple[int, int] = (256, 176), seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def lines(xy: np.ndarray) -> str:
    rows = [(-1, -1) if n == MISSING else (x, y) for n, (x, y) in enumerate(xy)]
    return "".join(f"{x} {y}\n" for x, y in rows)


def table_row(name: str, xy: np.ndarray = XY) -> str:
    numbers = xy.astype(int).copy()
    numbers[MISSING] = -1
    return f"{name}: {numbers[:, 1].tolist()}: {numbers[:, 0].tolist()}\n"


def check_pose(pictures: PictureSet, expected: torch.Tensor = FRACTIONS) -> None:
    """Every picture has the one body."""
    for row in range(len(pictures)):
        visible = pictures.poses.visible[row]
        assert visible.tolist() == [n != MISSING for n in range(18)]
        xy = pictures.poses.xy[row][visible].double()
        torch.testing.assert_close(xy, expected[visible], rtol=0, atol=1e-9)


def named_pairs(pictures: PictureSet) -> set[tuple[str, str]]:
    return {(pictures.names[s], pictures.names[t]) for s, t in pictures.pairs.tolist()}


STEMS = [
    "WOMEN_Tees_Tanks_id_00004153_03_3_back",
    "WOMEN_Tees_Tanks_id_00004153_03_1_front",
    "MEN_Denim_id_00000080_01_7_additional",
]


@pytest.fixture
def pcdms(tmp_path: Path) -> Path:
    listed = [
        {"source_image": f"{a}.jpg", "target_image": f"{b}.jpg"}
        for a, b in [(STEMS[0], STEMS[1]), (STEMS[1], STEMS[0]), (STEMS[0], STEMS[2])]
    ]
    text(tmp_path / "train_data.json", json.dumps(listed))
    for seed, stem in enumerate(STEMS):
        picture(tmp_path / "all_data_png" / f"{stem}.png", seed=seed)
        text(tmp_path / "normalized_pose_txt" / f"{stem}.txt", lines(XY / [176, 256]))
    return tmp_path


def test_the_published_set_is_read(pcdms: Path) -> None:
    pictures = open_pictures(pcdms)
    assert pictures.layout == "pcdms"
    assert named_pairs(pictures) == {
        (f"{STEMS[0]}.jpg", f"{STEMS[1]}.jpg"),
        (f"{STEMS[1]}.jpg", f"{STEMS[0]}.jpg"),
        (f"{STEMS[0]}.jpg", f"{STEMS[2]}.jpg"),
    }
    assert [path.suffix for path in pictures.paths] == [".png"] * 3
    assert pictures.sizes == ((256, 176),) * 3
    assert pictures.problems == ()
    check_pose(pictures)


def test_missing_and_broken_files_are_listed_and_the_rest_is_used(
    pcdms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pcdms / "all_data_png" / f"{STEMS[2]}.png").write_bytes(b"no picture")
    pictures = open_pictures(pcdms)
    assert len(pictures) == 2
    assert len(pictures.pairs) == 2
    (problem,) = pictures.problems
    assert STEMS[2] in problem.path
    (pcdms / "all_data_png" / f"{STEMS[2]}.png").unlink()
    (problem,) = open_pictures(pcdms).problems
    assert "no such picture in all_data_png" in problem.what
    picture(pcdms / "all_data_png" / f"{STEMS[2]}.png")
    pose = pcdms / "normalized_pose_txt" / f"{STEMS[2]}.txt"
    pose.write_text("0.5 0.5\n")
    (problem,) = open_pictures(pcdms).problems
    assert "1 line; expected 18" in problem.what
    pose.write_text("-1 -1\n" * 18)
    (problem,) = open_pictures(pcdms).problems
    assert "all 18 joints are missing" in problem.what
    assert main([str(pcdms)]) == 0
    assert "1 files take no part" in capsys.readouterr().out
    for stem in STEMS:
        (pcdms / "normalized_pose_txt" / f"{stem}.txt").unlink()
    with pytest.raises(ValueError, match="3 files take no part"):
        open_pictures(pcdms)


@pytest.mark.parametrize("way", ["above", "absolute", "after img", "backslash", "NUL", "escape"])
def test_a_list_names_files_of_its_own_folder_alone(tmp_path: Path, way: str) -> None:
    root, other = tmp_path / "set", tmp_path / "other.jpg"
    names = {
        "above": "../../other.jpg",
        "absolute": str(other),
        "after img": f"img/{other}",
        "backslash": "..\\..\\other.jpg",
        "NUL": "b.jpg\0",
        "escape": "\x1b[2Jb.jpg",
    }
    for path in (root / "img" / "a.jpg", root / "img" / "b.jpg", other):
        picture(path)
        text(root / "pose" / f"{path.stem}.txt", lines(IN_MARGINS))
        text(other.with_suffix(".txt"), lines(IN_MARGINS))
    listed = f"img/a.jpg,img/b.jpg\nimg/a.jpg,{names[way]}\n"
    text(root / "train_pairs.txt", listed)
    pictures = open_pictures(root)
    assert named_pairs(pictures) == {("img/b.jpg", "img/a.jpg")}
    (problem,) = pictures.problems
    assert problem.what == "the list names a file outside the data set's folder"
    assert problem.path.isprintable()


def test_a_picture_cut_off_in_the_middle_is_found_by_decoding_it(
    pcdms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = pcdms / "all_data_png" / f"{STEMS[2]}.png"
    cut.write_bytes(cut.read_bytes()[:20000])
    assert len(open_pictures(pcdms)) == 3  # its header is whole
    ContentIndex(pcdms / "index.json").digests(open_pictures(pcdms).paths)
    for _ in range(2):
        pictures = ContentIndex(pcdms / "index.json").check(open_pictures(pcdms))
        assert len(pictures) == len(pictures.pairs) == 2
        assert "damaged" in pictures.problems[0].what
    assert main([str(pcdms), "--index", str(pcdms / "index.json")]) == 0
    assert "pcdms: 2 pictures, 2 pairs" in capsys.readouterr().out
    picture(cut, seed=9)
    assert len(ContentIndex(pcdms / "index.json").check(open_pictures(pcdms))) == 3


def test_digests_are_taken_again_of_files_that_changed(
    pcdms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = open_pictures(pcdms)
    hashes: list[Path] = []

    def watched(path: Path) -> str:
        hashes.append(path)
        return file_hash(path)

    monkeypatch.setattr("training.data.content.file_hash", watched)

    def digests() -> list[bytes]:
        hashes.clear()
        return ContentIndex(pcdms / "index.json").digests(pictures.paths)

    first = digests()
    assert first == [bytes.fromhex(file_hash(path)) for path in pictures.paths]
    assert (digests(), hashes) == (first, [])
    changed = pictures.paths[2]
    picture(changed, seed=9)
    assert (digests() == first, hashes) == (False, [changed])


@pytest.mark.parametrize("folder", ["train_highres", "train"])
def test_patns_tables_are_read_with_y_before_x(folder: str, tmp_path: Path) -> None:
    names = [
        "fashionMENDenimid0000008001_1front.jpg",
        "fashionMENDenimid0000008001_7additional.jpg",
    ]
    text(tmp_path / "fasion-resize-pairs-train.csv", f"from,to\n{names[0]},{names[1]}\n")
    header = "name: keypoints_y: keypoints_x\n"
    rows = "".join(table_row(name) for name in names)
    text(tmp_path / "fasion-resize-annotation-train.csv", header + rows)
    for name in names:
        picture(
            tmp_path / folder / name, size=(1101, 750) if folder == "train_highres" else (256, 176)
        )
    pictures = open_pictures(tmp_path)
    assert pictures.layout == "patn"
    assert named_pairs(pictures) == {(names[0], names[1])}
    check_pose(pictures)


def test_a_damaged_row_of_a_table_costs_its_own_picture_alone(tmp_path: Path) -> None:
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    pairs = "".join(f"{s},{t}\n" for s in names for t in names if s != t)
    text(tmp_path / "fasion-resize-pairs-train.csv", f"from,to\n{pairs}")
    rows = [table_row("a.jpg"), table_row("b.jpg"), "c.jpg: [1, 2]: [nonsense]\n"]
    content = "name: keypoints_y: keypoints_x\n" + "".join(rows)
    text(tmp_path / "fasion-resize-annotation-train.csv", content)
    for name in names:
        picture(tmp_path / "train" / name)
    pictures = open_pictures(tmp_path)
    assert named_pairs(pictures) == {("a.jpg", "b.jpg"), ("b.jpg", "a.jpg")}
    assert len(pictures.problems) == 2
    assert "no pose in fasion-resize-annotation-train.csv" in pictures.problems[1].what


def test_gflas_texts_are_read_without_their_margin(tmp_path: Path) -> None:
    names = [f"WOMEN/Dresses/id_00000002/02_{view}" for view in ("1_front", "2_side", "4_full")]
    content = f"img/{names[0]}.jpg,img/{names[1]}.jpg,img/{names[2]}.jpg\n"
    text(tmp_path / "train_pairs.txt", content)
    for name in names:
        picture(tmp_path / "img" / f"{name}.jpg", size=(1101, 750))
        text(tmp_path / "pose" / f"{name}.txt", lines(IN_MARGINS))
    pictures = open_pictures(tmp_path)
    assert pictures.layout == "gfla"
    target, first, second = (f"img/{name}.jpg" for name in names)
    assert named_pairs(pictures) == {(first, target), (second, target)}
    check_pose(pictures)


def test_a_pose_of_few_joints_is_still_gflas(tmp_path: Path) -> None:
    # Its format cannot be told from the numbers then; the layout says it.
    few = [(120.0, 64.0) if n == 0 else (-1, -1) for n in range(18)]
    text(tmp_path / "train_pairs.txt", "img/a.jpg,img/b.jpg\n")
    for name in "ab":
        picture(tmp_path / "img" / f"{name}.jpg")
        text(tmp_path / "pose" / f"{name}.txt", "".join(f"{x} {y}\n" for x, y in few))
    pictures = open_pictures(tmp_path)
    assert pictures.poses.visible.sum(dim=1).tolist() == [1, 1]
    assert pictures.poses.xy[0, 0].tolist() == pytest.approx([80 / 176, 0.25])


@pytest.mark.parametrize("poses", ["gfla", "patn", "beside"])
def test_the_original_tree_pairs_the_pictures_of_one_outfit(poses: str, tmp_path: Path) -> None:
    names = [
        "WOMEN/Dresses/id_00000002/02_1_front.jpg",
        "WOMEN/Dresses/id_00000002/02_2_side.jpg",
        "WOMEN/Dresses/id_00000002/03_1_front.jpg",
        "MEN/Denim/id_00000080/01_1_front.jpg",
        "MEN/Denim/id_00000080/01_7_additional.jpg",
    ]
    states = ["train"] * 3 + ["query", "gallery"]
    rows = [f"img/{n} {n.split('/')[2]} {s}\n" for n, s in zip(names, states, strict=True)]
    listed = "5\nimage_name item_id evaluation_status\n" + "".join(rows)
    text(tmp_path / "Eval" / "list_eval_partition.txt", listed)
    for name in names:
        path = tmp_path / "img" / name
        picture(path)
        if poses == "gfla":
            text((tmp_path / "pose" / name).with_suffix(".txt"), lines(IN_MARGINS))
        elif poses == "beside":
            text(path.with_suffix(".txt"), lines(XY / [176, 256]))
    if poses == "patn":
        for split in ("train", "test"):
            rows = "".join(table_row(flat_name(name)) for name in names)
            path = tmp_path / f"fasion-resize-annotation-{split}.csv"
            text(path, "name: keypoints_y: keypoints_x\n" + rows)
    pictures = open_pictures(tmp_path)
    assert pictures.layout == "original"
    assert named_pairs(pictures) == {(names[0], names[1]), (names[1], names[0])}
    check_pose(pictures)
    test = open_pictures(tmp_path, split="test")
    assert named_pairs(test) == {(names[3], names[4]), (names[4], names[3])}


def test_a_flat_name_is_that_of_patns_tables() -> None:
    name = "MEN/Denim/id_00000080/01_7_additional.jpg"
    assert flat_name(name) == "fashionMENDenimid0000008001_7additional.jpg"


def test_market_1501_is_read_at_its_own_size(tmp_path: Path) -> None:
    names = ["0002_c1s1_000451_03.jpg", "0002_c1s1_000551_01.jpg"]
    half = (XY / [176, 256] * [64, 128]).round()
    text(tmp_path / "market-pairs-train.csv", f"from,to\n{names[0]},{names[1]}\n")
    rows = "".join(table_row(name, half) for name in names)
    header = "name: keypoints_y: keypoints_x\n"
    text(tmp_path / "market-annotation-train.csv", header + rows)
    for name in names:
        picture(tmp_path / "bounding_box_train" / name, size=(128, 64))
    pictures = open_pictures(tmp_path)
    assert pictures.layout == "market"
    assert pictures.sizes == ((128, 64),) * 2
    assert named_pairs(pictures) == {(names[0], names[1])}
    check_pose(pictures, torch.from_numpy(half / [64, 128]))


def test_a_plain_folder_of_people_pairs_each_persons_pictures(tmp_path: Path) -> None:
    for name in ("anna/1.jpg", "anna/2.png", "anna/3.jpg", "ben/1.jpg", "ben/2.jpg"):
        picture(tmp_path / name)
        if name != "anna/3.jpg":
            text((tmp_path / name).with_suffix(".txt"), lines(XY / [176, 256]))
    flat = [v for n, (x, y) in enumerate(XY) for v in ((0, 0, 0) if n == MISSING else (x, y, 1))]
    (tmp_path / "ben/1.txt").unlink()
    document = {"people": [{"pose_keypoints_2d": list(map(float, flat))}]}
    text(tmp_path / "ben/1_keypoints.json", json.dumps(document))
    pictures = open_pictures(tmp_path)
    assert pictures.layout == "folder"
    assert named_pairs(pictures) == {
        ("anna/1.jpg", "anna/2.png"),
        ("anna/2.png", "anna/1.jpg"),
        ("ben/1.jpg", "ben/2.jpg"),
        ("ben/2.jpg", "ben/1.jpg"),
    }
    assert "no pose beside it" in pictures.problems[0].what
    check_pose(pictures)


def test_a_phones_photograph_has_its_key_points_upright(tmp_path: Path) -> None:
    """Stored lying at 512x768 with orientation 6; key points of the upright picture, no canvas."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    points = [value for x, y in BODY for value in (x, y, 1)]
    upright = np.full((768, 512, 3), 255, np.uint8)
    for x, y in BODY:
        upright[y - 4 : y + 4, x - 4 : x + 4] = (255, 0, 0)
    lying = Image.fromarray(np.rot90(upright).copy())
    for name in ("anna/0", "anna/1"):
        text(tmp_path / f"{name}.json", json.dumps({"people": [{"pose_keypoints_2d": points}]}))
        lying.save(tmp_path / f"{name}.jpg", quality=95, exif=exif)
    pictures = open_pictures(tmp_path)
    assert pictures.sizes == ((768, 512),) * 2
    for path, row in zip(pictures.paths, range(2), strict=True):
        pixels = to_uint8(load_picture(path))[0].astype(int)
        places = pictures.poses.to_pixels(768, 512)[row].round().int()
        for x, y in places.tolist():
            assert pixels[y, x, 0] - pixels[y, x, 1] > 150
        assert read_pixels(path).shape == (768, 512, 3)


def test_rendered_people_are_read(people_folder: Path, preset: Preset) -> None:
    pictures = open_pictures(people_folder)
    assert pictures.layout == "synthetic"
    assert len(pictures) == 20
    assert len(pictures.pairs) == 5 * 4 * 3
    assert pictures.sizes == ((preset.height, preset.width),) * 20
    assert bool(pictures.poses.visible.any(dim=1).all())


def test_poses_move_with_pictures_that_are_padded(pcdms: Path) -> None:
    pictures = open_pictures(pcdms)
    squashed = pictures.fitted_poses(512, 512, "squash")
    assert torch.equal(squashed.xy, pictures.poses.xy)
    padded = pictures.fitted_poses(512, 512, "pad")
    visible = padded.visible[0]
    # 512 x 352 in the middle of 512 x 512.
    expected = (FRACTIONS[visible][:, 0] * 352 + 80) / 512
    torch.testing.assert_close(padded.xy[0][visible][:, 0].double(), expected)


def test_a_folder_of_no_known_layout_says_which_there_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pcdms, market, patn, gfla, original"):
        open_pictures(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        open_pictures(tmp_path / "none")
    with pytest.raises(ValueError, match="Unknown layout 'deepfashion'"):
        open_pictures(tmp_path, "deepfashion")
