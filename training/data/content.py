"""Digests of the pictures of a data set, and which of them cannot be decoded."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from pcdm_core.files import file_hash, write_text
from pcdm_core.images import load_picture

from .pictures import PictureSet, Problem

logger = logging.getLogger(__name__)


class ContentIndex:
    """Digests of picture files, and which of them cannot be decoded; remembered in a JSON file.

    A file is looked at again where its size or time has changed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, list[int | str]] = {}
        if path.is_file():
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{path}: damaged ({error}). Delete it; it is made again.") from (
                    error
                )

    def check(self, pictures: PictureSet) -> tuple[PictureSet, list[bytes]]:
        """The set without pictures that cannot be decoded, and the digests of the others.

        Raises:
            ValueError: no pair is left.
        """
        digests: list[bytes] = []
        broken: list[tuple[int, Problem]] = []
        new = 0
        for row, path in enumerate(pictures.paths):
            status = path.stat()
            entry = self._known.get(str(path))
            if entry is None or entry[:2] != [status.st_size, status.st_mtime_ns]:
                entry = [status.st_size, status.st_mtime_ns, *self._look_at(path)]
                self._known[str(path)] = entry
                new += 1
            if entry[3]:
                broken.append((row, Problem(str(path), str(entry[3]))))
            else:
                digests.append(bytes.fromhex(str(entry[2])))
        if new:
            write_text(self.path, json.dumps(self._known))
        for _, problem in broken:
            logger.warning("%s", problem)
        return pictures.without(broken), digests

    @staticmethod
    def _look_at(path: Path) -> tuple[str, str]:
        try:
            load_picture(path)
        except (OSError, ValueError) as error:
            return "", str(error).removeprefix(f"{path}: ")
        return file_hash(path), ""
