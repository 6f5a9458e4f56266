"""The ratios that matter most, in one table, from the cells of the grid and two measurements of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import scan
from benchmarks.common import table
from benchmarks.search import roofline
from benchmarks.search.cells import Group

HEAD = ("what", "hashdb", "against", "its", "ratio")
Results = Mapping[Group, Mapping[str, Any]]
Row = tuple[str, ...]


def main(work: Path, n: int, repeats: int, results: Results, *, batch_rows: int | None = None) -> str:
    """Measure, look up and return the table."""
    rows = [
        *_batch_scan(batch_rows, repeats),
        *_one_query(work, n, repeats, results),
        *_buckets(results),
        *_radius(results),
    ]
    return table(HEAD, rows)


def _batch_scan(n_rows: int | None, repeats: int) -> Iterator[Row]:
    for row in scan.rows(n_rows=n_rows, queries=(512,), repeats=repeats):
        each = [row.hashdb / row.n_queries, row.faiss / row.n_queries]
        what = f"batch scan, {row.n_rows:,} x {row.n_bits} bits, k = 100"
        yield what, _us(each[0]), "FAISS flat", _us(each[1]), f"{row.against_faiss:.1f}"


def _one_query(work: Path, n: int, repeats: int, results: Results) -> Iterator[Row]:
    rates = roofline.bandwidth(work, n, 5 * repeats)
    what = f"one query by scan, {n:,} x 64 bits, 2 threads, bytes a second"
    ours, theirs = rates["scan 2"], rates["sum 2"]
    yield what, f"{ours / 1e9:.1f} GB/s", "NumPy sum", f"{theirs / 1e9:.1f} GB/s", f"{ours / theirs:.2f} of it"
    for group, cell in _found(results, "uniform", 10_000_000, "k=100"):
        yield _row(group, "one query by scan", cell, "single", "hashdb scan", "FAISS flat")


def _buckets(results: Results) -> Iterator[Row]:
    for dataset in ("clustered", "uniform", "natural"):
        for group, cell in _found(results, dataset, 4_000_000, "k=100", below=100_000_000):
            yield _row(group, "one query by buckets, 1 thread", cell, "alone", "hashdb buckets", "FAISS flat")
            yield _row(group, "one query by the planner, 1 thread", cell, "alone", "hashdb planner", "FAISS flat")
    for group, cell in _found(results, "clustered", 100_000_000, "k=10"):
        for peer in ("hashdb scan", "FAISS flat"):
            for kind in ("single", "batch"):
                yield _row(group, f"buckets, {kind}", cell, kind, "hashdb buckets", peer)


def _radius(results: Results) -> Iterator[Row]:
    for dataset in ("uniform", "clustered", "natural"):
        for group, cell in _found(results, dataset, 4_000_000, "radius=3", below=100_000_000):
            yield _row(group, "batch by buckets", cell, "batch", "hashdb buckets", "hashdb scan")
            yield _row(group, "batch by the planner", cell, "batch", "hashdb planner", "hashdb scan")


def _found(
    results: Results, dataset: str, least: int, question: str, below: int = 1 << 40
) -> Iterator[tuple[Group, Mapping[str, Any]]]:
    """Yield the cells of 64 bits with at least so many codes."""
    for group in sorted(results):
        if group.data == dataset and group.n_bits == 64 and least <= group.n < below and question in results[group]:
            yield group, results[group][question]


def _row(group: Group, what: str, cell: Mapping[str, Any], kind: str, ours: str, theirs: str) -> Row:
    times = [cell[kind].get(label, {}).get("median") for label in (ours, theirs)]
    ratio = f"{times[1] / times[0]:.1f}" if None not in times else "–"
    where = f"{what}, {group.n:,} x {group.n_bits} bits, {group.data}, {cell['question']}"
    return where, _us(times[0]), theirs, _us(times[1]), ratio


def _us(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds * 1e6:,.1f} µs"
