"""Bounds for what reads hostile files: no hang, and no memory that the file does not deserve."""

import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 60  # for what takes milliseconds: a hang, not a slow machine
USED = 300  # MiB that may come on top of what the process has
ASKED = 16 * 1024  # MiB that may be asked for; what is not written to costs nothing
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class BeyondError(BaseException):
    """No exception of the code under test, which must not catch it."""


@contextmanager
def bounded(mebibytes: int = USED) -> Generator[None, None, None]:
    """Ends a block that hangs, and fails one that uses much memory.

    Where the system cannot say (Windows, macOS), and outside the main thread, which alone takes
    signals, the block runs without bounds.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not sys.platform.startswith("linux") or not is_main:
        yield
        return
    import resource

    limits = resource.getrlimit(resource.RLIMIT_AS)
    ceiling = (_mebibytes("VmSize") + ASKED) * 2**20
    before = _mebibytes("VmRSS")
    CLEAR.write_text("5", encoding="ascii")  # the peak begins anew
    handler = signal.signal(signal.SIGALRM, _hang)
    resource.setrlimit(resource.RLIMIT_AS, (ceiling, limits[1]))
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)
        growth = _mebibytes("VmHWM") - before
        if growth > mebibytes:
            raise BeyondError(f"it used {growth} MiB")


def _mebibytes(field: str) -> int:
    line = next(line for line in STATUS.read_text(encoding="ascii").splitlines() if field in line)
    return int(line.split()[1]) // 1024


def _hang(number: int, frame: FrameType | None) -> None:
    raise BeyondError(f"nothing came of it in {SECONDS} seconds")
