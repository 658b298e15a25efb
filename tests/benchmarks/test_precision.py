"""Half types against fp32: what the variants are, and that a run gives whole figures."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from benchmarks.mixed_dtypes import HalfProducts, in_type, norms, variants
from benchmarks.precision import example_people, main, make, relative
from pcdm_core.config import Preset
from tests.core.tiny_pipeline import TEST, components, save_tiny_weights


def types(parts: dict[str, Any]) -> set[torch.dtype]:
    return {p.dtype for part in parts.values() for p in part.parameters()}


def test_products_of_halves_are_rounded_once() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(8, 512, generator=generator).half() for _ in range(2))
    convolution = nn.Conv2d(16, 4, 3).half()
    x = torch.randn(1, 16, 8, 8, generator=generator).half()
    exact = a.double() @ b.double().T
    with torch.no_grad(), HalfProducts():
        found, picture = a @ b.T, convolution(x)
    assert found.dtype == picture.dtype == torch.float16
    assert ((found - exact).abs() <= 2**-11 * exact.abs() + 1e-4).all()
    expected = convolution.float()(x.float())
    assert relative(picture, expected) <= 1e-3


def test_an_island_is_fp32_inside_and_half_outside() -> None:
    parts = in_type(components(), torch.bfloat16)
    assert types(parts) == {torch.bfloat16}
    norms(parts, torch.bfloat16)
    assert types(parts) == {torch.bfloat16, torch.float32}
    norm: Any = next(m for m in parts["inpainting"].modules() if isinstance(m, nn.GroupNorm))
    seen: list[torch.dtype] = []
    norm.register_forward_hook(lambda _, given, out: seen.extend((given[0].dtype, out.dtype)))
    norm(torch.zeros(1, norm.num_channels, 4, 4, dtype=torch.bfloat16))
    assert seen == [torch.float32, torch.bfloat16]


def test_every_variant_differs_from_fp32_and_none_touches_its_weights() -> None:
    preset: Preset = TEST
    parts = components()
    people = example_people(1, preset, "cpu")
    found = variants(preset, parts, torch.bfloat16)
    assert types(parts) == {torch.float32}
    made = {
        name: make(found[name], people, steps=2)
        for name in ("everything", "only prior", "only autoencoder", "all but norms")
    }
    full = make(variants(preset, parts, torch.float32)["everything"], people, steps=2)
    assert full.embeds is not None
    for name, result in made.items():
        assert result.embeds is not None
        assert 1e-5 < relative(result.image, full.image) < 0.2
        error = relative(result.embeds, full.embeds)
        assert error == 0.0 if name == "only autoencoder" else 1e-4 < error < 0.1


def test_the_command_writes_figures_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_tiny_weights(tmp_path / "weights")
    path = tmp_path / "out" / "precision.json"
    given = ["--json", path, "--weights", weights, "--people", 1, "--steps", 2, "--threads", 1]
    assert main([*map(str, given), "--types", "bfloat16", "--device", "cpu"]) == 0
    report = json.loads(path.read_text())
    found = report["types"]["bfloat16"]
    parts = {"prior", "inpainting", "refining", "patch_encoder", "global_encoder"}
    assert {*parts, "autoencoder, encode", "autoencoder, decode"} == set(found["one call"])
    for row in found["one call"].values():
        assert 0 < row["mean"] <= row["largest"] < 0.2
    assert len(found["variants"]) == 10
    for row in found["variants"].values():
        assert 0 < row["pixels"] < 0.5
        assert row["ssim"] > report["float32"]["ssim_of_truth"]
    assert "| everything |" in capsys.readouterr().out
