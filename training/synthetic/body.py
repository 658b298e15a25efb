"""Body shape, skeleton and skinning from the vendored hm08 asset.

Units are decimetres, Y up, the face looks along +Z, the person's left is +X. Fields that cut
garments are evaluated on the *template* (the base mesh before any morph), so that a hem lies at
the same anatomical place on every body.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .shape import Macro, macro_weights

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]

ASSET = Path(__file__).parent / "assets" / "human_hm08.npz"


@dataclass(frozen=True)
class Mesh:
    """A piece of geometry over the asset's vertices.

    Args:
        sources: [n, 4] asset vertices whose mean is each vertex (repeated where fewer).
        faces: [m, 3] triangles over the n vertices.
        neighbours: [n, k] adjacent vertices, padded with the vertex itself.
        skin: [n, B] weights of the bones, rows sum to 1.
        template: [n, 3] positions on the base mesh.
    """

    sources: Ints
    faces: Ints
    neighbours: Ints
    skin: Floats
    template: Floats

    def place(self, rest: Floats) -> Floats:
        """Positions [n, 3] on a morphed body with vertices ``rest`` [N, 3]."""
        if self.sources.shape[1] == 1:
            return rest[self.sources[:, 0]]
        return rest[self.sources].mean(axis=1)

    @cached_property
    def _rings(self) -> Ints:
        """``neighbours`` with one row [n] for each of the k."""
        return np.ascontiguousarray(self.neighbours.T)

    def around(self, planes: Floats) -> Floats:
        """Mean over each vertex's neighbours of values in planes [c, n]."""
        out = planes.take(self._rings[0], axis=1)
        for ring in self._rings[1:]:
            out += planes.take(ring, axis=1)
        out /= len(self._rings)
        return out


def _triangles(quads: Ints) -> Ints:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _neighbours(quads: Ints, count: int) -> Ints:
    edges = np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)])
    both = np.unique(np.concatenate([edges, edges[:, ::-1]]), axis=0)
    degree = np.bincount(both[:, 0], minlength=count)
    table = np.repeat(np.arange(count)[:, None], max(1, int(degree.max(initial=1))), axis=1)
    slot = np.arange(len(both)) - np.repeat(np.cumsum(degree) - degree, degree)
    table[both[:, 0], slot] = both[:, 1]
    return table


def _subdivide(quads: Ints, count: int) -> tuple[Ints, Ints]:
    """Split each quad in four; returns sources [n, 4] and quads [4m, 4] over the new vertices."""
    edges = np.sort(np.concatenate([quads[:, [i, (i + 1) % 4]] for i in range(4)]), axis=1)
    unique, inverse = np.unique(edges, axis=0, return_inverse=True)
    middle = count + inverse.reshape(4, len(quads)).T  # [m, 4], edge i starts at corner i
    centre = count + len(unique) + np.arange(len(quads))
    corner = np.arange(count)
    sources = np.concatenate(
        [np.stack([corner] * 4, axis=1), unique[:, [0, 1, 0, 1]], quads], axis=0
    )
    fine = [
        np.stack([quads[:, i], middle[:, i], centre, middle[:, i - 1]], axis=1) for i in range(4)
    ]
    return sources, np.concatenate(fine)


class Asset:
    """The arrays of ``assets/human_hm08.npz`` and the meshes made from them."""

    def __init__(self, path: Path = ASSET) -> None:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        self.base: Floats = arrays["base"]
        self._basis: Floats = arrays["basis"].astype(np.float32) * arrays["basis_step"]
        self._coefficients: Floats = arrays["macro_coefficients"]
        self._detail_index = arrays["detail_index"].astype(np.int64)
        self._detail_delta: Floats = (
            arrays["detail_delta"].astype(np.float32) * arrays["detail_step"]
        )
        self._detail_ends = arrays["detail_ends"]
        self.vertex_count = len(arrays["skin_bones"])
        self.joint_names = [str(name) for name in arrays["joint_names"]]
        self.bone_names = [str(name) for name in arrays["bone_names"]]
        self.bone_parents = arrays["bone_parents"].astype(np.int64)
        self.bone_joints = arrays["bone_joints"].astype(np.int64)
        self.lips: Floats = arrays["lips"].astype(np.float32) / 255
        self.skin: Floats = np.zeros((self.vertex_count, len(self.bone_names)), np.float32)
        np.put_along_axis(
            self.skin,
            arrays["skin_bones"].astype(np.int64),
            arrays["skin_weights"].astype(np.float32) / 65535,
            axis=1,
        )
        self.skin /= np.maximum(self.skin.sum(axis=1, keepdims=True), 1e-6)
        self._quads = {
            name.removeprefix("quads_"): array.astype(np.int64)
            for name, array in arrays.items()
            if name.startswith("quads_")
        }

    def bone(self, name: str) -> int:
        return self.bone_names.index(name)

    def joint(self, points: Floats, name: str) -> Floats:
        """The joint's position [3] among the morphed points [N + J, 3]."""
        return points[self.vertex_count + self.joint_names.index(f"joint-{name}")]

    def morph(self, macro: Macro, details: NDArray[np.float64]) -> Floats:
        """Points [N + J, 3] (vertices, then joints) of a body in rest pose.

        ``details`` [D] holds a value in [-1, 1] for each row of ``shape.DETAILS``.
        """
        mix = np.asarray(macro_weights(macro), np.float32) @ self._coefficients
        points = self.base + np.tensordot(mix, self._basis, axes=1)
        starts = np.concatenate([[0], self._detail_ends[:-1]])
        for row, value in enumerate(details):
            end = 2 * row + (1 if value > 0 else 0)
            part = slice(starts[end], self._detail_ends[end])
            points[self._detail_index[part]] += np.float32(abs(value)) * self._detail_delta[part]
        return points.astype(np.float32)

    def heads(self, points: Floats) -> Floats:
        """Bone heads [B, 3] of a morphed body."""
        return points[self.vertex_count + self.bone_joints].mean(axis=1)

    def _mesh(self, groups: tuple[str, ...], levels: int) -> Mesh:
        quads = np.concatenate([self._quads[g] for g in groups])
        vertices, quads = np.unique(quads, return_inverse=True)
        quads = quads.reshape(-1, 4)
        sources = vertices[:, None]
        if levels:
            split, quads = _subdivide(quads, len(vertices))
            sources = vertices[split]
        skin = self.skin[sources].mean(axis=1)
        return Mesh(
            sources=sources,
            faces=_triangles(quads),
            neighbours=_neighbours(quads, len(sources)),
            skin=skin,
            template=self.base[sources].mean(axis=1),
        )

    @cached_property
    def body(self) -> Mesh:
        return self._mesh(("body",), 0)

    @cached_property
    def eyes(self) -> Mesh:
        return self._mesh(("helper-l-eye", "helper-r-eye"), 0)

    @cached_property
    def tights(self) -> Mesh:
        return self._mesh(("helper-tights",), 1)

    @cached_property
    def skirt(self) -> Mesh:
        return self._mesh(("helper-skirt",), 1)


@lru_cache(maxsize=1)
def load_asset() -> Asset:
    """The asset, read once per process."""
    return Asset()


def vertex_normals(points: Floats, faces: Ints) -> Floats:
    """Unit normals [n, 3], weighted by face area."""
    x, y, z = (np.ascontiguousarray(points[:, axis]) for axis in range(3))
    first, second, third = (np.ascontiguousarray(faces[:, corner]) for corner in range(3))
    x0, y0, z0 = x[first], y[first], z[first]
    x1, y1, z1 = x[second] - x0, y[second] - y0, z[second] - z0
    x2, y2, z2 = x[third] - x0, y[third] - y0, z[third] - z0
    # The cross product by component: half the time of np.cross, and the same numbers.
    across = (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
    out = np.empty_like(points)
    flat = faces.ravel()
    for axis in range(3):
        out[:, axis] = np.bincount(flat, np.repeat(across[axis], 3), len(points))
    length = np.sqrt((out * out).sum(axis=1, keepdims=True))
    return (out / np.maximum(length, 1e-9)).astype(np.float32)


def pose_bones(asset: Asset, heads: Floats, rotations: Floats) -> Floats:
    """Bone transforms [B, 3, 4] from rotations [B, 3, 3] in rest axes about each bone's head."""
    out = np.zeros((len(heads), 3, 4), np.float64)
    for bone, parent in enumerate(asset.bone_parents):
        turn = rotations[bone].astype(np.float64)
        shift = heads[bone] - turn @ heads[bone]
        if parent >= 0:
            above = out[parent]
            shift = above[:, :3] @ shift + above[:, 3]
            turn = above[:, :3] @ turn
        out[bone, :, :3] = turn
        out[bone, :, 3] = shift
    return out.astype(np.float32)


def skin_points(points: Floats, skin: Floats, bones: Floats) -> tuple[Floats, Floats]:
    """Linear blend skinning: posed points [n, 3] and blended linear maps [n, 3, 3].

    ``build_asset`` folds the 163 bones of the rig into the 47 that are turned. A row holds two
    or three weights, but over 47 columns one matrix product is five times as fast as a gather.
    """
    blend = (skin @ bones.reshape(len(bones), 12)).reshape(-1, 3, 4)
    return transform(blend[:, :, :3], points) + blend[:, :, 3], blend[:, :, :3]


def transform(linear: Floats, vectors: Floats) -> Floats:
    """Each vector [n, 3] by its own matrix [n, 3, 3]."""
    out = linear[:, :, 0] * vectors[:, :1]
    out += linear[:, :, 1] * vectors[:, 1:2]
    out += linear[:, :, 2] * vectors[:, 2:]
    return out
