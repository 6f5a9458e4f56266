"""Binary codes beside IVF-PQ of FAISS with as many bytes a vector: recall, and speed measured in turns."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import hashdb
from benchmarks.common import interleaved
from benchmarks.reproduction.one_bit import SETS, K, rows_of
from benchmarks.reproduction.vectors import Array, unit
from hashdb.evaluation import nearest

BYTES = {"newsgroups20-minilm": (8, 16, 32, 48), "cifar10-gist": (8, 16, 32, 64)}
PROBES = (1, 8, 32)
DEPTH = 100
_REPEATS = 7
_TIMED = 250


def measure(work: Path) -> dict[str, Any]:
    """Measure recall@10 of the exact neighbours and the time of a batch, one thread each."""
    import faiss

    faiss.omp_set_num_threads(1)
    cells = []
    for name, metric in SETS.items():
        base, queries, _, _ = rows_of(name)
        if metric == "cosine":
            base, queries = unit(base), unit(queries)  # the order of distances is then that of the cosine
        truth = nearest(queries, base, K, metric="l2")[0]
        for n_bytes in BYTES[name]:
            with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
                ways = {**_ours(Path(folder), base, n_bytes), **_theirs(faiss, base, n_bytes)}
                seconds = interleaved({way: partial(call, queries[:_TIMED]) for way, call in ways.items()}, _REPEATS)
                for way, call in ways.items():
                    ratios = [b / a for a, b in zip(seconds[way], seconds[_baseline(ways)], strict=True)]
                    cells.append(
                        {
                            "data": name,
                            "bytes": n_bytes,
                            "way": way,
                            "recall@10": round(recall(call(queries), truth), 5),
                            "microseconds": round(1e6 * median(seconds[way]) / _TIMED, 2),
                            "times_as_fast": round(median(ratios), 3),
                        }
                    )
    return {"k": K, "depth": DEPTH, "timed_queries": _TIMED, "repeats": _REPEATS, "cells": cells}


def recall(found: Array, truth: Array) -> float:
    """Give the share of the true neighbours that are found."""
    return float(np.mean([len(set(one) & set(own)) / len(own) for one, own in zip(found, truth, strict=True)]))


def _baseline(ways: Iterable[str]) -> str:
    return next(way for way in ways if way.startswith(f"IVF-PQ, {PROBES[1]} of"))


def _ours(folder: Path, base: Array, n_bytes: int) -> dict[str, Callable[[Array], Array]]:
    n_bits = 8 * n_bytes
    index = hashdb.build(
        folder / "codes.hashdb", base, method="itq", n_bits=n_bits, store_vectors="float32", metric="l2"
    )
    return {
        "itq": lambda queries: index.query(queries, k=K, n_threads=1).ids,
        "itq, re-ranked": lambda queries: index.query(queries, k=K, rescore=DEPTH // K, n_threads=1).ids,
    }


def _theirs(faiss: Any, base: Array, n_bytes: int) -> dict[str, Callable[[Array], Array]]:
    """Make IVF-PQ of 8 bits a subquantiser, about √n lists; the vectors for re-ranking are kept beside it."""
    n_lists = 2 ** round(math.log2(math.sqrt(len(base))))
    coarse = faiss.IndexFlatL2(base.shape[1])
    index = faiss.IndexIVFPQ(coarse, base.shape[1], n_lists, n_bytes, 8)
    index.cp.seed = index.pq.cp.seed = 0
    index.train(base)
    index.add(base)
    refined = faiss.IndexRefineFlat(index, faiss.swig_ptr(base))
    refined.k_factor = DEPTH / K
    kept = (coarse, base)  # the index holds pointers only

    def search(which: Any, n_probes: int, queries: Array) -> Array:
        index.nprobe = n_probes
        return which.search(queries, K)[1] if kept else None

    plain = {f"IVF-PQ, {n} of {n_lists} lists": partial(search, index, n) for n in (*PROBES, n_lists)}
    again = {f"IVF-PQ, re-ranked, {n} of {n_lists} lists": partial(search, refined, n) for n in (*PROBES, n_lists)}
    return {**plain, **again}
