"""How many rendered pictures a second a core writes, against dense skinning in the same run.

    python -m benchmarks.training_dataset [--identities 6] [--views 8] [--size 256x176]

Both ways build each person, draw the views and write the files, in turn, in this process on one
thread. The baseline differs in how it poses
alone: every vertex of the whole meshes (the generator: those that clothes leave to be seen), by a
dense matrix of weights over the rig's 163 bones (the 47 that are turned), with the normals of each
posed mesh (those of the rest pose, turned). It is given in numpy's own fp64 and in fp32.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy loads

import numpy as np  # noqa: E402

from pcdm_core.ranges import COUNT, parse_size  # noqa: E402
from training.synthetic import view  # noqa: E402
from training.synthetic.body import load_asset, transform, vertex_normals  # noqa: E402
from training.synthetic.dataset import Job, write_identity  # noqa: E402
from training.synthetic.identity import Identity  # noqa: E402

RIG_BONES = 163
WAYS = ("generator", "dense_fp32", "dense_fp64")


class DenseSkinning:
    """The generator's posing as one writes it down first, in front of the same drawing."""

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self.dtype = dtype
        self.scene_of = view._scene  # pyright: ignore[reportPrivateUsage]
        self.normals = np.zeros((0, 3))

    def scene(self, identity: Identity) -> Any:
        """The generator's, with the whole meshes beside it."""
        cache = identity.cache
        if "whole" not in cache:
            pieces = identity.pieces
            starts = np.cumsum([0] + [len(piece.points) for piece in pieces[:-1]])
            placed = list(zip(pieces, starts, strict=True))
            wide = np.zeros((sum(len(piece.points) for piece in pieces), RIG_BONES), self.dtype)
            skins = np.concatenate([piece.skin for piece in pieces])
            wide[:, : skins.shape[1]] = skins
            seen = [p.faces[p.cut[p.faces].max(axis=1) > 0] + s for p, s in placed]
            cache["whole"] = (
                np.concatenate([piece.points for piece in pieces]).astype(self.dtype),
                wide,
                np.concatenate([piece.faces + start for piece, start in placed]),
                np.concatenate([np.unique(faces) for faces in seen]),
            )
        self.whole = cache["whole"]
        return self.scene_of(identity)

    def skin_points(self, points: Any, skin: Any, bones: Any) -> tuple[Any, Any]:
        """Every vertex by every bone of the rig; then those that are drawn."""
        rest, wide, faces, drawn = self.whole
        rig = np.zeros((RIG_BONES, 12), self.dtype)
        rig[: len(bones)] = bones.reshape(len(bones), 12)
        blend = (wide @ rig).reshape(-1, 3, 4)
        posed = transform(blend[:, :, :3], rest) + blend[:, :, 3]
        self.normals = vertex_normals(posed, faces)[drawn]
        assert len(drawn) == len(points)
        return posed[drawn].astype(np.float32), blend[drawn, :, :3]

    def posed_normals(self, linear: Any, vectors: Any) -> Any:
        """Of the posed meshes."""
        return self.normals


@contextlib.contextmanager
def geometry(way: str) -> Generator[None, None, None]:
    """The generator as it is, or with the baseline's geometry."""
    if way == "generator":
        yield
        return
    dense = DenseSkinning(np.float64 if way.endswith("64") else np.float32)
    with (
        mock.patch.object(view, "_scene", dense.scene),
        mock.patch.object(view, "skin_points", dense.skin_points),
        mock.patch.object(view, "transform", dense.posed_normals),
    ):
        yield


def measure(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Medians of the times of a person, and their ratios."""
    asset = load_asset()
    assert asset.body.faces.size  # made once in a process, like the other meshes
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    for number in range(options.identities + 1):
        for way in WAYS:  # in turn, so that a busy machine slows all of them
            job = Job(folder / way, "train", options.views, options.size, 0)
            begin = time.process_time()
            with geometry(way):
                write_identity(job, number)
            if number:  # the first warms up
                seconds[way].append(time.process_time() - begin)
    times = {way: statistics.median(values) for way, values in seconds.items()}
    return {
        "size": "x".join(map(str, options.size)),
        "people": options.identities,
        "views": options.views,
        "pictures_per_second_and_core": round(options.views / times["generator"], 2),
        "pictures_per_second_dense_fp32": round(options.views / times["dense_fp32"], 2),
        "pictures_per_second_dense_fp64": round(options.views / times["dense_fp64"], 2),
        "ratio_to_dense_fp32": round(times["dense_fp32"] / times["generator"], 2),
        "ratio_to_dense_fp64": round(times["dense_fp64"] / times["generator"], 2),
    }


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--identities", type=COUNT.parse, default=6)
    parser.add_argument("--views", type=COUNT.parse, default=8)
    parser.add_argument("--size", type=parse_size, default=(256, 176), help="height x width")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(measure(options, Path(folder))) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
