"""What the registry's and the community's own checkers say of the archive."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from pcdm_core.published.table import model_files
from tests.registry.conftest import Archive
from tests.registry.object_info import FILE

# Weight files that do not ship: the workflow that names them says where they are to be had.
ABSENT = {file.comfyui.partition("/")[2] for file in model_files()}  # below its folder
ABSENT.add("example.png")  # a picture that every ComfyUI has, in place of the user's own
ABSENT.add("pcdm_person.png")  # web/example_picture.js puts it there
# comfy-test reads no style sheet that is a file of its own: a test below reads it. Nothing else is
# let through.
UNREAD = {("pose_editor/editor.js", "unscoped-css-injection")}


def check(module: str, *arguments: str, folder: Path, home: Path) -> Any:
    """A checker's command, with a home folder of its own, because one writes its settings there."""
    script = f"import sys; from {module} import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        cwd=folder,
        env={**os.environ, "HOME": str(home), "USERPROFILE": str(home), "DO_NOT_TRACK": "1"},
        capture_output=True,
        text=True,
    )


def test_comfy_node_validate_finds_nothing(archive: Archive, tmp_path: Path) -> None:
    options = ("--skip-prompt", "--no-enable-telemetry", "node", "validate")
    result = check("comfy_cli.__main__", *options, folder=archive.folder, home=tmp_path)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said
    assert "All validation checks passed" in said
    assert "warning" not in said.lower(), said


def test_the_scripts_keep_out_of_other_packs_and_the_shared_page(
    archive: Archive, tmp_path: Path
) -> None:
    assert script_findings(archive.folder, tmp_path) <= UNREAD
    pack = tmp_path / "pack"
    shutil.copytree(archive.folder / "web", pack / "web")
    for name in ("__init__.py", "pyproject.toml"):
        shutil.copy(archive.folder / name, pack / name)
    (pack / "web" / "planted.js").write_text("window.planted = 1\n", encoding="utf-8")
    assert "planted.js" in {file for file, _ in script_findings(pack, tmp_path)}


def test_the_style_sheets_speak_of_the_packs_own_elements_alone(archive: Archive) -> None:
    sheets = sorted((archive.folder / "web").rglob("*.css"))
    assert sheets
    for sheet in sheets:
        rules = re.sub(r"/\*.*?\*/", "", sheet.read_text(encoding="utf-8"), flags=re.DOTALL)
        heads = [head.strip() for head in re.findall(r"([^{}]+)\{", rules)]
        selectors = [part.strip() for head in heads if head[0] != "@" for part in head.split(",")]
        assert selectors
        assert not [name for name in selectors if not name.startswith(".pcdm-")], sheet.name


def script_findings(pack: Path, home: Path) -> set[tuple[str, str]]:
    """(file, rule) of everything that comfy-test finds in the scripts, warnings as well."""
    options = ("lint", "--check", "javascript", "--json")
    result = check("comfy_test.cli", *options, folder=pack, home=home)
    report = json.loads(result.stdout)["results"]["javascript"]
    assert "summary" in report, report
    return {(finding["file"], finding["rule"]) for finding in report["findings"]}


def test_the_workflows_fit_the_nodes_of_comfyui(archive: Archive, tmp_path: Path) -> None:
    workflows = sorted((archive.folder / "workflows" / "api").glob("*.json"))
    assert len(workflows) >= 8
    sentences = workflow_findings(workflows, tmp_path)
    absent = [
        name for name in ABSENT for text in sentences if f" {name!r} is not a valid value" in text
    ]
    assert set(absent) == ABSENT
    assert len(absent) == len(sentences), sentences

    broken = tmp_path / "broken.json"
    graph = json.loads(workflows[0].read_text(encoding="utf-8"))
    next(iter(graph.values()))["inputs"]["no_such_input"] = 1
    broken.write_text(json.dumps(graph), encoding="utf-8")
    assert "extraneous-input" in str(workflow_findings([broken], tmp_path))


def workflow_findings(workflows: list[Path], home: Path) -> list[str]:
    """`file node rule message` of everything that comfy-lint finds, warnings as well."""
    options = ("--json", "--strict", "--schema-cache", str(FILE))
    files = map(str, workflows)
    result = check("comfy_lint.cli", *options, *files, folder=home, home=home)
    report = json.loads(result.stdout)
    assert report["summary"]["unreadable"] == 0
    return [
        f"{file['path']} {finding['node_id']} {finding['rule']} {finding['message']}"
        for file in report["files"]
        for finding in file["diagnostics"]
    ]
