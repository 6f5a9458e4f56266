"""Cost of a small commit on a large index beside the same commit on an empty one, and the fsyncs it takes."""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from unittest import mock

import numpy as np

import hashdb
from benchmarks.common import table

HEAD = ("index", "rows", "commit of 1,000 rows, median", "10th to 90th percentile", "fsyncs a commit")


def rows(n_rows: int, repeats: int) -> list[tuple[object, ...]]:
    """Measure adds of 1,000 rows to an empty index and to one of ``n_rows``, taking turns."""
    rng = np.random.default_rng(0)
    folder = Path(tempfile.mkdtemp(prefix="hashdb-bench-"))
    try:
        codes = rng.integers(0, 2**63, (n_rows, 1), dtype=np.uint64)
        large = hashdb.build(folder / "large.hashdb", codes, method="codes")
        empty = hashdb.build(folder / "empty.hashdb", codes[:0], method="codes", n_bits=64)
        batch = rng.integers(0, 2**63, (1000, 1), dtype=np.uint64)
        seconds: dict[str, list[float]] = {"empty": [], "large": []}
        for _ in range(repeats):
            for name, index in (("empty", empty), ("large", large)):
                start = time.perf_counter()
                index.add(batch)
                seconds[name].append(time.perf_counter() - start)
        n_fsyncs = _count_fsyncs(lambda: large.add(batch))
        return [
            (name, f"{n:,}", f"{median(times) * 1e3:.1f} ms", _spread(times), n_fsyncs)
            for (name, times), n in zip(seconds.items(), (0, n_rows), strict=True)
        ]
    finally:
        shutil.rmtree(folder)


def _count_fsyncs(call: object) -> int:
    import os

    with mock.patch("os.fsync", wraps=os.fsync) as counted:
        call()  # type: ignore[operator]
    return counted.call_count


def _spread(times: list[float]) -> str:
    low, high = np.percentile(times, [10, 90]) * 1e3
    return f"{low:.1f} to {high:.1f} ms"


def main(argv: list[str] | None = None) -> str:
    """Run and return the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args(argv)
    return table(HEAD, rows(options.rows, options.repeats))


if __name__ == "__main__":
    print(main())
