"""The benchmark at full size, as far as it goes without the files: rows, resuming, the table."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.full_size import DOCUMENT, MARKS, PARTS, main, markdown, picture_facts

ROW = {"seconds": 2.0, "processor_seconds": 1.0, "peak_bytes": 3 * 10**9, "result": "fine"}


def test_a_second_call_runs_the_parts_that_have_no_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "figures.json"
    (tmp_path / "ComfyUI" / "models").mkdir(parents=True)
    rows = {name: ROW for name in PARTS if name != "list"}
    file.write_text(json.dumps({"parts": rows}), encoding="utf-8")
    assert main([str(tmp_path), "--json", str(file)]) == 0
    report = json.loads(file.read_text(encoding="utf-8"))
    row = report["parts"].pop("list")
    assert report["parts"] == rows
    assert row["processor_seconds"] > 0
    assert row["peak_bytes"] > 50e6
    printed = capsys.readouterr()
    assert printed.err == "list\n"
    assert "| verify | 2 | 1 | 3.00 | fine |" in printed.out
    assert "guidance 2, bfloat16): fine." in printed.out
    report["parts"].pop("GPU")
    assert "not measured, no GPU was at hand" in markdown(report)


def test_a_part_that_fails_has_no_row(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    rows = {name: ROW for name in PARTS if name != "verify"}
    file.write_text(json.dumps({"parts": rows}), encoding="utf-8")
    assert main([str(tmp_path), "--json", str(file)]) != 0
    assert json.loads(file.read_text(encoding="utf-8"))["parts"] == rows


def test_a_picture_with_a_channel_that_shows_nothing_is_refused(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    assert picture_facts(path).startswith("64x48, at most")
    for value in (128, 255):
        pixels[..., 1] = value
        Image.fromarray(pixels).save(path)
        with pytest.raises(ValueError, match="flat or clipped"):
            picture_facts(path)


def test_the_document_has_the_place_of_the_table() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.index(MARKS[0]) < text.index("| part | s | CPU s |") < text.index(MARKS[1])
