"""Pose files: every format in, OpenPose JSON out, and plain words for what cannot be used."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pcdm_core.pose.formats import PoseError, read_frames, read_pose, to_openpose, write_openpose
from pcdm_core.pose.keypoints import Keypoints
from tests.core.pose_dialects import body_25

HEIGHT, WIDTH = 256, 176


def places(count: int = 18, seed: int = 0, scale: float = 1.0) -> list[tuple[float, float]]:
    """Pixels of a 256 x 176 picture, all inside; `scale` shrinks the person."""
    points = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    points = (points * 0.8 + 0.1) * torch.tensor([WIDTH, HEIGHT]) * scale
    return [(x, y) for x, y in points.tolist()]


def flat(points: list[tuple[float, float]], confidence: float = 0.9) -> list[float]:
    return [number for x, y in points for number in (x, y, confidence)]


def document(*people: dict[str, Any], canvas: bool = True) -> dict[str, Any]:
    size = {"canvas_height": HEIGHT, "canvas_width": WIDTH} if canvas else {}
    return {"people": list(people), **size}


def person(points: list[tuple[float, float]] | None = None) -> dict[str, Any]:
    return {"pose_keypoints_2d": flat(places() if points is None else points)}


def fractions(points: list[tuple[float, float]]) -> torch.Tensor:
    return torch.tensor(points, dtype=torch.float64) / torch.tensor([WIDTH, HEIGHT])


def write_file(tmp_path: Path, content: Any, name: str = "pose.json") -> Path:
    path = tmp_path / name
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    return path


def test_openpose_json_with_18_joints_is_read(tmp_path: Path) -> None:
    keypoints = read_pose(write_file(tmp_path, document(person())))
    assert len(keypoints) == 1
    assert keypoints.visible.all()
    assert keypoints.hands_xy is None
    torch.testing.assert_close(keypoints.xy[0], fractions(places()))


def test_openpose_json_needs_the_size_where_it_has_none(tmp_path: Path) -> None:
    path = write_file(tmp_path, document(person(), canvas=False))
    with pytest.raises(
        PoseError, match=r"pose\.json: the coordinates are pixels.*give its height and width"
    ):
        read_pose(path)
    keypoints = read_pose(path, size=(HEIGHT, WIDTH))
    torch.testing.assert_close(keypoints.xy[0], fractions(places()))


def test_the_canvas_of_the_file_goes_before_the_size() -> None:
    keypoints = read_pose(document(person()), size=(1, 1))
    torch.testing.assert_close(keypoints.xy[0], fractions(places()))


def test_body_25_loses_the_middle_of_the_hips_and_the_feet() -> None:
    points = [(x * WIDTH / 512, y * HEIGHT / 768) for x, y, _ in body_25()]
    keypoints = read_pose(document(person(points)))
    expected = points[:8] + points[9:19]
    torch.testing.assert_close(
        keypoints.xy[0][keypoints.visible[0]], fractions(expected)[keypoints.visible[0]]
    )


def test_a_pose_keypoint_of_several_frames_is_a_batch() -> None:
    frames = [document(person(places(seed=seed))) for seed in range(3)]
    keypoints = read_pose(frames)
    assert len(keypoints) == 3
    for row in range(3):
        torch.testing.assert_close(keypoints.xy[row], fractions(places(seed=row)))


def test_fractions_and_pixels_of_a_pose_keypoint_are_told_apart() -> None:
    small = [(x / WIDTH, y / HEIGHT) for x, y in places()]
    keypoints = read_pose([document(person(small))])
    torch.testing.assert_close(keypoints.xy, read_pose([document(person())]).xy)


def test_hands_are_read_left_first() -> None:
    left_hand, right_hand = places(21, seed=1), places(21, seed=2)
    hands = {"hand_left_keypoints_2d": flat(left_hand), "hand_right_keypoints_2d": flat(right_hand)}
    keypoints = read_pose(document(person() | hands))
    assert keypoints.hands_xy is not None
    torch.testing.assert_close(keypoints.hands_xy[0, 0], fractions(left_hand))
    torch.testing.assert_close(keypoints.hands_xy[0, 1], fractions(right_hand))


@pytest.mark.parametrize("absent", [None, []])
def test_an_absent_hand_is_missing(absent: list[float] | None) -> None:
    hands = {"hand_left_keypoints_2d": absent, "hand_right_keypoints_2d": flat(places(21))}
    keypoints = read_pose(document(person() | hands))
    assert keypoints.hands_visible is not None
    assert not keypoints.hands_visible[0, 0].any()
    assert keypoints.hands_visible[0, 1].all()


@pytest.mark.parametrize(
    "missing", [(50.0, 60.0, 0.0), (0.0, 0.0, 0.9), (-1.0, -1.0, 1.0), (None, None, None)]
)
def test_a_missing_joint_makes_a_partial_pose(missing: tuple[float | None, ...]) -> None:
    numbers: list[float | None] = [*flat(places())]
    numbers[12:15] = missing
    keypoints = read_pose(document({"pose_keypoints_2d": numbers}))
    assert keypoints.visible[0].tolist() == [joint != 4 for joint in range(18)]
    assert keypoints.to_vector()[0, 0, 8:10].tolist() == [-1.0, -1.0]


def test_the_largest_of_several_people_is_taken_unless_one_is_asked_for() -> None:
    people = document(person(places(scale=0.3)), person(places(seed=5)), person(places(scale=0.5)))
    torch.testing.assert_close(read_pose(people).xy[0], fractions(places(seed=5)))
    torch.testing.assert_close(read_pose(people, person=2).xy[0], fractions(places(scale=0.5)))
    assert len(read_frames(people)[0].people) == 3
    with pytest.raises(PoseError, match=r"person 3 was asked for, but there are 3"):
        read_pose(people, person=3)


def test_a_person_without_joints_does_not_hide_another() -> None:
    nobody = {"pose_keypoints_2d": [0.0] * 54}
    keypoints = read_pose(document(nobody, person()))
    assert keypoints.visible.all()


def test_the_published_text_files_are_read(tmp_path: Path) -> None:
    points = [(x / WIDTH, y / HEIGHT) for x, y in places()]
    points[3] = (-1.0, -1.0)
    lines = "\n".join(f"{x:.8f} {y:.8f}" for x, y in points)
    keypoints = read_pose(write_file(tmp_path, lines + "\n", "person.txt"))
    assert keypoints.visible[0].tolist() == [joint != 3 for joint in range(18)]
    torch.testing.assert_close(keypoints.xy[0, 5], fractions(places())[5], atol=1e-7, rtol=0)
    assert keypoints.to_vector()[0, 0, 6:8].tolist() == [-1.0, -1.0]


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    keypoints = Keypoints(
        torch.rand(2, 18, 2, generator=generator, dtype=torch.float64),
        torch.rand(2, 18, generator=generator) < 0.8,
        torch.rand(2, 2, 21, 2, generator=generator, dtype=torch.float64),
        torch.rand(2, 2, 21, generator=generator) < 0.8,
    )
    for rows in (keypoints, keypoints.select(0)):
        path = write_openpose(rows, tmp_path / "poses" / "pose.json", HEIGHT, WIDTH)
        again = read_pose(path)
        assert torch.equal(again.visible, rows.visible)
        torch.testing.assert_close(again.to_vector(), rows.to_vector())
        assert again.hands_xy is not None
        assert rows.hands_xy is not None
        visible = rows.hands_visible
        torch.testing.assert_close(again.hands_xy[visible], rows.hands_xy[visible])
    assert [file.name for file in path.parent.iterdir()] == ["pose.json"]


def test_a_single_pose_is_written_as_plain_openpose_json(tmp_path: Path) -> None:
    path = write_openpose(read_pose(document(person())), tmp_path / "pose.json", HEIGHT, WIDTH)
    content = json.loads(path.read_text(encoding="utf-8"))
    assert len(content["people"][0]["pose_keypoints_2d"]) == 54
    assert content == to_openpose(read_pose(path), HEIGHT, WIDTH)[0]


def test_the_size_of_the_picture_is_kept_with_the_frame() -> None:
    assert read_frames(document(person()))[0].size == (HEIGHT, WIDTH)
    assert read_frames(document(person(), canvas=False), size=(300, 200))[0].size == (300, 200)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "an empty list; the detector found no person"),
        (document(), "nobody is in it"),
        ([document(), document()], "frame 0: nobody is in it"),
        (document(person(places(16))), "person 0: pose_keypoints_2d has 48 numbers.*18 or 25"),
        (document({"pose_keypoints_2d": [1.0] * 53}), "53 numbers"),
        (document(person([(1e30, 1.0), *places(17)])), "point 0 is 1e\\+30"),
        (document({"pose_keypoints_2d": [0.0] * 54}), "all 18 joints are missing"),
        (document({"pose_keypoints_2d": ["one"] * 54}), "has 'one' where a number belongs"),
        (document({}), "person 0: no list of joints"),
        (document({"pose_keypoints_2d": 3}), "pose_keypoints_2d is no list of numbers"),
        (document({"pose_keypoints_2d": []}), "all 18 joints are missing"),
        (None, "nothing is in it"),
        (document("someone"), "person 0: expected an object"),  # pyright: ignore
        ({"animals": []}, 'it has no "people"'),
        ({"people": 3}, '"people" is no list'),
        ([1, 2, 3], "3 numbers are no pose"),
        (document(person()) | {"canvas_height": -1}, "the canvas is -1 high"),
        (document(person()) | {"canvas_height": 10**9, "canvas_width": 10**9}, "from 1 to 65535"),
        (document(person()) | {"canvas_height": 4, "canvas_width": 4}, "taken to be 4x4"),
    ],
)
def test_a_pose_that_cannot_be_used_is_named_with_what_was_found(
    tmp_path: Path, content: Any, message: str
) -> None:
    path = write_file(tmp_path, content, "target.json")
    with pytest.raises(PoseError, match=rf"target\.json.*{message}"):
        read_pose(path)
    with pytest.raises(PoseError, match=rf"the pose.*{message}"):
        read_pose(content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file is empty"),
        ('{"people": [', "damaged JSON"),
        ("0.5 0.5\n" * 17, "17 lines; expected 18"),
        ("0.5 0.5\n" * 17 + "0.5", "joint 17 is '0.5'"),
        ("0.5 0.5\n" * 17 + "a b", "joint 17 is 'a b'"),
        ("-1 -1\n" * 18, "all 18 joints are missing"),
        ("400 90\n" * 18, "the coordinates are pixels"),
    ],
)
def test_a_text_that_cannot_be_used_is_named_with_what_was_found(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(PoseError, match=rf"person\.txt: .*{message}"):
        read_pose(write_file(tmp_path, text, "person.txt"))


def test_a_picture_given_as_a_pose_is_named(tmp_path: Path) -> None:
    path = tmp_path / "skeleton.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(PoseError, match=r"skeleton\.png: no text file; a pose is OpenPose JSON"):
        read_pose(path)


def test_a_missing_pose_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pose\.json: does not exist"):
        read_pose(tmp_path / "pose.json")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_pose(tmp_path)


def test_the_person_is_a_number_or_the_largest() -> None:
    with pytest.raises(PoseError, match="person is a number or 'largest', got 'first'"):
        read_pose(document(person()), person="first")  # pyright: ignore[reportArgumentType]
