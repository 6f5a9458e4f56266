"""hashdb as the benchmark sees it: built as a real index on disk, searched three ways.

The only module that knows how a way is forced, how tables are made in memory and what the kernels compare with.
"""

from __future__ import annotations

import importlib
import inspect
import os
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import hashdb
from hashdb import search
from hashdb.search import engine

WAYS = ("planner", "scan", "buckets")
Array = Any


def warm() -> None:
    """Load everything there is, so that nothing is loaded while a time is taken."""
    for name in ("hashdb.api", "hashdb.index", "hashdb.storage.store"):
        importlib.import_module(name)
    search.warmup()


def build(path: Path, codes: Array, n_bits: int) -> None:
    """Write an index of codes, with its bucket tables."""
    hashdb.build(path, codes, method="codes", n_bits=n_bits, input_type="packed-lsb").close()


class Ours:
    """An open index; results are the library's own, with ids, distances and stats."""

    name = "hashdb"
    exact = True
    has_radius = True
    most_k = 1 << 30
    pace = 1.0
    fewest = 4

    def __init__(self, path: Path) -> None:
        self.index = hashdb.open(path)
        self._segments = self.index._snapshot().segments
        self._n_bits = self.index.model.n_stored_bits
        self.ways = WAYS if self._has_tables() else WAYS[:2]

    def _has_tables(self) -> bool:
        return all(getattr(segment, "tables", None) is not None for segment in self._segments)

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> Any:
        """Find the k nearest, by the planner through the public door or by a forced way."""
        if way == "planner":
            return self.index.query_codes(queries, k=k, n_threads=n_threads)
        return engine.knn(self._segments, queries, k, n_bits=self._n_bits, n_threads=n_threads, **_forced(way))

    def radius(self, way: str, queries: Array, radius: int, n_threads: int) -> Any:
        """Find all within the radius, likewise."""
        if way == "planner":
            return self.index.query_codes(queries, radius=radius, n_threads=n_threads)
        return engine.radius(self._segments, queries, radius, n_bits=self._n_bits, n_threads=n_threads, **_forced(way))

    def lists(self, found: Any) -> tuple[Array, Array]:
        """Give (lims, distances) of what was found."""
        lims, _, distances = with_ids(found)
        return lims, distances


def with_ids(found: Any) -> tuple[Array, Array, Array]:
    """Give (lims, ids, distances) of what any search found."""
    if isinstance(found, tuple):
        return found[0], found[1], found[2]
    if hasattr(found, "lims"):
        return found.lims, found.ids, found.distances
    n_queries, width = found.ids.shape
    return np.arange(n_queries + 1) * width, found.ids.reshape(-1), found.distances.reshape(-1)


@cache
def _forced(way: str) -> dict[str, str]:
    """Give the keyword that forces a way; an engine without one has nothing but the scan."""
    return {"path": way} if "path" in inspect.signature(engine.knn).parameters else {}


def stats(found: Any) -> dict[str, Any]:
    """Give what the search says it did as plain values: counts over all queries, means of what else is one a query."""
    said = dict(getattr(found, "stats", None) or {})
    for name, value in said.items():
        if isinstance(value, np.ndarray):
            said[name] = float(value.sum() if name.startswith("n_") else value.mean())
        elif isinstance(value, np.generic):
            said[name] = value.item()
    return said


def tables_in_memory(codes: Array, n_bits: int) -> tuple[float, int]:
    """Make the tables of codes in memory and give (seconds, bytes of the tables).

    The only place that knows what makes tables and what it wants of a sink.
    """
    from hashdb.search.table_making import TableMaker

    sinks: list[_Memory] = []

    def begin(_substring: int) -> _Memory:
        sinks.append(_Memory())
        return sinks[-1]

    maker = TableMaker()
    start = time.perf_counter()
    maker.make([codes], n_bits, begin)
    return time.perf_counter() - start, sum(sink.n_bytes for sink in sinks)


class _Memory:
    """A sink that keeps the arrays it is given, which nobody changes afterwards."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[Array]] = {}
        self.n_bytes = 0

    def append(self, name: str, rows: Array) -> None:
        self.pieces.setdefault(name, []).append(rows)
        self.n_bytes += rows.nbytes

    def finish(self, description: dict[str, Any]) -> None:
        self.description = description


def comparing() -> Callable[[Array, Array], int]:
    """Give a function that compares every query with every code of a tile and keeps nothing, without the GIL.

    The number of codes, uint64 (n,), is a multiple of 64; queries are uint64 (m,).
    """
    from numba import njit

    from hashdb.search.kernels.intrinsics import address, least_distance

    @njit(nogil=True)
    def compare(codes: Array, queries: Array) -> int:
        total = 0
        for number in range(len(queries)):
            total += least_distance(address(codes), 0, len(codes), address(queries) + 8 * number, 1)
        return total

    return compare


def size(path: Path) -> tuple[int, int]:
    """Give the bytes of an index on disk and, of these, the bytes of bucket tables."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return sum(map(_size, files)), sum(_size(file) for file in files if "buckets" in file.parts)


def _size(file: Path) -> int:
    return os.stat(file).st_size
