"""What every benchmark measures with: time, counted operations, and the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode


def wait_for(device: str) -> None:
    """Return when the device's queue is empty."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: str) -> float:
    """Wall-clock time of one call, the device's queue included."""
    wait_for(device)
    start = time.perf_counter()
    work()
    wait_for(device)
    return time.perf_counter() - start


def flops(work: Callable[[], object]) -> int:
    """Counted floating-point operations of a call (a multiplication with its sum is two)."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def interleaved(
    works: Mapping[str, Callable[[], object]], rounds: int, device: str
) -> dict[str, list[float]]:
    """Seconds of each work in each round; all in turn, so that a busy machine slows every one."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(seconds(work, device))
    return times


class StageClock:
    """A `callback` of one run: seconds of its stages, and of the steps of their loops.

    A stage lasts from the last step of the stage before it to its own last step; encoding and
    decoding count for the stage that begins with them.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.stages: dict[str, float] = {}
        self.steps_a_second: dict[str, float] = {}
        wait_for(device)
        self._end = self._first = time.perf_counter()

    def __call__(self, stage: str, done: int, steps: int) -> None:
        if done not in (1, steps):
            return
        wait_for(self.device)
        now = time.perf_counter()
        if done == 1:
            self._first = now
        if done == steps:
            self.stages[stage] = now - self._end
            self._end = now
            if steps > 1:
                self.steps_a_second[stage] = (steps - 1) / (now - self._first)


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def machine(device: str) -> dict[str, Any]:
    """The machine in general words: what a reader needs to place the figures."""
    about: dict[str, Any] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu": _cpu_name(),
        "vector instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "device": "cpu",
    }
    if torch.device(device).type == "cuda":
        card = torch.cuda.get_device_properties(device)
        about |= {"device": card.name, "device memory GiB": round(card.total_memory / 2**30, 1)}
    return about


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
