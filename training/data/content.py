"""Digests of the pictures of a data set, and which of them cannot be decoded."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from tqdm import tqdm

from pcdm_core.files import file_hash, write_text
from pcdm_core.images import load_picture

from ..loop.distributed import agreed, gathered
from .pictures import PictureSet, Problem
from .prefetch import prefetched, reader_threads

logger = logging.getLogger(__name__)


class ContentIndex:
    """Digests of picture files, and which of them cannot be decoded; remembered in a JSON file.

    A file is looked at again where its size or time has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[int | str | None]] = {}
        if path.is_file():
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: damaged ({error}). Delete it; it is made again.") from (
                    error
                )

    def check(
        self, pictures: PictureSet, *, decode: bool = True, share: tuple[int, int] = (0, 1)
    ) -> tuple[PictureSet, list[bytes]]:
        """The set without pictures that cannot be decoded, and the digests of the others.

        Args:
            decode: False takes digests of new files alone, for who decodes them anyway and tells
                `note` what came of it.
            share: (number of this process, how many there are): they share the work.

        Raises:
            ValueError: no pair is left.
        """
        rank, count = share
        self._known, new = agreed((self._known, self._unknown(pictures, decode)))
        mine = [pictures.paths[row] for row in new[rank::count]]
        look = partial(_look_at, decode=decode)
        entries = tqdm(
            prefetched(look, mine, reader_threads(count)),
            *("pictures", len(mine)),
            disable=rank > 0 or not mine,
        )
        for part in gathered(dict(zip(map(str, mine), entries, strict=True))):
            self._known.update(part)
        return self._whole(pictures, bool(new) and rank == 0)

    def note(
        self, pictures: PictureSet, faults: Mapping[int, str], *, write: bool = True
    ) -> tuple[PictureSet, list[bytes]]:
        """As `check`, of what was decoded since: by row what is wrong, or nothing."""
        for row, problem in faults.items():
            self._known[str(pictures.paths[row])][3] = problem
        return self._whole(pictures, write and bool(faults))

    def _unknown(self, pictures: PictureSet, decode: bool) -> list[int]:
        rows: list[int] = []
        for row, path in enumerate(pictures.paths):
            status, entry = path.stat(), self._known.get(str(path))
            if (
                entry is None
                or entry[:2] != [status.st_size, status.st_mtime_ns]
                or (decode and entry[3] is None)
            ):
                rows.append(row)
        return rows

    def _whole(self, pictures: PictureSet, write: bool) -> tuple[PictureSet, list[bytes]]:
        if write:
            write_text(self.path, json.dumps(self._known))
        digests: list[bytes] = []
        broken: list[tuple[int, Problem]] = []
        for row, path in enumerate(pictures.paths):
            _, _, digest, problem = self._known[str(path)]
            if problem:
                broken.append((row, Problem(str(path), str(problem))))
            else:
                digests.append(bytes.fromhex(str(digest)))
        for _, problem in broken:
            logger.warning("%s", problem)
        return pictures.without(broken), digests


def _look_at(path: Path, *, decode: bool) -> list[int | str | None]:
    """Size, time, digest, and what is wrong: nothing, or None where nobody has looked."""
    status, problem = path.stat(), None
    if decode:
        try:
            load_picture(path)
            problem = ""
        except (OSError, ValueError) as error:
            problem = str(error).removeprefix(f"{path}: ")
    return [status.st_size, status.st_mtime_ns, file_hash(path), problem]
