"""The benchmark of the scan runs at a tiny size, and its peers agree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest


def test_benchmark_of_the_scan_makes_its_table(monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    from benchmarks import scan

    sizes = ["--bits", "64", "192", "--rows", "500", "--queries", "12", "1", "-k", "9", "--repeats", "1"]
    lines = scan.main(sizes).splitlines()
    assert lines[0] == "k = 9, 2 threads each."
    assert len(lines) == 2 + 2 + 4
    assert lines[4].startswith("| 64 | 500 | 12 |")
    assert "faiss" in sys.modules
