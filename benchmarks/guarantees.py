"""Run every proof of docs/guarantees.md in full and write its figures: ``python -m benchmarks.guarantees --work DIR``.

The proofs are the modules of tests/guarantees, with their tests marked ``slow``; all of them take four to six hours of
one processor, and may be shared between two terminals by naming modules in each. Every test that has passed is kept in
the folder of ``--work``, and a rerun goes on where the last one stopped; a new state of the code wants a new folder.
A test that this machine skips shows nothing: a rerun tries it again, and the figures name it.
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
        Seconds and the numbers that were recorded, by test.
    skipped : dict
        Why a test, or the module, was skipped the last time.
    is_whole : bool
        All tests of the module have passed or were skipped.
    """

    def __init__(self, module: Path, work: Path) -> None:
        self.module = module
        self.file = work / f"{module.stem}.json"
        kept = json.loads(self.file.read_text(encoding="utf-8")) if self.file.exists() else {}
        self.passed: dict[str, dict[str, Any]] = kept.get("passed", {})
        self.skipped: dict[str, str] = kept.get("skipped", {})
        self.is_whole: bool = kept.get("is_whole", False)

    def is_done(self) -> bool:
        """Tell whether nothing is left to run."""
        return self.is_whole and not self.skipped

    def run(self) -> bool:
        """Run what has not passed; tell whether nothing failed."""
        self.skipped = {}
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
        """Keep a test that has passed, or why it was skipped."""
        if report.skipped:
            self._skip(report)
        elif report.when == "call" and report.passed:
            tried = {name: number for name, number in report.user_properties if isinstance(number, int)}
            self.passed[report.nodeid] = {"seconds": round(report.duration, 1), "tried": tried}
        elif report.failed:
            self.passed.pop(report.nodeid, None)  # it may have failed in its end only
            print(f"\n{report.nodeid}\n{report.longreprtext}", flush=True)  # pytest itself waits for the last test
        self._keep()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep why a whole module was skipped."""
        if report.skipped:
            self._skip(report)

    def _skip(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        self.skipped[report.nodeid] = " ".join(why.removeprefix("Skipped: ").split())

    def _keep(self) -> None:
        kept = {"is_whole": self.is_whole, "passed": self.passed, "skipped": self.skipped}
        self.file.write_text(json.dumps(kept, indent=1), encoding="utf-8")


def page(proofs: Iterable[Proof]) -> str:
    """Make the table of figures, and name below it what was skipped."""
    tried: Counter[str] = Counter()
    seconds: list[float] = []
    skipped: list[str] = []
    for proof in proofs:
        for test in proof.passed.values():
            tried.update(test["tried"])
            seconds.append(test["seconds"])
        skipped += [f"- `{test.rsplit('/', 1)[-1]}`: {why}" for test, why in sorted(proof.skipped.items())]
    rows = [(name, f"{number:,}") for name, number in sorted(tried.items())]
    rows += [("tests passed", f"{len(seconds):,}"), ("tests skipped", f"{len(skipped):,}")]
    rows += [("hours", f"{sum(seconds) / 3600:.1f}")]
    made = f"{datetime.date.today()}, {machine()}.\n\n" + table(("tried", "how many"), rows)
    return "\n".join([made, "", "Skipped on this machine, so not shown:", "", *skipped]) if skipped else made


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
        if not (proof := Proof(modules[name], options.work)).is_done() and not proof.run()
    ]
    proofs = [Proof(module, options.work) for module in modules.values()]
    left = [proof.module.stem for proof in proofs if not proof.is_whole]
    if not left:
        made = page(proofs)
        before, rest = PAGE.read_text(encoding="utf-8").split(MARK)
        PAGE.write_text(f"{before}{MARK}{made}\n{END}{rest.split(END, 1)[1]}", encoding="utf-8")
        print(made)
    n_skipped = sum(len(proof.skipped) for proof in proofs)
    print(f"failed: {', '.join(failed) or 'none'}; to run: {', '.join(left) or 'none'}; tests skipped: {n_skipped}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
