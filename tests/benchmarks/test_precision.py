"""Half types against fp32: a run gives whole figures."""

import json
from pathlib import Path

import pytest

from benchmarks.precision import main
from tests.core.tiny_pipeline import save_tiny_weights


@pytest.mark.slow
def test_the_command_writes_figures_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_tiny_weights(tmp_path / "weights")
    path = tmp_path / "out" / "precision.json"
    arguments = ["--json", path, "--weights", weights, "--people", 1, "--steps", 2, "--threads", 1]
    assert main([*map(str, arguments), "--types", "bfloat16", "--device", "cpu"]) == 0
    rows = json.loads(path.read_text())["types"]
    assert set(rows) == {"float32", "bfloat16"}
    for stage in ("target_embeds", "coarse", "image"):
        assert rows["float32"][stage] == 0
        assert 1e-5 < rows["bfloat16"][stage] < 0.2
    assert rows["float32"]["ssim"] == 1
    assert rows["bfloat16"]["ssim"] > rows["float32"]["ssim_of_truth"]
    assert "| bfloat16 |" in capsys.readouterr().out
