#!/usr/bin/env python3
"""Turns a clean checkout into what is published: `python .github/release.py [--ref COMMIT]`.

pyproject.toml holds the repository's address once, in [project.urls] Repository. The other
addresses of a release are paths in the checkout, and the archive for ComfyUI's registry leaves out
what many of them lead to: this makes addresses of them, in pyproject.toml and in the documents that
ship. It changes these files; the workflow runs it on its own checkout and commits nothing.

Standard library only: the workflow calls it before anything is installed.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path, PurePosixPath
from urllib.parse import urljoin

ROOT = Path(__file__).resolve().parents[1]
UNSET = "https://github.com/OWNER/REPOSITORY"
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/[\w.-]+")

DOCUMENTS = ("README.md", "MODEL_CARD.md")
PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".svg", ".webp")
TABLE = r"^\[{}\]\n((?:(?!\[).*\n)*)"
VALUE = re.compile(r'^(\w+) = "(.*)"$', re.MULTILINE)
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
PLACEHOLDER = re.compile(r"\bREPOSITORY\b")  # stands for the address in what a reader types
NOTE = (
    "*This is the package for ComfyUI. Its tests, its training, its evaluation and the commands of "
    "`run.py` are in [the repository]({})*."
)


class ReleaseError(Exception):
    """What the owner of the repository has to do first."""


def main(arguments: list[str]) -> int:
    """The exit status: 0, or 1 with a sentence on standard error."""
    parser = argparse.ArgumentParser(prog="release.py", description=__doc__.split("\n")[0])
    parser.add_argument("--ref", default="HEAD", help="commit or tag that addresses lead to")
    options = parser.parse_args(arguments)
    try:
        for path in prepare(ROOT, options.ref):
            print(path)
    except ReleaseError as error:
        print(f"release.py: {error}", file=sys.stderr)
        return 1
    return 0


def prepare(root: Path, ref: str = "HEAD") -> list[Path]:
    """Write the addresses into the files of a checkout; the files that it changed.

    Raises:
        ReleaseError: the repository's address is not set, or is none.
    """
    pyproject = root / "pyproject.toml"
    text = pyproject.read_text(encoding="utf-8")
    repository = repository_of(text)
    changed = {pyproject: with_addresses(text, repository, ref)}
    for name in DOCUMENTS:
        document = (root / name).read_text(encoding="utf-8")
        changed[root / name] = absolute_document(document, repository, ref)
    readme, note = root / DOCUMENTS[0], NOTE.format(repository)
    title, rest = changed[readme].split("\n", 1)
    if note not in rest:
        changed[readme] = f"{title}\n\n{note}\n{rest}"
    for path, content in changed.items():
        path.write_text(content, encoding="utf-8", newline="\n")
    return list(changed)


def repository_of(pyproject: str) -> str:
    """The repository's address in the text of pyproject.toml.

    Raises:
        ReleaseError: it is not set, or is none.
    """
    address = values_of(pyproject, "project.urls").get("Repository", "")
    if address == UNSET or not ADDRESS.fullmatch(address):
        raise ReleaseError(
            f"[project.urls] Repository in pyproject.toml is {address!r}. Set it to the address of "
            f"this repository, as https://github.com/<owner>/<name>; every other address follows."
        )
    return address


def with_addresses(pyproject: str, repository: str, ref: str) -> str:
    """The text of pyproject.toml with addresses for the paths of [project.urls] and of pictures."""
    comfy = values_of(pyproject, "tool.comfy")
    pictures = {key: comfy[key] for key in ("Icon", "Banner")}
    for key, value in {**values_of(pyproject, "project.urls"), **pictures}.items():
        address = absolute(value, repository, ref)
        pyproject = pyproject.replace(f'\n{key} = "{value}"\n', f'\n{key} = "{address}"\n')
    return pyproject


def values_of(pyproject: str, table: str) -> dict[str, str]:
    """The texts in a table of pyproject.toml, which has one a line."""
    found = re.search(TABLE.format(re.escape(table)), pyproject, re.MULTILINE)
    return dict(VALUE.findall(found[1])) if found else {}


def absolute_document(document: str, repository: str, ref: str) -> str:
    """A Markdown document with addresses for its links to files and for the word REPOSITORY."""

    def link(match: re.Match[str]) -> str:
        return match[1] + absolute(match[2], repository, ref) + match[3]

    return PLACEHOLDER.sub(repository, LINK.sub(link, document))


def absolute(target: str, repository: str, ref: str) -> str:
    """The address of a path in the repository; an address or a place in the page stays."""
    if "://" in target or target.startswith("#"):
        return target
    kind = "raw" if PurePosixPath(target).suffix.lower() in PICTURES else "blob"
    return urljoin(f"{repository}/{kind}/{ref}/", target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
