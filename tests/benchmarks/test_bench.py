"""The benchmark: what the plain path does, and that a run gives whole figures."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from benchmarks import timing as measuring
from benchmarks.__main__ import main
from benchmarks.inputs import copies, noise_case, weight_bytes
from benchmarks.one_step import measure_steps
from benchmarks.plot import curve_of, drawing
from benchmarks.published_baseline import AS_PUBLISHED, PlainPath, Types, plain_sample
from benchmarks.readme import PLOT, marks, was_busy, write_readme
from benchmarks.report import markdown
from benchmarks.timing import StageClock, interleaved, peak_bytes
from benchmarks.variants import Arm, make_arms, ratios, run_arms, run_pack
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.speed import find_fast
from tests.core.tiny_pipeline import TEST, components, save_tiny_weights
from tests.parity import stages as parity_stages
from tests.parity.__main__ import compare

GOLDEN = Path(__file__).parents[1] / "golden" / "parity"
STEPS = 3


# --- the plain path -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["stage1", "stage2", "stage3", "simple"])
def test_the_plain_loop_meets_every_reference_tensor(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    used: list[bool] = []

    def watched(*given: Any, **options: Any) -> torch.Tensor:
        used.append(True)
        return plain_sample(*given, **options)

    monkeypatch.setattr(parity_stages, "sample", watched)
    result = compare(GOLDEN / kind)
    assert used
    assert [entry.line() for entry in result.entries if not entry.ok] == []


def count_calls(parts: dict[str, nn.Module]) -> Counter[str]:
    calls: Counter[str] = Counter()

    def watch(name: str) -> Callable[..., None]:
        def hook(_: nn.Module, given: tuple[Any, ...], __: Any) -> None:
            calls[name] += 1
            calls[f"{name} rows"] += len(given[0])

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
    case = noise_case(TEST, 1)
    picture = PlainPath(TEST, parts)(
        case.source, case.source_pose, case.targets,
        samples=samples, steps=STEPS, seed=0, clock=StageClock("cpu"),
    )  # fmt: skip
    assert picture.shape == (samples, 3, TEST.height, TEST.width)
    assert calls["patch_encoder"] == 2  # once a script
    assert calls["global_encoder"] == 1
    assert calls["prior rows"] == STEPS  # unguided, as published
    for stage in ("inpainting", "refining"):
        assert calls[stage] == calls[f"{stage} keys"] == STEPS
        assert calls[f"{stage} rows"] == calls[f"{stage} keys rows"] == STEPS * 2 * samples


def test_on_a_gpu_the_plain_path_has_the_types_of_the_scripts() -> None:
    parts = AS_PUBLISHED.apply(components())
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
    found = ratios(arms)
    assert found["of_plain"]["1 pose"]["median"] == pytest.approx(0.25)
    assert found["of_plain"]["4 poses"]["median"] == pytest.approx(0.1)
    assert found["of_plain"]["4 poses"]["most"] == pytest.approx(0.2)
    assert found["of_plain"]["4 poses"]["processor"]["median"] == pytest.approx(0.1)
    assert found["precision_alone"]["share_of_gain"] == pytest.approx(0.5)


def test_without_another_type_precision_has_no_share() -> None:
    found = ratios([arm("plain", 1, [1.0]), arm("1 pose", 1, [0.5])])
    assert found["precision_alone"]["share_of_gain"] == 0.0


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


def test_half_precision_and_compiled_networks_are_arms_beside_one_pose() -> None:
    options: dict[str, Any] = {
        "dtype": torch.float32, "device": "cpu", "poses": [1], "samples": [1], "steps": 2,
    }  # fmt: skip
    parts = components()
    half = make_arms(TEST, parts, half=torch.bfloat16, **options)
    both = make_arms(TEST, parts, half=torch.bfloat16, compile=True, **options)
    assert [a.name for a in half] == ["plain", "1 pose", "1 pose, bfloat16"]
    assert [a.name for a in both[2:]] == [
        "1 pose, compiled",
        "1 pose, bfloat16",
        "1 pose, bfloat16, compiled",
    ]
    assert half[2].about["type"] == "bfloat16"
    assert half[2].weights < half[1].weights
    assert half[2].run(StageClock("cpu")) is not None


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


def test_one_step_of_each_stage_is_measured_on_both_paths() -> None:
    rows = {row["stage"]: row for row in measure_steps(TEST, 1)}
    assert set(rows) == {"prior", "inpainting", "refining"}
    for row in rows.values():
        # A step does the same work; the sampler's own sums differ.
        assert row["tflop"]["pack"] == pytest.approx(row["tflop"]["plain"], rel=1e-3)
        assert row["peak_bytes"]["plain"] > row["weight_bytes"] > 0


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_figures_a_table_and_a_plot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.__main__.sized", lambda *_: TEST)
    weights = save_tiny_weights(tmp_path / "weights")
    path = tmp_path / "out" / "bench.json"
    given = ["--json", path, "--weights", weights, "--poses", 1, 2, "--samples", 1, 2]
    given += [
        "--steps",
        3,
        "--fast",
        "4-steps",
        "latents",
        "--rounds",
        2,
        "--threads",
        1,
        "--device",
        "cpu",
    ]
    assert main(list(map(str, given))) == 0
    report = json.loads(path.read_text())
    mini = report["models"]["mini"]
    names = [found["name"] for found in mini["arms"]]
    assert names == [
        "plain", "plain, 2 samples", "1 pose", "2 poses", "1 pose, 2 samples",
        "1 pose, fast preset 4-steps", "1 pose, fast preset latents",
    ]  # fmt: skip
    assert [found["steps"] for found in mini["arms"]] == [3, 3, 3, 3, 3, 4, 3]
    assert set(mini["of_plain"]) == set(names[2:])
    assert mini["of_plain"]["1 pose, 2 samples"]["against"] == "plain, 2 samples"
    for found in mini["arms"]:
        assert set(found["steps_a_second"]) == {"prior", "inpainting", "refining"}
        assert found["processor_seconds_a_picture"] > 0
        assert found["seconds"]["least"] <= found["seconds"]["median"] <= found["seconds"]["most"]
        assert sum(found["stages"].values()) <= found["seconds"]["most"]
        assert found["peak_bytes"] > found["weight_bytes"]
    assert report["models"]["published"]["one_step"]
    table = path.with_suffix(".md").read_text()
    assert table in capsys.readouterr().out
    assert "one step of each stage" in table
    assert table == markdown(report)
    page = readme(tmp_path, "bench")
    write_readme([report], tmp_path)
    shown = page.read_text()
    assert "| 2 poses | 3 |" in shown
    assert "one step of each stage" in shown
    assert str(PLOT) in shown
    assert (tmp_path / PLOT).read_text() == drawing(report["models"])
    assert path.with_suffix(".svg").read_text() == drawing(report["models"])


def whole(**seconds: float) -> dict[str, Any]:
    """A model's part of a report: the plain path takes 2 s, the others what is said."""
    arms = [{"name": "plain", "seconds_a_picture": 2.0}]
    for name, value in seconds.items():
        kind, _, count = name.partition("_")
        about = {"samples": 1, "fast": kind if kind == "fast" else None}
        about["note"] = ", bfloat16" if kind == "half" else ""
        arms.append({"name": name, "poses": int(count or 1), "seconds_a_picture": value, **about})
    ratios = {name: {"median": value / 2} for name, value in seconds.items()}
    return {"one_step": False, "size": "8x8", "arms": arms, "of_plain": ratios}


def test_single_steps_alone_make_no_plot() -> None:
    assert drawing({"published": {"one_step": True}}) is None


def test_the_plot_shows_seconds_by_poses_and_every_ratio() -> None:
    model = whole(poses_1=1.5, poses_16=0.5, fast=0.25, half=0.5)
    assert curve_of(model) == [(1, 1.5), (16, 0.5)]
    drawn = drawing({"mini": model})
    assert drawn is not None
    tree = ElementTree.fromstring(drawn)
    told = [text.text for text in tree.iter() if text.tag.endswith("text")]
    assert {"mini, 8x8: seconds a picture", "1.50", "0.50", "plain path 2.00"} <= set(told)
    bars = [float(r.attrib["width"]) for r in tree.iter() if r.attrib.get("height") == "16"]
    assert [round(bar / bars[0], 3) for bar in bars] == [1.0, 0.75, 0.25, 0.125, 0.25]
    places = [float(c.attrib["cy"]) for c in tree.iter() if c.tag.endswith("circle")]
    assert places[0] < places[1]  # less time lies lower


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
        write_readme([hosted], tmp_path)
        text = path.read_text()
        assert text.startswith("before\n")
        assert text.endswith("after\n")
        assert "1.06 [1.00, 1.10]" in text
        assert text.count("old") == 1  # there were no figures for the other section
    assert not (tmp_path / PLOT).exists()


@pytest.mark.parametrize(("clock", "busy"), [(1.1, False), (3.0, True)])
def test_times_taken_on_a_busy_machine_are_known(clock: float, busy: bool) -> None:
    arm = {"seconds_a_picture": clock, "processor_seconds_a_picture": 1.0}
    models = {"mini": {"one_step": False, "arms": [arm]}, "published": {"one_step": True}}
    assert was_busy({"machine": measuring.machine("cpu"), "models": models}) is busy


def test_a_readme_without_the_markers_is_refused(tmp_path: Path) -> None:
    readme(tmp_path)
    with pytest.raises(ValueError, match="no section 'comfyui'"):
        write_readme([{"comfyui": "0", "machine": measuring.machine("cpu"), "rows": [],
                       "rounds": 1, "steps": 1}], tmp_path)  # fmt: skip


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
    counted = pipeline.inpaint_latents

    def watched(features: Any, source: Any, target: Any, *given: Any, **options: Any) -> Any:
        rows.append(len(target))
        return counted(features, source, target, *given, **options)

    monkeypatch.setattr(pipeline, "inpaint_latents", watched)
    common: dict[str, Any] = {"poses": 3, "samples": 1, "steps": 2, "fast": find_fast(None)}
    clock = StageClock("cpu")
    pictures = run_pack(pipeline, clock, **common)
    assert sorted(rows) == [1, 2]
    case = noise_case(TEST, 3)
    whole = pipeline(case.source, case.source_pose, case.targets, seed=0, steps=2, chunk=2)
    assert torch.equal(pictures, whole.image)
    assert set(clock.parts) == {"source", "prior", "inpainting", "refining"}


def test_copies_share_no_tensor() -> None:
    parts = components()
    other = copies(parts)
    Types.all_in(torch.bfloat16).apply(other)
    assert next(parts["inpainting"].parameters()).dtype == torch.float32


def test_memory_is_measured_before_time_and_every_round_counts() -> None:
    seen: list[str] = []
    one = Arm("a", 1, {}, lambda clock: seen.append(clock.device), 0)
    run_arms([one], 3, "cpu")
    assert len(seen) == 4
    assert len(one.seconds) == len(one.clocks) == 3
