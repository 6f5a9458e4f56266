"""Run every proof of docs/guarantees.md in full and write its figures: ``python -m benchmarks.guarantees --work DIR``.

The proofs are the modules of tests/guarantees, with their tests marked ``slow``; all of them take four hours or so of
one processor, and may be shared between two terminals by naming modules in each. Every test that has passed is kept in
the folder of ``--work``, and a rerun goes on where the last one stopped; a new state of the code wants a new folder.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.common import machine, table

ROOT = Path(__file__).parents[1]
PROOFS = ROOT / "tests" / "guarantees"
PAGE = ROOT / "docs" / "guarantees.md"
MARK, END = "<!-- part: figures -->\n", "<!-- end -->"


class Proof:
    """A module of tests: a plugin of pytest that leaves out what has passed before and keeps what passes.

    Attributes
    ----------
    passed : dict
        Seconds and the numbers that were recorded, by test; a test that is skipped has neither.
    is_whole : bool
        All tests of the module have passed.
    """

    def __init__(self, module: Path, work: Path) -> None:
        self.module = module
        self.file = work / f"{module.stem}.json"
        kept = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        self.passed: dict[str, dict[str, Any]] = kept.get("passed", {})
        self.is_whole: bool = kept.get("is_whole", False)

    def run(self) -> bool:
        """Run what has not passed; tell whether all has now."""
        arguments = ["-n", "0", "-m", "slow or not slow", str(self.module)]
        self.is_whole = pytest.main(arguments, plugins=[self]) in (
            pytest.ExitCode.OK,
            pytest.ExitCode.NO_TESTS_COLLECTED,
        )
        self._keep()
        return self.is_whole

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what has passed."""
        items[:] = [item for item in items if item.nodeid not in self.passed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep a test that has passed, or that says why it cannot run here."""
        if report.skipped:
            self.passed[report.nodeid] = {"seconds": 0, "tried": {}}
        elif report.when == "call" and report.passed:
            tried = {name: number for name, number in report.user_properties if isinstance(number, int)}
            self.passed[report.nodeid] = {"seconds": round(report.duration, 1), "tried": tried}
        elif report.failed:
            self.passed.pop(report.nodeid, None)  # it may have failed in its end only
            print(f"\n{report.nodeid}\n{report.longreprtext}", flush=True)  # pytest itself waits for the last test
        self._keep()

    def _keep(self) -> None:
        self.file.write_text(json.dumps({"is_whole": self.is_whole, "passed": self.passed}, indent=1), encoding="utf-8")


def page(tests: Iterable[dict[str, Any]]) -> str:
    """Make the table of figures."""
    tried: Counter[str] = Counter()
    seconds: list[float] = []
    for test in tests:
        tried.update(test["tried"])
        seconds.extend([test["seconds"]] if test["seconds"] else [])
    rows = [(name, f"{number:,}") for name, number in sorted(tried.items())]
    rows += [("tests", f"{len(seconds):,}"), ("hours", f"{sum(seconds) / 3600:.1f}")]
    return f"{datetime.date.today()}, {machine()}.\n\n" + table(("tried", "how many"), rows)


def main() -> int:
    """Run the proofs named, or all, as far as they have not passed yet; write the page once all of them have."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as test_kills")
    parser.add_argument("--work", metavar="DIR", type=Path, required=True, help="what has passed")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    modules = {path.stem: path for path in sorted(PROOFS.glob("test_*.py"))}
    if unknown := [name for name in options.modules if name not in modules]:
        parser.error(f"no proof {unknown[0]!r}, expected {', '.join(modules)}")
    failed = [
        name
        for name in options.modules or modules
        if not (proof := Proof(modules[name], options.work)).is_whole and not proof.run()
    ]
    proofs = [Proof(module, options.work) for module in modules.values()]
    left = [proof.module.stem for proof in proofs if not proof.is_whole]
    if not left:
        made = page(test for proof in proofs for test in proof.passed.values())
        before, rest = PAGE.read_text(encoding="utf-8").split(MARK)
        PAGE.write_text(f"{before}{MARK}{made}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
        print(made)
    print(f"failed: {', '.join(failed) or 'none'}; to run: {', '.join(left) or 'none'}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
