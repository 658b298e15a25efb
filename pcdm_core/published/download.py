"""`pcdm models get`: the one place that downloads, and only when it is called.

huggingface_hub and gdown do the work, with their own progress bars. A part of a file stays beside
its place as `.part` when a download is stopped, and the next call goes on from there. The archive
for ComfyUI's registry leaves this file out.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ..files import PART, file_hash, replace_file
from .table import DRIVE, ModelFile, Source, in_words, size_in_words

RETRIES = 5  # of one transfer, each from where it broke off
INSTALL = 'python -m pip install "huggingface_hub>=0.30" "gdown>=6.5"'
QUOTA = ("too many users", "quota")
WEB_PAGES = (b"<!doctype html", b"<html", b"<head")

Say = Callable[[str], None]


class DownloadError(ValueError):
    """A file could not be downloaded. The message names it, the reason, and what to do."""


def get_all(
    files: Sequence[ModelFile], folder: Path, *, offline: bool = False, say: Say = print
) -> None:
    """Download the first source of each file into a folder; what is there whole is left alone.

    Raises:
        ValueError: no room, offline, or some could not be downloaded: the others have been.
    """
    sources = [file.source for file in files]
    missing = [source for source in sources if not _is_there(source, folder, say)]
    if not missing:
        return
    if offline:
        raise ValueError(_by_hand("Offline: nothing was asked.", missing, folder))
    _check_libraries()
    folder.mkdir(parents=True, exist_ok=True)
    parts = [part for source in missing for part in parts_of(source, folder)]
    need = sum(source.size for source in missing) - sum(part.stat().st_size for part in parts)
    if need > (free := shutil.disk_usage(folder).free):
        raise ValueError(f"{folder} has {in_words(free)} left; {in_words(need)} are to come.")
    faults: list[str] = []
    failed: list[Source] = []
    for source in missing:
        say(f"{source.name} ({size_in_words(source)}) from {source.address}")
        try:
            get(source, folder)
        except KeyboardInterrupt:
            say(f"Stopped: the same command goes on with what has come of {source.name}.")
            raise
        except DownloadError as error:
            say(str(error))
            faults.append(str(error))
            failed.append(source)
    if failed:
        reason = f"{len(failed)} of {len(sources)} files are missing. {faults[0]}"
        raise ValueError(_by_hand(reason, failed, folder))


def get(source: Source, folder: Path) -> Path:
    """Download one file, check it, and give it its name.

    Raises:
        DownloadError: it could not be had, or is not what it should be.
    """
    path = folder / source.name
    part = _from_hub(source, path) if source.hub else _from_drive(source, path)
    if fault := check(source, part):
        part.unlink()
        raise DownloadError(f"{source.name}: {fault} What came was thrown away; try again later.")
    replace_file(part, path)
    return path


def check(source: Source, path: Path) -> str:
    """What is wrong with a file that came whole, or nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096).lstrip(b" \t\r\n\xef\xbb\xbf").lower()
    if head.startswith(WEB_PAGES):
        return f"a web page came ({size} bytes) and not the file."
    if source.bytes is not None and size != source.bytes:
        return f"{size} bytes came, expected {source.bytes}."
    if source.sha256 and (digest := file_hash(path)) != source.sha256:
        return f"its SHA-256 is {digest}, expected {source.sha256}."
    return ""


def parts_of(source: Source, folder: Path) -> list[Path]:
    """What has come of a file so far. gdown puts eight letters of its own before the ending."""
    return sorted(folder.glob(f"{source.name}*{PART}")) if folder.is_dir() else []


def _is_there(source: Source, folder: Path, say: Say) -> bool:
    """Whether the whole file is there.

    Raises:
        ValueError: another file has its name.
    """
    path = folder / source.name
    if not path.is_file():
        return False
    if fault := check(source, path):
        raise ValueError(f"{path} is another file: {fault} Rename it or give another folder.")
    say(f"{source.name}: already in {folder}")
    return True


def _check_libraries() -> None:
    lacks = [name for name in ("gdown", "huggingface_hub") if find_spec(name) is None]
    if lacks:
        raise ValueError(f"`pcdm models get` needs {' and '.join(lacks)}: {INSTALL}")


def _from_hub(source: Source, path: Path) -> Path:
    """A part of a file of the hub, complete; a part that is there is continued."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = path.with_name(path.name + PART)
    url = hf_hub_url(source.hub, source.path)
    try:
        size = get_hf_file_metadata(url).size
        if size is not None and source.bytes not in (None, size):
            raise DownloadError(
                f"{source.name}: {source.address} has {size} bytes now, expected {source.bytes}. "
                f"It was changed since this table was made."
            )
        if size is not None and part.is_file() and part.stat().st_size > size:
            part.unlink()
        with part.open("ab") as file:
            http_get(
                url,
                file,
                resume_size=file.tell(),
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=source.name,
            )
    except DownloadError:
        raise
    except OfflineModeIsEnabled as error:
        raise DownloadError(f"{source.name}: HF_HUB_OFFLINE is set.") from error
    except HfHubHTTPError as error:
        raise DownloadError(f"{source.name}: the hub refused ({_line(error)}).") from error
    except Exception as error:  # of another HTTP library in every version of huggingface_hub
        raise _broken_off(source, error) from error
    return part


def _from_drive(source: Source, path: Path) -> Path:
    """A file of Google Drive, complete and not yet checked."""
    import gdown
    import requests

    part = path.with_name(path.name + PART)
    try:
        identity = source.drive_file or _file_in_folder(source)
        # Without cookies: nothing of a browser's or of a home folder is read or written.
        gdown.download(
            f"{DRIVE}/uc?id={identity}",
            str(part),
            resume=True,
            retries=RETRIES,
            use_cookies=False,
            timeout=60,
        )
    except gdown.exceptions.FileURLRetrievalError as error:
        text = " ".join(str(error).split())
        if any(word in text.lower() for word in QUOTA):
            raise DownloadError(
                f"{source.name}: Google Drive lets nobody have the file at the moment (its quota "
                f"for this file is used up). Try again in some hours, at most a day; a browser "
                f"that is signed in may get it now."
            ) from error
        raise DownloadError(
            f"{source.name}: Google Drive shows a page instead of the file ({text[:160]})."
        ) from error
    except (gdown.exceptions.DownloadError, requests.RequestException, OSError) as error:
        raise _broken_off(source, error) from error
    return part


def _file_in_folder(source: Source) -> str:
    """The file in a folder of Drive whose name the table has, whatever its ending."""
    import gdown

    entries = gdown.download_folder(
        id=source.drive_folder, skip_download=True, quiet=True, use_cookies=False, timeout=60
    )
    names = {Path(entry.path).name: entry.id for entry in entries if not isinstance(entry, str)}
    for name, identity in names.items():
        if Path(name).stem == Path(source.name).stem:
            return identity
    raise DownloadError(
        f"{source.name}: not in the folder {source.address}, which has: "
        f"{', '.join(sorted(names)) or 'nothing that can be listed'}."
    )


def _broken_off(source: Source, error: Exception) -> DownloadError:
    return DownloadError(
        f"{source.name}: the connection broke off ({_line(error)}). The same command goes on with "
        f"what has come."
    )


def _by_hand(reason: str, sources: Sequence[Source], folder: Path) -> str:
    lines = [f"{source.name}: {source.address}" for source in sources]
    return (
        f"{reason} In a browser these can be had; save them in {folder}, under any names:\n  "
        + "\n  ".join(lines)
    )


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "..."
