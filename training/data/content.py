"""Digests of the pictures of a data set, and which of them cannot be decoded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pcdm_core.files import file_hash, write_text
from pcdm_core.images import load_picture

from ..loop.distributed import agreed, gathered
from .pictures import PictureSet, Problem
from .prefetch import prefetched, reader_threads


class ContentIndex:
    """Digests of picture files, and what is wrong with them, remembered in a JSON file.

    A file is looked at again where its size or time has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, list[int | str | None]] = {}
        if path.is_file():
            try:
                self._entries = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: damaged ({error}). Delete it; it is made again.") from (
                    error
                )

    def digests(
        self, paths: Sequence[Path], share: tuple[int, int] = (0, 1), *, decode: bool = False
    ) -> list[bytes]:
        """Of each file; `share`, (number of this process, how many there are), is its part."""
        rank, count = share
        stale = [row for row, path in enumerate(paths) if self._is_stale(path, decode)]
        self._entries, stale = agreed((self._entries, stale))
        mine = [paths[row] for row in stale[rank::count]]
        entries = prefetched(partial(_entry, decode=decode), mine, reader_threads())
        bar = tqdm(entries, "digests", len(mine), disable=rank > 0 or not mine)
        for part in gathered(dict(zip(map(str, mine), bar, strict=True))):
            self._entries.update(part)
        if stale and rank == 0:
            write_text(self.path, json.dumps(self._entries))
        return [bytes.fromhex(str(self._entries[str(path)][2])) for path in paths]

    def check(self, pictures: PictureSet) -> PictureSet:
        """The set without pictures that cannot be decoded; each is decoded once for that.

        Raises:
            ValueError: no pair is left.
        """
        self.digests(pictures.paths, decode=True)
        faults = [str(self._entries[str(path)][3]) for path in pictures.paths]
        problems = zip(pictures.paths, faults, strict=True)
        return pictures.without(
            [(row, Problem(str(p), what)) for row, (p, what) in enumerate(problems) if what]
        )

    def _is_stale(self, path: Path, decode: bool) -> bool:
        status, entry = path.stat(), self._entries.get(str(path), [])
        current = entry[:2] == [status.st_size, status.st_mtime_ns]
        # An earlier version took no digest of what it could not decode.
        return not current or not entry[2] or (decode and entry[3] is None)


def _entry(path: Path, decode: bool) -> list[int | str | None]:
    """Size, time, digest, and what is wrong: None where nobody has looked."""
    status, fault = path.stat(), None
    if decode:
        try:
            load_picture(path)
            fault = ""
        except (OSError, ValueError) as error:
            fault = str(error).removeprefix(f"{path}: ")
    return [status.st_size, status.st_mtime_ns, file_hash(path), fault]
