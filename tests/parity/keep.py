"""`python -m tests.parity.keep DIR TO`: keep fixtures without their weights, for every clone.

Weights are made again by the rule that their manifest states; here their hashes are noted, so that
a wrong remake is found. How `tests/golden/parity` came about.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from pcdm_core.checkpoints.files import read_state_dict

from . import configs
from .__main__ import kind_of
from .fixtures import Fixture, find_fixtures, rule_hash
from .stages import stage_weights

# The skeletons are kept beside the renderer's tests.
LEFT_OUT = ("skeleton",)
METRICS_KEPT = (1, 2)  # one pair of near-equal pictures and one that differs, 0.6 MB together


def keep_metrics(fixture: Fixture, to: Path) -> None:
    """Some pairs of pictures and their figures."""
    items = [fixture.stated("items")[number] for number in METRICS_KEPT]
    for item in items:
        for name in (item["generated"], item["gt"]):
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(fixture.path / name, to / name)
    manifest = {k: v for k, v in fixture.manifest.items() if k != "mean"}
    text = json.dumps({**manifest, "items": items}, indent=1) + "\n"
    (to / "manifest.json").write_text(text)


def keep(path: Path, to: Path) -> None:
    """Copy one fixture."""
    has_manifest = (path / "manifest.json").is_file()
    fixture = Fixture.open(path) if has_manifest else Fixture(path, {})
    kind = kind_of(fixture)
    if kind in LEFT_OUT:
        return
    to.mkdir(parents=True, exist_ok=True)
    if kind == "metrics":
        keep_metrics(fixture, to)
        return
    for file in sorted(path.iterdir()):
        if file.name == "tensors.safetensors" or file.suffix in (".png", ".pt"):
            shutil.copyfile(file, to / file.name)
    if not has_manifest:
        return
    beside = path.parent
    weights = {
        "weights": stage_weights(fixture),
        "vae": beside / "stage2_vae.safetensors" if kind in ("stage2", "stage3") else None,
        "clip": beside / "encoders" / "clip.safetensors" if kind == "stage1" else None,
        "dino": path / "dino.safetensors" if kind == "encoders" else None,
    }
    states = {
        label: read_state_dict(file).tensors
        for label, file in weights.items()
        if file is not None and file.is_file()
    }
    manifest = dict(fixture.manifest)
    if states:
        manifest["weights_sha256"] = {label: rule_hash(state) for label, state in states.items()}
    if kind == "simple":
        # Its manifest leaves these to the weights, which are not kept.
        config = configs.inpainting(fixture, states["weights"])
        manifest["config"] = {
            **manifest["config"],
            "image_proj_model": {"in_dim": config.patch_dim, "hidden_dim": config.patch_hidden_dim},
            "pose_proj": {"block_out_channels": list(config.pose_channels)},
        }
    text = json.dumps(manifest, indent=1) + "\n"
    (to / "manifest.json").write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> int:
    """Copy every fixture of a folder."""
    if len(arguments) != 2:
        print("usage: python -m tests.parity.keep DIR TO", file=sys.stderr)
        return 2
    folder, to = map(Path, arguments)
    for path in find_fixtures(folder):
        keep(path, to / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
