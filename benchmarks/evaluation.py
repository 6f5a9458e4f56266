"""The instruments of evaluation: measures that know about ties, and exact neighbours beside a bare matrix product.

``python -m benchmarks.evaluation`` prints the table. Codes and vectors are random. The bare product computes all scores
block by block and keeps none: it is what finding neighbours would cost at the least. Its threads share the queries,
each with a linear algebra library of one thread, as those of the search do, and its blocks have the shape that is
fastest of a few on a tenth of the rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import numpy as np

from benchmarks.common import interleaved, ratio, table
from hashdb.evaluation import LabelTruth, average_precision, count_by_distance, evaluate, nearest
from hashdb.evaluation.comparing import one_blas_thread
from hashdb.search import threads

HEAD = ("what", "size", "seconds", "over the product")
_SHAPES = ((512, 1024), (1024, 4096), (2048, 8192))


def main(argv: list[str] | None = None) -> str:
    """Run and return the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=59_000, help="database codes")
    parser.add_argument("--queries", type=int, default=1000, help="query codes")
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--vectors", type=int, default=1_000_000, help="database vectors")
    parser.add_argument("--asked", type=int, default=10_000, help="query vectors")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("-k", type=int, default=100, help="neighbours")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(argv)
    return table(HEAD, [*_measures(options), *_neighbours(options)])


def _measures(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    rng = np.random.default_rng(0)
    bits = options.bits
    codes, queries = (_codes(rng, n, bits) for n in (options.rows, options.queries))
    truth = LabelTruth(rng.integers(0, 10, len(queries)), rng.integers(0, 10, len(codes)))

    def expected() -> None:
        counts = count_by_distance(codes, queries, truth, n_bits=bits, n_threads=options.threads)
        average_precision(counts.total, counts.relevant)

    everything = partial(
        evaluate, codes, queries, truth, n_bits=bits, at=(100, 5000), radius=(0, 1, 2), n_threads=options.threads
    )
    seconds = interleaved({"map": expected, "all": everything}, options.repeats)
    size = f"{len(queries):,} x {len(codes):,} x {bits} bits"
    yield "tie-aware mAP", size, f"{median(seconds['map']):.2f}", ""
    yield "every measure, ties by row too", size, f"{median(seconds['all']):.2f}", ""


def _neighbours(options: argparse.Namespace) -> Iterator[tuple[str, ...]]:
    rng = np.random.default_rng(1)
    queries, database = (rng.standard_normal((n, options.dim), np.float32) for n in (options.asked, options.vectors))
    tenth = database[: -(-len(database) // 10)]
    trials = {shape: partial(_products, queries, tenth, shape, options.threads) for shape in _SHAPES}
    seconds = interleaved({str(shape): trial for shape, trial in trials.items()}, 1)
    best = min(_SHAPES, key=lambda shape: seconds[str(shape)])
    calls: dict[str, Callable[[], Any]] = {
        "nearest": partial(nearest, queries, database, options.k, n_threads=options.threads),
        "product": partial(_products, queries, database, best, options.threads),
    }
    seconds = interleaved(calls, options.repeats)
    size = f"{len(queries):,} x {len(database):,} x {options.dim}"
    yield f"bare product, blocks of {best[0]:,} x {best[1]:,}", size, f"{median(seconds['product']):.2f}", "1"
    times = ratio(seconds, "nearest", "product")
    yield f"nearest {options.k}, exact", size, f"{median(seconds['nearest']):.2f}", f"{times:.2f}"


def _codes(rng: np.random.Generator, n: int, n_bits: int) -> Any:
    from hashdb.codes import pack

    return pack(rng.random((n, n_bits)) < 0.5)


def _products(queries: Any, database: Any, shape: tuple[int, int], n_threads: int) -> None:
    edges = [len(queries) * part // n_threads for part in range(n_threads + 1)]
    with one_blas_thread():
        tasks = [partial(_run_of_products, queries[a:b], database, shape) for a, b in pairwise(edges)]
        threads.run(tasks, n_threads)


def _run_of_products(queries: Any, database: Any, shape: tuple[int, int]) -> None:
    n_queries, n_rows = shape
    memory = np.empty(n_queries * n_rows, np.float32)
    for start in range(0, len(database), n_rows):
        rows = database[start : start + n_rows]
        for first in range(0, len(queries), n_queries):
            some = queries[first : first + n_queries]
            np.matmul(some, rows.T, out=memory[: len(some) * len(rows)].reshape(len(some), len(rows)))


if __name__ == "__main__":
    print(main())
