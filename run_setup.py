"""What `run.py` does: makes an environment beside the code on the first call, runs a command in it.

Standard library only, because it runs before anything is installed; `run.py` alone imports it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent
REQUIREMENTS = ROOT / "requirements-dev.txt"
MARKER = "pcdm-environment.json"

TORCH_PIN = "2.13.0"
# What diffusers and transformers accept; an interpreter's torch in here is used as it is.
TORCH_MIN, TORCH_BELOW = (2, 6), (3, 0)
# Variables that put packages somewhere else than into the environment, or others before them.
PYTHON_ELSEWHERE = ("PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONPLATLIBDIR")
PIP_ELSEWHERE = tuple(
    f"PIP_{name}"
    for name in (
        "TARGET", "PREFIX", "ROOT", "USER", "UPGRADE_STRATEGY", "DRY_RUN", "REPORT", "REQUIREMENT",
        "CONSTRAINT", "EDITABLE", "PYTHON", "PLATFORM", "PYTHON_VERSION", "IMPLEMENTATION", "ABI",
        "IGNORE_INSTALLED", "SRC", "NO_DEPS", "REQUIRE_HASHES", "GROUP",
    )
)  # fmt: skip
CPU_INDEX = "the address that pytorch.org/get-started gives for CPU"


class Command(NamedTuple):
    module: str
    help: str


COMMANDS = {
    "demo": Command(
        "pcdm_core.demo", "one person in a new pose, from the weights that ship: a contact sheet"
    ),
    "test": Command("tests", "lint, types and tests, then a table of what ran"),
    "parity": Command("tests.parity", "compare with a folder of reference tensors: parity DIR"),
    "train-mini": Command(
        "training.commands.train_mini", "make the shipped weights again, from nothing"
    ),
    "distill": Command(
        "training.distillation.run", "a few-step student, measured against its teacher"
    ),
    "data": Command("training.data", "what a data set holds, and which of its files are broken"),
    "train": Command(
        "training.commands.train_stage", "train one stage of the paper's recipe on your data set"
    ),
    "export": Command(
        "training.commands.export", "a trained run as files that nodes and pcdm load"
    ),
    "evaluate": Command(
        "training.evaluation",
        "weights of our own on held-out rendered people (measure: any pictures)",
    ),
    "run-benchmark": Command(
        "training.commands.run_benchmark", "draw the test pairs of a data set, for measure"
    ),
    "measure": Command(
        "training.commands.measure", "a folder of pictures against its truths, by a protocol"
    ),
    "bench": Command(
        "benchmarks", "time and memory of a picture, against the published scripts' way"
    ),
    "sheets": Command(
        "training.evaluation.contact_sheets", "contact sheets of a finished evaluation"
    ),
}


class SetupError(Exception):
    """Something that the person at the terminal can mend; the text says how."""


def main(argv: list[str]) -> int:
    """The command's exit status; 2 for a wrong call, 1 where no environment can be made."""
    for stream in (sys.stdout, sys.stderr):
        # A Windows console may lack a letter of a folder's name.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        arguments, torch_index = take_torch_index(argv)
    except SetupError as error:
        return fail(str(error), status=2)
    commands = available_commands()
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage(commands))
        return 0 if arguments else 2
    name, *rest = arguments
    if name not in commands:
        return fail(f"there is no command {name!r} here.\n\n{usage(commands)}", status=2)
    folder = environment_folder()
    try:
        if not is_ready(folder, torch_index):
            with locked(folder, alone=True):
                ensure_environment(folder, torch_index)
    except SetupError as error:
        return fail(str(error))
    except OSError as error:  # a file in use, a full disk, a folder of somebody else's
        hint = ""
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            hint = " Name a folder that you may write to in the environment variable PCDM_VENV."
        return fail(
            f"the environment could not be set up: {error}.{hint} The next call tries again."
        )
    except KeyboardInterrupt:
        return fail("stopped; the next call sets the environment up again.", status=130)
    with locked(folder, alone=False):
        return run_module(interpreter(folder), commands[name].module, rest)


# --- the command line -----------------------------------------------------------------------------


def available_commands() -> dict[str, Command]:
    """The commands whose module is in this checkout."""
    return {name: command for name, command in COMMANDS.items() if module_exists(command.module)}


def module_exists(module: str) -> bool:
    path = ROOT.joinpath(*module.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def take_torch_index(argv: list[str]) -> tuple[list[str], str | None]:
    """Splits `--torch-index URL` off, wherever it stands; the rest is the command's own."""
    arguments: list[str] = []
    torch_index = None
    words = iter(argv)
    for word in words:
        flag, has_value, value = word.partition("=")
        if flag == "--torch-index":
            torch_index = value if has_value else next(words, None)
            if not torch_index or torch_index.startswith("-"):
                raise SetupError(f"--torch-index needs an address, for example {CPU_INDEX}")
        else:
            arguments.append(word)
    return arguments, torch_index


def usage(commands: dict[str, Command]) -> str:
    rows = "\n".join(f"  {name:<11} {command.help}" for name, command in commands.items())
    return (
        "usage: python run.py [--torch-index URL] COMMAND [options]\n\n"
        f"{rows}\n\n"
        "`python run.py COMMAND --help` lists a command's options.\n"
        "The first call makes .venv beside the code with pinned packages; later calls re-use it.\n"
        "--torch-index URL   the package index torch is installed from, for another build of it\n"
        "PCDM_VENV           (environment variable) another folder in place of .venv"
    )


def fail(message: str, status: int = 1) -> int:
    print(f"run.py: {message}", file=sys.stderr)
    return status


def say(message: str) -> None:
    # Flushed, so that it stands before pip's own output when both go to a file.
    print(f"run.py: {message}", flush=True)


def dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


# --- the environment ------------------------------------------------------------------------------


def environment_folder() -> Path:
    return Path(os.environ.get("PCDM_VENV") or ROOT / ".venv").expanduser().resolve()


@contextmanager
def locked(folder: Path, *, alone: bool) -> Generator[None, None, None]:
    """Keeps the environment as it is while a command uses it, or `alone` while it is made.

    A second call waits, and removes nothing that another one makes or uses. The lock is SQLite's,
    which every system has, and which ends with its process, however that ends. Its file lies with
    the temporary ones, because the folder's own place may be read-only.
    """
    if importlib.util.find_spec("_sqlite3") is None:
        yield
        return
    import sqlite3

    digest = hashlib.sha256(f"{Path.home()} {folder}".encode("utf-8", "surrogateescape"))
    path = Path(tempfile.gettempdir()) / f"pcdm-run-{digest.hexdigest()[:16]}.lock"
    is_told = False
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as lock:
        while True:
            try:
                lock.execute("BEGIN EXCLUSIVE" if alone else "BEGIN")
                lock.execute("SELECT * FROM sqlite_master").fetchall()
                break
            except sqlite3.OperationalError:
                if lock.in_transaction:
                    lock.execute("ROLLBACK")
                if not is_told:
                    say(
                        f"another run.py makes or uses {folder}: waiting for it. Ctrl-C stops; "
                        "PCDM_VENV names another folder."
                    )
                is_told = True
                time.sleep(0.2)
        yield


def is_ready(folder: Path, torch_index: str | None) -> bool:
    """Whether the environment needs nothing done to it."""
    marker = read_marker(folder)
    usable = is_usable(marker, interpreter(folder), torch_index)
    return usable and marker.get("requirements") == pins_hash()


def interpreter(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def ensure_environment(folder: Path, torch_index: str | None) -> Path:
    """The environment's interpreter; the environment is made or brought up to date first.

    A marker file in the folder says what was installed. It says unfinished from before the first
    change until the last is done, so the call after an interrupted one makes everything again.
    """
    python = interpreter(folder)
    pins = pins_hash()
    marker = read_marker(folder)
    if is_usable(marker, python, torch_index):
        if marker.get("requirements") == pins:
            return python
        torch: dict[str, Any] = marker["torch"]
    else:
        torch = choose_torch(folder, torch_index)
        create(folder, python)
    write_marker(folder, {"complete": False})
    say(f"installing the pinned packages of {REQUIREMENTS.name} into {folder}")
    pip(python, ["--no-deps", "-r", str(REQUIREMENTS)])
    check_installed(python)
    provide_torch(python, torch)
    write_marker(folder, {"complete": True, "requirements": pins, "torch": torch})
    say("the environment is ready.")
    return python


def pins_hash() -> str:
    return hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()


def is_usable(marker: dict[str, Any], python: Path, torch_index: str | None) -> bool:
    """Whether the environment is whole and holds the torch that is asked for."""
    if not marker.get("complete") or not python.exists():
        return False
    torch = marker["torch"]
    if "folder" in torch:
        return torch_index is None and (Path(torch["folder"]) / "torch" / "__init__.py").is_file()
    return torch.get("pin") == TORCH_PIN and torch_index in (None, torch["index"])


def create(folder: Path, python: Path) -> None:
    """An empty environment; replaces one of ours, and refuses to touch any other folder."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if missing:
        raise SetupError(
            f"{sys.executable} comes without the module {missing[0]!r}, which makes environments. "
            "On Debian and Ubuntu: sudo apt install python3-venv. Then call this again."
        )
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        if not (folder / MARKER).is_file():
            raise SetupError(
                f"{folder} is there already and was not made by run.py. Move it away, or name "
                "another folder in the environment variable PCDM_VENV."
            )
        say(f"{folder} is unfinished, broken or for another torch: making it again")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_marker(folder, {"complete": False})
    say(f"making an environment in {folder}")
    result = subprocess.run([sys.executable, "-m", "venv", str(folder)])
    if result.returncode != 0 or not python.exists():
        raise SetupError(f"no environment could be made in {folder}; Python's message is above.")


def read_marker(folder: Path) -> dict[str, Any]:
    """What `write_marker` wrote; nothing where the file is none or says something else."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if marker["complete"] is not True:
            return {"complete": False} if marker["complete"] is False else {}
        torch = marker["torch"]
        texts = (marker.get("requirements", ""), torch.get("folder", ""), torch.get("pin", ""))
        index = torch["index"] if "folder" not in torch else None
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError):
        return {}
    is_ours = all(isinstance(text, str) for text in texts) and isinstance(index, (str, type(None)))
    return marker if is_ours else {}


def write_marker(folder: Path, marker: dict[str, Any]) -> None:
    temporary = folder / f"{MARKER}.part"
    temporary.write_text(json.dumps(marker, indent=1), encoding="utf-8")
    os.replace(temporary, folder / MARKER)


def pip(python: Path, arguments: list[str]) -> None:
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    environ = {name: value for name, value in clean_environ().items() if name not in PIP_ELSEWHERE}
    # A setting that installs for the user is an error inside an environment.
    result = subprocess.run(command + arguments, env={**environ, "PIP_USER": "0"})
    if result.returncode != 0:
        raise SetupError(
            "installing packages failed; pip's message is above. Most often there is no network, "
            "or a proxy or package index that pip has not been told of (see `pip config`). "
            "The next call tries again."
        )


def check_installed(python: Path) -> None:
    """Refuse an environment whose packages went elsewhere, as a `target` in pip.conf sends them.

    Raises:
        SetupError: which one is not in it.
    """
    lines = REQUIREMENTS.read_text(encoding="utf-8").splitlines()
    pins = [line.split("==")[0].strip() for line in lines if "==" in line and ";" not in line]
    script = (
        "import re, sys, sysconfig, importlib.metadata as m\n"
        "name = lambda text: re.sub('[-_.]+', '-', text).lower()\n"
        "folders = [sysconfig.get_path(kind) for kind in ('purelib', 'platlib')]\n"
        "have = {name(one.metadata['Name']) for one in m.distributions(path=folders)}\n"
        "print(*(text for text in sys.argv[1:] if name(text) not in have))"
    )
    command = [str(python), "-c", script, *pins]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, encoding="utf-8", env=clean_environ(), check=True
    )
    if missing := result.stdout.split():
        raise SetupError(
            f"pip has put packages somewhere else: {missing[0]} is not in the environment. Take "
            "`target`, `prefix` and `root` out of pip's configuration (`pip config list` shows "
            "them), and call this again."
        )


def clean_environ() -> dict[str, str]:
    """The caller's variables less those that put other packages before the pinned ones."""
    return {k: v for k, v in os.environ.items() if k not in PYTHON_ELSEWHERE}


# --- torch ----------------------------------------------------------------------------------------


def choose_torch(folder: Path, torch_index: str | None) -> dict[str, Any]:
    """What the marker keeps of torch: the folder of the interpreter's own if it serves, or the pin.

    Says how large a download may be, before anything is done.
    """
    if Path(sys.prefix).resolve() == folder:
        raise SetupError(
            f"{folder} has to be made again, and {sys.executable} is its own interpreter. Leave "
            "the environment (`deactivate`) and call this with another Python."
        )
    if torch_index is None and importlib.util.find_spec("torch") is not None:
        # In a process of its own: the import is slow, and a broken torch may end the process.
        script = "import json, torch; print(json.dumps([torch.__version__, torch.__file__]))"
        command = [sys.executable, "-c", script]
        result = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8")
        if result.returncode == 0:
            version, file = json.loads(result.stdout.splitlines()[-1])
            if TORCH_MIN <= tuple(map(int, version.split(".")[:2])) < TORCH_BELOW:
                say(f"using this interpreter's torch {version}")
                return {"folder": str(Path(file).resolve().parents[1]), "version": version}
            say(
                f"this interpreter's torch is {version}; it has to be {dotted(TORCH_MIN)} or newer "
                f"and below {dotted(TORCH_BELOW)}."
            )
        else:
            say("this interpreter's torch cannot be imported (its message is above).")
    source = f" from {torch_index}" if torch_index else ""
    say(f"torch {TORCH_PIN} will be installed{source}. {download_size(torch_index)}")
    return {"pin": TORCH_PIN, "index": torch_index}


def download_size(torch_index: str | None) -> str:
    if torch_index:
        return "The download is about 200 MB for a CPU build, and several GB with CUDA libraries."
    if sys.platform == "linux":
        return (
            "The default Linux build brings several GB of CUDA libraries. For a CPU build of about "
            f"200 MB stop this (Ctrl-C) and add --torch-index with {CPU_INDEX} (or name an index "
            "in pip's own configuration)."
        )
    return "The download is about 200 MB; --torch-index URL chooses another build."


def provide_torch(python: Path, torch: dict[str, Any]) -> None:
    if "folder" not in torch:
        index = ["--index-url", torch["index"]] if torch["index"] else []
        pip(python, [f"torch=={torch['pin']}", *index])
        return
    # A path line puts the folder last, so the pinned packages win over torch's neighbours there.
    # --system-site-packages would miss the torch of an interpreter that is an environment itself.
    # JSON is plain ASCII, whatever the two processes take for the console's encoding.
    script = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
    command = [str(python), "-c", script]
    result = subprocess.run(command, stdout=subprocess.PIPE, encoding="utf-8", check=True)
    link = Path(json.loads(result.stdout)) / "pcdm-torch.pth"
    link.write_text(path_line(torch["folder"]), encoding="utf-8")


def path_line(folder: str) -> str:
    """A line of a .pth file, in ASCII: before Python 3.13 it is read in the locale's encoding."""
    plain = all(ord(letter) < 128 for letter in folder)
    return (folder if plain else f"import sys; sys.path.append({folder!a})") + "\n"


# --- running --------------------------------------------------------------------------------------


def run_module(python: Path, module: str, arguments: list[str]) -> int:
    """Runs `python -m module` in the caller's folder, where the file names given to it are."""
    environ = {**clean_environ(), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([str(python), "-m", module, *arguments], env=environ)
    while True:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            continue  # the command got it too, and ends by its own rules
        return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
