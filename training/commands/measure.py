"""`python run.py measure`: a folder of pictures against their truths, under a named protocol.

`python run.py run-benchmark` draws such a folder. `python run.py evaluate` is the other
measurement: weights of this pack on rendered people.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from pcdm_core.cli import run
from pcdm_core.files import write_text
from pcdm_core.offload import pick_device
from pcdm_core.ranges import parse_size

PROTOCOL_NAMES = ("pcdms", "pidm", "cfld")  # of `evaluation.protocols`, which is slow to import


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 2 with one plain sentence on standard error."""
    options = build_parser().parse_args(arguments)
    return run(lambda: measure(options), "measure")


def build_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(prog="run.py measure", description=__doc__)
    parser.add_argument(
        "--generated",
        type=Path,
        required=True,
        help="pictures <source>_to_<target>.png, or as other repositories name their results",
    )
    parser.add_argument(
        "--pattern",
        help="of these names without their ending: a regular expression whose group (...) is the "
        "target's name (default: the known ones)",
    )
    parser.add_argument("--gt", type=Path, required=True, help="the test split's pictures")
    parser.add_argument("--protocol", choices=PROTOCOL_NAMES, required=True)
    parser.add_argument(
        "--size",
        type=parse_size,
        default=(256, 176),
        help="HEIGHTxWIDTH that is measured at (256x176)",
    )
    parser.add_argument("--train", type=Path, help="the training split's pictures, for FID")
    parser.add_argument("--alexnet", type=Path, help="for LPIPS: alexnet-owt-7be5be79.pth")
    parser.add_argument("--lpips", type=Path, help="for LPIPS: weights/v0.1/alex.pth of its wheel")
    parser.add_argument("--inception", type=Path, help="for FID: inception_v3_google-0cc3c7bd.pth")
    parser.add_argument(
        "--features",
        type=Path,
        help="folder where the training split's features stay (default: beside --train)",
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 (default: a GPU if there is one)")
    parser.add_argument("--json", type=Path, help="write the report to this file too")
    return parser


def measure(options: argparse.Namespace) -> None:
    """Print the report of `--generated`, and write it to `--json`."""
    from ..evaluation.folders import evaluate_folders
    from ..evaluation.inception import InceptionV3
    from ..evaluation.lpips import LPIPS
    from ..evaluation.protocols import PROTOCOLS

    if (options.alexnet is None) != (options.lpips is None):
        raise ValueError("LPIPS needs both of its weight files: --alexnet and --lpips.")
    device = pick_device(options.device)
    lpips = LPIPS.from_files(options.alexnet, options.lpips).to(device) if options.lpips else None
    inception = InceptionV3.from_file(options.inception).to(device) if options.inception else None
    report = evaluate_folders(
        options.generated,
        options.gt,
        PROTOCOLS[options.protocol],
        size=options.size,
        train=options.train,
        pattern=options.pattern,
        lpips=lpips,
        inception=inception,
        features=options.features,
        progress=True,
    )
    print(report.table())
    if options.json is not None:
        write_text(options.json, json.dumps(asdict(report), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
