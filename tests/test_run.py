"""The front door: its command line, and the environment it makes, re-uses and mends."""

import ast
import errno
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def run() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pcdm_run", ROOT / "run_setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def environment(run: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A real environment without packages, marked as complete for the interpreter's own torch."""
    folder = tmp_path_factory.mktemp("environments") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    torch = run.choose_torch(folder, None)
    run.provide_torch(python, torch)
    run.write_marker(folder, complete_marker(run, torch))
    return folder, python


def complete_marker(run: ModuleType, torch: dict[str, object]) -> dict[str, object]:
    return {"complete": True, "requirements": run.pins_hash(), "torch": torch}


def call(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("version", [(2, 7), (3, 6), (3, 9)])
def test_an_old_interpreter_can_read_the_file_and_gets_a_sentence(version: tuple[int, int]) -> None:
    text = (ROOT / "run.py").read_text(encoding="utf-8")
    tree = ast.parse(text, feature_version=(3, 4))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr, ast.AsyncFunctionDef, ast.FunctionDef)
    assert not [node for node in ast.walk(tree) if isinstance(node, newer)]
    assert text.isascii()
    assert "__future__" not in text
    old = f"import sys; sys.version_info = {(*version, 0, 'final', 0)}; sys.argv = ['run.py']\n"
    script = f"{old}__file__ = 'run.py'; exec(open('run.py').read())"
    command = [sys.executable, "-c", script]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert "needs Python 3.10 or newer" in result.stderr
    assert f"is Python {version[0]}.{version[1]}" in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", ["run.py", "run_setup.py"])
def test_the_front_door_needs_the_standard_library_alone(name: str) -> None:
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    names |= {str(n.module) for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - {"run_setup"} <= sys.stdlib_module_names


def test_every_command_in_the_help_has_its_module(run: ModuleType) -> None:
    result = call("--help")
    assert result.returncode == 0
    listed = [line.split()[0] for line in result.stdout.splitlines() if line.startswith("  ")]
    assert "test" in listed
    assert not [name for name in listed if not importlib.util.find_spec(run.COMMANDS[name].module)]


def test_no_command_or_an_unknown_one_is_a_wrong_call_that_lists_the_commands() -> None:
    for arguments in ((), ("dmeo",)):
        result = call(*arguments)
        assert result.returncode == 2
        assert "usage: python run.py" in result.stdout + result.stderr
    assert "no command 'dmeo'" in result.stderr


@pytest.mark.parametrize(
    "argv",
    [
        ["--torch-index", "https://example.org/cpu", "demo", "--seed", "3"],
        ["demo", "--torch-index", "https://example.org/cpu", "--seed", "3"],
        ["demo", "--seed", "3", "--torch-index=https://example.org/cpu"],
    ],
)
def test_the_torch_index_may_stand_anywhere(run: ModuleType, argv: list[str]) -> None:
    assert run.take_torch_index(argv) == (["demo", "--seed", "3"], "https://example.org/cpu")


@pytest.mark.parametrize("argv", [["demo", "--torch-index"], ["--torch-index", "--seed", "3"]])
def test_a_torch_index_without_an_address_is_a_wrong_call(run: ModuleType, argv: list[str]) -> None:
    assert run.main(argv) == 2


def test_the_exit_status_of_the_command_passes_through(run: ModuleType) -> None:
    python = Path(sys.executable)
    assert run.run_module(python, "json.tool", ["--help"]) == 0
    assert run.run_module(python, "json.tool", [str(ROOT / "absent.json")]) in (1, 2)
    assert run.run_module(python, "zipfile", ["--no-such-option"]) == 2


@pytest.mark.slow
def test_a_whole_environment_is_used_again_as_it_is(
    run: ModuleType, environment: tuple[Path, Path]
) -> None:
    folder, python = environment
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert run.ensure_environment(folder, None) == python
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_environment_sees_the_interpreters_own_torch_after_its_own_packages(
    environment: tuple[Path, Path],
) -> None:
    folder, python = environment
    script = (
        "import sys, importlib.util as u; print(u.find_spec('torch').origin, *sys.path, sep='|')"
    )
    result = subprocess.run([str(python), "-c", script], capture_output=True, text=True, check=True)
    origin, *path = result.stdout.strip().split("|")
    marker = json.loads((folder / "pcdm-environment.json").read_text(encoding="utf-8"))
    assert Path(origin).parents[1] == Path(marker["torch"]["folder"])
    assert path[-1] == marker["torch"]["folder"]


def test_other_pins_another_torch_or_a_lost_interpreter_are_noticed(
    run: ModuleType, environment: tuple[Path, Path]
) -> None:
    folder, python = environment
    marker = run.read_marker(folder)
    assert run.is_usable(marker, python, None)
    assert not run.is_usable(marker, python, "https://example.org/cpu")
    assert not run.is_usable(marker, folder / "absent", None)
    assert not run.is_usable({**marker, "complete": False}, python, None)
    assert not run.is_usable({**marker, "torch": {"folder": str(folder)}}, python, None)
    pinned = {"pin": run.TORCH_PIN, "index": "https://example.org/cpu"}
    assert run.is_usable({**marker, "torch": pinned}, python, None)
    assert run.is_usable({**marker, "torch": pinned}, python, "https://example.org/cpu")
    assert not run.is_usable({**marker, "torch": pinned}, python, "https://example.org/cuda")
    assert not run.is_usable({**marker, "torch": {**pinned, "pin": "2.0.0"}}, python, None)


def test_a_folder_that_is_not_ours_is_left_alone(run: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(run.SetupError, match=r"was not made by run\.py.*PCDM_VENV"):
        run.create(tmp_path, tmp_path / "bin/python")
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


@pytest.mark.slow
def test_an_unfinished_environment_is_made_again_and_a_failed_install_is_told_in_a_sentence(
    run: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "env"
    folder.mkdir()
    run.write_marker(folder, {"complete": False})  # an earlier call was interrupted
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(run.SetupError, match=r"pip's message is above.*no network"):
        run.ensure_environment(folder, "https://example.org/cpu")
    said = capfd.readouterr().out
    order = ["will be installed from https://example.org/cpu", "200 MB", "making it again"]
    order += ["making an environment", "installing the pinned packages"]
    assert [said.index(words) for words in order] == sorted(said.index(words) for words in order)
    assert run.read_marker(folder) == {"complete": False}


def test_the_environments_own_interpreter_does_not_delete_it(run: ModuleType) -> None:
    with pytest.raises(run.SetupError, match="deactivate"):
        run.choose_torch(Path(sys.prefix).resolve(), None)


def test_another_folder_is_taken_from_the_variable(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCDM_VENV", str(tmp_path / "elsewhere"))
    assert run.environment_folder() == (tmp_path / "elsewhere").resolve()
    monkeypatch.delenv("PCDM_VENV")
    assert run.environment_folder() == ROOT / ".venv"


@pytest.mark.parametrize("name", ["torch", "Jürgen's таблица"])
def test_the_line_that_finds_torch_is_ascii_and_is_understood(
    name: str, run: ModuleType, tmp_path: Path
) -> None:
    # Until Python 3.13 a .pth file is read in the locale's encoding.
    folder = tmp_path / name
    folder.mkdir()
    line = run.path_line(str(folder))
    assert line.isascii()
    site_folder = tmp_path / "site"
    site_folder.mkdir()
    (site_folder / "pcdm-torch.pth").write_text(line, encoding="ascii")
    script = "import site, sys, json; site.addsitedir(sys.argv[1]); print(json.dumps(sys.path))"
    command = [sys.executable, "-c", script, str(site_folder)]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    assert json.loads(result.stdout)[-1] == str(folder)


def test_a_folder_in_use_is_a_sentence(
    run: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def in_use(*_: object) -> Path:
        raise PermissionError(13, "The process cannot access the file", "python.exe")

    monkeypatch.setenv("PCDM_VENV", str(tmp_path / "venv"))
    monkeypatch.setattr(run, "ensure_environment", in_use)
    assert run.main(["demo"]) == 1
    assert "could not be set up" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content",
    [
        "[]", "{", "null", "[" * 100_000, "9" * 5000, '{"complete": true}', '{"complete": 1}',
        '{"complete": true, "torch": []}', '{"complete": true, "torch": {"folder": 3}}',
        '{"complete": true, "torch": {"pin": "2", "index": []}}', '{"complete": true, "torch": {}}',
        '{"complete": true, "requirements": {}, "torch": {"pin": "2", "index": null}}', "\udcff",
    ],
)  # fmt: skip
def test_an_odd_marker_is_that_of_an_unfinished_environment(
    content: str, run: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / run.MARKER).write_bytes(content.encode("utf-8", "surrogateescape"))
    marker = run.read_marker(tmp_path)
    assert marker == {}
    assert not run.is_usable(marker, Path(sys.executable), None)


def test_a_folder_that_cannot_be_written_names_the_variable(
    run: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def read_only(*_: object, **__: object) -> Path:
        raise OSError(errno.EROFS, "Read-only file system", "/clone/.venv")

    monkeypatch.setattr(Path, "mkdir", read_only)
    monkeypatch.setenv("PCDM_VENV", "/clone/.venv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert run.main(["demo"]) == 1
    assert "PCDM_VENV" in capsys.readouterr().err


@pytest.mark.parametrize("by_whom", ["makes it", "uses it"])
def test_a_second_call_waits_and_removes_nothing_of_the_others(
    by_whom: str, run: ModuleType, tmp_path: Path
) -> None:
    folder = tmp_path / "env"
    folder.mkdir()
    (folder / "half.txt").write_text("of the first", encoding="utf-8")
    run.write_marker(folder, {"complete": False})
    command = [sys.executable, str(ROOT / "run.py"), "demo"]
    environ = {**os.environ, "PCDM_VENV": str(folder), "PIP_NO_INDEX": "1"}
    with run.locked(folder, alone=by_whom == "makes it"):
        second = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True)
        try:
            assert second.stdout is not None
            assert "another run.py makes or uses" in second.stdout.readline()
            assert second.poll() is None
            assert (folder / "half.txt").is_file()
        finally:
            second.kill()
            second.communicate()
    with run.locked(folder, alone=True):  # who was killed keeps nothing
        pass


def test_where_pip_installs_is_not_for_variables_to_say(
    run: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen.json"
    python = tmp_path / "python"
    script = f"import json, os; json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
    python.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    python.chmod(0o755)
    for name in ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_DRY_RUN", "PYTHONUSERBASE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("PIP_INDEX_URL", "https://example.org/simple")
    run.pip(python, ["nothing"])
    environ = json.loads(seen.read_text(encoding="utf-8"))
    assert not {name for name, value in environ.items() if "elsewhere" in value}
    assert environ["PIP_INDEX_URL"] == "https://example.org/simple"


def test_packages_that_pip_put_elsewhere_are_named(
    run: ModuleType, environment: tuple[Path, Path]
) -> None:
    with pytest.raises(run.SetupError, match=r"safetensors is not in the environment.*`target`"):
        run.check_installed(environment[1])
    run.check_installed(Path(sys.executable))
