"""Whether ComfyUI's Python has the packages that the models need, in the versions they need."""

from __future__ import annotations

from functools import lru_cache
from importlib import metadata
from pathlib import Path

# It comes with transformers, without which ComfyUI itself does not start.
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

FILE = Path(__file__).resolve().parents[1] / "requirements.txt"
OF_MODELS = {"diffusers", "transformers", "safetensors", "pillow"}
"""What every model needs; other packages of the file belong to nodes that name them themselves."""


@lru_cache(maxsize=1)
def unmet() -> str | None:
    """The sentence that says what the models lack, with versions; None where nothing is lacking.

    Only what is missing or too old counts: a newer version than was tried may well work.
    """
    lacks: list[str] = []
    for line in FILE.read_text(encoding="utf-8").splitlines():
        text = line.split("#")[0].strip()
        if not text or (needed := Requirement(text)).name.lower() not in OF_MODELS:
            continue
        version = _installed(needed.name)
        if version is None or not _lower_bound(needed).contains(version, prereleases=True):
            lacks.append(f"{text} (found: {version or 'none'})")
    if not lacks:
        return None
    return (
        f"PCDM's pose nodes work, but its models need {' and '.join(lacks)}; "
        f"see Installing in the README."
    )


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _lower_bound(needed: Requirement) -> SpecifierSet:
    return SpecifierSet(",".join(str(part) for part in needed.specifier if part.operator == ">="))
