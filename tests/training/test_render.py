"""What draws people quickly gives, to the bit, what is written down first.

A person's pictures follow from a seed: a drawing that differed in its last bit would have to be
another version of the generator.
"""

from __future__ import annotations

import numpy as np
import pytest

from training.synthetic import identity_seed, make_identity, render_view
from training.synthetic.body import load_asset, vertex_normals
from training.synthetic.camera import Camera
from training.synthetic.garments import _settle  # pyright: ignore[reportPrivateUsage]
from training.synthetic.pose import _cross, _unit  # pyright: ignore[reportPrivateUsage]
from training.synthetic.render import Hits, interpolate, occlusion, rasterise
from training.synthetic.view import _contact_shadow  # pyright: ignore[reportPrivateUsage]

ROWS, COLUMNS = 24, 18
ONE = np.float32(1)
Heap = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _triangles(seed: int) -> Heap:
    """Screen, depth, faces, cut and `behind` of a heap of triangles, some met twice, some outside.

    A third of them are whole, a third are cut through, some are cut away.
    """
    rng = np.random.default_rng(seed)
    screen = (rng.random((60, 2)) * (COLUMNS + 12, ROWS + 12) - 6).astype(np.float32)
    depth = (20 + 5 * rng.random(60)).astype(np.float32)
    faces = rng.integers(0, 60, (90, 3))
    faces[80:] = faces[:10]  # the same depth: the later one is seen
    cut = np.where(rng.random(60) < 0.7, 3 * rng.random(60), -rng.random(60)).astype(np.float32)
    cut[:5] = 9.0
    return screen, depth, faces, cut, rng.random(90) < 0.5


def _plainly(
    screen: np.ndarray, depth: np.ndarray, faces: np.ndarray, cut: np.ndarray, behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face [H, W] or -1, depth [H, W] and weights [H, W, 3], a triangle and a sample at a time."""
    face = np.full((ROWS, COLUMNS), -1)
    buffer = np.full((ROWS, COLUMNS), np.inf, np.float32)
    weights = np.zeros((ROWS, COLUMNS, 3), np.float32)
    for number, corners in enumerate(faces):
        (x0, y0), (x1, y1), (x2, y2) = screen[corners]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if not (area < -1e-6 or (behind[number] and area > 1e-6)):
            continue
        scale = 1 / area
        b1x, b1y = (y2 - y0) * scale, (x0 - x2) * scale
        b2x, b2y = (y0 - y1) * scale, (x1 - x0) * scale
        b1c = -(b1x * (x0 - np.float32(0.5)) + b1y * (y0 - np.float32(0.5)))
        b2c = -(b2x * (x0 - np.float32(0.5)) + b2y * (y0 - np.float32(0.5)))
        xs, ys = (x0, x1, x2), (y0, y1, y2)
        rows = range(max(0, int(np.ceil(min(ys) - 0.5))), ROWS)
        columns = range(max(0, int(np.ceil(min(xs) - 0.5))), COLUMNS)
        for row in rows:
            for column in columns:
                if row > np.floor(max(ys) - 0.5) or column > np.floor(max(xs) - 0.5):
                    continue
                b1 = b1x * np.float32(column) + b1y * np.float32(row) + b1c
                b2 = b2x * np.float32(column) + b2y * np.float32(row) + b2c
                if b1 < 0 or b2 < 0 or b1 + b2 > 1:
                    continue
                b = np.array([1 - b1 - b2, b1, b2], np.float32)
                value = cut[corners] * b
                if value[0] + value[1] + value[2] < 0:
                    continue
                share = b * (ONE / depth[corners])
                total = share[0] + share[1] + share[2]
                if ONE / total <= buffer[row, column]:
                    buffer[row, column] = ONE / total
                    face[row, column] = number
                    weights[row, column] = share / total
    return face, buffer, weights


@pytest.mark.parametrize("seed", range(6))
def test_the_drawn_samples_are_those_of_a_triangle_at_a_time(seed: int) -> None:
    scene = _triangles(seed)
    face, depth, weights = _plainly(*scene)
    hits = rasterise(*scene, ROWS, COLUMNS)
    assert len(hits.pixel) > ROWS * COLUMNS // 4
    assert np.array_equal(hits.pixel, np.flatnonzero(face.ravel() >= 0))
    assert np.array_equal(hits.face, face.ravel()[hits.pixel])
    assert np.array_equal(hits.depth, depth)
    assert np.array_equal(hits.corners, weights.reshape(-1, 3)[hits.pixel])


def test_the_triangles_of_the_comparison_are_cut_hidden_and_met_twice() -> None:
    screen, depth, faces, cut, behind = _triangles(0)
    face, _, _ = _plainly(screen, depth, faces, cut, behind)
    whole, _, _ = _plainly(screen, depth, faces, np.abs(cut), behind)
    assert (face != whole).any()
    assert np.isin(face, np.arange(80, 90)).any()
    assert not np.isin(face, np.arange(10)[behind[80:] >= behind[:10]]).any()


def test_values_are_interpolated_by_the_weights_of_the_corners() -> None:
    screen, depth, faces, cut, behind = _triangles(1)
    hits: Hits = rasterise(screen, depth, faces, cut, behind, ROWS, COLUMNS)
    values = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    first, second, third = (
        values[faces[hits.face, corner]] * hits.corners[:, corner : corner + 1]
        for corner in range(3)
    )
    assert np.array_equal(interpolate(values, faces, hits), first + second + third)


def test_nothing_is_drawn_where_nothing_is() -> None:
    screen, depth, faces, cut, behind = _triangles(2)
    hits = rasterise(screen + 1000, depth, faces, cut, behind, ROWS, COLUMNS)
    assert not len(hits.pixel)
    assert not occlusion(hits.depth, 3, 1.3).any()


@pytest.mark.parametrize("place", [(8, 20, 6, 12), (0, 9, 0, 5), (20, 30, 15, 24), (0, 30, 0, 24)])
def test_the_ambient_shadow_is_that_of_the_whole_frame(place: tuple[int, int, int, int]) -> None:
    top, bottom, left, right = place
    depth = np.full((30, 24), np.inf, np.float32)
    depth_of_box = np.random.default_rng(3).random((bottom - top, right - left)).astype(np.float32)
    depth[top:bottom, left:right] = np.where(depth_of_box < 0.8, 20 + 4 * depth_of_box, np.inf)

    def mean(image: np.ndarray) -> np.ndarray:
        for axis in (0, 1):
            rows = np.moveaxis(image, axis, 0)
            rows = np.pad(rows, ((4, 3), (0, 0)), mode="edge")
            total = np.cumsum(rows, axis=0, dtype=np.float64)
            image = np.moveaxis(((total[7:] - total[:-7]) / 7).astype(np.float32), 0, axis)
        return image

    solid = np.isfinite(depth)
    near = np.where(solid, depth, 0).astype(np.float32)
    around = mean(near) / np.maximum(mean(solid.astype(np.float32)), 1e-6)
    want = np.where(solid, np.clip((near - around) / 1.3, 0, 1), 0).astype(np.float32)
    assert want.any()
    assert np.array_equal(occlusion(depth, 3, 1.3), want)


def test_the_shadow_of_the_feet_ends_where_it_cannot_be_seen() -> None:
    camera = Camera(0.3, 0.03, np.array([0, 0, 0], np.float32), 40.0)
    feet = np.array([[1.0, -8.0, 0.1, 0.0], [-1.0, -8.0, 0.3, 0.2]], np.float32)
    rows, columns = 96, 400
    got = _contact_shadow(camera, feet, rows, columns)
    want = np.ones((rows, columns), np.float32)
    middle = np.append(feet[:, :3].mean(axis=0), 0.0)
    for x, y, z, height, radius, strength in (
        (*feet[0], 0.95, 0.45), (*feet[1], 0.95, 0.45), (*middle, 2.4, 0.20)
    ):  # fmt: skip
        place = np.array([[x, y, z]], np.float32)
        screen, distance = camera.project(place, rows, columns)
        line = camera.centre + 3.25 * camera.span * camera.axes[2] - place[0]
        slope = max(0.10, float(line[1]) / float(np.linalg.norm(line)))
        scale = rows / camera.span * 3.25 * camera.span / float(distance[0])
        across, down = radius * scale, radius * scale * slope + 1.0
        u = (np.arange(columns, dtype=np.float32) + 0.5 - screen[0, 0]) / across
        low = max(0, int(screen[0, 1] - 3 * down))
        v = (np.arange(low, rows, dtype=np.float32) + 0.5 - screen[0, 1]) / down
        amount = strength * float(np.exp(-2.0 * height))
        want[low:] *= 1 - amount * np.exp(-(v * v))[:, None] * np.exp(-(u * u))[None]
    assert (want < 1).any()
    assert (want[:, 0] == 1).all()
    assert np.array_equal(got, want)


def test_cloth_settles_as_vertex_by_vertex() -> None:
    asset = load_asset()
    mesh = asset.skirt
    points = mesh.place(asset.base[: asset.vertex_count].astype(np.float32))
    normals = vertex_normals(points, mesh.faces)
    ease = np.linspace(0.05, 0.3, len(points), dtype=np.float32)
    want = points + normals * ease[:, None]
    for _ in range(3):
        want = 0.5 * want + 0.5 * want[mesh.neighbours].mean(axis=1)
        gap = ((want - points) * normals).sum(axis=1)
        want += normals * np.maximum(0.6 * ease - gap, 0)[:, None]
    assert np.array_equal(_settle(points, normals, mesh, ease, 3), want)


def test_short_vectors_are_handled_as_numpy_does() -> None:
    for first, second in np.random.default_rng(5).normal(size=(50, 2, 3)):
        assert np.array_equal(_cross(first, second), np.cross(first, second))
        assert np.array_equal(_unit(first), first / np.linalg.norm(first))


def test_a_picture_has_the_background_and_the_person_in_the_planes_of_their_colours() -> None:
    person = make_identity(identity_seed(0, "train", 1))
    view = render_view(person, 0, 96, 64)
    corner = view.picture[0, 0] / 255
    assert np.abs(corner - np.array(person.background) * 1.02).max() < 0.01
