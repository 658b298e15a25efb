"""Picture files that want more than a picture should: memory, other programs, an odd error."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

from PIL import Image

MEGABYTE = 1_000_000


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    """A PNG of 8-bit RGB with these chunks between its header and its end."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def zeros(count: int) -> bytes:
    """So many zeros, compressed without ever holding them all."""
    packer = zlib.compressobj(9)
    block = bytes(MEGABYTE)
    packed = b"".join(packer.compress(block) for _ in range(count // MEGABYTE))
    return packed + packer.compress(bytes(count % MEGABYTE)) + packer.flush()


def small(kind: str) -> bytes:
    """A picture that is well, 8x8."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, format=kind)
    return file.getvalue()


def tiff(width: int, height: int, data: bytes, tags: dict[int, int]) -> bytes:
    """A greyscale TIFF of one strip or tile; `tags` besides the usual ones."""
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 277: 1, **tags}
    start = 8 + 2 + 12 * (len(entries) + 2) + 4
    places = (324, 325) if 322 in tags else (273, 279)
    entries |= {places[0]: start, places[1]: len(data)}
    rows = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(entries.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + b"".join(rows) + bytes(4) + data


def webp(width: int, height: int, *chunks: bytes) -> bytes:
    """An extended WebP whose canvas has this size."""
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<II", 10, 0) + canvas + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg(width: int, height: int) -> bytes:
    """A JPEG whose frame says this size."""
    data = small("JPEG")
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def gif(width: int, height: int, frame: tuple[int, int]) -> bytes:
    """A GIF of one frame, on a screen of another size."""
    data = small("GIF")
    at = data.index(b"\x2c")
    return (
        data[:6] + struct.pack("<HH", width, height) + data[10 : at + 5]
        + struct.pack("<HH", *frame) + data[at + 9 :]
    )  # fmt: skip


def bmp(width: int, height: int) -> bytes:
    """A BMP whose header says this size."""
    data = small("BMP")
    return data[:18] + struct.pack("<ii", width, height) + data[26:]


def with_hole(path: Path, head: bytes, size: int) -> None:
    """A file that begins so and goes on with zeros that take no room on the disk."""
    with path.open("wb") as file:
        file.write(head)
        file.truncate(size)


def _png_with_a_text(path: Path) -> None:
    header = png(8, 8)[: 8 + 25]
    with_hole(path, header + struct.pack(">I", 400 * MEGABYTE) + b"tEXtkey\0", 401 * MEGABYTE)


def _webp_with_a_tail(path: Path) -> None:
    picture = small("WEBP")
    size = 400 * MEGABYTE
    head = b"RIFF" + struct.pack("<I", size - 8) + picture[8:]
    with_hole(path, head + b"JUNK" + struct.pack("<I", size - len(picture) - 8), size)


def _write(content: Callable[[], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(content()) and None


TOO_LARGE: dict[str, Callable[[Path], None]] = {
    "header.png": _write(lambda: png(60_000, 60_000, chunk(b"IDAT", zeros(MEGABYTE)))),
    "zeros.png": _write(lambda: png(10_000, 10_000, chunk(b"IDAT", zeros(300_010_000)))),
    "strip.tif": _write(lambda: tiff(60_000, 60_000, bytes(100), {278: 60_000})),
    "screen.gif": _write(lambda: gif(65_535, 65_535, (8, 8))),
    "frame.gif": _write(lambda: gif(8, 8, (65_535, 65_535))),
    "frame.jpg": _write(lambda: jpeg(65_500, 65_500)),
    "rows.bmp": _write(lambda: bmp(60_000, 60_000)),
}
"""Files whose picture has more pixels than are read, by name; each writes itself to a path."""

DAMAGED: dict[str, Callable[[Path], None]] = {
    "text.png": _png_with_a_text,
    "packed-text.png": _write(
        lambda: png(8, 8, chunk(b"zTXt", b"key\0\0" + zeros(300 * MEGABYTE)))
    ),
    "profile.png": _write(lambda: png(8, 8, chunk(b"iCCP", b"name\0\0" + zeros(300 * MEGABYTE)))),
    "tile.tif": _write(
        lambda: tiff(64, 64, zeros(400 * MEGABYTE), {259: 8, 322: 20_000, 323: 20_000})
    ),
    "canvas.webp": _write(lambda: webp(16_384, 16_384, small("WEBP")[12:])),
    "tail.webp": _webp_with_a_tail,
    "half.png": _write(lambda: png(7_000, 7_000, chunk(b"IDAT", zeros(140 * MEGABYTE)))[:-12]),
    "half.jpg": _write(lambda: small("JPEG")[:-200]),
    "half.webp": _write(lambda: small("WEBP")[:40]),
    "half.tif": _write(lambda: small("TIFF")[:120]),
    "half.bmp": _write(lambda: small("BMP")[:100]),
    "half.gif": _write(lambda: small("GIF")[:20]),
}
"""Files that hold no whole picture, whatever their header says."""
