"""What would break on Windows or macOS and can be seen in the source."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_imports import ROOT, files_of, parse, place

WRITER = "pcdm_core/files.py"
# Not there on Windows, or there with another meaning.
ONLY_POSIX = {
    "os.fork", "os.getuid", "os.geteuid", "os.getgid", "os.sched_getaffinity", "os.nice",
    "os.mkfifo", "os.killpg", "os.setsid", "os.uname", "os.statvfs", "os.getloadavg", "os.chown",
    "os.O_DIRECTORY", "os.WNOHANG", "signal.SIGHUP", "signal.SIGKILL", "signal.SIGALRM",
    "signal.SIGUSR1", "signal.SIGUSR2", "signal.SIGQUIT", "signal.alarm", "signal.pause",
}  # fmt: skip
ONLY_POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "pty", "tty", "syslog"}


def shipped() -> list[Path]:
    """All code but the tests'."""
    folders = files_of("nodes", "pcdm_core", "training", "benchmarks")
    return [ROOT / "run.py", ROOT / "run_setup.py", ROOT / "__init__.py", *folders]


def calls(path: Path) -> Iterator[tuple[ast.Call, str, dict[str, str]]]:
    """Every call of a file, the function's name as written, and its keyword arguments."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            keywords = {k.arg or "**": ast.unparse(k.value) for k in node.keywords}
            yield node, ast.unparse(node.func), keywords


def own_name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.slow
def test_text_is_read_and_written_with_an_encoding() -> None:
    # ruff's rule knows only calls whose object it recognises; Windows has cp1252 by default.
    places: list[str] = []
    for path in shipped():
        for node, function, keywords in calls(path):
            last = function.rpartition(".")[2]
            modes = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
            binary = any("b" in str(mode) for mode in modes) or "b" in keywords.get("mode", "")
            is_text = last == "read_text" and not node.args
            is_text |= last == "write_text" and function != "write_text" and len(node.args) < 2
            is_text |= function in ("open", "os.fdopen") and not binary
            is_text |= last == "open" and any(str(mode)[:1] in "rwax" for mode in modes) > binary
            is_text |= {"text", "universal_newlines"} & keywords.keys() != set()
            if is_text and "encoding" not in keywords:
                places.append(place(path, node.lineno))
    assert not places


def test_one_place_replaces_files_and_nothing_needs_links_or_permissions() -> None:
    banned = {
        "os.replace", "os.rename", "os.renames", "os.link", "os.symlink", "os.chmod",
        "tempfile.mkstemp", "tempfile.NamedTemporaryFile",
    }  # fmt: skip
    methods = {"symlink_to", "hardlink_to", "chmod", "rename"}
    # The front door stands alone; the other two copy where they may not link.
    allowed = {WRITER: {"os.replace"}, "run_setup.py": {"os.replace"}}
    allowed["benchmarks/server.py"] = {"symlink_to"}
    allowed["pcdm_core/published/place.py"] = {"os.link"}
    places = [
        f"{place(path, node.lineno)} calls {function}"
        for path in shipped()
        for node, function, _ in calls(path)
        if ({function} & banned or {function.rpartition(".")[2]} & methods)
        and not {function, function.rpartition(".")[2]} & allowed.get(own_name(path), set())
    ]
    assert not places


def test_nothing_asks_for_what_posix_alone_has() -> None:
    places: list[str] = []
    for path in shipped():
        for node in ast.walk(parse(path)):
            names: list[str] = []
            if isinstance(node, ast.Attribute):
                names = [ast.unparse(node)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [str(node.module)]
            bad = [n for n in names if n in ONLY_POSIX or n.split(".")[0] in ONLY_POSIX_MODULES]
            places += [f"{place(path, getattr(node, 'lineno', 0))} uses {name}" for name in bad]
    assert not places


def test_worker_processes_are_spawned() -> None:
    # Threads of torch do not survive a fork, and Windows and macOS have no other way.
    pools = 0
    for path in shipped():
        for node, function, keywords in calls(path):
            last = function.rpartition(".")[2]
            if last == "get_context":
                pools += 1
                assert [ast.unparse(a) for a in node.args] == ["'spawn'"], place(path, node.lineno)
            if function in ("multiprocessing.Pool", "multiprocessing.Process", "Process"):
                raise AssertionError(f"{place(path, node.lineno)}: a process without a context")
            if last == "ProcessPoolExecutor":
                assert len(node.args) > 1 or "mp_context" in keywords, place(path, node.lineno)
            if last == "DataLoader":
                assert keywords.get("num_workers", "0") == "0", place(path, node.lineno)
    assert pools >= 3


@pytest.mark.slow
def test_a_letter_that_the_console_lacks_does_not_stop_a_command(tmp_path: Path) -> None:
    environ = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONPATH": str(ROOT)}
    for command in (["-m", "pcdm_core.cli", "inspect"], [str(ROOT / "run.py")]):
        result = subprocess.run(
            [sys.executable, *command, "поза.pt"], cwd=tmp_path, env=environ, capture_output=True
        )
        assert result.returncode == 2
        assert b"\\u043f\\u043e\\u0437\\u0430" in result.stderr
        assert b"UnicodeEncodeError" not in result.stderr
