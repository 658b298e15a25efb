"""Mixed precision: bfloat16 in the network, fp32 in weights, and exact resuming under it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from training.config import StageRun
from training.loop.precision import has_fast_bf16, mixed_precision

from . import workers

pytestmark = pytest.mark.slow  # the processes that all of them read from take seconds

RUN = StageRun(
    steps=40,
    batch_size=8,
    learning_rate=2e-3,
    warmup_steps=0,
    decay_fraction=0.0,
    ema_decay=0.9,
    drop_embeds=0.0,
    max_snr_weight=None,
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """One run in fp32, one in bfloat16, and one in bfloat16 that rested twice."""
    folder = tmp_path_factory.mktemp("precision")
    cases = {"fp32": ("no", ()), "bf16": ("bf16", ()), "rested": ("bf16", (7, 23))}
    team = []
    for name, (precision, rests) in cases.items():
        arguments = (precision, folder / name, RUN, folder / f"{name}.pt", rests)
        team.append(workers.start(workers.train_in, *arguments))
    for process in team:
        process.join()
        assert process.exitcode == 0
    return {name: torch.load(folder / f"{name}.pt", weights_only=True) for name in cases}


def test_bfloat16_learns_as_fp32_does(runs: dict[str, dict[str, Any]]) -> None:
    for name in ("fp32", "bf16"):
        losses = torch.tensor(runs[name]["losses"])
        assert losses[-10:].mean() < 0.8 * losses[:5].mean(), name
    difference = torch.tensor(runs["bf16"]["losses"]) - torch.tensor(runs["fp32"]["losses"])
    assert 0 < difference.abs().max() < 0.1 * runs["fp32"]["losses"][0]
    assert all(weight.dtype == torch.float32 for weight in runs["bf16"]["weights"])


def test_a_resumed_run_in_bfloat16_ends_with_the_same_bits(
    runs: dict[str, dict[str, Any]],
) -> None:
    assert runs["rested"]["losses"] == runs["bf16"]["losses"]
    for part in ("weights", "averages"):
        pairs = zip(runs["rested"][part], runs["bf16"][part], strict=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in pairs), part


@pytest.mark.parametrize(
    ("capability", "fast"),
    [("AVX2", False), ("DEFAULT", False), ("AVX512", True), ("SVE256", True)],
)
def test_bf16_is_left_out_where_a_processor_computes_it_in_software(
    capability: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert has_fast_bf16("cpu") is fast
    assert has_fast_bf16("cuda")
    assert mixed_precision("bf16") == ("bf16" if fast else "no")
    assert mixed_precision("fp16") == "fp16"
    assert mixed_precision("no") == "no"
