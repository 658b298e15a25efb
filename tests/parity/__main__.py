"""`python -m tests.parity DIR`: 0 if all is within tolerance, 1 if not, 2 if DIR is bad."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import torch

from pcdm_core.checkpoints import CheckpointError

from .fixtures import BadFolderError, Fixture, Result, find_fixtures
from .native import compare_native
from .others import compare_encoders, compare_metrics, compare_refusals, compare_skeletons
from .prior import compare_prior
from .stages import compare_inpainting, compare_refining, compare_single_stage

COMPARERS: dict[str, Callable[[Fixture], None]] = {
    "stage1": compare_prior,
    "stage2": compare_inpainting,
    "stage3": compare_refining,
    "simple": compare_single_stage,
    "encoders": compare_encoders,
    "native": compare_native,
    "skeleton": compare_skeletons,
    "metrics": compare_metrics,
    "loader": compare_refusals,
}


def kind_of(fixture: Fixture) -> str:
    """What a fixture is about, by its manifest and not by its folder's name.

    Raises:
        BadFolderError: none of the known kinds.
    """
    manifest = fixture.manifest
    config = manifest.get("config", {})
    unet = config.get("unet", {})
    if not manifest:
        return "loader"
    if "dino_config" in manifest:
        return "encoders"
    if "models" in manifest:
        return "native"
    if "items" in manifest:
        return "skeleton" if all("people" in item for item in manifest["items"]) else "metrics"
    if "additional_embeddings" in config:
        return "stage1"
    if unet.get("class_embed_type") == "projection":
        return "stage2"
    if unet and "image_proj_model_p" in config:
        return "stage3"
    if unet:
        return "simple"
    raise BadFolderError(f"{fixture.path}: its manifest is of no known kind.")


def compare(path: Path) -> Result:
    """Compare one fixture.

    Raises:
        BadFolderError: it lacks something, or is of no known kind.
    """
    fixture = Fixture.open(path) if (path / "manifest.json").is_file() else Fixture(path, {})
    kind = kind_of(fixture)
    try:
        COMPARERS[kind](fixture)
    except (KeyError, TypeError) as error:
        raise BadFolderError(
            f"{path}: its manifest does not fit the kind {kind} ({error!r})."
        ) from error
    if kind not in ("skeleton", "metrics", "loader"):
        for name in fixture.tensors.unused:
            fixture.skip(name)
    return fixture.result


def main(arguments: list[str]) -> int:
    """Compare and print; returns the exit status."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: parity DIR, a folder of reference fixtures or one of them", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    folder = Path(arguments[0])
    results: list[Result] = []
    try:
        for path in find_fixtures(folder):
            results.append(compare(path))
            for entry in results[-1].entries:
                print(entry.line(), flush=True)
    except (BadFolderError, CheckpointError) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    entries = [entry for result in results for entry in result.entries]
    for what in (what for result in results for what in result.not_compared):
        print(f"not compared: {what}")
    if not entries:
        print(f"parity: {folder} holds nothing that can be compared.", file=sys.stderr)
        return 2
    out = [entry for entry in entries if not entry.ok]
    print(f"{len(entries)} compared, {len(out)} out of tolerance")
    return 1 if out else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
