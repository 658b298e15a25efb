"""Make the pictures of held-out pairs and measure them; interrupted runs resume."""

from __future__ import annotations

import hashlib
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pcdm_core.checkpoints import shipped_weights
from pcdm_core.checkpoints.components import PathLike
from pcdm_core.files import write_text
from pcdm_core.speed import find_fast

from ..synthetic.shots import Shot
from .held_out_pairs import HeldOutSet, PairName, shots_of
from .judges import Judges
from .metrics import SSIM_NAME
from .pair_figures import figures_of_all
from .pictures import PictureMaker, pictures_file, read_pictures, save_pictures
from .report import AVERAGED, summarise


def measure_pairs(
    held_out: HeldOutSet,
    report: Path,
    maker: PictureMaker,
    judges: Judges,
    weights: str,
    pool: Executor | None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`summarise` of all pairs, and a record a pair; what is not done yet is made and measured.

    Args:
        report: the JSON file beside which pictures and records lie.
        weights: their digest, `weights_sha256`.
    """
    settings = settings_of(held_out, maker, weights)
    pairs = held_out.names()
    folder = pictures_folder(report)
    claim(folder, settings)
    make_pictures(maker, pairs, folder, held_out, pool)
    records = measure(judges, pairs, folder, report, settings, pool)
    about = {"settings": settings, "judges": judges.names, "missing": judges.missing}
    return summarise(records, backbone_features(judges, pairs, folder), about), records


def pictures_folder(report: Path) -> Path:
    """Where the pictures of an evaluation lie."""
    return report.with_name(f"{report.stem}.pictures")


def weights_sha256(folder: PathLike | None, student: PathLike | None = None) -> str:
    """Of all weight files of a folder (None is the shipped one), and of a student's on them."""
    digest = hashlib.sha256()
    folders = [Path(folder or shipped_weights()), *([] if student is None else [Path(student)])]
    for path in [path for part in folders for path in sorted(part.glob("*.safetensors"))]:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def settings_of(held_out: HeldOutSet, maker: PictureMaker, weights: str) -> dict[str, Any]:
    """What two runs must share for their pictures to belong together."""
    preset, sampling = maker.pipeline.preset, maker.sampling
    regression, scale = maker.regression, sampling.guidance_scale
    fast_settings: dict[str, Any] = {}
    if sampling.fast is not None:
        fast = find_fast(sampling.fast)
        interval = list(fast.guidance_interval)  # as JSON gives it back
        fast_settings["fast"] = {**asdict(fast), "guidance_interval": interval}
        del fast_settings["fast"]["guidance_rescale"]  # of no preset, and not in older records
    return {
        "weights_sha256": weights,
        "preset": preset.name,
        "size": [preset.height, preset.width],
        "seed": sampling.seed,
        "steps": sampling.steps,
        "guidance_scale": preset.guidance_scale if scale is None else scale,
        **fast_settings,
        "methods": list(sampling.methods),
        "dtype": held_out.dtype,
        "people": "rendered" if held_out.data is None else held_out.data.name,
        "split": held_out.split,
        "batch": held_out.batch,
        "oracle_pairs": sampling.oracle_pairs,
        "regression": None if regression is None else regression.people,
        "protocol": SSIM_NAME,
    }


def claim(folder: Path, settings: Mapping[str, Any]) -> None:
    """Mark a folder of pictures as of these settings.

    Raises:
        ValueError: it holds pictures of other settings.
    """
    path = folder / "settings.json"
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        names = dict.fromkeys((*settings, *earlier))
        changed = [name for name in names if earlier.get(name) != settings.get(name)]
        if changed:
            raise ValueError(
                f"{folder} holds pictures of another run ({', '.join(changed)} differ). "
                f"Name another --json, or delete the folder."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(dict(settings), indent=1) + "\n")


def make_pictures(
    maker: PictureMaker,
    pairs: Sequence[PairName],
    folder: Path,
    held_out: HeldOutSet,
    pool: Executor | None,
) -> None:
    """Pictures of the pairs that have none; rendering runs one batch ahead of sampling.

    A batch of which a pair is missing is made again as a whole, so that a run that was interrupted
    computes exactly what an undisturbed one does.
    """
    preset = maker.pipeline.preset
    common = (held_out.data, held_out.split, (preset.height, preset.width))
    batches = [pairs[k : k + held_out.batch] for k in range(0, len(pairs), held_out.batch)]
    todo = [b for b in batches if not all(pictures_file(folder, p.number).is_file() for p in b)]

    def render(batch: Sequence[PairName]) -> list[Future[tuple[Shot, Shot]]]:
        return [submit(pool, shots_of, pair, *common) for pair in batch]

    bar = tqdm(total=sum(map(len, todo)), desc="pictures", unit="pair", file=sys.stderr)
    ahead = render(todo[0]) if todo else []
    for number, batch in enumerate(todo):
        shots = [future.result() for future in ahead]
        ahead = render(todo[number + 1]) if number + 1 < len(todo) else []
        for pair, shot, pictures in zip(batch, shots, maker(batch, shots), strict=True):
            save_pictures(folder, pair.number, pictures, shot[1])
        bar.update(len(batch))
    bar.close()


def measure(
    judges: Judges,
    pairs: Sequence[PairName],
    folder: Path,
    report: Path,
    settings: Mapping[str, Any],
    pool: Executor | None,
) -> list[dict[str, Any]]:
    """A record a pair; each is added to the file as soon as it is there."""
    lines = report.with_suffix(".jsonl")
    head = {"settings": dict(settings), "judges": judges.names, "figures": list(AVERAGED)}
    records = read_records(lines, head)
    todo = [pair for pair in pairs if pair.number not in records]
    with lines.open("a", encoding="utf-8") as file:
        for pair in tqdm(todo, desc="figures", unit="pair", file=sys.stderr):
            pictures, truth = read_pictures(folder, pair.number)
            figures = figures_of_pair(judges, pictures, truth, pool)
            records[pair.number] = {
                "pair": pair.number,
                "identity": pair.identity,
                "views": [pair.source, pair.target],
                "figures": figures,
            }
            file.write(json.dumps(records[pair.number]) + "\n")
            file.flush()
    return [records[pair.number] for pair in pairs]


def figures_of_pair(
    judges: Judges, pictures: Mapping[str, np.ndarray], truth: Shot, pool: Executor | None
) -> dict[str, dict[str, float | None]]:
    """Every figure of every picture of a pair."""
    plain = submit(pool, figures_of_all, pictures, truth)
    judged = judges.figures(pictures, truth)
    return {
        name: {
            key: None if math.isnan(value) else value  # JSON knows no NaN
            for key, value in (row | judged[name]).items()
        }
        for name, row in plain.result().items()
    }


def read_records(path: Path, head: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Records of earlier runs by pair; those of other judges, settings or figures are dropped."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # an interrupted run may have left half a line
    records = [json.loads(line) for line in whole.splitlines()]
    if not records or records[0] != dict(head):
        records, whole = [], json.dumps(dict(head)) + "\n"
    write_text(path, whole)
    return {record["pair"]: record for record in records[1:]}


def backbone_features(
    judges: Judges, pairs: Sequence[PairName], folder: Path
) -> dict[str, np.ndarray]:
    """Method to [pairs, D], for methods that every pair has; nothing without a backbone."""
    if judges.backbone is None:
        return {}
    rows: list[dict[str, np.ndarray]] = []
    for pair in tqdm(pairs, desc="features", unit="pair", file=sys.stderr):
        pictures, _ = read_pictures(folder, pair.number)
        rows.append(dict(zip(pictures, judges.features(pictures), strict=True)))
    methods = set[str](rows[0]).intersection(*rows)
    return {name: np.stack([row[name] for row in rows]) for name in methods}


def workers(count: int) -> AbstractContextManager[Executor | None]:
    """Worker processes, or None for one."""
    if count <= 1:
        return nullcontext()
    # Workers inherit the environment: one thread each, or they fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def submit(pool: Executor | None, function: Any, *arguments: Any) -> Future[Any]:
    """A future; without a pool the work is done at once."""
    if pool is not None:
        return pool.submit(function, *arguments)
    future: Future[Any] = Future()
    future.set_result(function(*arguments))
    return future
