"""The repository's address stands in one place; a release has addresses, or is refused."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

from tests.hosts import ROOT
from tests.registry.conftest import Archive
from tests.registry.scan import findings

OWN = "https://github.com/someone/pcdm-for-comfyui"
SCRIPT = ROOT / ".github" / "release.py"
WORKFLOW = ROOT / ".github" / "workflows" / "publish.yml"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pcdm_release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load()


@pytest.fixture
def checkout(archive: Archive, tmp_path: Path) -> Path:
    """The archive's folder with the address of an owner."""
    for name in ("pyproject.toml", *release.DOCUMENTS):
        shutil.copy(archive.folder / name, tmp_path / name)
    pyproject = tmp_path / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    address = release.values_of(text, "project.urls")["Repository"]
    pyproject.write_text(text.replace(f'"{address}"', f'"{OWN}"'), encoding="utf-8")
    return tmp_path


def test_every_link_of_a_release_is_an_address_in_the_repository(checkout: Path) -> None:
    release.prepare(checkout, "v1")
    count = 0
    for name in release.DOCUMENTS:
        for target in re.findall(r"\]\(([^)\s]+)\)", (checkout / name).read_text("utf-8")):
            assert "://" in target or target.startswith("#"), f"{name}: {target}"
            if target.startswith(f"{OWN}/"):
                kind, ref, path = target.removeprefix(f"{OWN}/").split("/", 2)
                pictures = ("jpg", "png", "svg")
                assert (kind == "raw") == path.endswith(pictures), target
                assert ref == "v1"
                assert (ROOT / path.split("#")[0]).exists(), f"{name}: {target}"
                count += 1
    assert count >= 8


def test_a_release_names_the_repository_where_a_reader_needs_it(checkout: Path) -> None:
    release.prepare(checkout)
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    assert f"\ngit clone --depth 1 {OWN} custom_nodes/pcdm\n" in readme
    assert "REPOSITORY" not in readme
    assert f"[the repository]({OWN})" in readme.split("\n## ")[0]
    release.prepare(checkout)
    assert (checkout / "README.md").read_text(encoding="utf-8") == readme


def test_icon_banner_and_urls_of_a_release_are_addresses(checkout: Path) -> None:
    release.prepare(checkout)
    text = (checkout / "pyproject.toml").read_text(encoding="utf-8")
    comfy = release.values_of(text, "tool.comfy")
    assert comfy["Icon"] == f"{OWN}/raw/HEAD/docs/pictures/icon.png"
    assert comfy["Banner"] == f"{OWN}/raw/HEAD/docs/pictures/banner.jpg"
    assert release.values_of(text, "project.urls") == {
        "Repository": OWN,
        "Documentation": f"{OWN}/blob/HEAD/docs/nodes.md",
        "Issues": f"{OWN}/issues",
        "Changelog": f"{OWN}/blob/HEAD/CHANGELOG.md",
    }
    assert findings(checkout) == []


def test_no_accelerator_is_declared_because_front_ends_then_warn_on_every_machine() -> None:
    assert '"Environment :: ' not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_icon_and_banner_have_the_sizes_that_the_registry_shows() -> None:
    comfy = release.values_of((ROOT / "pyproject.toml").read_text(encoding="utf-8"), "tool.comfy")
    with Image.open(ROOT / comfy["Icon"]) as icon:
        assert icon.width == icon.height <= 400
    with Image.open(ROOT / comfy["Banner"]) as banner:
        assert banner.width * 9 == banner.height * 21


@pytest.mark.parametrize("address", [release.UNSET, "", "https://example.org/x", f"{OWN}/tree"])
def test_a_release_is_refused_and_nothing_changed_until_the_address_is_set(
    checkout: Path, address: str
) -> None:
    pyproject = checkout / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8").replace(OWN, address)
    pyproject.write_text(text, encoding="utf-8")
    readme = (checkout / "README.md").read_bytes()
    with pytest.raises(release.ReleaseError, match=r"Set it to the address of this repository"):
        release.prepare(checkout)
    assert pyproject.read_text(encoding="utf-8") == text
    assert (checkout / "README.md").read_bytes() == readme


def test_the_command_refuses_in_one_sentence(checkout: Path) -> None:
    script = checkout / ".github" / "release.py"
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pyproject = checkout / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8").replace(f'"{OWN}"', f'"{release.UNSET}"')
    pyproject.write_text(text, encoding="utf-8")
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("release.py: [project.urls] Repository in pyproject.toml is ")
    assert result.stderr.count("\n") == 1


def test_the_address_stands_in_one_place() -> None:
    address = release.values_of((ROOT / "pyproject.toml").read_text("utf-8"), "project.urls")
    names = subprocess.run(
        ["git", "grep", "-lF", address["Repository"]], cwd=ROOT, capture_output=True, text=True
    ).stdout.split()
    assert set(names) <= {"pyproject.toml", ".github/release.py"}


def test_the_workflow_sets_the_addresses_before_it_publishes_and_pins_what_it_uses() -> None:
    text = WORKFLOW.read_text(encoding="utf-8")
    actions = re.findall(r"uses: (\S+)@(\S+)", text)
    assert len(actions) == text.count("uses: ")
    assert not [
        name for name, ref in actions if not re.fullmatch(r"v\d+\.\d+\.\d+|[0-9a-f]{40}", ref)
    ]
    order = ["secrets.REGISTRY_ACCESS_TOKEN", ".github/release.py", "publish-node-action"]
    assert sorted(order, key=text.index) == order
    assert 'skip_checkout: "true"' in text
