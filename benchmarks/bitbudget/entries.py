"""Entries of bitbudget, registered when this module is imported: ``import benchmarks.bitbudget.entries``.

Codes are learned by ITQ, or drawn by LSH where more bits are wanted than there are dimensions. As bitbudget counts it,
an entry that re-ranks is charged for its codes and not for the vectors, which are read for a few candidates only.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import bitbudget
import numpy as np

import hashdb

DEPTH = 100  # candidates that are re-ranked; bitbudget's own entries take as many
REPEATS = 3  # the best counts, as for bitbudget's own entries
INDEXES = {  # name: bits, candidates that are re-ranked for k = 10
    "hashdb-64": (64, 0),
    "hashdb-64+rerank": (64, DEPTH),
    "hashdb-256": (256, 0),
    "hashdb-256+rerank": (256, DEPTH),
    "hashdb-256+rerank1000": (256, 1000),
}


def method_for(n_bits: int, dim: int) -> str:
    """Name the hashing method for codes of so many bits."""
    return "itq" if n_bits <= dim else "lsh"


def search(xb: np.ndarray, xq: np.ndarray, k: int, n_bits: int, depth: int) -> tuple[np.ndarray, float, float]:
    """Build an index, look for all queries at once, and return row numbers, bytes a vector and queries a second.

    A query's time holds its encoding, the search and the re-ranking.
    """
    with tempfile.TemporaryDirectory(prefix="hashdb-") as folder:
        index = hashdb.build(
            f"{folder}/index.hashdb",
            xb,
            method=method_for(n_bits, xb.shape[1]),
            n_bits=n_bits,
            store_vectors="float32" if depth else None,
        )
        with index:
            rescore = -(-depth // k) or None
            index.query(xq[:2], k, rescore=rescore)  # kernels are compiled on first use
            seconds, found = [], None
            for _ in range(REPEATS):
                start = time.perf_counter()
                found = index.query(xq, k, rescore=rescore)
                seconds.append(time.perf_counter() - start)
            sizes = index.info()["bytes"]
    stored = sum(size for name, size in sizes.items() if name != "vectors")
    return found.ids, stored / len(xb), len(xq) / min(seconds)


def scores(demb: np.ndarray, qemb: np.ndarray, depth: int) -> tuple[np.ndarray, float]:
    """Score every document for every query by codes of one bit a dimension, the first ``depth`` by their vectors."""
    model, documents = _codes(demb)
    queries = _signs(model, qemb)
    similar = queries @ documents.T
    if depth:
        for row, query in zip(similar, qemb, strict=True):
            first = np.argsort(-row, kind="stable")[:depth]
            row[:] = -np.inf
            row[first] = demb[first] @ query
    return similar, demb.shape[1] / 8


def _codes(demb: np.ndarray) -> tuple[hashdb.Model, np.ndarray]:
    model = hashdb.fit(demb, method="itq", n_bits=demb.shape[1])
    return model, _signs(model, demb)


def _signs(model: hashdb.Model, rows: np.ndarray) -> np.ndarray:
    return hashdb.codes.unpack(model.encode(rows), model.n_bits).astype(np.float32) * 2 - 1


def _index_entry(n_bits: int, depth: int) -> Callable[..., tuple[np.ndarray, float, float]]:
    return lambda xb, xq, k: search(xb, xq, k, n_bits, depth)


for _name, (_n_bits, _depth) in INDEXES.items():
    bitbudget.index(_name, axis="quantisation")(_index_entry(_n_bits, _depth))


@bitbudget.method("hashdb-itq", bits=1)
def itq(demb: np.ndarray, qemb: np.ndarray) -> tuple[np.ndarray, float]:
    """Learned codes of one bit a dimension."""
    return scores(demb, qemb, 0)


@bitbudget.method("hashdb-itq-asymmetric", bits=1)
def itq_asymmetric(demb: np.ndarray, qemb: np.ndarray) -> tuple[np.ndarray, float]:
    """Learned codes of one bit a dimension for documents; queries keep their margins."""
    model, documents = _codes(demb)
    return model.project(qemb) @ documents.T, demb.shape[1] / 8


@bitbudget.method("hashdb-itq+rerank", bits=1)
def itq_reranked(demb: np.ndarray, qemb: np.ndarray) -> tuple[np.ndarray, float]:
    """Learned codes of one bit a dimension, the first 100 re-ranked."""
    return scores(demb, qemb, DEPTH)
