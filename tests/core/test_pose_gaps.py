"""One bad part does not cost the whole: what is good is kept, what is missing is named."""

import math
from typing import Any

import numpy as np
import pytest

from pcdm_core.pose.formats import PoseError, read_frames, read_pose, read_pose_with_report
from tests.core.pose_dialects import (
    BODY,
    LEFT_HAND,
    RIGHT_HAND,
    body_18,
    canvas,
    expected_body,
    flat,
    scored_points,
)

EMPTY = canvas(people=[])


def frame(shift: float = 0.0, **parts: Any) -> dict[str, Any]:
    body = [(x + shift, y, 1.0) for x, y in BODY]
    return canvas(people=[{"pose_keypoints_2d": flat(body), **parts}])


@pytest.mark.parametrize(
    "gap",
    [
        EMPTY,
        None,
        [],
        canvas(people=[{"pose_keypoints_2d": [-1.0] * 54}]),
        canvas(people=[{"pose_keypoints_2d": [1.0] * 7}]),
        {"what": "is this"},
    ],
    ids=["nobody", "null", "an empty list", "a row of -1", "seven numbers", "another document"],
)
def test_a_frame_without_a_person_is_held_and_named(gap: Any) -> None:
    reading = read_pose_with_report([gap, frame(), gap, gap, frame(30), gap])
    assert len(reading.keypoints) == len(reading.sizes) == 6
    off = (reading.keypoints.xy[:, 0, 0] * 512 - BODY[0][0]).tolist()
    np.testing.assert_allclose(off, [0, 0, 0, 0, 30, 30], atol=1e-9)
    report = str(reading.report)
    assert "no usable pose in 4 of 6 frames (0, 2 to 3, 5); theirs are held" in report


def test_a_gap_can_be_a_movement_or_an_error() -> None:
    clip = [EMPTY, frame(), EMPTY, EMPTY, frame(30), EMPTY]
    poses = read_pose(clip, gaps="interpolate")
    off = (poses.xy[:, 0, 0] * 512 - BODY[0][0]).tolist()
    np.testing.assert_allclose(off, [0, 0, 10, 20, 30, 30], atol=1e-6)
    with pytest.raises(PoseError, match="frame 0: nobody is in it"):
        read_pose(clip, gaps="refuse")
    with pytest.raises(PoseError, match="gaps is one of hold, interpolate, refuse"):
        read_pose(clip, gaps="skip")


def test_a_person_who_leaves_for_a_frame_is_held() -> None:
    two = frame()
    two["people"].append(frame(60)["people"][0])
    poses = read_pose([two, frame(), two], person=1)
    np.testing.assert_allclose(poses.xy[:, 0, 0] * 512, BODY[0][0] + 60.0)
    with pytest.raises(PoseError, match="person 2 was asked for"):
        read_pose([two, frame(), two], person=2)


def test_a_frame_that_says_no_size_has_the_others() -> None:
    clip = [
        frame(),
        {"people": frame()["people"]},
        frame() | {"canvas_width": 0, "canvas_height": 0},
    ]
    reading = read_pose_with_report(clip)
    np.testing.assert_allclose(reading.keypoints.xy, np.stack([expected_body()] * 3))
    assert reading.sizes == ((768, 512),) * 3


def test_a_clip_of_nobody_is_refused() -> None:
    with pytest.raises(PoseError, match="nobody is in it"):
        read_frames([EMPTY, EMPTY])


@pytest.mark.parametrize("count", [20, 22, 5])
def test_a_hand_of_another_length_is_left_out_with_a_note(count: int) -> None:
    hands = {
        "hand_left_keypoints_2d": flat(scored_points(LEFT_HAND * 2)[:count]),
        "hand_right_keypoints_2d": flat(scored_points(RIGHT_HAND)),
        "face_keypoints_2d": [1.0] * 56 * 3,
    }
    reading = read_pose_with_report(frame(**hands))
    np.testing.assert_allclose(reading.keypoints.xy[0], expected_body())
    assert reading.keypoints.hands_visible is not None
    assert reading.keypoints.hands_visible[0].any(dim=1).tolist() == [False, True]
    assert "a left hand is left out" in str(reading.report)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_joint_that_is_nan_is_missing_and_named(value: float) -> None:
    body = body_18()
    body[10] = (value, value, value)
    reading = read_pose_with_report(canvas(people=[{"pose_keypoints_2d": flat(body)}]))
    assert reading.keypoints.visible[0].tolist() == [joint != 10 for joint in range(18)]
    assert "point 10 of pose_keypoints_2d is NaN or infinite" in str(reading.report)


def test_a_canvas_of_0_says_nothing() -> None:
    document = frame() | {"canvas_height": 0, "canvas_width": 0}
    reading = read_pose_with_report(document, size=(768, 512))
    np.testing.assert_allclose(reading.keypoints.xy[0], expected_body())
    assert "a canvas of 0 says no size" in str(reading.report)
    with pytest.raises(PoseError, match="coordinates are pixels"):
        read_pose(document)


def test_a_person_who_cannot_be_read_keeps_the_number() -> None:
    document = canvas(people=[{"pose_keypoints_2d": [1.0] * 7}, *frame()["people"]])
    for person in ("largest", 1):
        reading = read_pose_with_report(document, person=person)
        np.testing.assert_allclose(reading.keypoints.xy[0], expected_body())
        assert "a person who cannot be read is left out" in str(reading.report)
    with pytest.raises(PoseError, match="person 0: pose_keypoints_2d has 7 numbers"):
        read_pose(document, person=0)


def test_four_thousand_people_are_read() -> None:
    crowd = canvas(people=[*frame()["people"]] * 4000)
    assert len(read_frames(crowd)[0].people) == 4000
