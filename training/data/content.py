"""Digests of the pictures of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from pcdm_core.files import file_hash, write_text

from ..loop.distributed import agreed, gathered
from .prefetch import prefetched, reader_threads


class ContentIndex:
    """Digests of picture files, remembered in a JSON file.

    A file is looked at again where its size or time has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[str, list[int | str]] = {}
        if path.is_file():
            try:
                self._entries = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: damaged ({error}). Delete it; it is made again.") from (
                    error
                )

    def digests(self, paths: Sequence[Path], share: tuple[int, int] = (0, 1)) -> list[bytes]:
        """Of each file; `share`, (number of this process, how many there are), is its part."""
        rank, count = share
        stale = [row for row, path in enumerate(paths) if self._is_stale(path)]
        self._entries, stale = agreed((self._entries, stale))
        mine = [paths[row] for row in stale[rank::count]]
        entries = prefetched(_entry, mine, reader_threads(count))
        bar = tqdm(entries, "digests", len(mine), disable=rank > 0 or not mine)
        for part in gathered(dict(zip(map(str, mine), bar, strict=True))):
            self._entries.update(part)
        if stale and rank == 0:
            write_text(self.path, json.dumps(self._entries))
        return [bytes.fromhex(str(self._entries[str(path)][2])) for path in paths]

    def _is_stale(self, path: Path) -> bool:
        """Also of one that an earlier version could not decode, and took no digest of."""
        status, entry = path.stat(), self._entries.get(str(path), ["", "", ""])
        return entry[:2] != [status.st_size, status.st_mtime_ns] or not entry[2]


def _entry(path: Path) -> list[int | str]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns, file_hash(path)]
