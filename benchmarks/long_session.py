"""130 prompts of a real ComfyUI in a row, some cancelled and some wrong, as a lab's day has them.

    COMFYUI_PATH=<folder of a ComfyUI> python -m benchmarks.long_session

with a Python that has ComfyUI's requirements. Every good picture has to be equal to the bit to the
first one of its workflow and seed, every wrong prompt has to be refused in words of the pack's or
the host's, and the host may grow by 50 MB at most between the 30th prompt and the last. Run by
hand; docs/host-tests.md keeps the result.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from pcdm_core.picture_files import open_picture
from pcdm_core.ranges import COUNT

from .comfyui import Prompt, comfyui_folder, seeded
from .server import ROOT, Server, running

SETTLED = 30  # prompts, after which the host has loaded and cached what it will
GROWTH = 50.0  # MB from there on
STEPS, CANCELLED_STEPS = 4, 500
SEEDS = 3


class LongSession:
    """Prompts of one server, and what came of them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.process = psutil.Process(server.process_id)
        self.pictures: dict[tuple[str, int, str], str] = {}  # sha256 of the pixels
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        names = ("pcdm_three_stage", "pcdm_ksampler", "pcdm_pose_from_picture")
        folder = ROOT / "workflows" / "api"
        self.graphs: dict[str, Prompt] = {
            name: json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
            for name in names
        }
        self.kinds: tuple[Callable[[int], str], ...] = (
            lambda number: self.draw("pcdm_three_stage", number),
            lambda number: self.cancel("pcdm_three_stage", number),
            lambda number: self.draw("pcdm_ksampler", number),
            lambda number: self.refuse(number, "PCDMPredictTargetEmbedding", seed=-1),
            lambda number: self.draw("pcdm_three_stage", number),
            lambda number: self.refuse(number, "PCDMExamplePerson", person="nobody"),
            lambda number: self.cancel("pcdm_ksampler", number),
            lambda number: self.draw("pcdm_pose_from_picture", number),
            lambda number: self.refuse(number, "PCDMInpaintingSampler", width=77, height=96),
            lambda number: self.refuse(number, "PCDMRefiningSampler", denoise=float("nan")),
        )

    def megabytes(self) -> float:
        """What the host holds in memory."""
        return self.process.memory_info().rss / 1e6

    def prompt(self, number: int) -> str:
        """Queue one and wait for its end; what it was."""
        kind = self.kinds[number % len(self.kinds)](number)
        self.counts[kind] += 1
        return kind

    def draw(self, name: str, number: int) -> str:
        """A good prompt, all of whose pictures are those of its first time."""
        seed = number // len(self.kinds) % SEEDS
        outputs = self.server.run(seeded(self.graphs[name], seed, STEPS))
        for node, output in outputs.items():
            for image in output.get("images", ()):
                with open_picture(io.BytesIO(self.server.picture(image))) as picture:
                    pixels = picture.convert("RGB").tobytes()
                digest = hashlib.sha256(pixels).hexdigest()
                if self.pictures.setdefault((name, seed, node), digest) != digest:
                    self.faults.append(f"prompt {number + 1}: {name}, seed {seed}, node {node}")
                self.counts["pictures"] += 1
        return "drawn"

    def cancel(self, name: str, number: int) -> str:
        """A long prompt, interrupted a little later each time."""
        prompt_id = self.server.queue(seeded(self.graphs[name], 99 + number, CANCELLED_STEPS))
        while not self.server.call("/queue")["queue_running"]:
            time.sleep(0.02)
        time.sleep(0.05 * (number % 60))
        self.server.call("/interrupt", {})
        messages = self.server.wait(prompt_id)["status"]["messages"]
        if "execution_interrupted" not in dict(messages):
            self.faults.append(f"prompt {number + 1}: {messages[-1]} after a cancel")
        return "cancelled"

    def refuse(self, number: int, node: str, **wrong: Any) -> str:
        """A prompt with one wrong value, which has to be refused with a sentence about it."""
        graph = seeded(self.graphs["pcdm_three_stage"], 0, STEPS)
        for one in graph.values():
            if one["class_type"] == node:
                one["inputs"] |= wrong
        said = self.server.failure(graph)
        if not any(name in said for name in wrong):
            self.faults.append(f"prompt {number + 1}: {wrong} was answered by {said[:300]}")
        return "refused"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the memory after every tenth prompt, and what is wrong; 1 where something is."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prompts", type=COUNT.parse, default=130, help="default %(default)s")
    options = parser.parse_args(arguments)
    comfyui = comfyui_folder(parser)
    with tempfile.TemporaryDirectory() as folder, running(comfyui, Path(folder)) as server:
        version = server.call("/system_stats")["system"]["comfyui_version"]
        session = LongSession(server)
        memory: list[float] = []
        for number in range(options.prompts):
            kind = session.prompt(number)
            memory.append(session.megabytes())
            if number % 10 == 9 or session.faults:
                sys.stdout.write(f"{number + 1}: {kind}, {memory[-1]:.0f} MB\n")
                sys.stdout.flush()
    growth = memory[-1] - memory[min(SETTLED, len(memory)) - 1]
    highest = max(memory[SETTLED - 1 :], default=memory[-1])
    if growth > GROWTH:
        session.faults.append(f"grew by {growth:.0f} MB, more than {GROWTH:.0f}")
    counts = ", ".join(f"{count} {kind}" for kind, count in session.counts.items())
    sys.stdout.write(
        f"ComfyUI {version}: {counts}; {growth:+.0f} MB from prompt {SETTLED} to the last, "
        f"highest {highest:.0f} MB\n" + "".join(f"{fault}\n" for fault in session.faults)
    )
    return 1 if session.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
