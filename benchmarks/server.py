"""A ComfyUI server of its own with the pack in it, for tests and for the benchmark."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS, RUN_SECONDS = 600, 300
ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Server:
    """The host's HTTP interface."""

    address: str
    log: Path
    base: Path
    process_id: int = 0

    def call(self, path: str, data: Any = None) -> Any:
        """JSON of an endpoint; posts where there are data."""
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(f"http://{self.address}{path}", body)
        with urllib.request.urlopen(request, timeout=60) as reply:
            content = reply.read()
        return json.loads(content) if content else None

    def failure(self, prompt: dict[str, Any]) -> str:
        """What the host says of a prompt that must fail, before it runs or while it does."""
        try:
            reply = self.call("/prompt", {"prompt": prompt})
        except urllib.error.HTTPError as refused:
            return refused.read().decode()
        entry = self.wait(reply["prompt_id"])
        if reply["node_errors"]:
            return json.dumps(reply["node_errors"])
        assert entry["status"]["status_str"] == "error"
        failed = [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]
        return failed[0]["exception_message"]

    def queue(self, prompt: dict[str, Any], client: str = "tests") -> str:
        """Queue a prompt that must be in order; its id."""
        reply = self.call("/prompt", {"prompt": prompt, "client_id": client})
        assert reply["node_errors"] == {}
        return reply["prompt_id"]

    def wait(self, prompt_id: str, seconds: float = RUN_SECONDS) -> dict[str, Any]:
        """What the history says once the run is over."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            history = self.call(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]
            time.sleep(0.2)
        raise AssertionError(f"no result after {seconds} s; the log:\n{self.tail()}")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a prompt that must succeed."""
        entry = self.wait(self.queue(prompt))
        assert entry["status"]["status_str"] == "success", entry["status"]
        return entry["outputs"]

    def picture(self, image: dict[str, str]) -> bytes:
        """A file that a node saved."""
        query = "&".join(f"{key}={image[key]}" for key in ("filename", "subfolder", "type"))
        with urllib.request.urlopen(f"http://{self.address}/view?{query}", timeout=60) as reply:
            return reply.read()

    def tail(self) -> str:
        """The end of the host's log."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-6000:]


@contextmanager
def running(
    comfyui: Path, base: Path, *, options: Sequence[str] = (), names: Sequence[str] = ("pcdm",)
) -> Generator[Server, None, None]:
    """The host of a folder on a free port of this machine, on the CPU; ended with the block.

    Args:
        base: a folder for its files, empty or of an earlier run.
        options: further arguments of the host's.
        names: of the pack in its custom_nodes, once each.
    """
    (base / "custom_nodes").mkdir(exist_ok=True)
    for name in names:
        if not (base / "custom_nodes" / name).exists():
            _place(base / "custom_nodes" / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port)]
    command += ["--base-directory", str(base), "--database-url", "sqlite:///:memory:"]
    command += ["--disable-auto-launch", "--disable-api-nodes", *options]
    log = base / "log.txt"
    with log.open("w", encoding="utf-8") as sink:
        process = subprocess.Popen(
            command, cwd=comfyui, stdout=sink, stderr=subprocess.STDOUT, env=os.environ
        )
        started = Server(f"127.0.0.1:{port}", log, base, process.pid)
        try:
            _wait_for_start(started, process)
            yield started
        finally:
            process.terminate()
            process.wait(timeout=60)


def _place(folder: Path) -> None:
    """The pack in a host's folder: a link, or a copy on a Windows that lets nobody make links."""
    try:
        folder.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        left_out = shutil.ignore_patterns(".*", "__pycache__", "runs", "data", "out")
        shutil.copytree(ROOT, folder, ignore=left_out)


def _wait_for_start(started: Server, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert process.poll() is None, f"the host ended at once; its log:\n{started.tail()}"
        try:
            started.call("/system_stats")
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"the host did not start; its log:\n{started.tail()}")
