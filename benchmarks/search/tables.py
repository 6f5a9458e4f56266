"""Building bucket tables: seconds and memory, in memory and with files, beside NumPy's ``argsort``."""

from __future__ import annotations

import shutil
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import table
from benchmarks.search import data, ours
from benchmarks.search.worker import Worker

_MOVED = 10  # words a code: what four wide tables are, and what making them moves codes to
HEAD = ("what", "data", "time", "bytes of tables", "peak private memory", "peak / tables")


class Maker:
    """A process that makes tables of the codes of a file in one way or another."""

    def __init__(self, codes: Path, n: int, n_bits: int) -> None:
        self._file, self._n, self._n_bits = codes, n, n_bits
        ours.warm()

    def in_memory(self) -> tuple[float, int]:
        """Make tables in memory; give (seconds, bytes)."""
        return ours.tables_in_memory(self._codes(), self._n_bits)

    def again(self) -> tuple[float, int]:
        """Make them twice and give what the second time took: the process has its memory then."""
        self.in_memory()
        return self.in_memory()

    def touched(self, n_bytes: int) -> tuple[float, int]:
        """Write to as many bytes of fresh memory, on one thread: what the system takes to give them."""
        start = time.perf_counter()
        kept = np.ones(n_bytes >> 3, np.uint64)
        return time.perf_counter() - start, kept.nbytes

    def on_disk(self, path: Path) -> tuple[float, int]:
        """Build an index with tables from the file."""
        start = time.perf_counter()
        ours.build(path, self._codes(), self._n_bits)
        return time.perf_counter() - start, ours.size(path)[1]

    def argsort(self, n_tables: int) -> tuple[float, int]:
        """Order the rows by each substring as NumPy does, rows as uint32; nothing else of a table is made."""
        codes = self._codes()[:, 0]
        start = time.perf_counter()
        ends = np.linspace(0, 64, n_tables + 1).astype(int).tolist()
        kept = []
        for low, high in pairwise(ends):
            substring = (codes >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1)
            kept.append(np.argsort(substring.astype(np.uint32), kind="stable").astype(np.uint32))
        return time.perf_counter() - start, sum(rows.nbytes for rows in kept)

    def _codes(self) -> Any:
        return np.load(self._file, mmap_mode="r")[: self._n]


def main(work: Path, n: int) -> str:
    """Measure and return the table."""
    rows = []
    for dataset in ("uniform", "clustered"):
        codes = data.codes(work, dataset, 64, n)
        np.load(codes, mmap_mode="r").max()  # the file is in the page cache for all
        path = work / "tables.hashdb"
        shutil.rmtree(path, ignore_errors=True)
        rows.append(_row("tables in memory, fresh process", dataset, codes, n, "in_memory"))
        rows.append(_row("tables in memory, once more", dataset, codes, n, "again"))
        rows.append(_row("as much fresh memory written to", dataset, codes, n, "touched", _MOVED * 8 * n))
        rows.append(_row("index on disk with tables", dataset, codes, n, "on_disk", path))
        n_tables = sum(one.is_dir() for one in path.glob("segments/*/buckets/*")) or 3
        shutil.rmtree(path)
        rows.append(_row(f"NumPy: stable argsort of {n_tables} substrings", dataset, codes, n, "argsort", n_tables))
    return f"{n:,} codes of 64 bits.\n\n" + table(HEAD, rows)


def _row(what: str, dataset: str, codes: Path, n: int, method: str, *arguments: Any) -> tuple[str, ...]:
    with Worker(Maker, codes, n, 64) as worker:
        before = worker.memory()["RssAnon"]
        seconds, size = worker.watched(method, *arguments)
        peak = worker.peak - before
    ratio = f"{peak / size:.2f}" if size else "–"
    return what, dataset, f"{seconds:.2f} s", f"{size / 2**20:,.0f} MiB", f"{peak / 2**20:,.0f} MiB", ratio
