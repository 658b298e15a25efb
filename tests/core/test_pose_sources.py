"""Poses in other containers than one text: arrays, lines, folders, encodings; and what is none."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcdm_core.pose.formats import PoseError, Reading, read_pose_with_report
from tests.core.one_person import (
    BODY,
    HEIGHT,
    MISSING,
    WIDTH,
    body_18,
    body_25,
    canvas,
    coco_17,
    flat,
)
from tests.core.pose_dialects import expected_body
from tests.core.producer_dialects import COCO_NAMES, landmarks, mediapipe_list

SIZE = (HEIGHT, WIDTH)


def assert_is_the_person(reading: Reading, frames: int = 1) -> None:
    assert len(reading.keypoints) == frames
    for row in range(frames):
        visible = reading.keypoints.visible[row]
        assert visible.tolist() == [joint != MISSING for joint in range(18)]
        off = (reading.keypoints.xy[row].numpy() - expected_body())[visible.numpy()]
        assert np.abs(off).max() < 1e-5


def openpose() -> dict[str, Any]:
    return canvas(people=[{"pose_keypoints_2d": flat(body_18())}])


def clip(points: Any, frames: int = 3) -> np.ndarray:
    return np.stack([np.array(points)] * frames)


@pytest.mark.parametrize(
    ("array", "frames"),
    [
        (clip(body_25()), 3),
        (clip(coco_17(), 1)[0], 1),
        (clip(coco_17()).reshape(3, -1), 3),
        (clip(coco_17()).reshape(3, 1, 17, 3).astype(np.float32), 3),
        (clip(mediapipe_list(), 2), 2),
        (np.asfortranarray(clip(body_25())), 3),
        # ST-GCN's: numbers, frames, points, people
        (clip(body_18(scale=(WIDTH, HEIGHT)), 20)[..., None].transpose(2, 0, 1, 3), 20),
    ],
)
def test_an_array_is_frames_of_points(tmp_path: Path, array: np.ndarray, frames: int) -> None:
    np.save(tmp_path / "pose.npy", array)
    assert_is_the_person(read_pose_with_report(tmp_path / "pose.npy", size=SIZE), frames)


def test_arrays_bring_scores_names_and_the_pictures_size(tmp_path: Path) -> None:
    points = clip(coco_17())
    order = np.roll(np.arange(17), 3)
    np.savez_compressed(
        tmp_path / "pose.npz",
        keypoints=points[:, order, :2],
        scores=points[:, order, 2],
        keypoint_names=np.array(COCO_NAMES)[order],
        height=HEIGHT,
        width=WIDTH,
    )
    reading = read_pose_with_report(tmp_path / "pose.npz")
    assert_is_the_person(reading, 3)
    assert "by the joints' names" in str(reading.report)


def test_a_list_of_landmarks_without_visibility_has_depths() -> None:
    points = [[one["x"], one["y"], -0.2 + 0.01 * n] for n, one in enumerate(landmarks())]
    reading = read_pose_with_report(points)
    assert reading.keypoints.visible.all()


def test_lines_of_json_are_frames_and_a_damaged_one_is_a_gap(tmp_path: Path) -> None:
    line = json.dumps(openpose())
    path = tmp_path / "poses.jsonl"
    path.write_text(f"{line}\n{line[:90]}\n{line}\n", encoding="utf-8")
    reading = read_pose_with_report(path)
    assert_is_the_person(reading, 3)
    assert "no usable pose in 1 of 3 frames (1)" in str(reading.report)


def test_a_folder_of_files_is_a_clip_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 8):
        document = openpose()
        document["people"][0]["pose_keypoints_2d"][0] = float(number)
        file = tmp_path / f"video_{number}_keypoints.json"
        file.write_text(json.dumps(document), encoding="utf-8")
    (tmp_path / "video_9_keypoints.json").write_text("{", encoding="utf-8")
    (tmp_path / "notes.md").write_text("x", encoding="utf-8")
    reading = read_pose_with_report(tmp_path)
    noses = (reading.keypoints.xy[:, 0, 0] * WIDTH).tolist()
    assert noses == pytest.approx([8, 8, 10])
    one = read_pose_with_report(tmp_path, frame="video_10_keypoints")
    assert (one.keypoints.xy[0, 0, 0] * WIDTH).item() == pytest.approx(10)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_a_text_in_windows_encodings_is_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "pose.json"
    path.write_bytes(json.dumps(openpose()).encode(encoding))
    assert_is_the_person(read_pose_with_report(path))


PASTES = {
    "tuples": str([tuple(point) for point in body_18()]),
    "an array": f"array({[list(point) for point in body_18()]}, dtype=float32)",
    "a tensor": f"tensor([{[list(point) for point in body_18()]}], device='cuda:0')",
    "numpy's print": np.array2string(np.array(body_18()), threshold=10_000),
    "numbers of numpy": str([[f"np.float64({x})", f"np.float64({y})", c] for x, y, c in body_18()])
    .replace("'", ""),
    "a name": f"pose = {[list(point) for point in body_18()]}",
    "a comma at the end": json.dumps(openpose())[:-1] + ",}",
    "numbers as keys": str({"people": [{"pose_keypoints_2d": dict(enumerate(body_18()))}]}),
    "a fence": f"```\n{[list(point) for point in body_18()]}\n```",
}  # fmt: skip


@pytest.mark.parametrize("name", PASTES)
def test_what_python_prints_is_read(name: str) -> None:
    assert_is_the_person(read_pose_with_report(PASTES[name] + "\n", size=SIZE))


@pytest.mark.parametrize("text", ["__import__('os')", "[open('x').read()]", "(lambda: 1)()", "[[1, 2], ...]"])  # fmt: skip  # noqa: E501
def test_nothing_of_a_paste_is_evaluated(text: str) -> None:
    with pytest.raises(PoseError):
        read_pose_with_report(text + "\n")


def test_a_print_that_is_cut_short_says_so() -> None:
    with pytest.raises(PoseError, match=r"cut short \(\.\.\.\)"):
        read_pose_with_report("array([[0.1, 0.2],\n ...,\n [0.3, 0.4]])\n")


def in_zip(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, content)
    return file.getvalue()


def object_array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array({"bodies": {}}, dtype=object), allow_pickle=True)
    return file.getvalue()


def damaged_array() -> bytes:
    file = io.BytesIO()
    np.save(file, clip(body_25()))
    return file.getvalue()[:-9]


SPATIAL = {"pose_keypoints_3d": [256.0, 120.0, 2.5, 0.9] * 18, "pose_keypoints_2d": []}
PAW_NAMES = ["left eye", "right eye", "nose", "neck", "root of tail", "left shoulder", "left elbow",
             "left front paw", "right shoulder", "right elbow", "right front paw", "left hip",
             "left knee", "left back paw", "right hip", "right knee", "right back paw"]  # fmt: skip
REFUSED: dict[str, tuple[Any, str]] = {
    "OpenPose 3D": ({"people": [SPATIAL]}, "only 3D key points"),
    "MediaPipe's world": ({"pose_world_landmarks": [landmarks()]}, "only 3D key points"),
    "mmpose 3D": (
        {
            "keypoints": [[0.1, -0.2, 1.5 - n / 17] for n in range(17)],
            "keypoint_scores": [0.9] * 17,
        },
        "3D",
    ),
    "x, y, z, confidence": ([[0.1 * n, 0.2, 1.5, 0.9] for n in range(17)], "3D"),
    "animals": ({"animals": [[[1, 2, 1]] * 17]}, "animals"),
    "animals by their joints": (
        {"keypoints": [[n, n, 1.0] for n in range(17)], "keypoint_names": PAW_NAMES},
        "animals",
    ),
    "PATN's pairs": ("from,to\na.jpg,b.jpg\n", "list of pairs"),
    "GFLA's pairs": ("img/a.jpg,img/b.jpg\nimg/c.jpg,img/d.jpg\n", "list of pairs"),
    "PCDMs' pairs": ([{"source_image": "a.png", "target_image": "b.png"}] * 2, "list of pairs"),
    "a pickle": (pickle.dumps({"a": 1}), "never loaded"),
    "an array of objects": (object_array(), "allow_pickle stays off"),
    "a torch file": (in_zip("archive/data.pkl", b"x"), "never loaded"),
    "an archive": (in_zip("pose.json", b"{}"), "an archive"),
    "a damaged array": (damaged_array(), "damaged NumPy array"),
    "arrays of something else": (in_zip("a.npy", damaged_array()[:20]), "damaged NumPy array"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"0" * 99, "HDF5"),
    "a hand": ([[0.1, 0.2]] * 21, "no|hand"),
    "a hand's landmarks": ({"landmarks": [[{"x": 0.1, "y": 0.2, "z": 0.0}] * 21]}, "a hand's"),
    "DWPose, damaged": (
        {"bodies": {"candidate": [[0.1, 0.2]], "subset": [[5.0] * 18]}},
        "DWPose's own result, but is damaged",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_pose_in_a_picture_is_refused_by_its_name(name: str, tmp_path: Path) -> None:
    content, message = REFUSED[name]
    path = tmp_path / "pose"
    text = content if isinstance(content, (str, bytes)) else json.dumps(content)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(PoseError, match=message):
        read_pose_with_report(path, size=SIZE)


def test_an_array_that_claims_to_be_endless_costs_nothing(tmp_path: Path) -> None:
    header = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000000000, 18, 2), }"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode()
    (tmp_path / "pose.npy").write_bytes(content)
    with pytest.raises(PoseError, match="damaged NumPy array"):
        read_pose_with_report(tmp_path / "pose.npy", size=SIZE)


def test_people_by_their_numbers_are_one_picture_or_a_clip() -> None:
    shifted = [[x - 100.0, y, 1.0] for x, y in BODY]
    person, other = {"keypoints": [list(p) for p in body_18()]}, {"keypoints": shifted}
    reading = read_pose_with_report({"1": person, "2": other}, size=SIZE, person=0)
    assert_is_the_person(reading)
    assert "People: 2" in str(reading.report)
    tracks = {"3": [{**person, "frame": 0}, {**person, "frame": 1}], "4": [{**other, "frame": 1}]}
    reading = read_pose_with_report(tracks, size=SIZE, person=0)
    assert_is_the_person(reading, 2)


def test_names_that_no_skeleton_has_leave_the_count_to_decide() -> None:
    document = {"keypoints": [list(p) for p in coco_17()], "keypoint_names": ["a"] * 16}
    assert_is_the_person(read_pose_with_report(document, size=SIZE))
    with pytest.raises(PoseError, match="12 points; expected"):
        read_pose_with_report({**document, "keypoints": [[1.0, 2.0]] * 12}, size=SIZE)


def test_the_box_of_a_person_is_not_the_pictures_size() -> None:
    person = {"x": 100.0, "y": 90.0, "width": 40, "height": 60, "keypoints": coco_17()}
    assert_is_the_person(read_pose_with_report([person], size=SIZE))
