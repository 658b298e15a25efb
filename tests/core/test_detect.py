"""The pose detector: what it finds, what it leaves out, and what it says where it cannot work."""

import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pcdm_core.checkpoints import WEIGHTS_FOLDER
from pcdm_core.images import as_picture, load_picture
from pcdm_core.pose.describe import part_of, view_of
from pcdm_core.pose.detect import (
    DetectorMissingError,
    NoPersonError,
    describe_people,
    detect_people,
    face_seen,
    head_turn,
)
from pcdm_core.pose.detect import people as detect
from pcdm_core.pose.detect.blazepose import FOLDER, BlazePose, Crop
from pcdm_core.pose.formats import read_pose
from pcdm_core.pose.keypoints import Keypoints
from training.tools.export_examples import export_person

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path for path in (WEIGHTS_FOLDER / "examples").glob("*") if path.is_dir())

needs_runtime = pytest.mark.skipif(
    not detect.has_blazepose(), reason="ai-edge-litert, a development pin, is not installed"
)


def example(person: int, view: int) -> tuple[torch.Tensor, Keypoints]:
    file = EXAMPLES[person] / f"{view:02d}.png"
    return load_picture(file), read_pose(file.with_suffix(".json"))


def right_joints(detection: Keypoints, truth: Keypoints, within: float) -> float:
    """The share of the true joints that lie within a part of the person's height."""
    size = torch.tensor([2.0, 3.0])  # the examples' shape
    visible = truth.visible[0]
    places = truth.xy[0, visible] * size
    height = (places.amax(0) - places.amin(0)).max()
    off = (detection.xy[0, visible] * size - places).norm(dim=1) / height
    return (off <= within).double().mean().item()


@needs_runtime
def test_a_search_ends_before_its_next_look_and_leaves_the_detector_free() -> None:
    looks: list[int] = []

    def cancel_at_the_second() -> None:
        looks.append(len(looks))
        if len(looks) == 2:
            raise InterruptedError

    picture, _ = example(0, 0)
    with pytest.raises(InterruptedError):
        detect_people(picture, check=cancel_at_the_second)
    assert len(looks) == 2
    assert detect_people(picture, check=lambda: None)


@pytest.mark.slow
@needs_runtime
def test_nine_of_ten_joints_of_the_examples_are_found() -> None:
    shares = []
    for person in range(len(EXAMPLES)):
        picture, truth = example(person, person % 5)
        shares.append(right_joints(detect_people(picture)[0], truth, 0.1))
    assert np.mean(shares) >= 0.9


@needs_runtime
def test_a_back_view_has_no_nose_and_no_eyes() -> None:
    picture, truth = example(7, 1)
    (detection,) = detect_people(picture)
    assert view_of(truth) == "back"
    assert view_of(detection) == "back"
    assert not detection.visible[0, [0, 14, 15]].any()
    assert right_joints(detection, truth, 0.1) >= 0.9


@needs_runtime
def test_a_back_that_the_first_crop_takes_for_a_front_is_read_as_a_back(tmp_path: Path) -> None:
    folder = export_person(tmp_path, 3, 2, (96, 64))  # small, as such backs are
    picture, truth = load_picture(folder / "01.png"), read_pose(folder / "01.json")
    assert view_of(truth) == "back"
    networks = BlazePose()
    pixels = (picture[0] + 1) / 2
    (crop,) = networks.crops(pixels, detect.SURE_BOX)
    second = networks.landmarks(pixels, networks.landmarks(pixels, crop)[1])[0]
    assert second.xyz[11, 0] > second.xyz[12, 0]  # the left shoulder to the right: a front
    (detection,) = detect_people(picture)
    assert view_of(detection) == "back"
    assert not detection.visible[0, [0, 14, 15]].any()
    assert right_joints(detection, truth, 0.1) >= 0.9


@needs_runtime
def test_a_mirrored_look_is_a_look_at_the_mirrored_picture() -> None:
    pixels = (example(0, 0)[0][0] + 1) / 2
    width = pixels.shape[-1]
    networks = BlazePose()
    crop = Crop(0.51 * width, 0.73 * width, 1.4 * width, 0.1)
    detection, _ = networks.landmarks(pixels, crop, mirrored=True)
    flipped, _ = networks.landmarks(pixels.flip(-1), replace(crop, x=width - crop.x, angle=-0.1))
    left_points, right_points = [0, 11, 13, 27, 7], [0, 12, 14, 28, 8]
    expected = flipped.xyz[right_points] * [-1, 1, 1] + [width, 0, 0]
    np.testing.assert_allclose(detection.xyz[left_points], expected, atol=1e-3)
    np.testing.assert_allclose(
        detection.visible[left_points], flipped.visible[right_points], atol=1e-4
    )


@needs_runtime
def test_half_a_body_is_found_and_said() -> None:
    picture, _ = example(0, 0)
    (detection,) = detect_people(picture[..., : picture.shape[-2] * 11 // 24, :])
    assert detection.visible[0, [0, 2, 5]].all()
    assert not detection.visible[0, [9, 10, 12, 13]].any()
    assert "right ankle" in describe_people([detection])
    assert part_of(detection) in ("half body, above the hips", "half body, down to the hips")


def photograph(name: str) -> torch.Tensor:
    """One that scikit-image's wheel brings along."""
    data = pytest.importorskip("skimage.data", reason="scikit-image is an extra (eval)")
    return as_picture(np.asarray(getattr(data, name)()))


@needs_runtime
def test_half_a_body_on_a_photograph_is_found_and_said() -> None:
    """Eileen Collins by NASA, 512x512: down to her belt, both arms, a helmet before one hand."""
    (detection,) = detect_people(photograph("astronaut"))
    size = torch.tensor([512.0, 512.0])
    places = detection.xy[0] * size
    for joint, place in ((0, (218, 132)), (2, (100, 238)), (5, (302, 250)), (3, (58, 400))):
        assert detection.visible[0, joint]
        assert (places[joint] - torch.tensor(place)).norm() < 30, joint
    assert not detection.visible[0, [9, 10, 12, 13]].any()
    assert view_of(detection) == "front"
    report = describe_people([detection])
    assert "half body" in report
    assert "left ankle" in report


@needs_runtime
@pytest.mark.parametrize("name", ["coffee", "rocket", "chelsea", "moon"])
def test_nobody_is_seen_in_a_photograph_of_something_else(name: str) -> None:
    with pytest.raises(NoPersonError, match="No person was found in the picture"):
        detect_people(photograph(name))


@needs_runtime
def test_several_people_are_all_found_the_largest_first() -> None:
    first, second = example(0, 0)[0], example(1, 0)[0]
    height, width = first.shape[-2:]
    small = torch.nn.functional.pad(
        first[..., ::2, ::2],
        (width // 4, width // 4, height // 2, 0),
        value=float(first[0, 0, 0, 0]),
    )
    detection = detect_people(torch.cat([small, second, second], dim=-1))
    assert len(detection) == 3
    heights = [
        float(person.xy[0, person.visible[0], 1].amax() - person.xy[0, person.visible[0], 1].amin())
        for person in detection
    ]
    assert heights[0] > heights[2]
    assert "3 people" in describe_people(detection)


@needs_runtime
@pytest.mark.parametrize("kind", ["plain", "noise", "tiny"])
def test_a_picture_without_a_person_says_so(kind: str) -> None:
    noise = torch.rand(3, 90, 70, generator=torch.Generator().manual_seed(0)) * 2 - 1
    pictures = {"plain": torch.zeros(3, 90, 70), "noise": noise, "tiny": torch.ones(3, 1, 1)}
    with pytest.raises(NoPersonError, match="No person was found in the picture"):
        detect_people(pictures[kind])


@needs_runtime
def test_one_picture_gives_the_same_people_again() -> None:
    picture, _ = example(3, 0)
    first, again = detect_people(picture), detect_people(picture)
    assert torch.equal(first[0].xy, again[0].xy)


WITHOUT_RUNTIME = """
import sys
sys.path.insert(0, sys.argv[1])
sys.modules["ai_edge_litert"] = None
sys.modules["torchvision"] = None
sys.modules["controlnet_aux"] = None
import torch
from pcdm_core.pose.detect import DetectorMissingError, detect_people, has_blazepose, has_openpose
assert not has_blazepose() and not has_openpose()
for detector in ("auto", "blazepose", "openpose"):
    try:
        detect_people(torch.zeros(3, 64, 64), detector)
    except DetectorMissingError as error:
        print(error)
"""


@pytest.mark.slow
def test_without_a_runtime_the_error_names_the_package_and_the_readme() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_RUNTIME, str(ROOT)],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = result.stdout.strip().splitlines()
    assert len(lines) == 3
    assert all("ai-edge-litert" in line and "Installing in the README" in line for line in lines)
    assert "controlnet_aux" in lines[2]


def test_an_unknown_detector_and_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="choose one of auto, blazepose, openpose"):
        detect_people(torch.zeros(3, 8, 8), "other")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="one picture at a time, got 2"):
        detect_people(torch.zeros(2, 3, 8, 8))


def test_the_networks_ship_with_their_licence_and_notice() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert {"LICENSE", "NOTICE", "pose_detection.tflite", "pose_landmark_full.tflite"} <= names
    assert max(path.stat().st_size for path in FOLDER.iterdir()) < 24e6


def test_a_turned_crop_takes_the_pixels_that_it_says() -> None:
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    picture = torch.stack([columns + 0.5, rows + 0.5, torch.ones(40, 60)])
    crop = Crop(30.0, 20.0, 16.0, np.deg2rad(30))
    cut = crop.cut(picture, 16)
    line = (np.arange(16) + 0.5) / 16
    places = crop.to_picture(np.stack(np.meshgrid(line, line), axis=-1))
    np.testing.assert_allclose(cut[:2].permute(1, 2, 0), places, atol=1e-3)
    outside = Crop(0.0, 20.0, 16.0, 0.0).cut(picture, 16)
    assert outside[2, :, :7].abs().max() == 0
    assert outside[2, :, 9:].min() == 1


def test_a_crop_stands_upright_along_the_body() -> None:
    upright = Crop.between(np.array([50.0, 50.0]), np.array([50.0, 10.0]))
    assert upright.angle == pytest.approx(0.0)
    assert upright.size == pytest.approx(2 * 1.25 * 40)
    lying = Crop.between(np.array([50.0, 50.0]), np.array([90.0, 50.0]))
    assert np.rad2deg(lying.angle) == pytest.approx(90.0)


def test_a_face_shows_what_its_turn_leaves_in_sight() -> None:
    names = ("nose", "right_eye", "left_eye", "right_ear", "left_ear")
    for turn, expected in (
        (0.0, {"nose", "right_eye", "left_eye", "right_ear", "left_ear"}),
        (40.0, {"nose", "right_eye", "left_eye", "right_ear"}),
        (-90.0, {"nose", "left_eye", "left_ear"}),
        (140.0, {"right_ear"}),
        (180.0, {"right_ear", "left_ear"}),
    ):
        points = {name for name, shows in zip(names, face_seen(turn), strict=True) if shows}
        assert points == expected, turn


def test_the_turn_of_a_head_is_told_in_any_posture() -> None:
    xyz = np.zeros((33, 3))
    xyz[[11, 12, 23, 24], :2] = [[60, 30], [40, 30], [56, 70], [44, 70]]
    xyz[[7, 8], :2] = [[53, 10], [47, 10]]
    xyz[0] = [50, 12, -30]
    assert head_turn(xyz) == pytest.approx(0.0, abs=1)
    xyz[0] = [58, 12, 0]
    assert head_turn(xyz) == pytest.approx(90.0, abs=1)
    lying = xyz.copy()
    lying[:, 0], lying[:, 1] = 100 - xyz[:, 1], xyz[:, 0]  # a quarter turn
    assert head_turn(lying) == pytest.approx(90.0, abs=1)


@dataclass
class Point:
    """As controlnet_aux has it: fractions of the picture."""

    x: float
    y: float


@dataclass
class Body:
    keypoints: list[Point | None]


@dataclass
class PoseResult:
    body: Body
    left_hand: list[Point | None] | None = None
    right_hand: list[Point | None] | None = None
    face: list[Point] | None = field(default=None)


def test_a_result_of_the_openpose_detector_becomes_key_points() -> None:
    points: list[Point | None] = [Point(0.5, joint / 20) for joint in range(18)]
    points[4] = None
    hand: list[Point | None] = [Point(0.1, 0.2)] * 21
    detection = detect._from_openpose(PoseResult(Body(points), right_hand=hand))  # pyright: ignore[reportPrivateUsage]
    assert detection.visible[0].tolist() == [joint != 4 for joint in range(18)]
    assert detection.hands_visible is not None
    assert detection.hands_visible.sum(-1).tolist() == [[0, 21]]
    assert not detect._from_openpose(PoseResult(Body(points))).has_hands  # pyright: ignore[reportPrivateUsage]
    assert issubclass(DetectorMissingError, ValueError)
