"""The benchmark of a training step: both loops, and the count of their operations."""

import json

import pytest

from benchmarks.training_step import main


@pytest.mark.parametrize("stage", ["prior", "inpainting", "refining"])
def test_counting_without_values_finds_the_operations_of_the_real_loops(
    stage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--preset", "test", "--stage", stage, "--batch", "2", "--device", "cpu"]
    assert main([*arguments, "--count"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert main([*arguments, "--rounds", "1"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert counted["limit"] == pytest.approx(measured["ratio_by_counted_flops"], rel=1e-3)
    assert counted["tflop_online"] > counted["tflop_cached"]
    assert measured["ratio"] > 0
    assert measured["ratio_slow_reader"] > 0
