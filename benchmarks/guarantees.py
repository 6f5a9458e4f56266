"""Run every proof of docs/guarantees.md in full and write its figures: ``python -m benchmarks.guarantees --work DIR``.

The proofs are the modules of tests/guarantees, with their tests marked ``slow``; all of them take six to eight hours of
one processor, most of it the parsers. What has passed is kept in the folder of ``--work``, and a rerun goes on where
the last one stopped; a new state of the code wants a new folder. With names of modules, only these run.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import machine, table

ROOT = Path(__file__).parents[1]
PROOFS = ROOT / "tests" / "guarantees"
PAGE = ROOT / "docs" / "guarantees.md"
MARK, END = "<!-- part: figures -->\n", "<!-- end -->"


class Tally:
    """Counts what tests report: how they ended, and the numbers that they recorded."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take one report; a failure while setting up or tearing down counts too."""
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
        if report.when == "call":
            self.tried.update({name: n for name, n in report.user_properties if isinstance(n, int)})


def run(proof: Path) -> dict[str, Any] | None:
    """Run one module, slow tests and quick ones; None where a test fails."""
    tally, start = Tally(), time.monotonic()
    code = pytest.main(["-n", "0", "-m", "slow or not slow", str(proof)], plugins=[tally])
    found = {"tests": tally.outcomes["passed"], "seconds": round(time.monotonic() - start), "tried": dict(tally.tried)}
    return found if code == 0 else None


def page(kept: list[dict[str, Any]]) -> str:
    """Make the table of figures."""
    tried: Counter[str] = Counter()
    for found in kept:
        tried.update(found["tried"])
    rows = [(name, f"{number:,}") for name, number in sorted(tried.items())]
    rows.append(("tests", f"{sum(found['tests'] for found in kept):,}"))
    rows.append(("hours", f"{sum(found['seconds'] for found in kept) / 3600:.1f}"))
    return f"{datetime.date.today()}, {machine()}.\n\n" + table(("tried", "how many"), rows)


def main() -> int:
    """Run the proofs named, or all, that have not passed yet; write the page once all of them have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as test_kills")
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="what has passed")
    options = parser.parse_args()
    proofs = {path.stem: path for path in sorted(PROOFS.glob("test_*.py"))}
    if unknown := [name for name in options.modules if name not in proofs]:
        parser.error(f"no proof {unknown[0]!r}, expected {', '.join(proofs)}")
    options.work.mkdir(parents=True, exist_ok=True)
    failed = []
    for name in options.modules or proofs:
        file = options.work / f"{name}.json"
        if not file.exists():
            found = run(proofs[name])
            if found is None:
                failed.append(name)
            else:
                file.write_text(json.dumps(found), encoding="utf-8")
    kept = [options.work / f"{name}.json" for name in proofs]
    if all(file.exists() for file in kept):
        made = page([json.loads(file.read_text(encoding="utf-8")) for file in kept])
        before, rest = PAGE.read_text(encoding="utf-8").split(MARK)
        PAGE.write_text(f"{before}{MARK}{made}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
        print(made)
    print(
        f"failed: {', '.join(failed) or 'none'}; to run: {', '.join(f.stem for f in kept if not f.exists()) or 'none'}"
    )
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
