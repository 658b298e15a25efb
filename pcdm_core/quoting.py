"""Values of unknown origin in a sentence: short, on one line, nothing in them that could act."""

from __future__ import annotations

import math
import reprlib


class _Repr(reprlib.Repr):
    """The library's, for numbers too that Python refuses to write out."""

    def repr_int(self, x: int, level: int) -> str:
        """A number of thousands of digits as their count."""
        digits = int(x.bit_length() * math.log10(2)) + 1
        return super().repr_int(x, level) if digits < 1000 else f"a number of {digits} digits"


_OTHERS = _Repr()
_OTHERS.maxlevel = 2
_OTHERS.maxother = 200


def short(value: object, most: int = 80) -> str:
    """A value as `repr` shows it, cut after `most` characters of it.

    A text comes in quotes with its line ends, NUL and direction marks escaped; a text that
    others wrote, such as an error's, can go through here as well.
    """
    if not isinstance(value, str):
        text = _OTHERS.repr(value)
        return text if len(text) <= most else f"{text[:most]}..."
    return repr(value) if len(value) <= most else f"{value[:most]!r}..."


def one_line(error: object, most: int = 200) -> str:
    """The text of an error for the inside of another sentence, without quotes."""
    text = " ".join(str(error).split())
    clean = "".join(letter if letter.isprintable() else "?" for letter in text[: most + 1])
    return clean if len(clean) <= most else f"{clean[:most]}..."
