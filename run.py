#!/usr/bin/env python3
"""The front door: `python run.py COMMAND`. All that it does is in `run_setup.py`.

Every Python since 2.7 can read this file, so that an old one gets a sentence and no SyntaxError.
"""

import os
import sys

PYTHON_MIN = (3, 10)

if __name__ == "__main__":
    if sys.version_info < PYTHON_MIN:
        words = "run.py: this needs Python %d.%d or newer, and %s is Python %d.%d. Call it with a "
        words += "newer one: python3.12 run.py demo"
        major, minor = sys.version_info[:2]
        sys.exit(words % (PYTHON_MIN[0], PYTHON_MIN[1], sys.executable, major, minor))
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))  # PYTHONSAFEPATH leaves it out
    from run_setup import main

    sys.exit(main(sys.argv[1:]))
