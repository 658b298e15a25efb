"""What people wrap poses in, and what is no pose: shapes from the formats' public documentation."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pcdm_core.pose.formats import PoseError, Reading, read_pose_with_report
from tests.core.pose_dialects import (
    BODY,
    HEIGHT,
    MISSING,
    WIDTH,
    aux_dwpose,
    body_18,
    canvas,
    coco_17,
    expected_body,
    flat,
)
from tests.core.producer_dialects import COCO_NAMES, wan_meta

SIZE = (HEIGHT, WIDTH)


def assert_is_the_body(reading: Reading, frames: int = 1) -> None:
    assert len(reading.keypoints) == frames
    seen = reading.keypoints.visible[0].numpy().copy()
    seen[MISSING] = False  # some of the makers write its place all the same
    off = np.abs(reading.keypoints.xy[0].numpy() - expected_body())[seen]
    assert seen[:10].all()
    assert off.max() < 0.02  # a neck that is made is near


# --- wrappers ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(aux_dwpose()),
        {"text": [json.dumps(aux_dwpose())]},
        {"status": "ok", "data": {"task": 3, "result": {"fps": 30, "frames": aux_dwpose()}}},
        {"frames": [{"index": 0, "result": aux_dwpose()[0]}]},
        {"pose_keypoint": json.dumps(aux_dwpose())},
    ],
)
def test_what_services_and_outputs_wrap_round_a_pose_is_taken_off(
    answer: Any, tmp_path: Path
) -> None:
    assert_is_the_body(read_pose_with_report(answer))
    file = tmp_path / "answer.json"
    file.write_text(json.dumps(answer), encoding="utf-8")
    assert_is_the_body(read_pose_with_report(file))


def test_a_comment_a_comma_too_many_and_lines_of_python_do_no_harm(tmp_path: Path) -> None:
    document = json.dumps(canvas(people=[{"pose_keypoints_2d": flat(body_18())}]), indent=1)
    with_comment = document.replace("]", ",]").replace(
        '"canvas_height"', '// size\n"canvas_height"'
    )
    code = f"Sure:\n\n```python\nimport numpy as np\n# the pose\npose = {document}\n```\n"
    for text in (with_comment, code):
        file = tmp_path / "pose.txt"
        file.write_text(text, encoding="utf-8")
        assert_is_the_body(read_pose_with_report(file))


def test_a_clip_of_wans_metas_is_a_clip_and_no_crowd() -> None:
    metas = [wan_meta() | {"image_id": ""} for _ in range(3)]
    metas[1]["keypoints_left_hand"] = None
    assert_is_the_body(read_pose_with_report(metas), frames=3)


def test_a_folder_has_frames_of_one_kind_only(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        file = tmp_path / f"clip_{number}_keypoints.json"
        file.write_text(json.dumps(aux_dwpose()[0]), encoding="utf-8")
        (tmp_path / f"._clip_{number}_keypoints.json").write_bytes(b"\x00\x05\x16\x07 Mac OS X")
    (tmp_path / "readme.txt").write_text("made by hand", encoding="utf-8")
    reading = read_pose_with_report(tmp_path)
    assert_is_the_body(reading, frames=3)
    assert "readme.txt" in " ".join(reading.report.guessed)
    assert "no usable pose" not in str(reading.report)


# --- COCO and its kin ----------------------------------------------------------------------------


def annotation(picture: int, **more: Any) -> dict[str, Any]:
    return {"image_id": picture, "category_id": 1, "keypoints": flat(coco_17()), **more}


def test_frames_of_a_coco_file_come_in_its_pictures_order() -> None:
    images = [{"id": n, "file_name": f"{n}.jpg", "height": HEIGHT, "width": WIDTH + n}
              for n in (4, 2, 3)]  # fmt: skip
    crowd = annotation(4, iscrowd=1) | {"keypoints": [0] * 51}
    document = {"images": images, "annotations": [annotation(3), crowd, annotation(4)]}
    reading = read_pose_with_report(document)
    assert reading.sizes == ((HEIGHT, WIDTH + 4), (HEIGHT, WIDTH + 3))
    assert "nobody is annotated in 1 of 3 pictures" in str(reading.report)


def test_posetracks_file_has_empty_scores_and_no_sizes() -> None:
    names = ["nose", "head_bottom", "head_top", *COCO_NAMES[3:]]
    points = [*coco_17()[:1], (256.0, 160.0, 1.0), (256.0, 80.0, 1.0), *coco_17()[3:]]
    image = {"id": 7, "file_name": "000001_bonn/0.jpg", "frame_id": 7, "vid_id": "000001"}
    document = {
        "images": [image],
        "annotations": [annotation(7, track_id=0, scores=[]) | {"keypoints": flat(points)}],
        "categories": [{"name": "person", "keypoints": names}],
    }
    reading = read_pose_with_report(document, size=SIZE)
    assert not reading.keypoints.visible[0, 14:16].any()
    assert_is_the_body(reading)


def test_a_joint_may_say_true_for_visible() -> None:
    joints = [{"name": name, "x": x, "y": y, "visible": name != "right_ankle"}
              for name, (x, y, _) in zip(COCO_NAMES, coco_17(), strict=True)]  # fmt: skip
    reading = read_pose_with_report({"people": [{"joints": joints}], **canvas()})
    assert "Missing: right ankle." in reading.report.recognised


def test_ai_challengers_three_is_a_joint_that_is_not_there() -> None:
    order = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)
    rows = [(*BODY[joint], 3 if joint == 10 else 1) for joint in order]
    rows += [(256, 80, 1), (*BODY[1], 2)]
    picture = {
        "image_id": "a",
        "keypoint_annotations": {"human1": [n for row in rows for n in row]},
    }
    reading = read_pose_with_report([picture], size=SIZE)
    assert "AI Challenger" in str(reading.report)
    assert reading.keypoints.visible[0].tolist() == [0 < n < 14 and n != 10 for n in range(18)]


# --- tables --------------------------------------------------------------------------------------


def test_spreadsheets_with_decimal_commas_are_read() -> None:
    titles = ";".join(f"{name}_{axis}" for name in COCO_NAMES for axis in "xy")
    cells = ";".join(f"{v:.2f}".replace(".", ",") for x, y, _ in coco_17() for v in (x, y))
    assert_is_the_body(read_pose_with_report(f"{titles}\r\n{cells}\r\n", size=SIZE))


# --- arrays --------------------------------------------------------------------------------------


def npy_file(tmp_path: Path, array: Any) -> Path:
    np.save(tmp_path / "pose.npy", np.asarray(array, dtype=np.float32))
    return tmp_path / "pose.npy"


def test_movenets_y_comes_first_where_the_person_stands_only_so(tmp_path: Path) -> None:
    rows = np.array([[y / HEIGHT, x / WIDTH, 0.8] for x, y, _ in coco_17()])
    reading = read_pose_with_report(npy_file(tmp_path, rows[None, None]), size=SIZE)
    assert_is_the_body(reading)
    assert "y stands before x" in str(reading.report)
    upright = read_pose_with_report(npy_file(tmp_path, rows[:, [1, 0, 2]]), size=SIZE)
    assert_is_the_body(upright)
    assert "y stands before x" not in str(upright.report)


def test_three_axes_are_taken_for_frames_and_that_is_said(tmp_path: Path) -> None:
    """rtmlib's arrays of one picture count people there."""
    frames = np.array([coco_17()] * 3)[..., :2]
    reading = read_pose_with_report(npy_file(tmp_path, frames), size=SIZE)
    assert len(reading.keypoints) == 3
    assert "the 3 poses are frames" in " ".join(reading.report.guessed)
    one_picture = read_pose_with_report(npy_file(tmp_path, frames[None]), size=SIZE)
    assert len(one_picture.keypoints) == 1
    assert "are frames" not in str(one_picture.report)


def test_depths_are_no_confidences(tmp_path: Path) -> None:
    places = np.array([[x / 400 - 0.6, y / 400 - 1, 0.1 * (-1) ** n]
                       for n, (x, y, _) in enumerate(coco_17())])  # fmt: skip
    for source in (npy_file(tmp_path, places[None]), places.tolist()):
        with pytest.raises(PoseError, match="3D"):
            read_pose_with_report(source, size=SIZE)


def test_coordinates_round_a_pictures_middle_are_not_fractions(tmp_path: Path) -> None:
    """VideoPose3D: x from -1 to 1, and y by the same unit."""
    middle = [(2 * x / WIDTH - 1, 2 * y / WIDTH - HEIGHT / WIDTH) for x, y, _ in coco_17()]
    with pytest.raises(PoseError, match="before they are normalised"):
        read_pose_with_report(npy_file(tmp_path, middle), size=SIZE)


# --- what is no pose -----------------------------------------------------------------------------


NTU = "1\n1\n72057594037931101 0 1 1 1 1 0 0.02 -0.1 2\n25\n" + "0.2 " * 12 + "\n"
FACE = {"people": [{"pose_keypoints_2d": None, "face_keypoints_2d": [0.5] * 210}], **canvas()}
WORKFLOW = {"nodes": [{"id": 1, "type": "LoadImage"}], "links": [], "version": 0.4}
PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "a.png"}}}


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('<?xml version="1.0"?>\n<annotations>\n</annotations>\n', "CVAT"),
        ("%YAML:1.0\npose_0: !!opencv-nd-matrix\n", "YAML"),
        ("HIERARCHY\nROOT Hips\n{\n}\nMOTION\n", "BVH"),
        ("landmark {\n  x: 0.5\n  y: 0.2\n}\n" * 33, "MessageToJson"),
        ("scorer,DLC,DLC\nbodyparts,nose,nose\ncoords,x,y\n0,1.5,2.5\n", "DeepLabCut"),
        (NTU, "NTU RGB"),
        (json.dumps(WORKFLOW), "workflow"),
        (json.dumps(PROMPT), "workflow"),
        (json.dumps({"multi_hand_landmarks": [[{"x": 0.1, "y": 0.2}] * 21]}), "hand's landmarks"),
        (json.dumps({"face_landmarks": [[{"x": 0.1, "y": 0.2}] * 478]}), "face's landmarks"),
        (json.dumps({"frames": [{"joint_positions": [[1.0, 2.0, 900.0]] * 32}]}), "3D"),
        (json.dumps({"body_pose": [0.0] * 63, "betas": [0.0] * 10}), "SMPL"),
        (json.dumps(FACE), "only a face's points"),
        (gzip.compress(b"{}"), "gzip"),
    ],
)
def test_what_is_no_pose_is_refused_by_its_own_name(
    content: str | bytes, name: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(PoseError, match=name):
        read_pose_with_report(file, size=SIZE)


def test_a_body_models_arrays_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "walk.npz", poses=np.zeros((4, 156)), betas=np.zeros(16))
    with pytest.raises(PoseError, match="SMPL"):
        read_pose_with_report(tmp_path / "walk.npz")


def test_a_list_of_18_that_was_cut_is_no_other_skeleton() -> None:
    for count in (14, 16):
        with pytest.raises(PoseError, match=f"{3 * count} numbers"):
            read_pose_with_report(canvas(people=[{"pose_keypoints_2d": flat(body_18()[:count])}]))
