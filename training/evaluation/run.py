"""The evaluation as a run: make pictures, measure, report; interrupted runs resume."""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import multiprocessing
import os
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pcdm_core.checkpoints.components import PathLike, find_student
from pcdm_core.cli import load_pipeline
from pcdm_core.files import atomic_file, write_text
from pcdm_core.speed import STUDENT, find_fast

from .acceptance import verdicts
from .embedding_baseline import fit_or_read
from .held_out_pairs import HeldOutSet, PairName, Shot, shots_of
from .judges import Judges
from .metrics import WANG_2004
from .pair_figures import figures_of_all
from .pictures import (
    METHODS,
    PictureMaker,
    Sampling,
    pictures_file,
    read_pictures,
    save_pictures,
)
from .report import AVERAGED, card, summarise


def evaluate(options: argparse.Namespace) -> None:
    """Make and measure what is not there yet, then report all."""
    pipeline = load_pipeline(options)
    student = options.student
    if student is None and options.fast == STUDENT:
        student = find_student(options.weights)
    weights = weights_sha256(options.weights, student)
    judges = Judges.load(options.pose_judge, options.keypoints, pipeline.device)
    missing = dict(judges.missing)
    regression = None
    methods = chosen_methods(options.methods)
    regressed = "coarse_regression" in methods
    if regressed and pipeline.prior is not None and pipeline.global_encoder is not None:
        fit = options.json.with_suffix(".regression.npz")
        try:
            regression = fit_or_read(fit, options.train_data, pipeline.global_encoder, weights)
        except FileNotFoundError as error:
            missing["row of the regression baseline"] = str(error)
    sampling = Sampling(
        seed=options.seed,
        steps=options.steps,
        guidance_scale=options.guidance_scale,
        methods=methods,
        oracle_pairs=options.oracle_pairs,
        fast=options.fast,
    )
    generator = PictureMaker(pipeline, sampling, regression)
    held_out = HeldOutSet.of(options)
    with workers(options.workers) as pool:
        measured = run_pairs(held_out, options.json, generator, judges, weights, pool)
    about = {"settings": measured.settings, "judges": judges.names, "missing": missing}
    report = summarise(measured.results, measured.features, about)
    lines = verdicts(report)
    report["required"] = [{"line": v.text, "passed": v.passed, "figures": v.figures} for v in lines]
    text = "\n".join([card(report), "", "Required:", "", *map(str, lines)])
    write_text(options.json, json.dumps(report, indent=1) + "\n")
    write_text(options.json.with_suffix(".md"), text + "\n")
    print(text)
    for line in generator.seconds.lines():
        print(line, file=sys.stderr)
    print(f"\n{options.json}, {options.json.with_suffix('.md')}")


def chosen_methods(names: Sequence[str] | None) -> tuple[str, ...]:
    """The rows of the table; None takes all.

    Raises:
        ValueError: a name that is none, or the truth is missing; the known names are listed.
    """
    if names is None:
        return tuple(METHODS)
    unknown = sorted(set(names) - set(METHODS))
    if unknown or "truth" not in names:
        fault = f"{unknown[0]} is none of them" if unknown else "the truth is missing"
        raise ValueError(f"--methods: {fault}. Give truth and any of {', '.join(METHODS)}.")
    return tuple(name for name in METHODS if name in names)


def pictures_folder(report: Path) -> Path:
    """Where the pictures of an evaluation lie."""
    return report.with_name(f"{report.stem}.pictures")


def weights_sha256(folder: Path | None, student: PathLike | None = None) -> str:
    """Of all weight files of a folder (None is the shipped one), and of a student's on them."""
    from pcdm_core.checkpoints import shipped_weights

    digest = hashlib.sha256()
    files = sorted((folder or shipped_weights()).glob("*.safetensors"))
    files += [] if student is None else sorted(Path(student).glob("*.safetensors"))
    for path in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Measured:
    """What `run_pairs` gives to `report.summarise`."""

    settings: dict[str, Any]
    results: list[dict[str, Any]]
    features: dict[str, np.ndarray]


def run_pairs(
    held_out: HeldOutSet,
    report: Path,
    generator: PictureMaker,
    judges: Judges,
    weights: str,
    pool: Executor | None,
) -> Measured:
    """Make and measure the pairs that are not done yet; everything lies beside `report`."""
    settings = settings_of(held_out, generator, weights)
    pairs = held_out.names()
    folder = pictures_folder(report)
    claim(folder, settings)
    make_pictures(generator, pairs, folder, held_out, pool)
    results, features = measure(judges, pairs, folder, report, settings, pool)
    return Measured(settings, results, features)


def settings_of(held_out: HeldOutSet, generator: PictureMaker, weights: str) -> dict[str, Any]:
    """What two runs must share for their pictures to belong together."""
    preset, sampling = generator.pipeline.preset, generator.sampling
    fast, regression = find_fast(sampling.fast), generator.regression
    scales = (fast.guidance_scale, sampling.guidance_scale, preset.guidance_scale)
    fast_settings: dict[str, Any] = {}
    if sampling.fast is not None:
        interval = list(fast.guidance_interval)  # as JSON gives it back
        fast_settings["fast"] = {**asdict(fast), "guidance_interval": interval}
    return {
        "weights_sha256": weights,
        "preset": preset.name,
        "size": [preset.height, preset.width],
        "seed": sampling.seed,
        "steps": fast.steps or sampling.steps,
        "guidance_scale": next(scale for scale in scales if scale is not None),
        **fast_settings,
        "methods": list(sampling.methods),
        "dtype": held_out.dtype,
        "people": "rendered" if held_out.data is None else held_out.data.name,
        "split": held_out.split,
        "batch": held_out.batch,
        "oracle_pairs": sampling.oracle_pairs,
        "regression": None if regression is None else regression.people,
        "protocol": WANG_2004.name,
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


# --- pictures -------------------------------------------------------------------------------------


def make_pictures(
    generator: PictureMaker,
    pairs: Sequence[PairName],
    folder: Path,
    held_out: HeldOutSet,
    pool: Executor | None,
) -> None:
    """Pictures of the pairs that have none; rendering runs one batch ahead of sampling.

    A batch of which a pair is missing is made again as a whole, so that a run that was interrupted
    computes exactly what an undisturbed one does.
    """
    preset = generator.pipeline.preset
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
        for pair, shot, pictures in zip(batch, shots, generator(batch, shots), strict=True):
            save_pictures(folder, pair.number, pictures, shot[1])
        bar.update(len(batch))
    bar.close()


# --- figures --------------------------------------------------------------------------------------


def measure(
    judges: Judges,
    pairs: Sequence[PairName],
    folder: Path,
    report: Path,
    settings: Mapping[str, Any],
    pool: Executor | None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """A record a pair, and backbone features [pairs, D] of the methods that every pair has."""
    lines = report.with_suffix(".jsonl")
    head = {"settings": dict(settings), "judges": judges.names, "figures": list(AVERAGED)}
    done = read_results(lines, head)
    todo = [pair for pair in pairs if pair.number not in done]
    with lines.open("a", encoding="utf-8") as file:
        for pair in tqdm(todo, desc="figures", unit="pair", file=sys.stderr):
            pictures, truth = read_pictures(folder, pair.number)
            plain = submit(pool, figures_of_all, pictures, truth)
            judged, features = judges.measure(pictures, truth)
            if features is not None:
                save_features(folder, pair.number, dict(zip(pictures, features, strict=True)))
            figures = {
                name: {key: clean(value) for key, value in (found | judged[name]).items()}
                for name, found in plain.result().items()
            }
            done[pair.number] = {
                "pair": pair.number,
                "identity": pair.identity,
                "views": [pair.source, pair.target],
                "figures": figures,
            }
            file.write(json.dumps(done[pair.number]) + "\n")
            file.flush()
    results = [done[pair.number] for pair in pairs]
    if judges.backbone is None:
        return results, {}
    return results, read_features(folder, pairs, results)


def read_results(path: Path, head: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Results of earlier runs by pair; those of other judges, settings or figures are dropped."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # an interrupted run may have left half a line
    records = [json.loads(line) for line in whole.splitlines()]
    if not records or records[0] != dict(head):
        records, whole = [], json.dumps(dict(head)) + "\n"
    write_text(path, whole)
    return {record["pair"]: record for record in records[1:]}


def save_features(folder: Path, number: int, features: Mapping[str, np.ndarray]) -> None:
    """Backbone features of one pair, method to [D]."""
    arrays: dict[str, Any] = dict(features)
    with atomic_file(folder / f"{number:06d}.features.npz") as file:
        np.savez(file, **arrays)


def read_features(
    folder: Path, pairs: Sequence[PairName], results: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Method to [pairs, D], for methods that every pair has."""
    methods = set(results[0]["figures"])
    for result in results:
        methods &= set(result["figures"])
    rows: dict[str, list[np.ndarray]] = {name: [] for name in methods}
    for pair in pairs:
        with np.load(folder / f"{pair.number:06d}.features.npz") as table:
            for name, found in rows.items():
                found.append(table[name])
    return {name: np.stack(found) for name, found in rows.items()}


def clean(value: float) -> float | None:
    """JSON knows no NaN."""
    return None if math.isnan(value) else value


# --- processes ------------------------------------------------------------------------------------


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
