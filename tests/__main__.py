"""`python -m tests [pytest arguments]`: every check of the project, then a table of what ran.

With arguments only pytest runs, with these arguments, and the table says so.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]

# A layer is a folder below tests/ (the files beside this one are the first), in the table's order.
LAYERS = {
    "": "packaging",
    "core": "core",
    "parity": "parity",
    "training": "training",
    "nodes": "host",
    "workflows": "workflows",
}
REASON = "reason: "


def main(arguments: list[str]) -> int:
    """The first exit status that is not 0."""
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
        statuses.append(run("pytest", *arguments, f"--junitxml={report}"))
        rows += layer_rows(count(report), selected=bool(arguments))
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
        layer = parts[0] if parts and parts[0] in LAYERS else ""
        kinds = {child.tag for child in case}
        outcome = next((k for k in ("failure", "error", "skipped") if k in kinds), "passed")
        outcomes.setdefault(layer, Counter())[outcome] += 1
        for skipped in case.iter("skipped"):
            outcomes[layer][f"{REASON}{skipped.get('message')}"] += 1
    return outcomes


def only_reason(found: Counter[str]) -> str:
    """Why a whole layer was skipped, if it was and all its tests say the same."""
    reasons = [key.removeprefix(REASON) for key in found if key.startswith(REASON)]
    ran = found["passed"] + found["failure"] + found["error"]
    return "" if ran or len(reasons) != 1 else reasons[0]


def layer_rows(outcomes: dict[str, Counter[str]], *, selected: bool) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for folder, layer in LAYERS.items():
        found = outcomes.get(folder)
        reason = "" if found is None else only_reason(found)
        if reason:
            result = f"skipped: {reason}"
        elif found:
            result = f"ran {found['passed'] + found['failure'] + found['error']} tests"
            if bad := found["failure"] + found["error"]:
                result += f", FAILED {bad}"
            if found["skipped"]:
                result += f", {found['skipped']} skipped (pytest's summary says why)"
        elif selected:
            result = "skipped: not selected by the arguments"
        else:
            result = f"skipped: tests/{folder} holds no tests"
        rows.append((layer, result))
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
