"""Where a pose comes from: a file, a folder of them, a text, or what a program holds."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard

from .arrays import document_of_bytes, is_binary
from .assemble import RawFrame, fault_frame
from .documents import frames_of
from .frame import Context
from .limits import LARGEST_FILE, PoseError, check_length
from .no_pose import refuse_text
from .python_text import documents_of, is_structured, unfenced
from .text import frames_of_text, looks_like_table

Document = Mapping[str, Any] | Sequence[Any]
Source = str | os.PathLike[str] | Document

ENDINGS = (".json", ".jsonl", ".txt", ".csv", ".npy", ".npz")
"""Of pose files, in any letter case."""

_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # characters that a system takes
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


def frames_of_source(source: Source, context: Context) -> list[RawFrame]:
    """All frames, or the one of that name or number.

    Raises:
        FileNotFoundError: there is no such file, or no pose file in a folder.
        PoseError: nothing in it is understood as a pose.
    """
    if _is_content(source):
        check_length(source, context.origin)
        return _frames_of_text(source, context)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        return _frames_of_folder(path, context) if path.is_dir() else _frames_of_file(path, context)
    return context.select(frames_of(source, context))


def name_of(source: object) -> str:
    """How messages call it."""
    if isinstance(source, (str, os.PathLike)) and not _is_content(source):
        return os.fspath(source)
    return "the pose"


def _is_content(source: object) -> TypeGuard[str]:
    """Whether a text is a pose itself and not the path of a file."""
    if not isinstance(source, str):
        return False
    begins = source.lstrip().startswith(("{", "[")) or source.strip() in ("", "null")
    return begins or "\n" in source or _is_no_path(source) or looks_like_table(source)


def _is_no_path(text: str) -> bool:
    return len(text) > _LONGEST_PATH or max(map(len, re.split(r"[/\\]", text))) > _LONGEST_NAME


def _frames_of_text(text: str, context: Context) -> list[RawFrame]:
    if looks_like_table(text):
        return frames_of_text(text, context)
    text = unfenced(text)
    refuse_text(text, context)
    if not is_structured(text):
        return frames_of_text(text, context)
    documents = documents_of(text, context)
    if len(documents) == 1:
        return context.select(frames_of(documents[0], context))
    frames: list[RawFrame] = []
    for number, document in enumerate(documents):
        place = context.at(f"line {number + 1}")
        try:
            if isinstance(document, ValueError):
                raise place.error(f"damaged JSON ({document})")
            frames += frames_of(document, place)
        except PoseError as error:
            frames.append(fault_frame(error, place))
    return context.select(frames)


def _frames_of_file(path: Path, context: Context) -> list[RawFrame]:
    if not path.is_file():
        raise FileNotFoundError(f"{context.origin}: does not exist; give the path of a pose file")
    if (size := path.stat().st_size) > LARGEST_FILE:
        raise context.error(
            f"{size} bytes, and at most {LARGEST_FILE} are read; give a smaller part of it"
        )
    content = path.read_bytes()
    if is_binary(content):
        return context.select(frames_of(document_of_bytes(content, context), context))
    text = _decoded(content, context)
    if not text.strip():
        raise context.error("the file is empty; export the pose again")
    return _frames_of_text(text, context)


def _decoded(content: bytes, context: Context) -> str:
    """Text in UTF-8, or in UTF-16 as Windows' tools write it, with or without its mark."""
    encoding = "utf-8-sig"
    if content.startswith(_UTF_16):
        encoding = "utf-16"
    elif content[:100].count(0) * 3 > len(content[:100]):
        encoding = "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise context.error(
            "no text file; a pose is OpenPose JSON or 18 lines of x y, not a picture"
        ) from error


def files_in_order(folder: Path, endings: Sequence[str] = ENDINGS) -> list[Path]:
    """A folder's files with these endings, by the numbers in their names."""
    return sorted(
        (file for file in folder.iterdir() if file.suffix.lower() in endings
         and not file.name.startswith(".") and file.is_file()),
        key=lambda file: [int(part) if part.isdecimal() else part
                          for part in re.split(r"(\d+)", file.name)],
    )  # fmt: skip


def _frames_of_folder(path: Path, context: Context) -> list[RawFrame]:
    """The frames of all files in a folder, by the numbers in their names."""
    files = files_in_order(path)
    if not files:
        raise FileNotFoundError(
            f"{context.origin}: is a folder without pose files ({', '.join(ENDINGS)}); give the "
            "path of a pose file"
        )
    if sum(file.stat().st_size for file in files) > LARGEST_FILE:
        raise context.error(f"at most {LARGEST_FILE} bytes are read; give a smaller part of it")
    endings = Counter(file.suffix.lower() for file in files)
    ending = max(endings, key=endings.__getitem__)
    if others := [file.name for file in files if file.suffix.lower() != ending]:
        files = [file for file in files if file.suffix.lower() == ending]
        context.findings.guess(
            f"{len(others)} of other kinds than {ending} are no frames ({', '.join(others[:3])})."
        )
    context.findings.fact(f"A folder of {len(files)} files.")
    frames: list[RawFrame] = []
    for file in files:
        place = replace(context, origin=os.fspath(file), only=None)
        try:
            some = _frames_of_file(file, place)
        except PoseError as error:
            some = [fault_frame(error, place)]
        frames += [replace(one, name=one.name or file.stem) for one in some]
    return context.select(frames)
