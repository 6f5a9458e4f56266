"""Fixtures that several areas share: seeded data, real data where it is there."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real data sets, as docs/contributing.md describes it."""
    folder = os.environ.get("HASHDB_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip(
            "HASHDB_DATA does not name a folder with the data sets (docs/contributing.md says where they come from)"
        )
    return Path(folder)


@pytest.fixture
def vectors() -> np.ndarray:
    """500 rows of 24 correlated dimensions."""
    rng = np.random.default_rng(7)
    return (rng.standard_normal((500, 24)) @ rng.standard_normal((24, 24))).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a test puts its index."""
    return tmp_path / "a.hashdb"


def pytest_configure() -> None:
    """Answer to ctrl-C, which a process in the background of a shell ignores, and with it what it tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless ``-m`` says otherwise or a test is asked for by its name."""
    if config.getoption("-m") or any("::" in argument for argument in config.args):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    if slow:
        config.hook.pytest_deselected(items=slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how much the tests tried: the sums of the numbers that they recorded as properties."""
    tried = figures(report for reports in terminalreporter.stats.values() for report in reports)
    if tried:
        terminalreporter.section("figures")
        for name, number in sorted(tried.items()):
            terminalreporter.write_line(f"{number:>12,} {name}")


def figures(reports: Iterable[object]) -> Counter[str]:
    """Sum the numbers that tests recorded, by name."""
    tried: Counter[str] = Counter()
    for report in reports:
        if getattr(report, "when", None) == "call":
            tried.update({name: value for name, value in report.user_properties if isinstance(value, int)})  # type: ignore[attr-defined]
    return tried
