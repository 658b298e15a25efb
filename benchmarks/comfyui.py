"""How long the shipped workflows take in a real ComfyUI, beside the Python pipeline.

    COMFYUI_PATH=<folder of a ComfyUI> python -m benchmarks.comfyui --json FILE

with a Python that has ComfyUI's requirements. A server of its own runs the workflows over HTTP;
this process draws the same person in the same pose with the pipeline, in turn with them. Every run
has another seed, so the server's cache gives the loaded models and the example person alone. A
workflow's seconds are its own account of them, from the start to the end of a run. Each workflow is
measured up to the refined picture, and as it ships, with further pictures that are shown, four
times enlarged and written to files.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

from pcdm_core.demo import EXAMPLES
from pcdm_core.files import write_text
from pcdm_core.images import load_picture
from pcdm_core.pipeline import PCDMsPipeline
from pcdm_core.pose.formats import read_pose
from pcdm_core.ranges import COUNT

from .report import host_table, write_readme
from .server import ROOT, Server, running
from .timing import machine, spread

COMFYUI = "COMFYUI_PATH"
PYTHON = "Python pipeline"
WORKFLOWS = {
    "pcdm_three_stage": "sampler nodes (pcdm_three_stage)",
    "pcdm_ksampler": "KSampler (pcdm_ksampler)",
}
Prompt = dict[str, dict[str, Any]]


@dataclass
class Way:
    """One way to the picture: makes it under a seed, and gives seconds and processor seconds."""

    name: str
    run: Callable[[int], tuple[float, float]]
    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def round(self, seed: int) -> None:
        """One timed run."""
        seconds, processor = self.run(seed)
        self.seconds.append(seconds)
        self.processor.append(processor)


def cut(graph: Prompt, enlarged: str = "Refined") -> Prompt:
    """The nodes that a workflow's refined picture needs, with the picture shown at its own size."""
    (preview,) = (n for n in graph.values() if n.get("_meta", {}).get("title") == enlarged)
    picture = graph[preview["inputs"]["images"][0]]["inputs"]["image"]
    nodes: Prompt = {}
    waiting = [picture[0]]
    while waiting:
        key = waiting.pop()
        nodes[key] = graph[key]
        links = [value for value in graph[key]["inputs"].values() if isinstance(value, list)]
        waiting += [link[0] for link in links if link[0] not in nodes]  # type: ignore[index]
    return {**nodes, "last": {"class_type": "PreviewImage", "inputs": {"images": picture}}}


def seeded(graph: Prompt, seed: int, steps: int) -> Prompt:
    """The same with another seed, which no cache knows."""

    def change(node: dict[str, Any]) -> dict[str, Any]:
        new = {"seed": seed, "steps": steps}
        inputs = {key: new.get(key, value) for key, value in node["inputs"].items()}
        return {**node, "inputs": inputs}

    return {key: change(node) for key, node in graph.items()}


def workflow_way(server: Server, name: str, graph: Prompt, steps: int) -> Way:
    """A workflow in the host."""
    process = psutil.Process(server.process_id)

    def processor() -> float:
        times = process.cpu_times()
        return times.user + times.system

    def run(seed: int) -> tuple[float, float]:
        before = processor()
        status = server.wait(server.queue(seeded(graph, seed, steps)))["status"]
        if status["status_str"] != "success":
            raise RuntimeError(f"{name} failed in the host: {status}")
        times = {kind: data["timestamp"] for kind, data in status["messages"]}
        seconds = (times["execution_success"] - times["execution_start"]) / 1000
        return seconds, processor() - before

    return Way(name, run)


def python_way(person: Mapping[str, str], steps: int) -> Way:
    """The same person and pose by the pipeline; the source is encoded in every run."""
    pipeline = PCDMsPipeline.from_folder()
    folder = EXAMPLES / person["person"]
    files = [folder / f"{int(person[view]):02d}.png" for view in ("source_view", "target_view")]
    source = load_picture(files[0])
    source_pose, target_pose = (read_pose(file.with_suffix(".json")) for file in files)

    def run(seed: int) -> tuple[float, float]:
        start, before = time.perf_counter(), time.process_time()
        pipeline(source, source_pose, target_pose, seed=seed, steps=steps)
        return time.perf_counter() - start, time.process_time() - before

    return Way(PYTHON, run)


def measure(server: Server, workflows: Sequence[str], rounds: int, steps: int) -> list[Way]:
    """All ways in turn, round after round, after one run of each that is not counted."""
    ways: list[Way] = []
    person: dict[str, str] = {}
    for name in workflows:
        path = ROOT / "workflows" / "api" / f"{name}.json"
        graph: Prompt = json.loads(path.read_text(encoding="utf-8"))
        (person,) = (n["inputs"] for n in graph.values() if n["class_type"] == "PCDMExamplePerson")
        ways.append(workflow_way(server, WORKFLOWS[name], cut(graph), steps))
        ways.append(workflow_way(server, f"{WORKFLOWS[name]}, as it ships", graph, steps))
    ways = [python_way(person, steps), *ways]
    for seed in range((rounds + 1) * len(ways)):  # equal nodes of two workflows share the cache
        way = ways[seed % len(ways)]
        (way.run if seed < len(ways) else way.round)(seed)
    return ways


def summary(ways: Sequence[Way]) -> list[dict[str, Any]]:
    """Medians; ratios to the pipeline are medians of the rounds' ratios."""
    (python,) = (way for way in ways if way.name == PYTHON)

    def ratio(mine: list[float], theirs: list[float]) -> dict[str, float]:
        return spread([a / b for a, b in zip(mine, theirs, strict=True)])

    return [
        {
            "name": way.name,
            "seconds": spread(way.seconds),
            "processor_seconds": statistics.median(way.processor),
            "of_python": ratio(way.seconds, python.seconds),
            "of_python_processor": ratio(way.processor, python.processor),
        }
        for way in ways
    ]


def comfyui_folder(parser: argparse.ArgumentParser) -> Path:
    """What COMFYUI_PATH names, or the command's error."""
    folder = Path(os.environ.get(COMFYUI) or "nowhere").resolve()
    if not (folder / "comfy" / "samplers.py").is_file():
        parser.error(f"{COMFYUI} has to name the folder of a ComfyUI; there is none at {folder}")
    return folder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a table; with --json write the figures too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--readme", action="store_true", help="regenerate the table in README.md")
    parser.add_argument("--workflows", nargs="+", choices=WORKFLOWS, default=list(WORKFLOWS))
    parser.add_argument("--steps", type=COUNT.parse, default=20, help="of every stage (default 20)")
    parser.add_argument("--rounds", type=COUNT.parse, default=7, help="timed runs of every way")
    parser.add_argument(
        "--threads", type=COUNT.parse, default=os.cpu_count(), help="of both processes"
    )
    parser.add_argument("--host-options", default="", help="further arguments of ComfyUI's")
    options = parser.parse_args(arguments)
    comfyui = comfyui_folder(parser)
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    torch.set_num_threads(options.threads)
    host_options = options.host_options.split()
    with (
        tempfile.TemporaryDirectory() as folder,
        running(comfyui, Path(folder), options=host_options) as server,
    ):
        version = server.call("/system_stats")["system"]["comfyui_version"]
        ways = measure(server, options.workflows, options.rounds, options.steps)
    report: dict[str, Any] = {"machine": machine("cpu"), "comfyui": version, "rows": summary(ways)}
    report |= {"host_options": host_options, "steps": options.steps, "rounds": options.rounds}
    if options.json is not None:
        write_text(options.json, json.dumps(report, indent=1) + "\n")
    if options.readme:
        write_readme(report)
    sys.stdout.write(f"ComfyUI {version}\n\n{host_table(report)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
