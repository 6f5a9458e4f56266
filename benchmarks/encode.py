"""Encoding and projecting beside the bare matrix product, the fit of ITQ beside FAISS, with equal threads.

``python -m benchmarks.encode`` makes the figures of the documentation, ``--quick`` a trial of seconds. Vectors are
normal with falling spread, away from the origin. The bare product ``X @ W`` neither centres nor thresholds and its
results depend on the number of rows and threads: it is what codes would cost at the least. FAISS as it comes fits ITQ
on a sample of 32,768 rows; hashdb takes all, and so does the other line.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import numpy as np

import hashdb
from benchmarks.common import interleaved, ratio, table
from hashdb import margins

HEAD = ("what", "size", "hashdb", "peer", "its time", "peer / hashdb")


class Row(NamedTuple):
    """One line of the table: times in seconds are medians, the ratio is the median of paired ratios."""

    what: str
    size: str
    hashdb: float
    peer: str
    peer_time: float
    peer_by_hashdb: float


def rows(
    n_encode: int = 1_000_000,
    n_fit: int = 100_000,
    dim: int = 128,
    n_bits: int = 64,
    *,
    iterations: int = 50,
    repeats: int = 5,
    n_threads: int = 2,
) -> list[Row]:
    """Measure encode, project and fit."""
    import faiss
    from threadpoolctl import threadpool_limits

    faiss.omp_set_num_threads(n_threads)
    previous = os.environ.get("HASHDB_NUM_THREADS")
    os.environ["HASHDB_NUM_THREADS"] = str(n_threads)
    try:
        with threadpool_limits(n_threads):
            return [
                *_encode(_vectors(n_encode, dim), n_bits, repeats),
                *_fit(_vectors(n_fit, dim), n_bits, iterations, repeats),
            ]
    finally:
        if previous is None:
            del os.environ["HASHDB_NUM_THREADS"]
        else:
            os.environ["HASHDB_NUM_THREADS"] = previous


def main(argv: list[str] | None = None) -> str:
    """Run and return the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to encode")
    parser.add_argument("--train", type=int, default=100_000, help="rows to fit on")
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--bits", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, 2,000 to fit on, one repeat")
    options = parser.parse_args(argv)
    if options.quick:
        options.rows, options.train, options.repeats = 20_000, 2_000, 1
    measured = rows(
        options.rows,
        options.train,
        options.dim,
        options.bits,
        repeats=options.repeats,
        n_threads=options.threads,
    )
    return f"{options.threads} threads each.\n\n" + table(HEAD, [_cells(row) for row in measured])


def _encode(vectors: Any, n_bits: int, repeats: int) -> list[Row]:
    model = hashdb.fit(vectors[:10_000], "itq", n_bits)
    weights, mean = model.state["weights"], model.state["mean"]
    calls: dict[str, Callable[[], Any]] = {
        "product": lambda: vectors @ weights,
        "encode": partial(margins.encode, vectors, weights, mean=mean),
        "project": partial(margins.project, vectors, weights, mean=mean),
        "packed": partial(model.encode, vectors),
    }
    if not np.array_equal(calls["encode"](), calls["project"]() > 0):
        raise RuntimeError("encode is not the sign of project")
    seconds = interleaved(calls, repeats)
    size = f"{len(vectors):,} x {vectors.shape[1]} to {n_bits}"
    titles = {
        "encode": "bits, `margins.encode`",
        "packed": "packed codes, `Model.encode`",
        "project": "`margins.project`",
    }
    return [
        Row(
            title,
            size,
            median(seconds[name]),
            "`X @ W`",
            median(seconds["product"]),
            ratio(seconds, "product", name),
        )
        for name, title in titles.items()
    ]


def _fit(vectors: Any, n_bits: int, iterations: int, repeats: int) -> list[Row]:
    calls: dict[str, Callable[[], Any]] = {
        "hashdb": partial(hashdb.fit, vectors, "itq", n_bits, params={"iterations": iterations}),
        "as it comes": partial(_fit_peer, vectors, n_bits, iterations, all_rows=False),
        "all rows": partial(_fit_peer, vectors, n_bits, iterations, all_rows=True),
    }
    seconds = interleaved(calls, repeats)
    size = f"{len(vectors):,} x {vectors.shape[1]} to {n_bits}, {iterations} iterations"
    ours = median(seconds["hashdb"])
    peers = {"all rows": "FAISS `ITQTransform`, all rows", "as it comes": "the same, its sample of 32,768 rows"}
    return [
        Row("fit of `itq`", size, ours, title, median(seconds[name]), ratio(seconds, name, "hashdb"))
        for name, title in peers.items()
    ]


def _fit_peer(vectors: Any, n_bits: int, iterations: int, *, all_rows: bool) -> None:
    import faiss

    n, dim = vectors.shape
    transform = faiss.ITQTransform(dim, n_bits, True)
    transform.itq.max_iter = iterations
    if all_rows:
        transform.max_train_per_dim = n // dim + 1
    transform.train(vectors)


def _vectors(n: int, dim: int) -> Any:
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    vectors *= np.linspace(3, 0.3, dim, dtype=np.float32)
    vectors += np.float32(1)
    return vectors


def _cells(row: Row) -> list[str]:
    return [row.what, row.size, _time(row.hashdb), row.peer, _time(row.peer_time), f"{row.peer_by_hashdb:.2f}"]


def _time(seconds: float) -> str:
    return f"{seconds:,.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


if __name__ == "__main__":
    print(main())
