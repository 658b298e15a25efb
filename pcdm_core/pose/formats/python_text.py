"""Texts that people paste: JSON in a fence, a line for each document, and what Python prints.

Nothing is evaluated: a text of Python's is taken apart into its tokens, and these are JSON's then.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .frame import Context
from .limits import parse_json

_FENCE = re.compile(r"```[^\n`]*\n(.*?)```", re.DOTALL)
_ASSIGNED = re.compile(r"\s*[A-Za-z_]\w{0,60}\s*=\s*(?=[\[({A-Za-z])")
_IMPORTS = re.compile(r"\s*(?:(?:import|from)\s[^\n]*|#[^\n]*)\n")
_BEGINS = re.compile(r"\s*(?:\"?[\[{(]|null\s*$|[A-Za-z_][\w.]{0,60}\()")
_TOKEN = re.compile(
    r"(?P<space>\s+|(?:#|//)[^\n]*)"
    r"|[rbuRBU]{0,2}(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)"
    r"|(?P<word>[-+]?[A-Za-z_][\w.]*)"
    r"|(?P<mark>[()\[\]{},:=])",
    re.DOTALL,
)
_WORDS = {"None": "null", "null": "null", "True": "true", "true": "true", "False": "false",
          "false": "false", "nan": "NaN", "NaN": "NaN", "np.nan": "NaN", "inf": "Infinity",
          "Infinity": "Infinity", "-inf": "-Infinity", "-Infinity": "-Infinity"}  # fmt: skip
_CLOSE = {"[": "]", "(": "]", "{": "}", "call": ""}


def unfenced(text: str) -> str:
    """What stands in a text's first fence, or the text; without a name that it is assigned to."""
    fence = _FENCE.search(text) if "```" in text else None
    text = fence[1] if fence else text
    while match := _IMPORTS.match(text):
        text = text[match.end() :]
    match = _ASSIGNED.match(text)
    return text[match.end() :] if match else text


def is_structured(text: str) -> bool:
    """Whether a text begins as JSON does, or as lists and arrays that Python prints."""
    return _BEGINS.match(text) is not None


def documents_of(text: str, context: Context) -> list[Any]:
    """The document of a text; of JSON Lines, one a line, `ValueError`s where a line is damaged.

    Raises:
        PoseError: it is damaged.
    """
    try:
        return [parse_json(text)]
    except ValueError as error:
        fault = error
    lines = [line for line in text.splitlines() if line.strip()]
    documents = [_line(line) for line in lines[:1]]
    if len(lines) > 1 and isinstance(documents[0], (dict, list)):
        context.findings.fact("JSON Lines: a document a line.")
        return documents + [_line(line) for line in lines[1:]]
    try:
        return [parse_json(_as_json(text))]
    except (ValueError, IndexError) as error:
        hint = " It is cut short (...): print it whole." if "..." in text[:2000] else ""
        raise context.error(f"damaged JSON ({fault}); export the pose again.{hint}") from error


def _line(line: str) -> Any:
    try:
        return parse_json(line)
    except ValueError as error:
        return error


def _as_json(text: str) -> str:
    """JSON of what Python prints: tuples, None, single quotes, `array(...)`, numbers as keys.

    Raises:
        ValueError: something else is in it.
        IndexError: a bracket closes what none opened.
    """
    pieces: list[str] = []
    brackets: list[str] = []
    is_call = False
    skip_from = 0  # of a call's arguments only the first counts; depth at which others begin
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            raise ValueError(f"unexpected {text[place : place + 10]!r}")
        place, kind, token = match.end(), match.lastgroup, match[0]
        if kind == "space":
            continue
        if token in "([{":
            brackets.append("call" if is_call and token == "(" else token)
            piece = {"(": "" if is_call else "["}.get(token, token)
        elif token in ")]}":
            piece = _CLOSE[brackets.pop()]
            if pieces and pieces[-1] == "," and not skip_from:
                pieces.pop()
            if skip_from > len(brackets):
                skip_from = 0
        elif token == "," and brackets and brackets[-1] == "call":
            skip_from = skip_from or len(brackets)
            continue
        elif token in ",:=":
            piece = token
            if token == ":" and not skip_from and pieces and pieces[-1][:1] not in ('"', "]", "}"):
                pieces[-1] = f'"{pieces[-1]}"'
        elif kind == "text":
            piece = json.dumps(match["text"][1:-1].replace("\\'", "'"))
        elif kind == "number":
            piece = token if token.lstrip("-").isdigit() else json.dumps(float(token))
        elif token in _WORDS:
            piece = _WORDS[token]
        elif text[place : place + 1] == "(" or skip_from:
            is_call = True
            continue
        else:
            raise ValueError(f"unexpected {token!r}")
        is_call = False
        if skip_from or not piece:
            continue
        # numpy prints numbers and rows without commas
        if pieces and piece not in ",:]}" and pieces[-1] not in ",:[{":
            pieces.append(",")
        pieces.append(piece)
    return "".join(pieces)
