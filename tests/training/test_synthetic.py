"""The generator of synthetic people: determinism, key points, masks, splits, resuming."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
from PIL import Image

from pcdm_core.pose.keypoints import Joint
from training.synthetic import View, identity_seed, make_identity, render_view
from training.synthetic.body import load_asset, skin_points
from training.synthetic.camera import openpose_visibility
from training.synthetic.dataset import (
    GENERATOR,
    Job,
    check_generator,
    folder,
    generator_version,
    missing_identities,
    write_dataset,
    write_identity,
)
from training.synthetic.identity import BACKDROPS, HAIRS, Identity
from training.synthetic.pose import sample_pose

SIZE = (96, 64)
PEOPLE = range(4)


@pytest.fixture(scope="module")
def views() -> list[View]:
    """Eight views of each of four people."""
    people = [make_identity(identity_seed(0, "train", number)) for number in PEOPLE]
    return [render_view(person, view, *SIZE) for person in people for view in range(8)]


def _yaw(view: View) -> float:
    return abs(view.info["yaw"])


def _grown(mask: np.ndarray) -> np.ndarray:
    """The mask widened by one pixel."""
    padded = np.pad(mask > 0, 1)
    rows, columns = mask.shape
    return np.any(
        [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_picture_in_a_fresh_process(views: list[View]) -> None:
    script = (
        "import hashlib\n"
        "from training.synthetic import View, identity_seed, make_identity, render_view\n"
        "v = render_view(make_identity(identity_seed(0, 'train', 1)), 2, 96, 64)\n"
        "print(hashlib.sha256(v.picture.tobytes() + v.xy.tobytes()).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    digests = {
        subprocess.run(
            [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1
    fresh = render_view(make_identity(identity_seed(0, "train", 1)), 2, *SIZE)
    assert np.array_equal(fresh.picture, views[8 + 2].picture)
    assert np.array_equal(fresh.xy, views[8 + 2].xy)


def test_a_view_does_not_depend_on_the_views_before_it(views: list[View]) -> None:
    person = make_identity(identity_seed(0, "train", 0))
    assert np.array_equal(render_view(person, 5, *SIZE).picture, views[5].picture)


def test_people_and_views_differ(views: list[View]) -> None:
    pictures = {view.picture.tobytes() for view in views}
    assert len(pictures) == len(views)


def test_visible_key_points_lie_on_the_person(views: list[View]) -> None:
    for view in views:
        column, row = np.floor(view.xy[view.visible == 2]).astype(int).T
        assert _grown(view.mask)[row, column].all(), view.info


def test_points_outside_the_frame_are_coded_so(views: list[View]) -> None:
    height, width = SIZE
    outside = 0
    for view in views:
        x, y = view.xy.T
        beyond = (x < 0) | (x >= width) | (y < 0) | (y >= height)
        assert np.array_equal(beyond, view.visible == 0)
        outside += int(beyond.sum())
    assert outside > 0


def test_right_is_left_in_a_front_view_and_right_in_a_back_view(views: list[View]) -> None:
    right, left = Joint.RIGHT_SHOULDER, Joint.LEFT_SHOULDER
    front = [view for view in views if _yaw(view) < 0.35]
    back = [view for view in views if _yaw(view) > 2.6]
    assert len(front) >= 8
    assert len(back) >= 4
    assert all(view.xy[right, 0] < view.xy[left, 0] for view in front)
    assert all(view.xy[right, 0] > view.xy[left, 0] for view in back)


def test_a_front_view_shows_the_nose_and_a_back_view_hides_it(views: list[View]) -> None:
    # Front views of upright heads; hands and hair may hide a nose now and then.
    front = [view.visible[0] == 2 for view in views if _yaw(view) < 0.35]
    assert np.mean(front) > 0.8
    assert all(view.visible[0] == 1 for view in views if _yaw(view) > 2.6)


def test_key_points_stand_in_the_order_of_a_standing_body(views: list[View]) -> None:
    for view in views:
        nose, neck = view.xy[0, 1], view.xy[1, 1]
        hips, ankles = view.xy[[8, 11], 1].mean(), view.xy[[10, 13], 1].mean()
        assert nose < neck < hips < ankles


def test_every_person_is_seen_from_all_sides(views: list[View]) -> None:
    for person in PEOPLE:
        yaws = [_yaw(view) for view in views[8 * person : 8 * person + 8]]
        assert sum(yaw < 0.35 for yaw in yaws) >= 2
        assert sum(yaw > 2.6 for yaw in yaws) >= 1
        assert sum(1.2 < yaw < 1.9 for yaw in yaws) >= 1
        assert sum(1.94 < yaw < 2.61 for yaw in yaws) >= 1


def test_a_full_view_fills_the_height(views: list[View]) -> None:
    full = [view for view in views if view.info["framing"] == "full"]
    assert len(full) >= 16
    for view in full:
        # From the crown, which a raised hand may top, down to the soles.
        rows = np.flatnonzero(view.mask.any(axis=1))
        assert 0.80 * SIZE[0] <= rows[-1] - rows[0] + 1 <= SIZE[0]


def test_the_mask_is_where_the_picture_leaves_the_background(views: list[View]) -> None:
    for view in views:
        corner = view.picture[[0, -1], :1].astype(int)
        rows = np.linspace(0, 1, SIZE[0])[:, None, None]
        background = corner[0] * (1 - rows) + corner[1] * rows
        apart = np.abs(view.picture - background).max(axis=2) > 12
        if view.mask[0, 0] or view.mask[-1, 0]:
            continue
        empty = ~_grown(view.mask)
        empty[int(view.xy[[10, 13], 1].min()) :] = False  # there the feet's shadows lie
        assert apart[empty].mean() < 0.01
        assert apart[view.mask > 0].mean() > 0.85


def test_a_person_keeps_one_background_in_all_views(views: list[View]) -> None:
    tops = [view.picture[0, [0, -1]] for view in views]
    masks = [view.mask[0, [0, -1]] == 0 for view in views]
    shades = []
    for person in PEOPLE:
        row = slice(8 * person, 8 * person + 8)
        corners = np.concatenate(
            [top[free] for top, free in zip(tops[row], masks[row], strict=True)]
        )
        assert len(corners) >= 8
        assert np.ptp(corners.astype(int), axis=0).max() <= 1
        shades.append(tuple(corners[0]))
    assert len(set(shades)) == len(shades)


def test_the_floor_is_darker_below_the_feet_than_beside_them(views: list[View]) -> None:
    drops = []
    for view in views:
        sole = int(np.flatnonzero(view.mask.any(axis=1))[-1])
        if view.info["framing"] != "full" or sole + 3 > SIZE[0]:
            continue
        near, mask = view.picture[sole - 1 : sole + 3].mean(axis=2), view.mask[sole - 1 : sole + 3]
        assert not mask[:, 0].any()
        drops.append((near[:, :1] - np.where(mask > 0, 255, near)).max())
    assert len(drops) >= 12
    assert min(drops) > 4
    assert np.median(drops) > 10


def test_a_garment_keeps_its_colour_from_view_to_view() -> None:
    person = make_identity(identity_seed(0, "train", 6))
    body = [m for m in person.materials if m.kind == "cloth"][-1]
    assert body.pattern == "plain"  # the top of this person
    means = []
    for number in range(8):
        view = render_view(person, number, *SIZE)
        chest = (view.xy[1] * 0.55 + view.xy[[8, 11]].mean(axis=0) * 0.45).astype(int)
        patch = view.picture[chest[1] - 1 : chest[1] + 2, chest[0] - 1 : chest[0] + 2]
        means.append(np.median(patch.reshape(-1, 3), axis=0))
    assert np.ptp(np.array(means), axis=0).max() < 60


def test_splits_share_no_identity() -> None:
    splits = ("train", "val", "test")
    seeds = [identity_seed(0, split, number) for split in splits for number in range(99)]
    assert len(set(seeds)) == len(seeds)
    assert identity_seed(0, "train", 3) != identity_seed(1, "train", 3)
    with pytest.raises(ValueError, match="split must be one of"):
        identity_seed(0, "validation", 0)


def test_attributes_are_dealt_evenly() -> None:
    people = [make_identity(identity_seed(5, "val", number)).attributes for number in range(6)]
    genders = [person["gender"] for person in people]
    assert genders.count("male") == 3
    assert len({person["hair"]["kind"] for person in people}) >= 4
    assert all(person["garments"] for person in people)


def test_hair_colours_and_backgrounds_are_dealt_evenly() -> None:
    count = len(BACKDROPS)
    people = [make_identity(identity_seed(3, "train", number)) for number in range(count)]
    names = [person.attributes["hair"]["name"] for person in people]
    assert all(names.count(name) == count // len(HAIRS) for name in HAIRS)
    shades = {tuple(person.attributes["background"]) for person in people}
    assert len(shades) == count
    for person in people:  # hair is told from skin
        skin, hair = person.attributes["skin"], person.attributes["hair"]["colour"]
        assert np.linalg.norm(np.subtract(skin, hair)) > 0.2


def _cloth(person: Identity) -> tuple[np.ndarray, ...]:
    """Rest points, normals and skin weights of what the clothes show of trunk and legs."""
    parts = []
    for piece in person.pieces:
        if person.materials[piece.material].kind == "cloth":
            visible = (piece.cut > 0) & (piece.attributes[:, 4] < 0.3)
            parts.append((piece.points[visible], piece.normals[visible], piece.skin[visible]))
    return tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))


def test_hands_stay_out_of_the_clothed_body() -> None:
    asset, outside = load_asset(), []
    for number in range(6):
        person = make_identity(identity_seed(0, "val", number))
        points, normals, skin = _cloth(person)
        for draw in range(8):
            pose = sample_pose(person.skeleton, person.torso, np.random.default_rng([7, draw]))
            posed, linear = skin_points(points, skin, pose.bones)
            turned = np.einsum("nij,nj->ni", linear, normals)
            for side in "LR":
                frame = pose.bones[asset.bone(f"wrist.{side}")]
                names = ["hand", *(f"finger-{finger}-{k}" for finger in (2, 5) for k in (1, 3))]
                for name in names:
                    mark = person.skeleton.joint(f"{side.lower()}-{name}")
                    place = frame[:, :3] @ mark + frame[:, 3]
                    apart = np.linalg.norm(posed - place, axis=1)
                    near = int(apart.argmin())
                    outside.append(float((place - posed[near]) @ turned[near]))
    # In decimetres; the nearest vertex says on which side of the cloth a joint lies.
    assert np.mean(np.array(outside) < -0.15) < 0.005
    assert min(outside) > -0.6


def test_a_folder_holds_what_the_format_says(tmp_path: Path) -> None:
    job = Job(tmp_path, "val", 2, SIZE, 0)
    assert write_identity(job, 7) == 2
    place = tmp_path / "val" / "000007"
    assert sorted(p.name for p in place.iterdir()) == [
        "00.png", "00_mask.png", "01.png", "01_mask.png", "identity.json", "people.npz"
    ]  # fmt: skip
    with np.load(place / "people.npz") as people:
        assert people["xy"].shape == (2, 18, 2)
        assert people["xy"].dtype == np.float32
        assert people["visible"].dtype == np.uint8
        assert people["size"].tolist() == list(SIZE)
    record = json.loads((place / "identity.json").read_text())
    assert record["identity"] == 7
    assert record["seed"] == identity_seed(0, "val", 7)
    assert {"kind", "colour", "pattern"} == set(record["attributes"]["garments"][0])
    assert [set(view) for view in record["views"]] == [{"yaw", "framing", "pose"}] * 2
    picture, mask = Image.open(place / "00.png"), Image.open(place / "00_mask.png")
    assert (picture.mode, picture.size) == ("RGB", (64, 96))
    assert (mask.mode, mask.size) == ("L", (64, 96))
    assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_resuming_skips_whole_folders_and_remakes_partial_ones(tmp_path: Path) -> None:
    job = Job(tmp_path, "test", 1, SIZE, 0)
    assert write_dataset(job, range(2), workers=1, quiet=True) == 2
    whole, lost = folder(job, 0), folder(job, 1)
    before = (lost / "00.png").read_bytes()
    stamp = (whole / "00.png").stat().st_mtime_ns
    # An interrupted run leaves its folder under a temporary name.
    part = lost.with_name(".000001.99999.part")
    lost.rename(part)
    (part / "people.npz").unlink()
    assert write_dataset(job, range(2), workers=1, quiet=True) == 1
    assert (whole / "00.png").stat().st_mtime_ns == stamp
    assert (lost / "00.png").read_bytes() == before
    assert (lost / "people.npz").exists()
    assert not part.exists()
    shutil.rmtree(tmp_path / "test")


def test_two_runs_may_draw_the_same_person_at_the_same_time(tmp_path: Path) -> None:
    job = Job(tmp_path, "val", 1, SIZE, 0)
    began: list[str] = []

    def other_run(frame: FrameType, what: str, argument: object) -> None:
        # At the end of the first one's writing another draws, finishes and clears up.
        if what == "return" and frame.f_code.co_name == "_write" and not began:
            began.append("other")
            assert write_identity(job, 3) == 1

    sys.setprofile(other_run)
    write_identity(job, 3)
    sys.setprofile(None)
    assert began
    assert [path.name for path in (tmp_path / "val").iterdir()] == ["000003"]
    assert len(list((tmp_path / "val" / "000003").iterdir())) == 4


def test_people_of_other_settings_are_not_added_to(tmp_path: Path) -> None:
    job = Job(tmp_path, "val", 2, SIZE, 0)
    write_dataset(job, range(2), workers=1, quiet=True)
    assert missing_identities(job, range(4)) == [2, 3]
    for other in (replace(job, seed=1), replace(job, views=1), replace(job, size=(64, 48))):
        with pytest.raises(ValueError, match="000000: it holds"):
            write_dataset(other, range(3), workers=1, quiet=True)
    assert not folder(job, 2).exists()


def _age(person: Path, version: int | None) -> None:
    """Rewrite which version of the generator drew a person; None leaves the number out."""
    record = json.loads((person / "identity.json").read_text())
    del record["generator"]
    if version is not None:
        record["generator"] = version
    (person / "identity.json").write_text(json.dumps(record))


def test_people_of_two_versions_of_the_generator_are_not_mixed(tmp_path: Path) -> None:
    job = Job(tmp_path, "val", 1, SIZE, 0)
    write_dataset(job, range(2), workers=1, quiet=True)
    people = [folder(job, number) for number in range(2)]
    assert [generator_version(person) for person in people] == [GENERATOR] * 2
    check_generator(people)
    _age(people[1], GENERATOR + 1)
    with pytest.raises(ValueError, match="000001: drawn by version"):
        check_generator(people)
    with pytest.raises(ValueError, match="Give another folder"):
        write_identity(job, 1)


def test_people_without_a_version_count_as_the_first(tmp_path: Path) -> None:
    job = Job(tmp_path, "val", 1, SIZE, 0)
    write_identity(job, 0)
    _age(folder(job, 0), None)
    assert generator_version(folder(job, 0)) == 1


def test_a_detector_never_reports_hidden_faces_and_mostly_reports_hidden_limbs() -> None:
    rng = np.random.default_rng(0)
    xy = np.zeros((18, 2), np.float32)
    hidden = np.array([openpose_visibility(xy, np.full(18, 1, np.uint8), rng) for _ in range(200)])
    face = [0, 14, 15, 16, 17]
    assert not hidden[:, face].any()
    assert 0.6 < np.delete(hidden, face, axis=1).mean() < 0.8
    assert not openpose_visibility(xy, np.zeros(18, np.uint8), rng).any()
    visible = np.array([openpose_visibility(xy, np.full(18, 2, np.uint8), rng) for _ in range(50)])
    assert visible.mean() > 0.95
