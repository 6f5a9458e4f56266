"""Make every figure and write benchmarks/RESULTS.md: ``python -m benchmarks [--quick] [PART]…``."""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import commit, encode, footprint, scan
from benchmarks.common import machine

PARTS: dict[str, tuple[str, Callable[[bool], str]]] = {
    "scan": ("Exact scan", lambda quick: scan.main(["--quick"] if quick else [])),
    "encode": ("Encoding and fitting", lambda quick: encode.main(["--quick"] if quick else [])),
    "commit": ("Commits", lambda quick: commit.main(["--rows", "100000", "--repeats", "5"] if quick else [])),
    "footprint": (
        "Large inputs and indexes",
        lambda quick: footprint.main(["--vectors", "20000", "--codes", "100000"] if quick else []),
    ),
}
HEAD = """# Results

Made by `python -m benchmarks`. Figures stand beside their peers in one run at equal threads; a ratio is the median of
ratios of neighbouring repeats. Absolute times are this machine's and noisy; ratios carry over better.
"""


def main() -> None:
    """Run the parts named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed instead of written")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(PARTS)}")
    # Kernels compile into a folder of this run, so that no cache of another version is measured.
    with tempfile.TemporaryDirectory(prefix="hashdb-numba-") as folder:
        os.environ.setdefault("NUMBA_CACHE_DIR", folder)
        _make(options)


def _make(options: argparse.Namespace) -> None:
    page = Path(__file__).parent / "RESULTS.md"
    sections = {} if options.quick or not page.exists() else _sections(page.read_text(encoding="utf-8"))
    for name in options.parts or PARTS:
        title, run = PARTS[name]
        stamp = f"{datetime.date.today()}, {machine()}"
        sections[title] = f"## {title}\n\n{stamp}.\n\n{run(options.quick)}\n"
        if options.quick:
            print(sections[title])
        else:
            ordered = [sections[one] for one, _ in PARTS.values() if one in sections]
            page.write_text("\n".join([HEAD, *ordered]), encoding="utf-8")


def _sections(text: str) -> dict[str, str]:
    found = {}
    for part in text.split("\n## ")[1:]:
        found[part.split("\n", 1)[0]] = "## " + part.rstrip("\n") + "\n"
    return found


if __name__ == "__main__":
    main()
