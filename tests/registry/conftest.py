"""The archive that `comfy node pack` makes of this checkout."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import ROOT

# What `comfy node pack` does once pyproject.toml is read, with the archive outside the checkout.
PACK = "import sys; from comfy_cli.file_utils import zip_files; zip_files(sys.argv[1])"


@dataclass(frozen=True)
class Archive:
    """The file, and a folder with what is in it."""

    file: Path
    folder: Path

    @property
    def names(self) -> list[str]:
        """Paths of the files in it, with forward slashes."""
        with zipfile.ZipFile(self.file) as archive:
            return archive.namelist()


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """What a version on the registry holds: the tracked files without those of .comfyignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, whose tracked files are what is packed")
    folder = tmp_path_factory.mktemp("archive")
    packed = Archive(folder / "node.zip", folder / "pcdm")
    subprocess.run([sys.executable, "-c", PACK, str(packed.file)], cwd=ROOT, check=True)
    with zipfile.ZipFile(packed.file) as content:
        content.extractall(packed.folder)
    return packed
