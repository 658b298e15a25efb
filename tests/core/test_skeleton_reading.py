"""Skeleton pictures back to key points: render, read, compare; and words for other conventions."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core.images import from_uint8, load_picture, resize, to_uint8
from pcdm_core.pose.editor import library
from pcdm_core.pose.keypoints import BODY_JOINTS, Keypoints
from pcdm_core.pose.raster import draw_line, fill_circle
from pcdm_core.pose.read_any import read_pose_file, read_pose_of_picture
from pcdm_core.pose.render import COLOURS, LIMBS, draw_people, people_of, render_pose
from pcdm_core.pose.skeleton_image.read import SkeletonError, SkeletonReading, read_skeleton

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "skeleton"
POSES = library()
WITH_HANDS = (
    "Standing", "Arms folded", "Hand at the chin", "Three-quarter left", "Turned, pointing",
    "Side, reaching out", "Back, hands on the hips", "Back, turned right",
    "Walking right, passing", "Seated", "Seated, side, leaning back",
)  # fmt: skip
FOLDED = ("Dancing", "Floor", "Kneeling", "Lying", "Sport")
STANDING = POSES[0].keypoints

Change = Callable[[torch.Tensor], torch.Tensor]


def jpeg(quality: int) -> Change:
    """As the published skeletons are kept."""

    def save(picture: torch.Tensor) -> torch.Tensor:
        file = io.BytesIO()
        Image.fromarray(to_uint8(picture)[0]).save(file, "JPEG", quality=quality)
        return from_uint8(np.asarray(Image.open(file)))

    return save


def uint8(keypoints: Keypoints, height: int = 512, width: int = 384) -> np.ndarray:
    return draw_people(people_of(keypoints), height, width)


def read(pixels: np.ndarray) -> SkeletonReading:
    return read_skeleton(from_uint8(pixels))


def pck(keypoints: Keypoints, truth: Keypoints, threshold: float) -> tuple[int, int, int]:
    """Joints near their place (in heights of the picture), found ones, visible ones."""
    both = keypoints.visible & truth.visible
    near = ((keypoints.xy - truth.xy).norm(dim=-1) < threshold) & both
    return int(near.sum()), int(keypoints.visible.sum()), int(truth.visible.sum())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "change", "threshold", "share"),
    [
        (768, 512, None, 0.005, 0.995),
        (256, 176, None, 0.03, 0.97),
        (512, 384, jpeg(90), 0.05, 0.98),
        (512, 384, jpeg(75), 0.05, 0.97),
        (512, 352, lambda p: resize(p, 1024, 704), 0.05, 0.98),
        (1024, 704, lambda p: resize(p, 512, 352), 0.05, 0.98),
    ],
    ids=["exact", "small", "JPEG 90", "JPEG 75", "enlarged", "shrunk"],
)
def test_the_library_is_drawn_and_read_back(
    height: int, width: int, change: Change | None, threshold: float, share: float
) -> None:
    near = joints = visible = 0
    # All of them once; every third where the picture is changed, because that takes longer, and of
    # those that stand and sit: on the floor and in the air more joints lie under others' discs.
    upright = [pose for pose in POSES if pose.group not in FOLDED]
    for pose in POSES if change is None else upright[::3]:
        picture = render_pose(pose.keypoints, height, width)
        reading = read_skeleton(picture if change is None else change(picture))
        assert len(reading.people) == 1, pose.name
        counts = pck(reading.people, pose.keypoints, threshold)
        near, joints, visible = (
            a + b for a, b in zip((near, joints, visible), counts, strict=True)
        )
        if change is None:
            assert not reading.warnings
            assert joints == near, f"{pose.name}: a joint was found where none is"
    assert visible > 250
    assert near >= share * visible
    assert joints - near <= 0.01 * visible


def test_left_and_right_are_told_apart_by_colour() -> None:
    for keypoints in (STANDING, STANDING.mirrored()):
        people = read(uint8(keypoints)).people
        assert people.visible.all()
        assert (people.xy - keypoints.xy).abs().max() < 0.004


def test_a_joint_that_is_covered_is_reported_and_laid_under_its_cover() -> None:
    """The right wrist is drawn first; the left hip over it."""
    xy = STANDING.xy.clone()
    xy[0, 4] = xy[0, 11]
    reading = read(uint8(Keypoints(xy, STANDING.visible)))
    assert any("right wrist is covered" in line for line in reading.report.guessed)
    assert (reading.people.xy[0, 4] - xy[0, 11]).abs().max() < 0.01


def test_a_joint_beyond_the_border_is_reported_at_the_border() -> None:
    xy = STANDING.xy.clone()
    xy[..., 0] += 0.35
    reading = read(uint8(Keypoints(xy, STANDING.visible)))
    assert any("cut off" in line for line in reading.report.guessed)
    visible = reading.people.visible[0] & (xy[0, :, 0] < 1)
    assert int(visible.sum()) >= 10
    assert (reading.people.xy - xy)[0][visible].abs().max() < 0.004


def test_missing_joints_stay_missing_and_are_named() -> None:
    visible = STANDING.visible.clone()
    visible[0, [4, 16]] = False
    reading = read(uint8(Keypoints(STANDING.xy, visible)))
    assert torch.equal(reading.people.visible, visible)
    assert "Missing or covered: right wrist, right ear." in reading.report.recognised


def test_several_people_are_kept_apart() -> None:
    half = torch.tensor([0.45, 0.9], dtype=torch.float64)
    rows = [
        Keypoints(pose.keypoints.xy * half + torch.tensor([offset, 0.05]), pose.keypoints.visible)
        for pose, offset in ((POSES[0], 0.02), (POSES[1], 0.52))
    ]
    both = Keypoints.cat(rows)
    reading = read(uint8(both, 512, 768))
    assert len(reading.people) == 2
    people = reading.people.select(reading.people.xy[:, 1, 0].argsort())
    assert torch.equal(people.visible, both.visible)
    assert (people.xy - both.xy).abs().max() < 0.004


@pytest.mark.parametrize(
    "item",
    json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["items"],
    ids=lambda item: item["file"],
)
def test_the_published_pictures_are_read_or_refused_in_words(item: dict[str, object]) -> None:
    try:
        reading = read_skeleton(load_picture(GOLDEN / str(item["file"])))
    except SkeletonError as error:
        message = str(error)
        assert "joints in ControlNet's colours" in message or "spots" in message
        return
    assert reading.people.xy.isfinite().all()
    assert reading.people.visible.any(dim=1).all()


def hand(rng: np.random.Generator, wrist: np.ndarray, elbow: np.ndarray) -> np.ndarray:
    """21 points [21, 2] of a hand that goes on from its arm, with fingers bent at random."""
    reach, arm = 70.0, wrist - elbow
    along = np.arctan2(arm[1], arm[0]) + rng.normal(0, 0.4)
    spread = np.deg2rad([-50, -18, -5, 8, 20]) * rng.uniform(0.7, 1.3) * rng.choice([-1, 1])
    points = [wrist + rng.normal(0, 1.5, 2)]
    for finger, palm in enumerate((0.35, 0.52, 0.5, 0.48, 0.44)):
        turn, bend = along + spread[finger], rng.normal(0, 0.3)
        place = points[0] + palm * reach * np.array([np.cos(turn), np.sin(turn)])
        points.append(place)
        for length in (0.26, 0.17, 0.13):
            turn += bend
            place = place + length * reach * np.array([np.cos(turn), np.sin(turn)])
            points.append(place)
    return np.array(points)


def with_hands(pose: Keypoints, seed: int, height: int = 768, width: int = 512) -> Keypoints:
    rng = np.random.default_rng(seed)
    body = pose.to_pixels(height, width)[0].numpy()
    hands = np.array([hand(rng, body[wrist], body[elbow]) for elbow, wrist in ((6, 7), (3, 4))])
    return Keypoints(
        pose.xy,
        pose.visible,
        torch.from_numpy(hands / [width, height])[None],
        torch.ones(1, 2, 21, dtype=torch.bool),
    )


LEFT_OUT = "Hands are drawn that could not be read back; they are left out."


def says_left_out(reading: SkeletonReading) -> bool:
    return any(line.startswith(LEFT_OUT) for line in reading.report.recognised)


@pytest.mark.slow
def test_hands_are_read_back_to_the_pixel_or_said_to_be_left_out() -> None:
    poses, count, off = [pose for pose in POSES if pose.name in WITH_HANDS], 0, []
    for seed, pose in enumerate(poses):
        truth = with_hands(pose.keypoints, seed)
        reading = read(uint8(truth, 768, 512))
        visible = torch.zeros(2, 21, dtype=torch.bool)
        if reading.people.hands_xy is not None and reading.people.hands_visible is not None:
            assert truth.hands_xy is not None
            visible = reading.people.hands_visible[0]
            away = (reading.people.hands_xy - truth.hands_xy)[0] * torch.tensor([512.0, 768.0])
            off += away.abs().amax(-1)[visible].tolist()
        count += int(visible.any(1).sum())
        for side, name in enumerate(("left", "right")):
            said = any(f"The {name} hand was read" in line for line in reading.report.recognised)
            assert said == bool(visible[side].any())
        assert visible.any(1).all() or says_left_out(reading), pose.name
        assert int((reading.people.visible & pose.keypoints.visible).sum()) >= 12
    assert count >= 0.8 * 2 * len(poses)
    assert np.mean(np.array(off) <= 1) >= 0.98
    assert max(off) < 6


def test_points_that_a_hand_lacks_stay_missing() -> None:
    truth = with_hands(STANDING, 1)
    assert truth.hands_visible is not None
    truth.hands_visible[0, 0, 9:13] = False  # the middle finger of the left hand
    truth.hands_visible[0, 1] = False
    people = read(uint8(truth, 768, 512)).people
    assert people.hands_visible is not None
    assert torch.equal(people.hands_visible, truth.hands_visible)


def test_a_very_large_picture_is_read_smaller_and_keeps_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    Image.fromarray(uint8(STANDING, 1536, 1025)).save(path)
    expected = read_pose_file(path).keypoints
    monkeypatch.setattr("pcdm_core.pose.read_any.FREE_PIXELS", 768 * 513)
    result = read_pose_file(path)
    assert result.sizes == ((1536, 1025),)
    assert result.keypoints.canvases == [(1536, 1025)]
    assert (result.keypoints.xy - expected.xy).abs().max() < 0.002


def test_the_hands_of_a_chosen_person_come_along() -> None:
    reading = read_pose_of_picture(from_uint8(uint8(with_hands(STANDING, 2), 768, 512)))
    assert reading.keypoints.has_hands
    assert "The left hand was read: 21 points." in str(reading.report)


@pytest.mark.parametrize(
    "change", [jpeg(90), lambda p: resize(p, 384, 256)], ids=["JPEG", "shrunk"]
)
def test_hands_whose_lines_are_blurred_are_left_out_and_the_report_says_so(change: Change) -> None:
    skeleton = from_uint8(uint8(with_hands(STANDING, 0), 768, 512))
    reading = read_skeleton(change(skeleton))
    assert not reading.people.has_hands
    assert says_left_out(reading)
    assert not says_left_out(read_skeleton(change(from_uint8(uint8(STANDING, 768, 512)))))


def test_a_hand_whose_points_lie_on_each_other_is_left_out() -> None:
    wrists = STANDING.xy[:, [7, 4]]
    line = torch.linspace(0, 0.07, 21, dtype=torch.float64)[None, None, :, None]
    every = torch.ones(1, 2, 21, dtype=torch.bool)
    reading = read(
        uint8(Keypoints(STANDING.xy, STANDING.visible, wrists[:, :, None] + line, every))
    )
    assert not reading.people.has_hands
    assert says_left_out(reading)
    assert (reading.people.xy - STANDING.xy)[reading.people.visible].abs().max() < 0.01


def test_face_points_are_warned_of() -> None:
    pixels = uint8(STANDING)
    for turn in range(20):
        x, y = 192 + 25 * np.cos(turn / 3), 80 + 30 * np.sin(turn / 3)
        fill_circle(pixels, (int(x), int(y)), 3, (255, 255, 255))
    reading = read(pixels)
    assert any("face points" in warning for warning in reading.warnings)
    assert int(reading.people.visible.sum()) >= 12


def test_a_white_background_is_warned_of_and_read() -> None:
    pixels = uint8(STANDING)
    pixels[(pixels == 0).all(axis=2)] = 255
    reading = read(pixels)
    assert any("background is white" in warning for warning in reading.warnings)
    assert (reading.people.xy - STANDING.xy)[reading.people.visible].abs().max() < 0.004


def test_joints_of_another_size_are_warned_of() -> None:
    reading = read_skeleton(resize(render_pose(STANDING, 512, 384), 1024, 768))
    assert any("joints have a radius of 8 pixels instead of 4" in w for w in reading.warnings)


def test_swapped_red_and_blue_are_noticed() -> None:
    reading = read(np.ascontiguousarray(uint8(STANDING)[..., ::-1]))
    assert reading.warnings[0].startswith("red and blue are swapped")
    assert (reading.people.xy - STANDING.xy).abs().max() < 0.004


def test_openposes_own_colours_are_refused_because_they_name_other_joints() -> None:
    """The same palette one joint further: the neck is red, the nose is pink."""
    pixels = np.zeros((512, 384, 3), dtype=np.uint8)
    places = [(int(x * 384), int(y * 512)) for x, y in STANDING.xy[0].tolist()]
    for a, b in LIMBS:
        for shift in range(-3, 4):
            start, end = ((x + shift, y) for x, y in (places[a], places[b]))
            draw_line(pixels, start, end, [int(c * 0.6) for c in COLOURS[b - 1]])
    for joint, place in enumerate(places):
        fill_circle(pixels, place, 4, COLOURS[joint - 1])
    with pytest.raises(SkeletonError, match=r"OpenPose's own colours.*which name other joints"):
        read(pixels)


def test_a_skeleton_of_other_colours_is_refused() -> None:
    pixels = uint8(STANDING)
    grey = np.repeat(pixels.max(axis=2, keepdims=True), 3, axis=2)
    with pytest.raises(SkeletonError, match=r"no skeleton in ControlNet's colours|0 joints"):
        read(grey)


@pytest.mark.parametrize("what", ["a person", "noise", "nothing"])
def test_a_picture_without_a_skeleton_is_refused(what: str) -> None:
    if what == "a person":
        picture = load_picture(ROOT / "pcdm_core" / "weights" / "examples" / "000000" / "00.png")
    elif what == "noise":
        picture = torch.rand(1, 3, 200, 150, generator=torch.Generator().manual_seed(0)) * 2 - 1
    else:
        picture = -torch.ones(1, 3, 64, 48)
    with pytest.raises(SkeletonError):
        read_skeleton(picture)


def test_a_batch_is_no_picture() -> None:
    with pytest.raises(SkeletonError, match=r"\[3, H, W\], got \[2, 3, 8, 8\]"):
        read_skeleton(torch.zeros(2, 3, 8, 8))


@pytest.mark.slow
def test_every_joint_alone_among_its_neighbours_is_named_right() -> None:
    """One joint is moved: no other may move with it."""
    for joint, name in enumerate(BODY_JOINTS):
        xy = STANDING.xy.clone()
        xy[0, joint] += torch.tensor([0.06, -0.05], dtype=torch.float64)
        people = read(uint8(Keypoints(xy, STANDING.visible))).people
        assert people.visible[0, joint], name
        assert (people.xy - xy)[people.visible].abs().max() < 0.01, name
