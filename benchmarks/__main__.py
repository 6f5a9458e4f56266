"""Make every figure and write benchmarks/RESULTS.md: ``python -m benchmarks [--quick] [PART]…``.

The parts about the search keep codes and finished cells in the folder of ``--work``, and a rerun with the same folder
goes on where the last one stopped; a new state of the code wants a new folder.
"""

from __future__ import annotations

import argparse
import datetime
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import commit, encode, footprint, gist, scan
from benchmarks.common import machine
from benchmarks.search import parts

PARTS: dict[str, tuple[str, Callable[[argparse.Namespace], str]]] = {
    "scan": ("Exact scan", lambda options: scan.main(["--quick"] if options.quick else [])),
    "encode": ("Encoding and fitting", lambda options: encode.main(["--quick"] if options.quick else [])),
    "gist": ("GIST descriptors", lambda options: gist.main(["--quick"] if options.quick else [])),
    "commit": ("Commits", lambda options: commit.main(["--rows", "100000", "--repeats", "5"] if options.quick else [])),
    "footprint": (
        "Large inputs and indexes",
        lambda options: footprint.main(["--vectors", "20000", "--codes", "100000"] if options.quick else []),
    ),
    "search": ("Search", parts.search),
    "planner": ("Search: how often the planner errs", parts.planner_),
    "targets": ("Search: the ratios that matter", parts.targets_),
    "tables": ("Search: building bucket tables", parts.tables_),
    "cold": ("Search: the first query", parts.cold_),
    "roofline": ("Search: what the machine can do", parts.roofline_),
    "billion": ("Search: hundreds of millions of codes", parts.billion_),
}
HEAD = """# Results

Made by `python -m benchmarks`. Figures stand beside their peers in one run at equal threads; a ratio is the median of
ratios of neighbouring repeats. Absolute times are this machine's and noisy; ratios carry over better.
"""


def main() -> None:
    """Run the parts named, or all, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, printed instead of written")
    parser.add_argument(
        "--work", metavar="DIR", help="codes and finished cells of the search (default: a temporary one)"
    )
    parser.add_argument(
        "--only", metavar="data=…,bits=…,n=…", help="cells of the search to run; finished ones are shown"
    )
    parser.add_argument("--pace", type=float, metavar="SECONDS", help="of one measurement of a cell")
    parser.add_argument("--rows", type=int, metavar="N", help="codes of a second index of the part billion")
    options = parser.parse_args()
    unknown = set(options.parts) - set(PARTS)
    if unknown:
        parser.error(f"no part {sorted(unknown)[0]!r}, expected {', '.join(PARTS)}")
    # Kernels compile into a folder of this run, so that no cache of another version is measured.
    with tempfile.TemporaryDirectory(prefix="hashdb-numba-") as folder:
        os.environ.setdefault("NUMBA_CACHE_DIR", folder)
        if options.quick and not options.work:
            options.work = folder
        _make(options)


def _make(options: argparse.Namespace) -> None:
    page = Path(__file__).parent / "RESULTS.md"
    sections = {} if options.quick or not page.exists() else _sections(page.read_text(encoding="utf-8"))
    for name in options.parts or PARTS:
        title, run = PARTS[name]
        stamp = f"{datetime.date.today()}, {machine()}"
        sections[title] = f"## {title}\n\n{stamp}.\n\n{run(options)}\n"
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
