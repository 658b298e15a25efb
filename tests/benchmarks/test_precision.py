"""Half types against fp32: products as on a GPU, and that a run gives whole figures."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks.precision import HalfProducts, main, relative
from tests.core.tiny_pipeline import save_tiny_weights


def test_products_of_halves_are_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 512, generator=generator).half() for _ in range(2))
    convolution = nn.Conv2d(16, 4, 3).half()
    x = torch.randn(1, 16, 8, 8, generator=generator).half()
    exact = a.double() @ b.double().T
    with torch.no_grad(), HalfProducts():
        product, picture = a @ b.T, convolution(x)
    assert product.dtype == picture.dtype == torch.float16
    assert ((product - exact).abs() <= 2**-11 * exact.abs() + 1e-4).all()
    expected = convolution.float()(x.float())
    assert relative(picture, expected) <= 1e-3


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
