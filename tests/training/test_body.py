"""Posing of synthetic bodies: skinning and normals against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from training.synthetic.body import Asset, load_asset, pose_bones, skin_points, vertex_normals
from training.synthetic.pose import rotation


@pytest.fixture(scope="module")
def asset() -> Asset:
    return load_asset()


def _posed(asset: Asset) -> tuple[np.ndarray, np.ndarray]:
    """Rest points of the tights and random bones about the base body's joints."""
    rng = np.random.default_rng(0)
    turns = np.stack([rotation(rng.normal(size=3), rng.normal() * 0.3) for _ in asset.bone_names])
    bones = pose_bones(asset, asset.heads(asset.base), turns)
    return asset.tights.template.astype(np.float32), bones


def test_skinning_is_the_weighted_sum_of_the_bones_maps(asset: Asset) -> None:
    points, bones = _posed(asset)
    posed, linear = skin_points(points, asset.tights.skin, bones)
    expected = np.zeros(points.shape)
    for bone, weight in zip(bones.astype(np.float64), asset.tights.skin.T, strict=True):
        expected += weight[:, None] * (points @ bone[:, :3].T + bone[:, 3])
    assert np.abs(posed - expected).max() < 1e-5
    assert linear.shape == (len(points), 3, 3)


def test_bones_that_are_not_turned_leave_the_body_where_it_is(asset: Asset) -> None:
    points, _ = _posed(asset)
    turns = np.repeat(np.eye(3)[None], len(asset.bone_names), axis=0)
    bones = pose_bones(asset, asset.heads(asset.base), turns)
    posed, _ = skin_points(points, asset.tights.skin, bones)
    assert np.abs(posed - points).max() < 1e-5


def test_normals_are_the_sum_of_the_faces_cross_products_to_the_bit(asset: Asset) -> None:
    points, _ = _posed(asset)
    faces = asset.tights.faces
    corner = points[faces]
    across = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = np.empty_like(points)
    for axis in range(3):
        total[:, axis] = np.bincount(faces.ravel(), np.repeat(across[:, axis], 3), len(points))
    length = np.sqrt((total * total).sum(axis=1, keepdims=True))
    assert np.array_equal(vertex_normals(points, faces), total / np.maximum(length, 1e-9))
