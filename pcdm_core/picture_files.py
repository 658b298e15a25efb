"""Picture files: the one place where a file of somebody else's is opened as a picture.

A file's name says nothing about its format, and among the formats that Pillow knows are some that
run other programs (PostScript runs Ghostscript). So the formats that are read are listed here. The
size is read from the header, and what is too large is refused before a single pixel is decoded.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from PIL import ExifTags, Image, UnidentifiedImageError

from .quoting import one_line
from .ranges import COUNT

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
MAX_PIXELS = 8192 * 6144  # what phones take (50 megapixels), and decoded below 200 MB
FREE_PIXELS = 4096 * 3072  # read however few bytes they have; decoded below 500 MB
PIXELS_PER_BYTE = 100  # of larger ones: drawings have fewer, and photographs fewer than 20
MOST_SCANS = 100  # of a JPEG: each is a pass over all pixels, and encoders make about ten
_MARKER = re.compile(
    rb"\xff[^\x00\x01\xd0-\xd8\xff]"
)  # of a JPEG: those with a length, and its end
_END, _SCAN = b"\xff\xd9", b"\xff\xda"
_HEADER_BYTES = 16 << 20  # of profiles, texts and thumbnails before the first pixel
_TILE = (322, 323)  # TIFF's tags of a tile's width and height
_WIDTH, _LENGTH = 256, 257  # TIFF's tags of the picture's
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = frozenset({b"eXIf", b"tEXt", b"zTXt", b"iTXt"})  # chunks of a PNG
_LYING = (5, 6, 7, 8)  # EXIF orientations that swap height and width


@contextmanager
def open_picture(
    source: str | os.PathLike[str] | BinaryIO, *, max_pixels: int = MAX_PIXELS
) -> Generator[Image.Image]:
    """Open a picture file by its header; its pixels are decoded when they are asked for.

    What goes wrong with them inside the `with` is the file's fault and is said so; nothing else
    belongs there. Of an animation or a file of several pictures this is the first.

    Args:
        source: a path, or a file that is open for reading bytes.
        max_pixels: height times width that is still read.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no picture of the formats that are read, is too large, or is
            damaged; it is named, with what was found.
    """
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path}: {what}; give the path of a picture file")
        with path.open("rb") as file, _picture_in(file, str(path), max_pixels) as image:
            yield image
    else:
        with _picture_in(source, "the picture", max_pixels) as image:
            yield image


def picture_size(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Height and width of a picture file as `load_picture` gives it: upright, by its orientation.

    Raises:
        FileNotFoundError, ValueError: as `open_picture`.
    """
    with open_picture(path, max_pixels=max_pixels) as image:
        return upright_size(image)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an open picture after its EXIF orientation: the one place that says it.

    Nothing is decoded for it, but of a PNG that says something behind its pixels.
    """
    tags: Any = getattr(image, "tag_v2", {})  # some versions of Pillow turn a TIFF's size already
    height, width = tags.get(_LENGTH, image.height), tags.get(_WIDTH, image.width)
    # A PNG's own method decodes the picture, because of what may come behind the pixels.
    exif = image.getexif() if _ends_in_text(image) else Image.Image.getexif(image)
    lies = exif.get(ExifTags.Base.Orientation) in _LYING
    return (width, height) if lies else (height, width)


def _ends_in_text(image: Image.Image) -> bool:
    """Whether a PNG has metadata behind its pixels."""
    file: Any = getattr(image, "fp", None)
    if image.format != "PNG" or file is None:
        return False
    start, kinds = file.tell(), list[bytes]()
    file.seek(len(_PNG))
    while len(head := file.read(8)) == 8:  # a chunk's length and kind
        kinds.append(head[4:])
        file.seek(int.from_bytes(head[:4], "big") + 4, os.SEEK_CUR)
    file.seek(start)
    behind = kinds[kinds.index(b"IDAT") :] if b"IDAT" in kinds else []
    return not _TEXTS.isdisjoint(behind)


def add_picture_options(*parsers: argparse.ArgumentParser) -> None:
    """What the commands that read a person's own pictures share."""
    for parser in parsers:
        parser.add_argument(
            "--max-pixels",
            type=COUNT.parse,
            default=MAX_PIXELS,
            help="height times width of a picture that is still read (default %(default)s)",
        )


@contextmanager
def _picture_in(file: BinaryIO, name: str, max_pixels: int) -> Generator[Image.Image]:
    COUNT.check("max_pixels", max_pixels)
    try:
        limited = _LimitedFile(file)
    except OSError as error:  # a file of the system that has no size
        raise ValueError(f"{name}: cannot be read as a picture ({one_line(error)})") from error
    # WebP's reader takes the whole file before it knows the size.
    whole = limited.size if _is_webp(file) and limited.size <= max_pixels else 0
    limited.allowance = max(_HEADER_BYTES, whole)
    try:
        with _header(limited, max_pixels) as image:
            _check_size(image, max_pixels)
            limited.allowance = _HEADER_BYTES + 8 * image.width * image.height
            _check_effort(image, limited, max_pixels)
            yield image
    except UnidentifiedImageError as error:
        raise ValueError(
            f"{name}: not a picture that can be read ({limited.size} bytes); "
            "save it as PNG, JPEG or WebP"
        ) from error
    except (_TooLargeError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        count = re.search(r"\d+", str(error))  # Pillow refuses some before it gives their size
        size = f"{int(count[0]):,} pixels" if count else "too many pixels"
        raise ValueError(
            f"{name}: a picture of {size}, more than the {max_pixels:,} that are read. Make it "
            "smaller, or allow more: --max-pixels of generate, pose and demo, max_pixels of "
            "load_picture"
        ) from error
    except MemoryError as error:
        raise ValueError(f"{name}: there is not enough memory for this picture") from error
    except Exception as error:  # a damaged picture fails in whatever way its bytes lead to
        raise ValueError(
            f"{name}: the picture is damaged ({one_line(error)}); save it again, or give another"
        ) from error


def _header(file: _LimitedFile, max_pixels: int) -> Image.Image:
    if max_pixels > (Image.MAX_IMAGE_PIXELS or max_pixels):
        Image.MAX_IMAGE_PIXELS = max_pixels  # Pillow's own limit holds for the process
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        stream: Any = file
        return Image.open(stream, formats=FORMATS)


def _check_size(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if pixels < 1:
        raise ValueError(f"a size of {image.height}x{image.width}")
    if pixels > max_pixels:
        raise _TooLargeError(pixels)
    tags: Any = getattr(image, "tag_v2", {})
    width, height = (tags.get(tag, 1) for tag in _TILE)
    # A tile is decoded whole, however little of it the picture shows.
    if width * height > 4 * pixels + 1_000_000:
        raise ValueError(f"tiles of {height}x{width} for {image.height}x{image.width}")


def _check_effort(image: Image.Image, file: _LimitedFile, max_pixels: int) -> None:
    """Refuse a small file that makes much work, unless the caller allowed more pixels than usual.

    Raises:
        ValueError: how much it is.
    """
    pixels = image.width * image.height
    usual = max_pixels <= MAX_PIXELS
    if usual and pixels > FREE_PIXELS and pixels > PIXELS_PER_BYTE * file.size:
        raise ValueError(f"{file.size} bytes for a size of {image.height}x{image.width}")
    if image.format == "JPEG" and (scans := _scans(file.content())) > MOST_SCANS:
        raise ValueError(f"{scans} scans over the picture")


def _scans(jpeg: bytes) -> int:
    """How often a JPEG goes over its pixels."""
    count, place = 0, 0
    while (marker := _MARKER.search(jpeg, place)) and marker[0] != _END:
        count += marker[0] == _SCAN
        place = marker.end() + int.from_bytes(jpeg[marker.end() : marker.end() + 2], "big")
    return count


def _is_webp(file: BinaryIO) -> bool:
    file.seek(0)
    head = file.read(12)
    file.seek(0)
    return head[:4] == b"RIFF" and head[8:] == b"WEBP"


class _TooLargeError(ValueError):
    """The header names more pixels than are read."""


class _LimitedFile(io.RawIOBase):
    """A file that gives `allowance` bytes and no more, which bounds all before the pixels too."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, os.SEEK_END)
        self.allowance = 0
        file.seek(0)

    def content(self) -> bytes:
        """What a reader can get of it; it is where it was then."""
        place = self._file.tell()
        self._file.seek(0)
        content = self._file.read(self.allowance)
        self._file.seek(place)
        return content

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def fileno(self) -> int:  # TIFF's library reads by itself
        return self._file.fileno()

    def read(self, size: int | None = -1, /) -> bytes:
        count = self.size if size is None or size < 0 else size
        data = self._file.read(min(count, self.allowance + 1))
        self.allowance -= len(data)
        if self.allowance < 0:
            raise ValueError("more profiles, texts or data than a picture of its size has")
        return data
