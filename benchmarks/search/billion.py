"""Hundreds of millions of codes: how long a build and a query take, how large the index is, what stays in memory.

Codes are made as those of ``lsh`` over clusters look, without the vectors: a row has one of 1,000 random centres, and
bit j of cluster c is flipped with probability Φ(-|g|), g standard normal for each (c, j): a hyperplane at g standard
deviations of the cluster from its centre. Bits flip independently, unlike in real codes, whose bits hang together
within a subspace. Probabilities are multiples of 1/256. Queries are further draws.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import table
from benchmarks.search import cold, data, ours
from benchmarks.search.cells import Question
from benchmarks.search.suite import Builder
from benchmarks.search.worker import Host, Worker

_N_CENTRES = 1000
_QUERIES, _N_QUERIES = 1 << 40, 200
_PART = 1 << 15  # rows whose flips are held at once
HEAD = ("rows", "k", "what", "a query")


@cache
def _mixture() -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    centres = rng.integers(0, 2**64, _N_CENTRES, dtype=np.uint64)
    margins = np.abs(rng.standard_normal((_N_CENTRES, 64)))
    flips = np.vectorize(lambda margin: 0.5 * math.erfc(margin / math.sqrt(2)))(margins)
    return centres, np.round(256 * flips).astype(np.uint8)


def draw(block: int, n: int) -> Any:
    """Draw codes: uint64 (n, 1)."""
    centres, flips = _mixture()
    rng = np.random.default_rng([5, block])
    codes = np.empty((n, 1), np.uint64)
    for first in range(0, n, _PART):
        labels = rng.integers(0, _N_CENTRES, min(_PART, n - first))
        flipped = rng.integers(0, 256, (len(labels), 64), dtype=np.uint8) < flips[labels]
        packed = np.packbits(flipped, axis=1, bitorder="little").view("<u8")[:, 0]
        codes[first : first + len(labels), 0] = centres[labels] ^ packed
    return codes


def main(work: Path, sizes: list[int], repeats: int, n_threads: int) -> str:
    """Measure every size and return the tables."""
    parts = []
    for n in sizes:
        codes, path = work / f"billion-{n}.npy", work / f"billion-{n}.hashdb"
        if not codes.exists():
            data.write(codes, n, 1, draw)
        shutil.rmtree(path, ignore_errors=True)
        try:
            parts += _measure(codes, path, n, repeats, n_threads)
        finally:
            shutil.rmtree(path, ignore_errors=True)
            codes.unlink()
    return "\n\n".join([__doc__.split("\n\n", 1)[1].strip(), *parts])


def _measure(codes: Path, path: Path, n: int, repeats: int, n_threads: int) -> list[str]:
    with Worker(Builder) as builder:
        before = builder.memory()["RssAnon"]
        seconds = builder.watched("build", path, codes, n, 64)
        peak = builder.peak - before
    size, tables = ours.size(path)
    queries = draw(_QUERIES, _N_QUERIES)
    colds = [cold.measure(path, queries, 10, n_threads, cold=True) for _ in range(repeats)]
    rows = [
        (f"{n:,}", "10", "open and first query, cold", _milliseconds(max(one["open"] + one["first"] for one in colds)))
    ]
    with Worker(Host, ours.Ours, path, queries, n, 64, n_threads) as worker:
        before_open = worker.memory()
        worker.call("build")
        for k in (10, 100):
            for way in worker.call("ways"):
                rows.append((f"{n:,}", str(k), *_warm(worker.call, way, Question("k", k), repeats, n_threads)))
            if (way := worker.call("differing")) is not None:
                raise RuntimeError(f"{n:,} codes, k = {k}: {way} and scan give different ids or distances")
        held = worker.memory()
    stayed = max(one["cached"] for one in colds)
    private, mapped = (f"{(held[name] - before_open[name]) / 2**20:,.0f}" for name in ("RssAnon", "RssFile"))
    told = (
        f"{n:,} codes of 64 bits: built in {seconds:.1f} s with {peak / 2**20:,.0f} MiB of private memory at most; "
        f"{size / 1e9:.2f} GB on disk, {tables / 1e9:.2f} GB of these tables, {size / n:.1f} bytes a code. After the "
        f"queries below the process holds {private} MiB of its own and {mapped} MiB of mapped files, which the system "
        f"may drop. Cold: the worst of {repeats}, at most {stayed:.0%} of the files in the page cache. "
        f"{n_threads} threads."
    )
    return [told, table(HEAD, rows)]


def _warm(call: Callable[..., Any], way: str, question: Question, repeats: int, n_threads: int) -> tuple[str, str]:
    n_queries = _N_QUERIES if way != "scan" else 32
    call("ask", way, question, n_queries, n_threads)
    batch = sorted(call("ask", way, question, n_queries, n_threads)[0] for _ in range(repeats))[repeats // 2]
    single = sorted(call("singles", {way: 20}, question, n_threads, repeats)[way])
    middle, worst = single[len(single) // 2], single[-1]
    times = (_milliseconds(one) for one in (batch / n_queries, middle, worst))
    return f"{way}, warm: batch of {n_queries} / single / slowest single", " / ".join(times)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:,.2f} ms"
