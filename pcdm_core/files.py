"""Files: written whole or not at all, digests of them, and names that every system takes.

A file is written under another name in the same folder, synchronised to the disk, and renamed: a
process that is killed at any moment leaves the file as it was or the new one, and at worst a hidden
`.part` beside it. What is no plain file, such as a device or a pipe, is written into.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import secrets
import shutil
import stat
import sys
import time
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20
PART = ".part"
# Windows refuses to replace a file while a program has it open. A virus scanner lets go sooner than
# this; a viewer may not.
PATIENCE = 2.0  # seconds
FIRST_WAIT = 0.01
# Behind these names may be a plain file, to which others write at the same time.
STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
NO_ROOM = (errno.ENOSPC, errno.EFBIG, errno.EIO, errno.EPIPE)  # errors that Python gives no name

NAME_BYTES = 180  # of 255 that most systems take: callers add endings
# What Windows gives another meaning, whatever comes after the first dot.
RESERVED = re.compile(r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])", re.IGNORECASE)
REFUSED = re.compile(r'[<>:"|?*/\\\x00-\x1f\x7f]')


# --- writing --------------------------------------------------------------------------------------


def part_of(path: Path) -> Path:
    """A free, hidden name beside `path` for what will be renamed to it."""
    return path.with_name(f".{_cut(path.name, 60)}.{secrets.token_hex(4)}{PART}")


def replace_file(part: Path, path: Path) -> None:
    """Rename `part` to `path`, over a file that is there; see `_place` for what is no plain file.

    Raises:
        PermissionError: another program has the file open and does not close it for `PATIENCE`.
    """
    place, is_plain = _place(path)
    if not is_plain or (place.parent != path.parent and path.is_symlink()):
        with part.open("rb") as source, atomic_file(path) as target:
            shutil.copyfileobj(source, target, BLOCK)
        part.unlink()
        return
    wait, end = FIRST_WAIT, time.monotonic() + PATIENCE
    while True:
        try:
            os.replace(part, place)
            return
        except PermissionError as error:
            if time.monotonic() + wait > end:
                raise PermissionError(
                    f"{path}: cannot be replaced ({error.strerror or error}). It may be open in "
                    f"another program: close it there and try again. The file is as it was."
                ) from error
        time.sleep(wait)
        wait *= 2


def _place(path: Path) -> tuple[Path, bool]:
    """Where something that is written to `path` goes, and whether there is, or will be, a file.

    A link stays one: the file that it names is replaced. A device, a pipe or a stream of the
    process is no file: it is written into as it is.
    """
    kind = stat.S_IFREG
    with suppress(FileNotFoundError):
        kind = stat.S_IFMT(path.stat().st_mode)
    stream = os.path.abspath(path).startswith(STREAMS)
    place = Path(os.path.realpath(path)) if path.is_symlink() and not stream else path
    return place, kind in (stat.S_IFREG, stat.S_IFDIR) and not stream


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Generator[BinaryIO, None, None]:
    """A binary file to write, which replaces `path` when the block ends without an error.

    Folders that are missing are made. The file gets the permissions of any new file. What is no
    plain file, such as a device or a pipe, is written into, see `_place`.

    Raises:
        ValueError: Windows gives the name another meaning.
        OSError: a folder has the name, or there is no room, and so on; the file is named.
    """
    path = Path(path)
    check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    place, is_plain = _place(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder has this name; give a file's", str(path))
    try:
        if not is_plain:
            with path.open("wb") as file:
                yield file
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_files([place]) as (part,), part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.filename is None and error.errno in NO_ROOM:
            error.filename = str(path)
        raise


@contextmanager
def atomic_files(paths: Sequence[Path]) -> Generator[list[Path], None, None]:
    """Hidden names to write files under, which get these names in their order when the block ends.

    After an error none of them is there, and what was there is as it was: of several, those before
    the last must be names that no file has. The last one, an index say, makes the others count.
    """
    parts = [part_of(path) for path in paths]
    finished: list[Path] = []
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            replace_file(part, path)
            finished.append(path)
    except BaseException:
        for path in finished:
            path.unlink(missing_ok=True)
        raise
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, whole or not at all."""
    with atomic_file(path) as file:
        file.write(content)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 with the line ends that the text has, whole or not at all."""
    write_bytes(path, text.encode())


# --- reading --------------------------------------------------------------------------------------


def file_hash(*paths: Path) -> str:
    """SHA-256 over the bytes of the files, one after the other, in hexadecimal digits."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


# --- names ----------------------------------------------------------------------------------------


def safe_name(name: str) -> str:
    """`name` as a file name that Windows, macOS and Linux take; one that is good already stays.

    What they refuse becomes "_", as do a dot or space at the end; a reserved name (`aux.png`) gets
    a "_" in front; what is longer than `NAME_BYTES` of UTF-8 is cut. `name` may lack its ending.
    """
    text = REFUSED.sub("_", name.encode("utf-8", "replace").decode())
    text = _cut(text, NAME_BYTES)
    end = len(text.rstrip(". "))
    text = text[:end] + "_" * (len(text) - end)
    return f"_{text}" if _reserved(text) or not text else text


def distinct_names(names: Iterable[str], endings: Sequence[str] = ("",)) -> list[str]:
    """Safe names of which no two are one file, on systems too that ignore case; see `safe_name`.

    The second of two equal ones gets its number in the list at its end ("_2").

    Args:
        endings: what is added to a name for its files; those are distinct too.
    """
    names_in_use: set[str] = set()
    distinct: list[str] = []
    for number, name in enumerate(names, start=1):
        safe = candidate = safe_name(name)
        while not names_in_use.isdisjoint(files := {folded(candidate + end) for end in endings}):
            candidate = f"{safe}_{number}"
            number += 1
        names_in_use |= files
        distinct.append(candidate)
    return distinct


def check_name(path: Path, *, windows: bool = sys.platform == "win32") -> None:
    """Refuse a name under which Windows would write to a device or to another file.

    Raises:
        ValueError: it has such a name.
    """
    name = path.name
    if windows and (_reserved(name) or REFUSED.search(name) or name != name.rstrip(". ")):
        raise ValueError(f"{path}: Windows has no file of this name; {safe_name(name)} would do.")


def print_any_name() -> None:
    """Let a command print names of files with letters that the console, or a pipe, lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def folded(name: str) -> str:
    """Equal for names that are one file where the system ignores case."""
    return unicodedata.normalize("NFC", name).casefold()


def _reserved(name: str) -> bool:
    return RESERVED.fullmatch(name.partition(".")[0].rstrip()) is not None


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, of whole characters."""
    return text.encode("utf-8", "ignore")[:limit].decode("utf-8", "ignore")
