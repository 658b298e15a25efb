"""Files are written whole or not at all, with a retry for Windows, under names that all take."""

import errno
import os
import random
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path, PureWindowsPath

import pytest
import torch

from pcdm_core import files
from pcdm_core.checkpoints.files import read_state_dict
from pcdm_core.checkpoints.write import copy_weights, write_state_dict
from pcdm_core.cli import output_files
from pcdm_core.files import atomic_file, check_name, distinct_names, file_hash, safe_name

OLD, NEW = b"old" * 1000, b"new" * 70_000


def left_behind(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# --- writing --------------------------------------------------------------------------------------


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.bin"
    files.write_bytes(path, OLD)
    files.write_bytes(path, NEW)
    assert path.read_bytes() == NEW
    assert [one.name for one in path.parent.iterdir()] == ["a.bin"]


def test_text_is_utf8_with_its_own_line_ends(tmp_path: Path) -> None:
    files.write_text(tmp_path / "a.txt", "é\nß\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\nß\r\n".encode()


def fail_while_writing(path: Path, error: type[BaseException]) -> None:
    with atomic_file(path) as file:
        file.write(NEW)
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_file_is_as_it_was(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(OLD)
    with pytest.raises(error):
        fail_while_writing(path, error)
    assert path.read_bytes() == OLD
    assert left_behind(tmp_path) == []


class Held:
    """`os.replace` of a Windows on which another program has the target open for a while."""

    def __init__(self, refusals: int) -> None:
        self.refusals, self.replace = refusals, os.replace

    def __call__(self, part: Path, path: Path) -> None:
        self.refusals -= 1
        if self.refusals >= 0:
            raise PermissionError(errno.EACCES, "Access is denied", str(path))
        self.replace(part, path)


def test_a_file_that_is_open_for_a_moment_is_replaced_when_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Held(4)
    monkeypatch.setattr(os, "replace", replace)
    files.write_bytes(tmp_path / "a.bin", NEW)
    assert (tmp_path / "a.bin").read_bytes() == NEW
    assert replace.refusals < 0


def test_a_file_that_stays_open_is_named_and_is_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(OLD)
    monkeypatch.setattr(os, "replace", Held(10**9))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    monkeypatch.setattr(files, "PATIENCE", 0.05)
    with pytest.raises(PermissionError, match=r"a\.bin: cannot be replaced.*close it there"):
        files.write_bytes(path, NEW)
    assert path.read_bytes() == OLD
    assert left_behind(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
def test_a_file_has_the_permissions_of_any_new_one(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "a.bin", NEW)
        write_state_dict({"a": torch.zeros(3)}, tmp_path / "a.safetensors", {})
    finally:
        os.umask(before)
    for name in ("a.bin", "a.safetensors"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640, name


@pytest.mark.parametrize("name", ["x" * 250 + ".png", "ж" * 120 + ".json", ".hidden", "a b;'&.txt"])
def test_long_and_unusual_names_are_written(name: str, tmp_path: Path) -> None:
    files.write_bytes(tmp_path / name, NEW)
    assert [path.name for path in tmp_path.iterdir()] == [name]


WRITE_AGAIN_AND_AGAIN = """
import sys, torch
from pathlib import Path
from pcdm_core.checkpoints.write import write_state_dict
from pcdm_core.files import write_bytes

kind, folder = sys.argv[1], Path(sys.argv[2])
print("ready", flush=True)
for number in range(1_000_000):
    if kind == "file":
        write_bytes(folder / "a.bin", bytes([number % 251]) * 300_000)
    else:
        tensors = {f"t{n}": torch.full((20_000,), float(number)) for n in range(3)}
        limit = 100_000 if kind == "parts" else None
        write_state_dict(tensors, folder / "a.safetensors", {"number": str(number)}, limit)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["file", "weights", "parts"])
def test_a_process_killed_at_any_moment_leaves_a_whole_file(
    kind: str, tmp_path: Path, root: Path, cases: Callable[[int, int], int]
) -> None:
    command = [sys.executable, "-c", WRITE_AGAIN_AND_AGAIN, kind, str(tmp_path)]
    sound = 0
    for seed in range(cases(2, 25)):
        process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline().strip() == b"ready"
        time.sleep(random.Random(seed).uniform(0.0, 0.2))
        process.kill()
        process.wait()
        process.stdout.close()
        if not any(tmp_path.glob("a.*")):
            continue  # killed before the first was there
        if kind == "file":
            content = (tmp_path / "a.bin").read_bytes()
            assert len(content) == 300_000
            assert len(set(content)) == 1
        else:
            tensors = read_state_dict(tmp_path / "a.safetensors").tensors
            assert len({float(t) for tensor in tensors.values() for t in tensor}) == 1
        sound += 1
    assert sound


def test_the_digest_is_of_all_files_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"ab")
    (tmp_path / "b").write_bytes(b"c")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_hash(tmp_path / "a", tmp_path / "b") == abc


# --- what is no plain file ------------------------------------------------------------------------

posix = pytest.mark.skipif(sys.platform == "win32", reason="devices and pipes of POSIX")


@posix
def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    link, target = tmp_path / "a.bin", tmp_path / "elsewhere" / "b.bin"
    link.symlink_to(target)
    for content in (OLD, NEW):  # a file that is to be made, and one that is there
        files.write_bytes(link, content)
        assert link.is_symlink()
        assert target.read_bytes() == content
    write_state_dict({"a": torch.zeros(3)}, tmp_path / "a.safetensors", {})
    weights = tmp_path / "b.safetensors"
    weights.symlink_to(target.with_name("c.safetensors"))
    write_state_dict({"a": torch.ones(3)}, weights, {})
    assert weights.is_symlink()
    assert read_state_dict(weights).tensors["a"].sum() == 3
    assert left_behind(target.parent) == left_behind(tmp_path) == []


@posix
def test_a_pipe_and_a_stream_are_written_into(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    files.write_text(pipe, "through")
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    script = "from pcdm_core.files import write_text as w; w('/dev/stdout', 'a'); print('b')"
    out = tmp_path / "out.txt"
    with out.open("w") as file:
        subprocess.run([sys.executable, "-c", script], stdout=file, check=True)
    assert out.stat().st_ino == os.stat(out).st_ino
    assert "b" in out.read_text(encoding="utf-8")


def device(name: str, minor: int, folder: Path) -> Path:
    """A device of the system; root gets one of its own, because root could replace the system's."""
    if os.geteuid():
        return Path("/dev", name)
    try:
        os.mknod(folder / name, stat.S_IFCHR | 0o666, os.makedev(1, minor))
        (folder / name).open("rb").close()
    except OSError:
        pytest.skip("no devices can be made here")
    return folder / name


@pytest.mark.skipif(sys.platform != "linux", reason="numbers of Linux's devices")
def test_a_device_stays_one_and_a_full_one_is_named(tmp_path: Path) -> None:
    null, full = device("null", 3, tmp_path), device("full", 7, tmp_path)
    link = tmp_path / "null.json"
    link.symlink_to(null)
    for path in (null, link):
        files.write_bytes(path, NEW)
        assert stat.S_ISCHR(path.stat().st_mode)
    with pytest.raises(OSError, match=f"{full}"):
        files.write_bytes(full, NEW)
    assert stat.S_ISCHR(full.stat().st_mode)


def test_a_folder_is_no_file_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="a folder has this name"):
        files.write_bytes(tmp_path, NEW)
    assert left_behind(tmp_path) == []


@posix
def test_links_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(OSError, match="a"):
        files.write_bytes(tmp_path / "a", NEW)
    assert (tmp_path / "a").is_symlink()


# --- weights in parts -----------------------------------------------------------------------------


def save_parts(folder: Path, number: float) -> Path:
    tensors = {f"t{n}": torch.full((20_000,), number) for n in range(3)}
    return write_state_dict(tensors, folder / "a.safetensors", {}, 100_000)


def numbers(path: Path) -> set[float]:
    return {float(value) for t in read_state_dict(path).tensors.values() for value in t.unique()}


@pytest.mark.parametrize("refusal", range(4))
def test_parts_are_all_of_one_save_whenever_it_is_stopped(
    refusal: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of three parts and the index in turn cannot be put in its place."""
    save_parts(tmp_path, 1.0)
    before = sorted(path.name for path in tmp_path.iterdir())
    replace, calls = os.replace, 0

    def stopped(part: Path, path: Path) -> None:
        nonlocal calls
        calls += not path.name.startswith(".")
        if calls == refusal + 1:
            raise KeyboardInterrupt
        replace(part, path)

    names = [name for name in before if "-of-" in name]
    assert len(names) == 3
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", stopped)
        with pytest.raises(KeyboardInterrupt):
            save_parts(tmp_path, 2.0)
    assert numbers(tmp_path / "a.safetensors") == {1.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    save_parts(tmp_path, 2.0)
    assert numbers(tmp_path / "a.safetensors") == {2.0}
    assert len(list(tmp_path.iterdir())) == 4
    part = next(tmp_path.glob("*-00002-of-*"))
    assert read_state_dict(part).path.name == "a.safetensors.index.json"


def test_a_copy_of_weights_in_parts_takes_the_place_of_another(tmp_path: Path) -> None:
    save_parts(tmp_path / "one", 1.0)
    save_parts(tmp_path / "other", 2.0)
    write_state_dict({"a": torch.zeros(1)}, tmp_path / "new" / "b.safetensors", {})
    for folder, number in (("one", 1.0), ("other", 2.0), ("one", 1.0)):
        copies = copy_weights(tmp_path / folder / "a.safetensors", tmp_path / "new")
        assert numbers(tmp_path / "new" / "a.safetensors") == {number}
        assert {path.name for path in (tmp_path / "new").iterdir()} == {
            "b.safetensors", *(path.name for path in copies)
        }  # fmt: skip
    parts = sorted((tmp_path / "one").glob("*-of-*"))
    parts[1].unlink()
    with pytest.raises(FileNotFoundError):
        copy_weights(tmp_path / "one" / "a.safetensors", tmp_path / "new")
    assert numbers(tmp_path / "new" / "a.safetensors") == {1.0}
    assert left_behind(tmp_path / "new") == []


# --- names ----------------------------------------------------------------------------------------

BAD = (
    "con", "CON", "nul.png", "Aux.tar.gz", "com1", "LPT9.txt", "com¹", "prn .png", "CONIN$",
    'a<b>c:d"e/f\\g|h?i*j', "tab\there", "end.", "end ", "...", "..", ".", "", "../up", "\udce4",
    "ж" * 200, "x" * 300,
)  # fmt: skip
GOOD = ("00_to_01", "Übung 1", "a.b.c", "console", "comet1", "写真", ".hidden", "it's (2)")


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_windows_refuses_is_made_safe(name: str) -> None:
    safe = safe_name(name)
    path = PureWindowsPath("C:/out") / f"{safe}.png"
    assert path.parent == PureWindowsPath("C:/out")
    assert path.name == f"{safe}.png"
    for one in (safe, f"{safe}.png", f"{safe}_to_x.png"):
        assert not one.endswith((".", " "))
        assert not set(one) & set('<>:"/\\|?*\0\t')
        assert len(one.encode()) < 255
        assert one.partition(".")[0].rstrip().lower() not in ("con", "prn", "aux", "nul", "com1")
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", GOOD)
def test_a_good_name_stays(name: str) -> None:
    assert safe_name(name) == name
    check_name(Path(name), windows=True)


@pytest.mark.skipif(not hasattr(PureWindowsPath, "is_reserved"), reason="gone in Python 3.15")
@pytest.mark.filterwarnings("ignore:pathlib.PureWindowsPath.is_reserved:DeprecationWarning")
def test_what_windows_reserves_is_what_the_standard_library_says() -> None:
    devices = ("con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in "19"))
    for device in devices:
        assert PureWindowsPath(device).is_reserved()
        assert safe_name(device) == f"_{device}"
        assert not PureWindowsPath(safe_name(device)).is_reserved()


@pytest.mark.parametrize("name", ["nul.png", "a:b.png", "end.png ", "COM1"])
def test_a_device_as_output_is_refused_on_windows_and_a_file_elsewhere(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="Windows has no file of this name"):
        check_name(tmp_path / name, windows=True)
    check_name(tmp_path / name, windows=False)


def test_no_two_names_are_one_file_where_case_is_ignored() -> None:
    names = ["b_3", "b", "B", "b", "b_coarse", "é", "e\u0301", "aux", "_aux"]
    for endings in (("",), (".png", "_coarse.png")):
        distinct = distinct_names(names, endings)
        files_of_names = [name + end for name in distinct for end in endings]
        assert len({files.folded(name) for name in files_of_names}) == len(files_of_names), (
            files_of_names
        )
        assert distinct[:2] == ["b_3", "b"]


def test_the_pictures_of_pcdm_generate_never_take_each_others_place(tmp_path: Path) -> None:
    paths = output_files(tmp_path, Path("aux:.png"), ["Walk", "walk", "walk_coarse", "nul"])
    names = [path.name for path in paths] + [f"{path.stem}_coarse.png" for path in paths]
    assert len({name.lower() for name in names}) == 8
    assert paths[0].name == "aux__to_Walk.png"
    assert all(not PureWindowsPath(path.name).drive for path in paths)
