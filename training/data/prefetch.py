"""Work that threads do ahead of whoever needs it: reading and decoding let go of Python's lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def reader_threads() -> int:
    """How many threads one process reads with: its part of the machine's cores, at most 16."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max((os.cpu_count() or 1) // processes, 1), 16)


def prefetched(
    function: Callable[[T], R], items: Iterable[T], threads: int, ahead: int = 64
) -> Generator[R]:
    """The function of each item, in order, of which `ahead` are begun before they are asked for."""
    pool = ThreadPoolExecutor(threads)
    results: deque[Future[R]] = deque()
    try:
        for item in items:
            results.append(pool.submit(function, item))
            if len(results) > ahead:
                yield results.popleft().result()
        while results:
            yield results.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
