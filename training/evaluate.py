"""Measure weights on pairs of people that training never saw.

`python -m training.evaluate --pairs 64 --json out/evaluation.json`. Results of finished pairs lie
beside the JSON file, so that an interrupted or longer run goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pcdm_core.evaluation.metrics import WANG_2004, bootstrap

from .evaluation_cases import (
    FIGURES,
    PairName,
    Shot,
    choose_pairs,
    figures_of,
    shots_of,
)

if TYPE_CHECKING:  # worker processes import this module and need none of it
    from pcdm_core.pipeline import PCDMsPipeline

METHODS = {
    "autoencoder": "round trip of the truth",
    "copy": "copy of the source",
    "coarse_true": "coarse, true embedding",
    "coarse": "coarse, predicted embedding",
    "coarse_null": "coarse, null embedding",
    "refined": "refined",
}
DIFFERENCES = (
    ("coarse", "copy"),
    ("refined", "coarse"),
    ("coarse_true", "coarse"),
    ("coarse", "coarse_null"),
)
SHEET_ROWS = 8


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one sentence on standard error."""
    from pcdm_core.cli import add_sampling_options, run

    parser = argparse.ArgumentParser(
        prog="evaluate", description="Measure weights on pairs of people that training never saw."
    )
    parser.add_argument("--pairs", type=int, default=64, help="how many pairs (default 64)")
    parser.add_argument("--json", type=Path, required=True, help="where the figures go")
    parser.add_argument("--data", type=Path, help="rendered people to use in place of new ones")
    parser.add_argument("--split", default="test", help="of the people (default test)")
    parser.add_argument("--batch", type=int, default=8, help="pairs sampled at once (default 8)")
    parser.add_argument("--workers", type=int, default=1, help="processes that render and measure")
    parser.add_argument("--sheet", type=Path, help="contact sheet of the first pairs (PNG)")
    add_sampling_options(parser)
    options = parser.parse_args(argv)
    return run(lambda: evaluate(options), "evaluate")


def evaluate(options: argparse.Namespace) -> None:
    """Measure the pairs that are not yet measured, then report all."""
    from pcdm_core.cli import load_pipeline

    pipeline = load_pipeline(options)
    settings = _settings(options, pipeline)
    pairs = choose_pairs(options.seed, options.pairs, options.data, options.split)
    lines = options.json.with_suffix(".jsonl")
    lines.parent.mkdir(parents=True, exist_ok=True)
    done = read_results(lines, settings)
    todo = [pair for pair in pairs if pair.number not in done]
    with _workers(options.workers) as pool, lines.open("a", encoding="utf-8") as file:
        for result in measure(pipeline, todo, options, pool):
            done[result["pair"]] = result
            file.write(json.dumps(result) + "\n")
            file.flush()
    results = [done[pair.number] for pair in pairs]
    report = summarise(results, settings)
    temporary = options.json.with_name(f".{options.json.name}.tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, options.json)
    print(table(report))
    print(f"{options.json}")


def _settings(options: argparse.Namespace, pipeline: PCDMsPipeline) -> dict[str, Any]:
    """What two runs must share to be one."""
    from pcdm_core.checkpoints import shipped_weights

    folder = shipped_weights() if options.weights is None else options.weights
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    preset = pipeline.preset
    guidance = options.guidance_scale
    return {
        "weights_sha256": digest.hexdigest(),
        "preset": preset.name,
        "size": [preset.height, preset.width],
        "seed": options.seed,
        "steps": options.steps,
        "guidance_scale": preset.guidance_scale if guidance is None else guidance,
        "dtype": options.dtype,
        "people": "rendered" if options.data is None else options.data.name,
        "split": options.split,
        "protocol": WANG_2004.name,
    }


def read_results(path: Path, settings: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
    """Results of earlier runs by pair; a new file gets the settings as its first line.

    Raises:
        ValueError: the file was made with other settings.
    """
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]  # an interrupted run may have left half a line
    records = [json.loads(line) for line in whole.splitlines()]
    if records and records[0] != {"settings": dict(settings)}:
        changed = [k for k, v in settings.items() if records[0].get("settings", {}).get(k) != v]
        raise ValueError(
            f"{path} holds results of another run ({', '.join(changed)} differ). "
            f"Name another --json, or delete the file."
        )
    if not records:
        whole = json.dumps({"settings": dict(settings)}) + "\n"
    path.write_text(whole, encoding="utf-8")
    return {record["pair"]: record for record in records[1:]}


def measure(
    pipeline: PCDMsPipeline,
    pairs: Sequence[PairName],
    options: argparse.Namespace,
    pool: Executor | None,
) -> Iterator[dict[str, Any]]:
    """The results of pairs, in order; rendering runs one batch ahead of sampling."""
    from tqdm import tqdm

    preset = pipeline.preset
    batches = [pairs[k : k + options.batch] for k in range(0, len(pairs), options.batch)]
    common = (options.data, options.split, (preset.height, preset.width))

    def render(batch: Sequence[PairName]) -> list[Future[tuple[Shot, Shot]]]:
        return [_submit(pool, shots_of, pair, *common) for pair in batch]

    bar = tqdm(total=len(pairs), desc="pairs", unit="pair", file=sys.stderr)
    ahead = render(batches[0]) if batches else []
    for number, batch in enumerate(batches):
        shots = [future.result() for future in ahead]
        ahead = render(batches[number + 1]) if number + 1 < len(batches) else []
        pictures = generate(pipeline, batch, shots, options)
        if number == 0 and options.sheet is not None:
            write_sheet(options.sheet, pipeline, shots, pictures)
        figures = [
            {name: _submit(pool, figures_of, rows[row], target) for name, rows in pictures.items()}
            for row, (_, target) in enumerate(shots)
        ]
        for pair, futures in zip(batch, figures, strict=True):
            bar.update()
            yield {
                "pair": pair.number,
                "identity": pair.identity,
                "views": [pair.source, pair.target],
                "figures": {name: future.result() for name, future in futures.items()},
            }
    bar.close()


def generate(
    pipeline: PCDMsPipeline,
    batch: Sequence[PairName],
    shots: Sequence[tuple[Shot, Shot]],
    options: argparse.Namespace,
) -> dict[str, np.ndarray]:
    """Pictures uint8 [B, H, W, 3] of every method; a pair's noise is its own in any batch."""
    import torch

    from pcdm_core import images
    from pcdm_core.pose.keypoints import Keypoints

    def stack(index: int) -> np.ndarray:
        return np.stack([pair[index].picture for pair in shots])

    def poses(index: int) -> Keypoints:
        height, width = shots[0][index].mask.shape
        xy = torch.from_numpy(np.stack([pair[index].xy for pair in shots]))
        found = torch.from_numpy(np.stack([pair[index].found for pair in shots]))
        return Keypoints.from_pixels(xy, found, height, width)

    truth = images.from_uint8(stack(1)).to(pipeline.device)
    results = {"copy": stack(0)}
    sampling: dict[str, Any] = {
        "seed": [options.seed * 1_000_003 + pair.number for pair in batch],
        "steps": options.steps,
    }
    guidance: dict[str, Any] = {**sampling, "guidance_scale": options.guidance_scale}
    with torch.no_grad():
        latents = pipeline.autoencoder.encode(truth.to(pipeline.dtype))
        results["autoencoder"] = images.to_uint8(pipeline.autoencoder.decode(latents))
        features = pipeline.encode_source(images.from_uint8(stack(0)))
        embeds = {"coarse": pipeline.predict_embedding(features, poses(0), poses(1), **sampling)}
        if pipeline.global_encoder is not None:
            pixels = pipeline.global_encoder.pixels(truth).to(pipeline.dtype)
            embeds["coarse_true"] = pipeline.global_encoder(pixels)
            embeds["coarse_null"] = torch.zeros_like(embeds["coarse_true"])
        coarse = {
            name: pipeline.inpaint(features, poses(0), poses(1), embed, **guidance)
            for name, embed in embeds.items()
        }
        results |= {name: images.to_uint8(rows) for name, rows in coarse.items()}
        if pipeline.refining is not None:
            refined = pipeline.refine(features, coarse["coarse"], **guidance)
            results["refined"] = images.to_uint8(refined)
    return {name: results[name] for name in METHODS if name in results}


def write_sheet(
    path: Path,
    pipeline: PCDMsPipeline,
    shots: Sequence[tuple[Shot, Shot]],
    pictures: Mapping[str, np.ndarray],
) -> None:
    """A contact sheet of the first pairs, one a row."""
    import torch
    from PIL import Image

    from pcdm_core import images
    from pcdm_core.pose.keypoints import Keypoints
    from pcdm_core.pose.render import render_pose
    from pcdm_core.sheet import contact_sheet

    rows: list[list[Image.Image]] = []
    shown = [name for name in ("coarse_true", "coarse", "refined") if name in pictures]
    for number, (source, target) in enumerate(shots[:SHEET_ROWS]):
        height, width = target.mask.shape
        pose = Keypoints.from_pixels(
            torch.from_numpy(target.xy), torch.from_numpy(target.found), height, width
        )
        # Larger than the models see it: lines have one width in pixels at every size.
        skeleton = render_pose(pose, 3 * height, 3 * width)
        row = [Image.fromarray(source.picture), *images.to_pil(skeleton)]
        row += [Image.fromarray(pictures[name][number]) for name in shown]
        rows.append([*row, Image.fromarray(target.picture)])
    columns = ["Source", "Target pose", *(METHODS[name].capitalize() for name in shown), "Truth"]
    title = f"Unseen people, preset {pipeline.preset.name}"
    images.save_picture(images.as_picture(contact_sheet([], columns, rows, title=title)), path)


def summarise(results: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Means with 95 % intervals over people, of each method and of paired differences."""
    groups = [result["identity"] for result in results]

    def values(method: str, figure: str) -> np.ndarray:
        return np.array([result["figures"][method][figure] for result in results])

    def interval(numbers: np.ndarray) -> list[float] | None:
        if np.isnan(numbers).all():
            return None
        found = bootstrap(numbers, groups=groups)
        return [found.mean, found.low, found.high]

    methods = [name for name in METHODS if name in results[0]["figures"]]
    return {
        "settings": dict(settings),
        "pairs": len(results),
        "people": len(set(groups)),
        "methods": {
            name: {figure: interval(values(name, figure)) for figure in FIGURES} for name in methods
        },
        "differences": {
            f"{a} - {b}": {f: interval(values(a, f) - values(b, f)) for f in FIGURES}
            for a, b in DIFFERENCES
            if a in methods and b in methods
        },
    }


def table(report: Mapping[str, Any]) -> str:
    """The report as aligned text: mean [low, high]."""
    heads = ("SSIM", "PSNR", "SSIM person", "PSNR person", "colour")

    def cells(row: Mapping[str, Sequence[float] | None]) -> Iterator[str]:
        for figure in FIGURES:
            found = row[figure]
            digits = 3 if figure.startswith("ssim") else 2
            yield (
                "-" if found is None else "{0:.{3}f} [{1:.{3}f}, {2:.{3}f}]".format(*found, digits)
            )

    lines = [("", *heads)]
    lines += [(METHODS[name], *cells(row)) for name, row in report["methods"].items()]
    lines += [(name, *cells(row)) for name, row in report["differences"].items()]
    widths = [max(len(line[k]) for line in lines) for k in range(len(heads) + 1)]
    text = ["  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in lines]
    settings = report["settings"]
    head = (
        f"{report['pairs']} pairs of {report['people']} people ({settings['split']}), "
        f"preset {settings['preset']}, {settings['steps']} steps, guidance "
        f"{settings['guidance_scale']}, seed {settings['seed']}; {settings['protocol']}; "
        f"mean [95 % interval]; person = inside the target's mask; colour = CIE76, lower is better"
    )
    return "\n".join([head, *(line.rstrip() for line in text)])


def _workers(count: int) -> AbstractContextManager[Executor | None]:
    if count <= 1:
        return nullcontext()
    # Workers inherit the environment: one thread each, or they fight for the cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))


def _submit(pool: Executor | None, function: Any, *arguments: Any) -> Future[Any]:
    if pool is not None:
        return pool.submit(function, *arguments)
    future: Future[Any] = Future()
    future.set_result(function(*arguments))
    return future


if __name__ == "__main__":
    sys.exit(main())
