"""How much a text or a file may bring, and how errors quote what it says."""

from __future__ import annotations

import json
import reprlib
from typing import Any

LONGEST_TEXT = 1_000_000
"""Characters of a text, a hundred pictures of whole-body points; more belongs into a file."""

LARGEST_FILE = 512 * 2**20
"""Bytes; COCO's annotations of a training set have 240 million."""

MOST_PEOPLE = 4000
"""In one picture."""

LARGEST_NUMBER = 1e9
"""No picture is that large; NaN, infinity and damaged numbers end here."""

GIVE_SIZE = (
    "give its height and width: --pose-size of generate, --size of pose, picture_height and "
    "picture_width of the node; in Python pass size=(height, width)"
)
"""What to do where nobody says which picture a pose belongs to."""

_LONGEST_QUOTE = 40

_quote = reprlib.Repr()
_quote.maxlevel, _quote.maxlist, _quote.maxtuple, _quote.maxdict = 2, 12, 12, 4
_quote.maxstring = _quote.maxlong = _quote.maxother = _LONGEST_QUOTE


class PoseError(ValueError):
    """A pose that cannot be used; the message says which, what was found and what to do."""


class PointError(PoseError):
    """A pose whose structure is understood, but one of whose points cannot be used."""


class PixelsError(PoseError):
    """A pose in pixels of a picture that nobody says the size of."""


def check_length(text: str, origin: str) -> None:
    """Refuses a text before anything of it is read.

    Raises:
        PoseError: it is longer than `LONGEST_TEXT`; `origin` begins the message.
    """
    if len(text) > LONGEST_TEXT:
        raise PoseError(
            f"{origin}: {len(text)} characters, and at most {LONGEST_TEXT} are read. Save the "
            "poses as a file, or paste fewer frames"
        )


def parse_json(text: str) -> Any:
    """What JSON holds.

    Raises:
        ValueError: no JSON, or lists or numbers that have no end; the message is short.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except RecursionError as error:
        raise ValueError("its lists are nested too deep") from error
    except ValueError as error:  # Python refuses to read whole numbers of thousands of digits
        raise ValueError("one of its numbers has thousands of digits") from error


def brief(value: object) -> str:
    """A value as an error message shows it: short, on one line, whatever it holds."""
    if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
        return "a huge number"
    if isinstance(value, (list, tuple)) and len(value) > 12:
        return f"a list of {len(value)}"
    try:
        text = _quote.repr(value)
    except (ValueError, RecursionError):  # as in `parse_json`, for what did not come as a text
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_QUOTE else f"{text[: _LONGEST_QUOTE - 3]}..."
