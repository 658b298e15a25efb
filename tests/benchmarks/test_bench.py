"""The benchmark: what the plain path does, and that a run gives whole figures."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from benchmarks import timing as measuring
from benchmarks.__main__ import main
from benchmarks.memory import peak_bytes, weight_bytes
from benchmarks.published_baseline import AS_PUBLISHED, PlainPath, plain_sample
from benchmarks.report import markdown, marks, write_readme
from benchmarks.timing import StageClock, interleaved
from benchmarks.variants import (
    Arm,
    in_types,
    make_arms,
    noise_case,
    pack_arm,
    ratios,
    run_arms,
)
from pcdm_core.pipeline import PCDMsPipeline
from tests.core.tiny_pipeline import TEST, components, save_tiny_weights
from tests.parity import stages as parity_stages
from tests.parity.__main__ import compare

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
STEPS = 3


# --- the plain path -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["stage1", "stage2", "stage3", "simple"])
def test_the_plain_loop_meets_every_reference_tensor(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[bool] = []

    def watched(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(True)
        return plain_sample(*arguments, **options)

    monkeypatch.setattr(parity_stages, "sample", watched)
    result = compare(GOLDEN / kind)
    assert calls
    assert [entry.line() for entry in result.entries if not entry.ok] == []


def count_calls(parts: dict[str, nn.Module]) -> Counter[str]:
    calls: Counter[str] = Counter()

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, arguments: tuple[Any, ...], __: Any) -> None:
            calls[name] += 1
            calls[f"{name} rows"] += len(arguments[0])

        return hook

    for name, part in parts.items():
        part.register_forward_hook(watch(name))
    for stage in ("inpainting", "refining"):
        first = next(n for n in dict(parts[stage].named_modules()) if n.endswith("attn2.to_k"))
        parts[stage].get_submodule(first).register_forward_hook(watch(f"{stage} keys"))
    return calls


@pytest.mark.parametrize("samples", [1, 4])
def test_the_plain_path_repeats_what_the_scripts_repeat(samples: int) -> None:
    parts = components()
    calls = count_calls(parts)
    picture = PlainPath(TEST, parts)(
        *noise_case(TEST, 1), samples=samples, steps=STEPS, seed=0, callback=StageClock("cpu")
    )
    assert picture.shape == (samples, 3, TEST.height, TEST.width)
    assert calls["patch_encoder"] == 2  # once a script
    assert calls["global_encoder"] == 1
    assert calls["prior rows"] == STEPS  # unguided, as published
    for stage in ("inpainting", "refining"):
        assert calls[stage] == calls[f"{stage} keys"] == STEPS
        assert calls[f"{stage} rows"] == calls[f"{stage} keys rows"] == STEPS * 2 * samples


def test_the_plain_path_draws_noise_in_each_step_where_the_weights_ask_for_it() -> None:
    parts = components()
    draw: dict[str, Any] = {"samples": 1, "steps": STEPS, "callback": StageClock("cpu")}
    before = PlainPath(TEST, parts)(*noise_case(TEST, 1), seed=0, **draw)
    config = parts["inpainting"].config
    schedule = replace(config.schedule, sampler="ddpm_trailing")
    parts["inpainting"].config = replace(config, schedule=schedule)
    after = PlainPath(TEST, parts)(*noise_case(TEST, 1), seed=0, **draw)
    assert after.isfinite().all()
    assert (after - before).abs().max() > 1e-3


def test_on_a_gpu_the_plain_path_has_the_types_of_the_scripts() -> None:
    parts = in_types(components(), AS_PUBLISHED)
    halves = {n for n, p in parts.items() if next(_floats(p)).dtype == torch.float16}
    assert halves == {"inpainting", "autoencoder"}


def _floats(part: nn.Module) -> Any:
    return (t for t in (*part.parameters(), *part.buffers()) if t.is_floating_point())


# --- measuring ------------------------------------------------------------------------------------


def test_peak_memory_counts_what_is_alive_at_the_same_time() -> None:
    def work() -> torch.Tensor:
        a = torch.zeros(1000)
        b = a + 1  # two alive
        del a
        c = b.view(10, 100) + 1  # two again; a view is none
        return c[0]

    assert peak_bytes(work, "cpu") == 2 * 4000


def test_arms_run_in_turn() -> None:
    order: list[str] = []
    times = interleaved({n: lambda n=n: order.append(n) for n in "ab"}, 2, "cpu")
    assert order == ["a", "b", "a", "b"]
    assert {name: len(values) for name, values in times.items()} == {"a": 2, "b": 2}


def arm(name: str, pictures: int, seconds: list[float], poses: int = 1, samples: int = 1) -> Arm:
    about = {"poses": poses, "samples": samples}
    return Arm(name, pictures, about, lambda _: None, 0, seconds, [s / 2 for s in seconds])


def test_ratios_are_of_a_picture_round_by_round_and_their_median() -> None:
    arms = [
        arm("plain", 1, [1.0, 10.0, 1.0]),  # the machine was busy in the second round
        arm("plain, this type", 1, [0.5, 5.0, 0.5]),
        arm("1 pose", 1, [0.25, 2.5, 0.25]),
        arm("4 poses", 4, [0.4, 4.0, 0.8], poses=4),
    ]
    of_plain = ratios(arms)
    assert set(of_plain) == {"plain, this type", "1 pose", "4 poses"}
    assert of_plain["plain, this type"]["median"] == pytest.approx(0.5)
    assert of_plain["1 pose"]["median"] == pytest.approx(0.25)
    assert of_plain["4 poses"]["median"] == pytest.approx(0.1)
    assert of_plain["4 poses"]["most"] == pytest.approx(0.2)
    assert of_plain["4 poses"]["processor"]["median"] == pytest.approx(0.1)


def test_another_type_brings_the_plain_path_in_it_along() -> None:
    options: dict[str, Any] = {
        "device": "cpu", "poses": [1], "samples": [1], "steps": 2,
    }  # fmt: skip
    parts = components()
    same = make_arms(TEST, parts, dtype=torch.float32, **options)
    other = make_arms(TEST, parts, dtype=torch.bfloat16, **options)
    assert [a.name for a in same] == ["plain", "1 pose"]
    assert [a.name for a in other] == ["plain", "plain, this type", "1 pose"]
    assert other[1].weights == other[2].weights < other[0].weights == weight_bytes(parts)


@pytest.mark.slow
def test_compiled_arms_are_compiled_although_memory_is_counted() -> None:
    arms = make_arms(
        TEST,
        components(),
        device="cpu",
        dtype=torch.float32,
        poses=[1],
        samples=[1],
        steps=2,
        compile="eager",
    )
    torch.compiler.reset()
    counters.clear()
    run_arms(arms, 1, "cpu")
    assert counters["stats"]["unique_graphs"] >= 3  # one of each stage
    *others, compiled = [arm.report() for arm in arms]
    assert compiled["name"] == "1 pose, compiled"
    assert compiled["peak_bytes"] is None
    assert all(arm["peak_bytes"] > 0 for arm in others)


# --- the command ----------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_command_writes_figures_and_a_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = save_tiny_weights(tmp_path / "weights")
    path = tmp_path / "out" / "bench.json"
    arguments = ["--json", path, "--weights", weights, "--models", "mini", "--poses", 1, 2]
    arguments += ["--samples", 1, 2, "--steps", 3, "--fast", "4-steps", "latents", "--rounds", 2]
    arguments += ["--threads", 1, "--device", "cpu"]
    assert main(list(map(str, arguments))) == 0
    report = json.loads(path.read_text())
    mini = report["models"]["mini"]
    names = [row["name"] for row in mini["arms"]]
    assert names == [
        "plain", "plain, 2 samples", "1 pose", "2 poses", "1 pose, 2 samples",
        "1 pose, fast preset 4-steps", "1 pose, fast preset latents",
    ]  # fmt: skip
    assert [row["steps"] for row in mini["arms"]] == [3, 3, 3, 3, 3, 4, 3]
    assert set(mini["of_plain"]) == set(names[2:])
    assert mini["of_plain"]["1 pose, 2 samples"]["against"] == "plain, 2 samples"
    for row in mini["arms"]:
        assert set(row["steps_a_second"]) == {"prior", "inpainting", "refining"}
        assert row["processor_seconds_a_picture"] > 0
        assert row["seconds"]["least"] <= row["seconds"]["median"] <= row["seconds"]["most"]
        assert sum(row["stages"].values()) <= row["seconds"]["most"]
        assert row["peak_bytes"] > row["weight_bytes"]
    table = path.with_suffix(".md").read_text()
    assert table in capsys.readouterr().out
    assert table == markdown(report)
    page = readme(tmp_path, "bench")
    write_readme(report, tmp_path)
    assert "| 2 poses | 3 |" in page.read_text()


def readme(folder: Path, *names: str) -> Path:
    path = folder / "README.md"
    sections = "".join("{}\nold\n{}\n".format(*marks(name)) for name in names)
    path.write_text(f"before\n{sections}after\n")
    return path


def test_the_sections_of_the_readme_are_renewed_and_nothing_else(tmp_path: Path) -> None:
    path = readme(tmp_path, "bench", "comfyui")
    row = {"name": "KSampler", "seconds": {"median": 1.0}, "processor_seconds": 1.0}
    ratio = {"median": 1.0625, "least": 1.0, "most": 1.1}
    row |= {"of_python": ratio, "of_python_processor": ratio}
    about = {"machine": measuring.machine("cpu"), "rounds": 3, "steps": 20}
    hosted = {**about, "comfyui": "0.0.1", "rows": [row]}
    for _ in range(2):  # a second time changes nothing
        write_readme(hosted, tmp_path)
        text = path.read_text()
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "1.06 [1.00, 1.10]" in text
        assert text.count("old") == 1  # there were no figures for the other section


def test_a_readme_without_the_markers_is_refused(tmp_path: Path) -> None:
    readme(tmp_path)
    with pytest.raises(ValueError, match="no section <!-- comfyui:"):
        write_readme({"comfyui": "0", "machine": measuring.machine("cpu"), "rows": [],
                      "rounds": 1, "steps": 1}, tmp_path)  # fmt: skip


def test_the_projects_readme_has_both_sections() -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for name in ("bench", "comfyui"):
        assert all(text.count(mark) == 1 for mark in marks(name))


def test_the_machine_is_described_without_its_name() -> None:
    about = measuring.machine("cpu")
    assert {"cores", "cpu", "threads", "torch"} <= set(about)
    assert not {"host", "node", "user"} & set(about)


def test_an_arm_takes_the_rows_in_the_chunks_of_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.variants.CHUNK", 2)
    pipeline = PCDMsPipeline(TEST, **components())
    rows: list[int] = []
    pipeline.inpainting.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[0])))
    clock = StageClock("cpu")
    pictures = pack_arm(pipeline, 0, poses=3, steps=2).run(clock)
    assert set(rows) == {2, 4}  # guided: null and conditional rows
    whole = pipeline(*noise_case(TEST, 3), seed=0, steps=2, chunk=2)
    assert torch.equal(pictures, whole.image)
    assert set(clock.stages) == {"prior", "inpainting", "refining"}


def test_copies_share_no_tensor() -> None:
    parts = components()
    in_types(parts, torch.bfloat16)
    assert next(parts["inpainting"].parameters()).dtype == torch.float32


def test_memory_is_measured_before_time_and_every_round_counts() -> None:
    runs: list[str] = []
    one = Arm("a", 1, {}, lambda clock: runs.append(clock.device), 0)
    run_arms([one], 3, "cpu")
    assert len(runs) == 4
    assert len(one.seconds) == len(one.clocks) == 3
