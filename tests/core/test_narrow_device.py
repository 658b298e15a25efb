"""A device without float64 (Apple's, some of Intel's) makes the pictures that the CPU makes."""

import json
import subprocess
import sys
from pathlib import Path


def test_the_pipeline_brings_no_float64_onto_its_device(root: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.narrow_device"],
        cwd=root,
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stderr[-4000:]
    report = json.loads(result.stdout)
    assert "float64" in report["refuses"]
    assert report["key points"] == ["torch.float32"] * 2
    differences = report["differences"]
    # Resizing goes through 8-bit pixels, where rounding may fall either way.
    assert differences.pop("source's size") < 1.01 / 127.5, report
    assert len(differences) >= 3
    assert max(differences.values()) < 1e-4, report
