"""`python run.py data ROOT`: what a data set holds, and which of its files take no part."""

from __future__ import annotations

import argparse
from pathlib import Path

from pcdm_core.cli import run

from . import LAYOUTS, ContentIndex, open_pictures


def main(arguments: list[str] | None = None) -> int:
    """The exit status: 0, or 2 where the data set is of no use."""
    parser = argparse.ArgumentParser(prog="run.py data", description=__doc__)
    parser.add_argument("root", type=Path, help="the data set's folder")
    parser.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS])
    parser.add_argument("--split", default="train", choices=["train", "test"])
    parser.add_argument("--index", type=Path, help="decode every picture; remember it in this file")
    options = parser.parse_args(arguments)
    return run(lambda: report(options), "data")


def report(options: argparse.Namespace) -> None:
    """Print what the data set holds."""
    pictures = open_pictures(options.root, options.layout, options.split)
    if options.index is not None:
        pictures = ContentIndex(options.index).check(pictures)
    print(pictures.report(most=len(pictures.problems)))


if __name__ == "__main__":
    raise SystemExit(main())
