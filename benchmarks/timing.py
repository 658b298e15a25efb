"""What every benchmark measures with: time, counted operations, memory, and the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
import weakref
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def wait_for(device: str) -> None:
    """Return when the device has done what it was given."""
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
    """Seconds of the parts of one run, and of the steps of their loops.

    `of` times a part; an instance is the pipeline's `callback` too, and then notes when the first
    and the last step of a stage ended.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.parts: dict[str, float] = {}
        self.steps_a_second: dict[str, float] = {}
        self._first = 0.0

    @contextmanager
    def of(self, name: str) -> Generator[None, None, None]:
        """Adds what the block takes to a part."""
        wait_for(self.device)
        start = time.perf_counter()
        yield
        wait_for(self.device)
        self.parts[name] = self.parts.get(name, 0.0) + time.perf_counter() - start

    def __call__(self, stage: str, done: int, steps: int) -> None:
        if done not in (1, steps):
            return
        wait_for(self.device)
        now = time.perf_counter()
        if done == 1:
            self._first = now
        else:
            self.steps_a_second[stage] = (steps - 1) / (now - self._first)


class _LiveBytes(TorchDispatchMode):
    """Counts the bytes of tensors that are alive and were made within the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {_key(t) for t in tree_leaves((args, kwargs)) if _has_bytes(t)}
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if _has_bytes(tensor) and _key(tensor) not in given | self._alive:
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key, size = storage.data_ptr(), storage.nbytes()
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _has_bytes(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type != "meta" and leaf.numel() > 0


def _key(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def peak_bytes(work: Callable[[], object], device: str) -> int:
    """The most that a call had in memory at once, beyond what was there before it.

    On a GPU by the allocator's own account. Elsewhere the bytes of tensors alive at the same time,
    counted: the same on every machine, without the scratch space inside an operation.
    """
    if torch.device(device).type != "cuda":
        counted = _LiveBytes()
        with counted:
            work()
        return counted.peak
    wait_for(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    work()
    wait_for(device)
    return torch.cuda.max_memory_allocated(device) - before


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
