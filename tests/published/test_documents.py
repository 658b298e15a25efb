"""The documents say what the table of files says, and the table is complete."""

import re
from collections.abc import Callable
from typing import get_args

import pytest

from benchmarks.report import replaced
from pcdm_core.checkpoints import build
from pcdm_core.checkpoints.folder import COMPONENTS
from pcdm_core.cli import build_parser
from pcdm_core.presets import PRESETS
from pcdm_core.published.table import PRESET_TITLES, PresetName, files_of, model_files
from tests.hosts import ROOT
from tests.published import workflows
from tests.published.conftest import OF_FULL_SIZE
from tests.published.documents import MARKS, long_table, short_table


@pytest.mark.parametrize(
    ("name", "table"), [("README.md", short_table), ("docs/published.md", long_table)]
)
def test_the_tables_of_the_documents_are_made_of_the_table_of_files(
    name: str, table: Callable[[], str]
) -> None:
    document = (ROOT / name).read_text(encoding="utf-8")
    assert replaced(document, MARKS, table()) == document, "python -m tests.published.documents"


@pytest.mark.parametrize("preset", get_args(PresetName))
def test_the_workflow_of_a_preset_is_made_of_the_table_of_files(preset: PresetName) -> None:
    (workflow,) = (w for w in workflows.published() if w.stem == f"pcdm_{preset}")
    content = workflow.front_end()
    offered = [m for node in content["nodes"] for m in node["properties"].get("models", ())]
    hub = [file for file in files_of(preset) if file.source.hub]
    assert {(m["directory"], m["name"], m["hash"]) for m in offered} == {
        (*file.comfyui.split("/"), file.source.sha256) for file in hub
    }
    note = next(n["widgets_values"][0] for n in content["nodes"] if n["type"] == "MarkdownNote")
    assert all(file.comfyui in note for file in files_of(preset))


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    with pytest.raises(ValueError, match="There is no section <!-- files:"):
        replaced("text", MARKS, "table")


@pytest.mark.parametrize("preset", PRESET_TITLES)
def test_the_table_has_every_part_of_a_preset_once(preset: PresetName) -> None:
    names = [file.component for file in files_of(preset)]
    assert sorted(names) == sorted(names_of(preset))
    assert {file.python for file in files_of(preset)} == {f"{name}.safetensors" for name in names}
    assert len({file.comfyui for file in files_of(preset)}) == len(names)


def names_of(preset: str) -> list[str]:
    return [name for name in COMPONENTS if getattr(PRESETS[preset], name) is not None]


def test_every_row_has_an_address_and_what_is_needed_to_check_it() -> None:
    for source in (source for file in model_files() for source in file.sources):
        assert source.address.startswith("https://")
        assert bool(source.hub) != bool(source.drive_folder)
        assert source.licence
        assert source.size > 0
        assert re.fullmatch(r"([0-9a-f]{64})?", source.sha256)
        assert bool(source.sha256) == bool(source.bytes) == bool(source.hub)


def test_sizes_that_nobody_published_are_those_of_the_networks_in_half_precision() -> None:
    for file in model_files():
        if file.source.bytes is None:
            config = getattr(OF_FULL_SIZE[file.presets[0]], file.component)
            tensors = build(file.component, config, "meta").state_dict().values()
            size = 2 * sum(tensor.numel() for tensor in tensors)
            assert file.source.about_bytes == pytest.approx(size, rel=0.01), file.title


@pytest.mark.parametrize("name", ["README.md", "docs/published.md"])
def test_every_command_of_the_documents_is_one_that_the_program_has(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = re.findall(r"^(?:python -m pcdm_core\.cli|pcdm) (.+)$", text, re.MULTILINE)
    assert lines
    for line in lines:
        build_parser().parse_args(line.split())
    assert capsys.readouterr().err == ""


def test_every_error_that_the_page_explains_is_one_that_the_code_says() -> None:
    text = (ROOT / "docs" / "published.md").read_text(encoding="utf-8")
    section = text.partition("## Troubleshooting")[2].partition("\n## ")[0]
    quotes = re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
    assert len(quotes) >= 10
    code = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("pcdm_core", "nodes")
        for path in (ROOT / folder).rglob("*.py")
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)
    assert not [quote for quote in quotes if quote not in code]
