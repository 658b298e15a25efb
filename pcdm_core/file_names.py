"""Names of files that other files bring: whether they stay where they may point."""

from __future__ import annotations

import re

_LONGEST = 255  # bytes; no usual file system has longer names
_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def stays_inside(name: str) -> bool:
    """Whether a path stays below the folder that it is joined to, on every system.

    Refused are `..`, absolute paths, drive letters, and control characters such as NUL, in every
    tail of the path too; a backslash separates, as it does on Windows.
    """
    parts = re.split(r"[/\\]", name)
    return not (
        {"", ".."} & set(parts)
        or any(_DRIVE.match(part) for part in parts)
        or _CONTROL.search(name)
    )


def is_plain(name: str) -> bool:
    """Whether a name is that of a file in the folder itself: `stays_inside`, and no separator."""
    return (
        stays_inside(name)
        and name != "."
        and not re.search(r"[/\\:]", name)
        and len(name.encode("utf-8", "surrogatepass")) <= _LONGEST
    )
