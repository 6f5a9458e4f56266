"""The exact scan beside FAISS ``IndexBinaryFlat`` and NumPy's ``bitwise_count``, with equal threads.

``python -m benchmarks.scan`` makes the figures of the documentation, ``--quick`` a trial of seconds. Codes are random,
uniform; all three compute the full lists of k neighbours, whose distances are compared before times are taken.
NumPy has no threads of its own: its queries are spread over ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks.common import interleaved, ratio, table
from hashdb import search
from hashdb.search import kernel_scan, threads

BITS = (64, 128, 256, 512, 1024)
WORDS = 10_000_000  # of all codes together: 10 M codes of 64 bits, 625,000 of 1,024
NUMPY_QUERIES = 8  # NumPy's time is proportional to the queries; the rest of a batch is extrapolated
HEAD = ("bits", "rows", "queries", "hashdb", "FAISS", "NumPy", "hashdb, G codes/s", "FAISS / hashdb", "NumPy / hashdb")


class Row(NamedTuple):
    """One line of the table: times in seconds are medians, ratios are medians of paired ratios."""

    n_bits: int
    n_rows: int
    n_queries: int
    hashdb: float
    faiss: float
    numpy: float
    rate: float
    against_faiss: float
    against_numpy: float


def rows(
    bits: Sequence[int] = BITS,
    n_rows: int | None = None,
    queries: Sequence[int] = (1000, 1),
    *,
    k: int = 100,
    repeats: int = 5,
    n_threads: int = 2,
) -> list[Row]:
    """Measure every width with every size of batch; ``n_rows`` of None takes fewer rows for wider codes."""
    import faiss

    faiss.omp_set_num_threads(n_threads)
    search.warmup()
    found = []
    for n_bits in bits:
        n_words = n_bits // 64
        rng = np.random.default_rng(n_bits)
        codes = rng.integers(0, 2**64, (n_rows or WORDS // n_words, n_words), dtype=np.uint64)
        index = faiss.IndexBinaryFlat(n_bits)
        index.add(codes.view(np.uint8))
        for n_queries in queries:
            batch = rng.integers(0, 2**64, (n_queries, n_words), dtype=np.uint64)
            # A short call says little by itself.
            times = repeats if n_queries > 1 else 5 * repeats
            found.append(_measure(index, codes, batch, min(k, len(codes)), times, n_threads))
    return found


def main(argv: list[str] | None = None) -> str:
    """Run and return the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bits", type=int, nargs="+", default=BITS, help="widths, multiples of 64")
    parser.add_argument("--rows", type=int, help=f"codes of every width (default: as many as {WORDS:,} words hold)")
    parser.add_argument("--queries", type=int, nargs="+", default=[1000, 1], help="sizes of batches")
    parser.add_argument("-k", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, 50 queries and 1, two widths, one repeat")
    options = parser.parse_args(argv)
    if options.quick:
        options.bits, options.rows, options.queries, options.repeats = [64, 192], 20_000, [50, 1], 1
    measured = rows(
        options.bits,
        options.rows,
        options.queries,
        k=options.k,
        repeats=options.repeats,
        n_threads=options.threads,
    )
    return f"k = {options.k}, {options.threads} threads each.\n\n" + table(HEAD, [_cells(row) for row in measured])


def _measure(index: Any, codes: Any, batch: Any, k: int, repeats: int, n_threads: int) -> Row:
    n_bits, few = 64 * codes.shape[1], batch[:NUMPY_QUERIES]
    # Straight to the kernels: a small trial should measure what a large one does.
    limits = np.full(len(batch), n_bits + 1)
    calls: dict[str, Callable[[], Any]] = {
        "hashdb": partial(kernel_scan.knn, [codes], batch, k, n_bits, None, limits, n_threads),
        "faiss": partial(index.search, batch.view(np.uint8), k),
        "numpy": partial(_numpy_distances, codes, few, k, n_threads),
    }
    distances = calls["hashdb"]()[1]
    if not np.array_equal(distances, calls["faiss"]()[0]) or not np.array_equal(
        distances[: len(few)], calls["numpy"]()
    ):
        raise RuntimeError(f"hashdb, FAISS and NumPy disagree at {n_bits} bits")
    seconds = interleaved(calls, repeats)
    seconds["numpy"] = [one * len(batch) / len(few) for one in seconds["numpy"]]
    hashdb, faiss, numpy = (median(seconds[name]) for name in calls)
    rate = len(codes) * len(batch) / hashdb / 1e9
    against = ratio(seconds, "faiss", "hashdb"), ratio(seconds, "numpy", "hashdb")
    return Row(n_bits, len(codes), len(batch), hashdb, faiss, numpy, rate, *against)


def _numpy_distances(codes: Any, queries: Any, k: int, n_threads: int) -> Any:
    """Give the k least distances of each query as a plain scan in NumPy finds them."""

    def scan(query: Any) -> Any:
        counts = np.bitwise_count(codes ^ query)
        distances = counts[:, 0] if codes.shape[1] == 1 else counts.sum(axis=1, dtype=np.uint16)
        return np.sort(distances[np.argpartition(distances, k - 1)[:k]])

    return np.stack(threads.run([partial(scan, query) for query in queries], n_threads))


def _cells(row: Row) -> list[str]:
    times = [_time(seconds) for seconds in (row.hashdb, row.faiss, row.numpy)]
    ratios = [f"{value:.1f}" for value in (row.against_faiss, row.against_numpy)]
    return [str(row.n_bits), f"{row.n_rows:,}", f"{row.n_queries:,}", *times, f"{row.rate:.2f}", *ratios]


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


if __name__ == "__main__":
    print(main())
