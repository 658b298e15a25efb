"""The skeleton pictures: golden pictures, OpenCV's drawing calls, and what is left out."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pcdm_core.pose.keypoints import Keypoints
from pcdm_core.pose.raster import draw_line, ellipse_polygon, fill_circle, fill_convex_polygon
from pcdm_core.pose.render import COLOURS, Person, draw_people, people_of, render_pose

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "skeleton"
ITEMS = json.loads((GOLDEN / "manifest.json").read_text(encoding="utf-8"))["items"]
INK = (10, 20, 30)


def golden_keypoints(item: dict[str, Any]) -> Keypoints:
    """The people of one golden picture, in float64."""
    people = item["people"]
    body, visible = points_of([person["body"] for person in people])
    hands, hands_seen = points_of(
        [[person["hands"][side] for side in ("left", "right")] for person in people]
    )
    return Keypoints(body, visible, hands, hands_seen)


def points_of(nested: list[Any]) -> tuple[torch.Tensor, torch.Tensor]:
    def fill(node: list[Any] | None) -> list[Any]:
        if node is None:
            return [0.0, 0.0]
        return node if isinstance(node[0], float) else [fill(child) for child in node]

    def visible(node: list[Any] | None) -> list[Any] | bool:
        if node is None or isinstance(node[0], float):
            return node is not None
        return [visible(child) for child in node]

    return torch.tensor(fill(nested), dtype=torch.float64), torch.tensor(visible(nested))


def person_at(places: dict[int, tuple[float, float]]) -> Keypoints:
    """One person with only these joints."""
    xy, visible = torch.zeros(1, 18, 2, dtype=torch.float64), torch.zeros(1, 18, dtype=torch.bool)
    for joint, place in places.items():
        xy[0, joint] = torch.tensor(place)
        visible[0, joint] = True
    return Keypoints(xy, visible)


def point_around(rng: np.random.Generator) -> tuple[int, int]:
    x, y = rng.integers(-60, 150, 2)
    return int(x), int(y)


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item["file"])
def test_a_skeleton_equals_the_published_one_to_the_pixel(item: dict[str, Any]) -> None:
    expected = np.array(Image.open(GOLDEN / item["file"]))
    picture = draw_people(people_of(golden_keypoints(item)), item["height"], item["width"])
    np.testing.assert_array_equal(picture, expected)


@pytest.mark.parametrize("seed", range(4))
def test_lines_and_circles_equal_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        height, width = (int(side) for side in rng.integers(2, 90, 2))
        ours, theirs = np.zeros((2, height, width, 3), dtype=np.uint8)
        start, end, centre = (point_around(rng) for _ in range(3))
        radius = int(rng.integers(0, 12))
        draw_line(ours, start, end, INK)
        cv2.line(theirs, start, end, INK, thickness=1)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"line {start} {end}")
        fill_circle(ours, centre, radius, INK[::-1])
        cv2.circle(theirs, centre, radius, INK[::-1], thickness=-1)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"circle {centre} {radius}")


@pytest.mark.parametrize("seed", range(4))
def test_filled_ellipses_equal_opencv(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        height, width = (int(side) for side in rng.integers(2, 90, 2))
        ours, theirs = np.zeros((2, height, width, 3), dtype=np.uint8)
        centre, angle = point_around(rng), int(rng.integers(-180, 181))
        axes = (int(rng.integers(0, 120)), int(rng.integers(0, 9)))
        polygon = ellipse_polygon(centre, axes, angle)
        reference = np.asarray(cv2.ellipse2Poly(centre, axes, angle, 0, 360, 1))
        np.testing.assert_array_equal(polygon, reference)
        fill_convex_polygon(ours, polygon, INK)
        cv2.fillConvexPoly(theirs, reference, INK)
        np.testing.assert_array_equal(ours, theirs, err_msg=f"{centre} {axes} {angle}")


@pytest.mark.parametrize("seed", range(4))
def test_filled_polygons_equal_opencv_even_where_they_are_not_convex(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        height, width = (int(side) for side in rng.integers(2, 90, 2))
        ours, theirs = np.zeros((2, height, width, 3), dtype=np.uint8)
        reach = int(rng.choice([0, 30, 300]))
        points = rng.integers(-reach, 90 + reach, (int(rng.integers(1, 9)), 2))
        if rng.random() < 0.5:
            points = cv2.convexHull(points.astype(np.int32))[:, 0].astype(np.int64)
        fill_convex_polygon(ours, points, INK)
        cv2.fillConvexPoly(theirs, points.astype(np.int32), INK)
        np.testing.assert_array_equal(ours, theirs, err_msg=str(points.tolist()))


def test_a_missing_joint_is_not_drawn_and_neither_are_its_limbs() -> None:
    both = person_at({2: (0.2, 0.2), 3: (0.8, 0.8)})
    alone = person_at({2: (0.2, 0.2)})
    with_limb = draw_people(people_of(both), 100, 100)
    without = draw_people(people_of(alone), 100, 100)
    assert with_limb[50, 50].any()
    assert not without[50, 50].any()
    assert not without[80, 80].any()
    assert tuple(without[20, 20]) == COLOURS[2]


def test_limbs_are_dimmed_and_joints_are_not() -> None:
    picture = draw_people(people_of(person_at({1: (0.1, 0.5), 2: (0.9, 0.5)})), 100, 100)
    assert tuple(picture[50, 50]) == (153, 0, 0)
    assert tuple(picture[50, 10]) == COLOURS[1]


def test_each_row_gets_a_picture_of_its_own_in_minus_one_to_one() -> None:
    keypoints = Keypoints.cat([person_at({0: (0.25, 0.5)}), person_at({0: (0.75, 0.5)})])
    maps = render_pose(keypoints, 64, 48)
    assert maps.shape == (2, 3, 64, 48)
    assert maps.dtype == torch.float32
    assert maps[0, :, 32, 12].tolist() == [1.0, -1.0, -1.0]
    assert maps[0, :, 32, 36].tolist() == [-1.0, -1.0, -1.0]
    assert maps[1, :, 32, 36].tolist() == [1.0, -1.0, -1.0]


def test_moving_the_person_moves_the_skeleton() -> None:
    keypoints = golden_keypoints(ITEMS[4]).without_hands()
    pixels = keypoints.to_pixels(512, 512)
    moved = Keypoints.from_pixels(pixels + torch.tensor([24.0, 16.0]), keypoints.visible, 640, 640)
    original = Keypoints.from_pixels(pixels, keypoints.visible, 640, 640)
    here, there = (draw_people(people_of(each), 640, 640) for each in (original, moved))
    np.testing.assert_array_equal(there[120:600, 124:600], here[104:584, 100:576])


def test_hands_are_drawn_only_on_request() -> None:
    item = ITEMS[0]
    keypoints = golden_keypoints(item)
    with_hands = render_pose(keypoints, item["height"], item["width"])
    without = render_pose(keypoints, item["height"], item["width"], draw_hands=False)
    bodies = render_pose(keypoints.without_hands(), item["height"], item["width"])
    assert not torch.equal(with_hands, without)
    assert torch.equal(without, bodies)


def test_a_hand_point_in_the_first_column_counts_as_missing() -> None:
    hands_xy, visible = np.full((2, 21, 2), 0.5), np.zeros((2, 21), dtype=bool)
    visible[0, 0] = True
    person = Person(np.zeros((18, 2)), np.zeros(18, dtype=bool), hands_xy, visible)
    assert draw_people([person], 32, 32).any()
    edge = replace(person, hands_xy=hands_xy * np.array([0.01, 1.0]))
    assert not draw_people([edge], 32, 32).any()


def test_a_reduced_skeleton_is_the_mean_of_a_larger_one_and_thinner() -> None:
    person = people_of(person_at({1: (0.4, 0.2), 2: (0.3, 0.5), 3: (0.6, 0.9)}))
    plain, large = draw_people(person, 96, 64), draw_people(person, 288, 192)
    reduced = draw_people(person, 96, 64, reduction=3)
    assert reduced.dtype == np.uint8
    cells = large.reshape(96, 3, 64, 3, 3).astype(np.float64).mean(axis=(1, 3))
    assert np.abs(reduced - cells).max() <= 0.5
    assert plain.any(axis=2).sum() > 1.8 * reduced.any(axis=2).sum()
    maps = render_pose(person_at({1: (0.4, 0.2), 2: (0.3, 0.5)}), 96, 64, reduction=2)
    assert maps.shape == (1, 3, 96, 64)
    assert len(maps.unique()) > 10  # edges are soft


def test_nobody_is_a_black_picture() -> None:
    assert not draw_people([], 16, 24).any()
    assert render_pose(person_at({}), 16, 24).eq(-1).all()


def test_the_published_hand_colours_go_once_round_the_colour_circle() -> None:
    hands_xy = np.zeros((2, 21, 2))
    hands_xy[0, :] = (0.5, 0.5)
    hands_xy[0, 13:17] = (0.5, 0.9)
    visible = np.zeros((2, 21), dtype=bool)
    visible[0, [0, 13]] = True
    person = Person(np.zeros((18, 2)), np.zeros(18, dtype=bool), hands_xy, visible)
    picture = draw_people([person], 100, 100)
    assert tuple(picture[70, 50]) == (0, 102, 255)  # bone 12 of 20: hue 0.6
