"""``python -m tests.supply_chain oldest|newest|wheels``: needs a package index, and minutes.

``oldest`` and ``newest`` make a virtual environment with the lowest, or the newest, versions of all dependencies that
pyproject.toml allows, install the wheel there and run tests on it (those named, or a meaningful part). ``wheels``
builds the wheel twice from unlike copies and compares the bytes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .environments import test_with
from .wheels import compare_wheels


def main() -> None:
    """Do what is asked for, in a temporary folder or the one given."""
    parser = argparse.ArgumentParser(prog="python -m tests.supply_chain")
    parser.add_argument("what", choices=["oldest", "newest", "wheels"])
    parser.add_argument("--keep", type=Path, metavar="DIR", help="new folder for the environment, which is kept")
    asked, tests = parser.parse_known_args()  # what is left over is pytest's
    with tempfile.TemporaryDirectory() as temporary:
        folder = (asked.keep or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        if asked.what == "wheels":
            compare_wheels(folder)
        else:
            test_with(asked.what, folder, tests)


if __name__ == "__main__":
    main()
