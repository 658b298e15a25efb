"""Every dialect of pose data gives the same person, and the report says what it was."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcdm_core.pose.formats import (
    PoseError,
    read_frames,
    read_pose,
    read_pose_with_report,
    to_openpose,
    to_pose_keypoint,
)
from pcdm_core.pose.keypoints import Keypoints
from tests.core.pose_dialects import (
    BODY,
    DIALECTS,
    HEIGHT,
    LEFT_HAND,
    MISSING,
    RIGHT_HAND,
    WIDTH,
    Dialect,
    aux_dwpose,
    body_18,
    canvas,
    expected_body,
    flat,
    patn_csv,
    sdpose,
    source_of,
    whole_body_134,
)

SIZE = (HEIGHT, WIDTH)


def assert_is_the_person(keypoints: Keypoints, dialect: Dialect) -> None:
    assert keypoints.visible[0].tolist() == [joint != MISSING for joint in range(18)]
    difference = (keypoints.xy[0].numpy() - expected_body())[keypoints.visible[0].numpy()]
    assert np.abs(difference).max() <= dialect.tolerance
    assert keypoints.has_hands == dialect.hands
    if dialect.hands:
        assert keypoints.hands_xy is not None
        pixels = keypoints.hands_xy[0] * torch.tensor([WIDTH, HEIGHT], dtype=torch.float64)
        expected = torch.tensor([LEFT_HAND, RIGHT_HAND], dtype=torch.float64)
        torch.testing.assert_close(pixels, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", DIALECTS)
def test_a_dialect_is_read_from_a_document_from_text_and_from_a_file(
    name: str, tmp_path: Path
) -> None:
    dialect = DIALECTS[name]
    source = source_of(dialect)
    text = source if isinstance(source, str) else json.dumps(source)
    path = tmp_path / "pose"
    path.write_text(text, encoding="utf-8")
    for form in (source, text, path, str(path)):
        reading = read_pose_with_report(form, size=SIZE)
        assert_is_the_person(reading.keypoints, dialect)
        assert dialect.says in str(reading.report)
        assert "Missing: right ankle." in reading.report.recognised


@pytest.mark.parametrize("name", DIALECTS)
def test_a_missing_shoulder_is_not_the_end_of_a_dialects_neck_unless_it_was_made_of_it(
    name: str,
) -> None:
    dialect = DIALECTS[name]
    keypoints = read_pose(source_of(dialect), size=SIZE)
    assert bool(keypoints.visible[0, 1])
    report = str(read_pose_with_report(source_of(dialect), size=SIZE).report)
    assert ("Neck: the middle of the shoulders" in report) == dialect.neck_is_made


def test_the_table_in_the_documents_has_every_dialect_and_no_other(root: Path) -> None:
    text = (root / "docs" / "pose-formats.md").read_text(encoding="utf-8")
    first_table = text.split("\n\n")[2]
    rows = [line.split("|")[1].strip() for line in first_table.splitlines()[2:]]
    assert sorted(rows) == sorted(DIALECTS)


def test_arrays_and_tensors_are_read_like_lists() -> None:
    triples = np.array(body_18(0.9), dtype=np.float32)
    for form in (triples, triples[None], torch.from_numpy(triples), list(triples)):
        keypoints = read_pose(form, size=SIZE)
        np.testing.assert_allclose(keypoints.xy[0, 0], expected_body()[0], rtol=1e-6)


def test_points_may_come_by_name() -> None:
    points = [{"x": x, "y": y, "score": 0.9} for x, y in BODY]
    keypoints = read_pose({"keypoints": points, "height": HEIGHT, "width": WIDTH})
    np.testing.assert_allclose(keypoints.xy[0], expected_body())
    numbered = {str(number): [x, y] for number, (x, y) in enumerate(BODY)}
    keypoints = read_pose(canvas(people=[{"pose_keypoints_2d": numbered}]))
    np.testing.assert_allclose(keypoints.xy[0], expected_body())


def test_a_list_in_a_list_is_still_a_pose() -> None:
    keypoints = read_pose([[aux_dwpose()]])
    np.testing.assert_allclose(keypoints.xy[0, 0], expected_body()[0])


def test_the_neck_of_134_points_in_cocos_order_is_found() -> None:
    points = [list(point) for point in whole_body_134(in_openpose_order=False)]
    reading = read_pose_with_report({"keypoints": points, **canvas()})
    assert "with the neck after the 17" in str(reading.report)
    np.testing.assert_allclose(reading.keypoints.xy[0, :10], expected_body()[:10])


@pytest.mark.parametrize(("full", "low"), [(1.0, 0.2), (100.0, 20.0), (255.0, 60.0)])
def test_confidences_of_any_scale_count_alike(full: float, low: float) -> None:
    points = body_18(full)
    points[3] = (*points[3][:2], low)
    document = canvas(people=[{"keypoints": [list(point) for point in points]}])
    reading = read_pose_with_report(document)
    assert not reading.keypoints.visible[0, 3]
    assert reading.keypoints.visible[0, 2]
    assert bool(reading.report.guessed) == (full > 1)


def test_the_threshold_is_the_callers_if_given() -> None:
    document = sdpose()
    document[0]["people"][0]["pose_keypoints_2d"][2] = 0.25
    assert not read_pose(document).visible[0, 0]
    assert read_pose(document, threshold=0.2).visible[0, 0]
    assert int(read_pose(document, threshold=0.82).visible.sum()) == 17 - 1


def test_sdposes_hands_lie_at_their_own_wrists() -> None:
    reading = read_pose_with_report(sdpose())
    assert "hands' names are swapped" in str(reading.report)
    hands = reading.keypoints.hands_xy
    assert hands is not None
    wrists = reading.keypoints.xy[0, [7, 4]]
    assert ((hands[0, :, 0] - wrists).norm(dim=-1) < 0.05).all()


def test_a_point_far_from_all_fractions_is_no_reason_to_read_pixels() -> None:
    document = source_of(DIALECTS["aux OpenPose"])
    document[0]["people"][0]["pose_keypoints_2d"][3] = 300.0
    with pytest.raises(PoseError, match="point 1 lies at 300"):
        read_pose(document)


def test_units_that_are_said_are_not_guessed() -> None:
    pixels = canvas(people=[{"pose_keypoints_2d": [1.5, 1.0, 1.0] * 18}])
    assert read_pose(pixels, units="pixels").xy.max() < 0.01
    assert read_pose(pixels).xy.max() == 1.5
    signed = source_of(DIALECTS["OpenPose -1 to 1"])
    assert read_pose(signed, units="fractions").xy.min() < 0
    with pytest.raises(PoseError, match="units is one of"):
        read_pose(signed, units="metres")  # pyright: ignore[reportArgumentType]


def people() -> dict[str, Any]:
    """Three: in the middle and large, right and small, left and middle-sized."""
    wide = [(256 + (x - 256) * 1.2, y, 1.0) for x, y in BODY]
    small = [(420 + (x - 256) * 0.3, 300 + y * 0.3, 1.0) for x, y in BODY]
    medium = [(90 + (x - 256) * 0.5, 200 + y * 0.5, 1.0) for x, y in BODY]
    return canvas(people=[{"pose_keypoints_2d": flat(one)} for one in (wide, small, medium)])


@pytest.mark.parametrize(
    ("person", "order", "nose"),
    [
        ("largest", "file", 256),
        (1, "file", 420),
        (0, "left to right", 90),
        (1, "left to right", 256),
        (2, "left to right", 420),
        (0, "largest first", 256),
        (1, "largest first", 90),
        (2, "largest first", 420),
    ],
)
def test_people_are_chosen_by_size_by_number_or_from_left_to_right(
    person: Any, order: Any, nose: float
) -> None:
    reading = read_pose_with_report(people(), person=person, order=order)
    assert reading.keypoints.xy[0, 0, 0].item() == pytest.approx(nose / WIDTH)
    assert "People: 3; taken:" in str(reading.report)


def test_an_unknown_order_is_named() -> None:
    with pytest.raises(PoseError, match="order is one of"):
        read_pose(people(), order="by age")  # pyright: ignore[reportArgumentType]


def test_a_person_who_is_null_keeps_the_others_numbers() -> None:
    document = people()
    document["people"][0] = None
    assert read_pose(document, person=1).xy[0, 0, 0].item() == pytest.approx(420 / WIDTH)


def test_a_row_of_a_table_is_chosen_by_name_or_number() -> None:
    header, row = patn_csv().splitlines()
    other = (
        row.replace("fashionWOMEN", "fashionMEN").replace("[", "[-1, ", 1).replace("-1, 40", "41")
    )
    table = "\n".join([header, row, other])
    assert len(read_pose(table)) == 2
    assert [frame.name for frame in read_frames(table)] == [
        line.split(":")[0] for line in (row, other)
    ]
    name = other.split(":")[0]
    for frame in (1, name):
        reading = read_pose_with_report(table, frame=frame)
        assert len(reading.keypoints) == 1
        assert reading.keypoints.xy[0, 0, 1].item() == pytest.approx(41 / 256)
    with pytest.raises(PoseError, match="no row 'nobody' among its 2"):
        read_pose(table, frame="nobody")


def test_a_frame_of_a_clip_is_chosen_by_number() -> None:
    clip = aux_dwpose() * 3
    clip[1] = people()
    assert len(read_pose(clip)) == 3
    assert read_pose(clip, frame=1, person=1).xy[0, 0, 0].item() == pytest.approx(420 / WIDTH)
    with pytest.raises(PoseError, match="frame 3 was asked for, but there are 3"):
        read_pose(clip, frame=3)


def test_a_table_without_header_has_y_first_and_markets_size_goes_by_the_name() -> None:
    row = patn_csv().splitlines()[1]
    reading = read_pose_with_report(row)
    assert_is_the_person(reading.keypoints, DIALECTS["DeepFashion csv"])
    assert "the first list is y" in str(reading.report)
    market = "0002_c1s1_000451_03.jpg: [64] : [32]".replace("[64]", str([64] * 18))
    market = market.replace("[32]", str([32] * 18))
    np.testing.assert_allclose(read_pose(market).xy[0], 0.5)


def test_animals_are_named() -> None:
    with pytest.raises(PoseError, match="animals"):
        read_pose({"version": "ap10k", "animals": [[[1, 2, 1]] * 17], **canvas()})


def test_what_is_outside_is_kept_and_counted() -> None:
    document = canvas(people=[{"pose_keypoints_2d": flat([(-20.0, 30.5, 1.0), *body_18()[1:]])}])
    reading = read_pose_with_report(document)
    assert reading.keypoints.visible[0, 0]
    assert "Outside the picture: 1 of 17 joints." in reading.report.recognised


def random_keypoints(seed: int) -> tuple[Keypoints, int, int]:
    """In and round a picture of any size, with codes of missing points among the visible ones."""
    generator = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    rows = int(some(1) * 3) + 1
    height, width = (int(side) for side in 16 + some(2) * 1000)
    xy, visible = some(rows, 18, 2) * 1.6 - 0.3, some(rows, 18) < 0.8
    visible[:, 0] = True
    xy[0, 1] = 0.0
    xy[0, 2] = torch.tensor([-1 / width, 0.4])
    xy[0, 3] = torch.tensor([-8 / width, -8 / height])
    if some(1) < 0.5:
        return Keypoints(xy, visible), height, width
    hands_visible = some(rows, 2, 21) < 0.7
    hands_visible[:, 0, 0] = True
    return Keypoints(xy, visible, some(rows, 2, 21, 2) * 1.4, hands_visible), height, width


@pytest.mark.parametrize("write", [to_openpose, to_pose_keypoint])
def test_any_pose_that_is_written_is_read_back(write: Any) -> None:
    for seed in range(150):
        keypoints, height, width = random_keypoints(seed)
        again = read_pose(json.loads(json.dumps(write(keypoints, height, width))))
        assert torch.equal(again.visible, keypoints.visible), f"seed {seed}"
        off = (again.xy - keypoints.xy)[keypoints.visible].abs().max().item()
        assert off < 1e-6, f"seed {seed}"
        assert again.has_hands == keypoints.has_hands
        if again.hands_xy is not None and keypoints.hands_xy is not None:
            assert torch.equal(again.hands_visible, keypoints.hands_visible)
            visible = keypoints.hands_visible
            off = (again.hands_xy[visible] - keypoints.hands_xy[visible]).abs().max().item()
            assert off < 1e-6, f"seed {seed}"


def test_a_pose_keypoint_has_every_list_that_other_packs_look_for() -> None:
    bare = Keypoints(torch.rand(1, 18, 2), torch.ones(1, 18, dtype=torch.bool))
    (document,) = to_pose_keypoint(bare, 40, 30)
    person = document["people"][0]
    # ComfyUI's SDPoseDrawKeypoints reshapes these without asking.
    counts = {"pose": 18, "face": 70, "hand_left": 21, "hand_right": 21}
    for part, count in counts.items():
        numbers = person[f"{part}_keypoints_2d"]
        assert len(numbers) == count * 3
        # controlnet_aux takes a confidence below 1 as absent.
        assert set(numbers[2::3]) == ({1.0} if part == "pose" else {0.0})
    assert (document["canvas_height"], document["canvas_width"]) == (40, 30)
