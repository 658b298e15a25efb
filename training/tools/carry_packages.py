"""Packages for a machine that has PyTorch and no network, in one folder for its PYTHONPATH.

`python -m training.tools.carry_packages --out carried --python 3.12` unpacks wheels for Linux on
x86-64 and leaves out what training never loads. `--without transformers` and the like leaves out
what the machine has. There: `PYTHONPATH=carried python3 -m training.commands.train_mini ...`.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.requirements import Requirement

from pcdm_core.cli import run

PINS = Path(__file__).parents[2] / "requirements-dev.txt"
# Beside torch, numpy, Pillow, scipy, PyYAML, tqdm, safetensors, psutil, regex, requests, packaging.
PACKAGES = (
    "accelerate", "annotated-types", "anyio", "diffusers", "filelock", "h11", "httpcore", "httpx",
    "huggingface-hub", "importlib-metadata", "pydantic", "pydantic-core", "tokenizers",
    "transformers", "typing-extensions", "typing-inspection", "zipp",
)  # fmt: skip
# The pins of older Pythons hold huggingface_hub 1, with which other packages of a machine go on
# working; every later Python takes them.
PINS_FOR = {"python_version": "3.10"}
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PIPELINES = ("diffusers/pipelines/*/", "diffusers/modular_pipelines/*/")
NETWORK_FILES = ("modeling_*.py", "modular_*.py", "convert_*.py", "image_processing_*.py")
MODELS = (
    "auto", "clip", "dinov2", "dinov2_with_registers", "encoder_decoder", "siglip", "vit_mae",
)  # fmt: skip


def pins(packages: Sequence[str]) -> list[str]:
    """`name==version` of each, from the requirements of development.

    Raises:
        ValueError: one is not pinned there.
    """
    versions: dict[str, str] = {}
    for line in PINS.read_text(encoding="utf-8").splitlines():
        if "==" in line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(PINS_FOR):
                versions[pin.name] = str(pin.specifier)
    if unknown := sorted(set(packages) - set(versions)):
        raise ValueError(f"{PINS.name}: {', '.join(unknown)} has no version there.")
    return [name + versions[name] for name in packages]


def command(out: Path, python: str, packages: Sequence[str]) -> list[str]:
    """pip's, which unpacks wheels for another machine."""
    words = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    words += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
    words += [f"--platform={name}" for name in PLATFORMS]
    return [*words, "--target", str(out), *pins(packages)]


def prune(out: Path) -> None:
    """Remove pipelines and networks that training never loads: three quarters of the folder."""
    for pattern in PIPELINES:
        for folder in out.glob(pattern):
            shutil.rmtree(folder)
    for pattern in NETWORK_FILES:
        for path in out.glob(f"transformers/models/*/{pattern}"):
            if path.parent.name not in MODELS:
                path.unlink()


def carry(options: argparse.Namespace) -> None:
    """Make the folder.

    Raises:
        FileExistsError: there is something at its place.
        ValueError: pip could not get the packages.
    """
    if options.out.exists():
        raise FileExistsError(f"{options.out} is there already; give a new folder.")
    packages = [name for name in PACKAGES if name not in options.without]
    if subprocess.run(command(options.out, options.python, packages)).returncode:
        raise ValueError(f"{options.out}: pip failed; its message is above.")
    prune(options.out)
    size = sum(path.stat().st_size for path in options.out.rglob("*") if path.is_file())
    print(f"{options.out}: {size / 2**20:.0f} MiB")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(prog="carry_packages", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--python", default="3.12", help="of that machine (default %(default)s)")
    parser.add_argument("--without", nargs="+", default=[], choices=PACKAGES, metavar="NAME")
    options = parser.parse_args(argv)
    return run(lambda: carry(options), "carry_packages")


if __name__ == "__main__":
    raise SystemExit(main())
