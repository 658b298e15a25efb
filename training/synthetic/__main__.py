"""Command line of the generator of synthetic people.

Usage::

    python -m training.synthetic --out DIR --split train --identities 2500 --workers 16
    python -m training.synthetic --sheet sheet.png --identities 6
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before numpy loads: workers are the parallelism

from pcdm_core.ranges import COUNT, NUMBER, SEED, parse_size  # noqa: E402

from .dataset import Job, contact_sheet, write_dataset  # noqa: E402
from .identity import SPLITS, identity_seed, make_identity  # noqa: E402


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training.synthetic", description="Make pictures of synthetic people."
    )
    parser.add_argument("--out", type=Path, help="folder of the data set")
    parser.add_argument("--split", choices=SPLITS, default="train")
    parser.add_argument("--identities", type=COUNT.parse, default=8, help="how many people")
    parser.add_argument("--first", type=NUMBER.parse, default=0, help="number of the first person")
    parser.add_argument("--views", type=COUNT.parse, default=8, help="pictures of each person")
    parser.add_argument("--size", type=parse_size, default=(256, 176), help="HEIGHTxWIDTH")
    # A pool on Windows holds 61 processes at most.
    parser.add_argument("--workers", type=COUNT.parse, default=min(os.cpu_count() or 1, 61))
    parser.add_argument("--seed", type=SEED.parse, default=0)
    parser.add_argument("--sheet", type=Path, help="write one contact sheet instead of a data set")
    args = parser.parse_args(arguments)
    numbers = range(args.first, args.first + args.identities)
    if args.sheet:
        people = [make_identity(identity_seed(args.seed, args.split, n)) for n in numbers]
        contact_sheet(people, args.views, args.size).save(args.sheet)
        return 0
    if args.out is None:
        parser.error("give --out DIR for a data set or --sheet FILE for a contact sheet")
    started = time.monotonic()
    job = Job(args.out, args.split, args.views, args.size, args.seed)
    pictures = write_dataset(job, numbers, args.workers)
    spent = time.monotonic() - started
    print(
        f"{pictures} new pictures in {spent:.1f} s"
        f" ({pictures / spent / max(args.workers, 1):.2f} per second and worker)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
