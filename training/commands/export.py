"""`python run.py export RUN`: a trained run as weight files that nodes and `pcdm` load.

Finished parts are copied as they are; of a stage that is still in training the last checkpoint is
taken, with the averaged weights where the run keeps an average.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pcdm_core.checkpoints import build, inspect, save_model
from pcdm_core.checkpoints.files import PART_NAME
from pcdm_core.checkpoints.signatures import CONFIGS, Component
from pcdm_core.checkpoints.write import copy_weights
from pcdm_core.cli import run
from pcdm_core.config import config_from_dict

from ..loop.checkpoints import CheckpointFolder

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}


def trained_state(state: Mapping[str, Any], *, averaged: bool = True) -> dict[str, Tensor]:
    """A stage's tensors from a checkpoint; `averaged` takes the moving average where one is."""
    tensors: dict[str, Tensor] = dict(state["stage"])
    if averaged and state["ema"] is not None:
        tensors.update(zip(state["trained"], state["ema"]["shadow_params"], strict=True))
    return tensors


def export_stage(
    folder: Path,
    out: Path,
    *,
    averaged: bool = True,
    dtype: torch.dtype = torch.float16,
    whole: bool = True,
) -> list[Path]:
    """Write the parts that a stage's last checkpoint holds as `<part>.safetensors`.

    Args:
        whole: one file a part; False makes shards of 24 MB with an index.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: it cannot be read.
    """
    state = CheckpointFolder(folder).load()
    if state is None:
        raise FileNotFoundError(f"{folder}: no checkpoint to export; train this stage first.")
    tensors = trained_state(state, averaged=averaged)
    paths: list[Path] = []
    for name, described in state["components"].items():
        component: Component = name
        config = config_from_dict(CONFIGS[component], described["config"])
        model = build(component, config, "meta")
        prefix = described["prefix"]
        part = {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}
        names = set(model.state_dict())
        model.load_state_dict({k: v for k, v in part.items() if k in names}, assign=True)
        note = {**state["note"], "step": str(state["step"]), "averaged": str(averaged)}
        limit = {"max_shard_bytes": None} if whole else {}
        path = out / f"{component}.safetensors"
        save_model(model, path, stage=component, config=config, dtype=dtype, metadata=note, **limit)
        paths.append(path)
    return paths


def export_run(folder: Path, out: Path, **options: Any) -> list[Path]:
    """Every part of a run: those of its stages' last checkpoints, and what it finished besides.

    Raises:
        FileNotFoundError: the folder holds neither checkpoints nor finished parts.
    """
    inside = sorted(path for path in folder.glob("*") if path.is_dir())
    stages = [path for path in (folder, *inside) if CheckpointFolder(path).every()]
    finished = sorted((folder / "weights").glob("*.safetensors*"))
    if not stages and not finished:
        raise FileNotFoundError(
            f"{folder}: neither checkpoints nor finished weights. Give a run's folder (the --out "
            f"of training), or a stage's folder in it."
        )
    out.mkdir(parents=True, exist_ok=True)
    paths = [path for stage in stages for path in export_stage(stage, out, **options)]
    parts = {path.name.split(".")[0] for path in paths}
    for path in finished:
        if not PART_NAME.fullmatch(path.name) and path.name.split(".")[0] not in parts:
            paths += copy_weights(path, out)
    return paths


def main(arguments: list[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="run.py export", description=__doc__)
    parser.add_argument("run", type=Path, help="a run's folder, or a stage's folder in it")
    parser.add_argument("--out", type=Path, required=True, help="for ComfyUI: models/pcdm/NAME")
    parser.add_argument("--dtype", choices=DTYPES, default="fp16")
    parser.add_argument("--raw", action="store_true", help="the last weights, not the average")
    options = parser.parse_args(arguments)
    return run(lambda: export(options), "export")


def export(options: argparse.Namespace) -> None:
    """Export a run, and name its parts."""
    dtype = DTYPES[options.dtype]
    for path in export_run(options.run, options.out, averaged=not options.raw, dtype=dtype):
        if path.name.endswith(".safetensors") and "-of-" not in path.name:
            file = inspect(path)
            print(f"{path}: {file.component}, {file.parameters:,} parameters")


if __name__ == "__main__":
    raise SystemExit(main())
