"""What a picture size can show: the code's round trip, read by the detector."""

import json
from pathlib import Path

import pytest

pytest.importorskip("skimage", reason="scikit-image is an extra (eval)")

from pcdm_core.pose.detect import has_blazepose
from training.evaluation import resolution_study as sizes


@pytest.mark.skipif(not has_blazepose(), reason="ai-edge-litert is not installed")
def test_the_detector_reads_larger_pictures_better_and_the_table_says_how_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "sizes.json"
    given = ["--sizes", "48x32", "128x88", "--pictures", "4", "--fit", "12"]
    assert sizes.main(["--json", str(output), *given]) == 0
    report = json.loads(output.read_text())
    small, large = report["48x32"], report["128x88"]
    assert (small["latents"], large["latents"]) == (12 * 8, 32 * 22)
    assert small["truth_pck"] < large["truth_pck"] <= 1
    assert 0 <= small["code_pck"] < large["code_pck"]
    assert 0.5 < small["laplacian"] < 1.5
    assert "| 128x88 | 704 |" in capsys.readouterr().out


def test_a_size_that_is_none_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sizes.main(["--json", str(tmp_path / "a.json"), "--sizes", "large"]) == 2
    assert capsys.readouterr().err.startswith("sizes: ")
