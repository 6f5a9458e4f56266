"""How near the search is to what the machine can do: memory bandwidth, popcounts, and the cost of probes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import interleaved, table
from benchmarks.search import data, ours
from benchmarks.search.cells import Group
from hashdb.search import kernel_scan

_TILE, _LANES = 2048, 8  # codes that stay in the first cache; 64-bit lanes of a vector
Results = Mapping[Group, Mapping[str, Any]]


def bandwidth(work: Path, n: int, repeats: int, k: int = 100) -> dict[str, float]:
    """Time one query of a scan and a plain sum of the same bytes, with one thread and two: name to bytes a second."""
    codes = np.load(data.codes(work, "uniform", 64, n))[:n]
    query = data.queries("uniform", 64)[:1]
    ours.warm()
    calls = {}
    for n_threads in (1, 2):
        calls[f"scan {n_threads}"] = partial(_scan, codes, query, min(k, n), n_threads)
        calls[f"sum {n_threads}"] = partial(_spread, np.sum, codes[:, 0], n_threads)
    seconds = interleaved(calls, repeats)
    return {name: codes.nbytes / median(times) for name, times in seconds.items()}


def popcounts(work: Path, n: int, n_queries: int, repeats: int, n_threads: int) -> dict[str, float]:
    """Count compares a second: a batch over many codes, and the kernels' own loop over a tile in the first cache."""
    codes = np.load(data.codes(work, "uniform", 64, n))[:n]
    tile = np.require(codes[: _TILE // 64 * 64, 0][: n // 64 * 64], requirements="C")
    many = np.random.default_rng(0).integers(0, 2**64, max(n_queries, n * n_queries // len(tile)), dtype=np.uint64)
    compare = ours.comparing()
    ours.warm()
    calls = {
        "batch": partial(_scan, codes, many[:n_queries, None], min(100, n), n_threads),
        "peak": partial(_spread, partial(compare, tile), many, n_threads),
    }
    seconds = interleaved(calls, repeats)
    compares = {"batch": len(codes) * n_queries, "peak": len(tile) * len(many)}
    return {name: compares[name] / median(times) for name, times in seconds.items()}


def costs(results: Results) -> list[tuple[str, ...]]:
    """Fit the time of forced buckets as probes, candidates and a constant a query, by non-negative least squares.

    Rows are weighted by one over their time, so that the relative error is what is least.
    """
    from scipy.optimize import nnls

    rows = []
    for n_bits in sorted({group.n_bits for group in results}):
        samples = [
            (
                found["n_probes"] / queries,
                found["n_candidates"] / queries,
                1.0,
                cell["batch"]["hashdb buckets"]["median"],
            )
            for group in results
            if group.n_bits == n_bits
            for cell in results[group].values()
            if "n_probes" in (found := cell.get("stats", {}).get("buckets", {}))
            for queries in [cell["batch"]["hashdb buckets"]["queries"]]
        ]
        if len(samples) < 4:
            continue
        values = np.array(samples)
        weighted = values[:, :3] / values[:, 3:]
        cost, _ = nnls(weighted, np.ones(len(values)))
        error = np.abs(weighted @ cost - 1)
        each = [f"{one * 1e9:,.2f} ns" for one in cost[:2]]
        rows.append((str(n_bits), str(len(values)), *each, f"{cost[2] * 1e6:,.1f} µs", f"{np.median(error):.0%}"))
    return rows


def main(work: Path, n: int, n_queries: int, repeats: int, n_threads: int, results: Results) -> str:
    """Measure and return the tables."""
    rates = bandwidth(work, n, repeats)
    head = ("threads", "sum, GB/s", "one query, GB/s", "of the sum")
    lines = [
        (
            t,
            *(f"{rates[f'{what} {t}'] / 1e9:.1f}" for what in ("sum", "scan")),
            f"{rates[f'scan {t}'] / rates[f'sum {t}']:.2f}",
        )
        for t in (1, 2)
    ]
    parts = [f"One query (k = 100) against a NumPy sum, {n:,} x 64 bits:", table(head, lines)]
    counts = popcounts(work, n, n_queries, repeats, n_threads)
    clock = _clock()
    ideal = n_threads * _LANES * clock if clock else None
    told = f"; {_LANES} lanes x {n_threads} threads x {clock / 1e9:.2f} GHz make {ideal / 1e9:.1f}" if ideal else ""
    parts += [
        f"{n_queries:,} queries (k = 100) against the kernels' own comparison of {_TILE:,} codes in the first cache "
        f"that keeps nothing, {n_threads} threads{told}:",
        table(
            ("what", "G compares/s", "of the peak"),
            [(what, f"{rate / 1e9:.1f}", f"{rate / counts['peak']:.2f}") for what, rate in counts.items()],
        ),
    ]
    if fitted := costs(results):
        head = ("bits", "cells", "a probe", "a candidate", "a query", "median error")
        parts += [
            f"Batches of forced buckets, wall time with {n_threads} threads, fitted over the cells:",
            table(head, fitted),
        ]
    return "\n\n".join(parts)


def _scan(codes: Any, queries: Any, k: int, n_threads: int) -> None:
    kernel_scan.knn([codes], queries, k, 64, None, np.full(len(queries), 65), n_threads)


def _spread(call: Callable[[Any], Any], values: Any, n_threads: int) -> int:
    return sum(map(int, _pool(n_threads).map(call, np.array_split(values, n_threads))))


@cache
def _pool(n_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n_threads)


def _clock() -> float | None:
    """Clock in Hz as the system tells it, which may be the nominal one."""
    try:
        found = re.search(r"cpu MHz\s*:\s*([\d.]+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        return None
    return float(found[1]) * 1e6 if found else None
