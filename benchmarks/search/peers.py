"""The peers: what each builds, how it is asked, what it cannot do. Each lives in a process of its own.

A peer may be asked in several ways (``ways``: how many lists are probed, say); the first stands in the tables where
there is room for one. ``knn`` and ``radius`` give what the peer itself gives, which is what is timed; ``lists`` makes
(lims, distances) of it, k a query for ``knn`` (filled up with ``FAR``), inclusive and in no particular order for
``radius``.
"""

# ruff: noqa: D102  # methods mean what those of Peer say

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

Array = Any
FAR = 1 << 20


class Peer:
    """What a peer has; ``pace`` is its share of the time a measurement may take."""

    name = ""
    ways: tuple[str, ...] = ("",)
    exact = False
    most_k = 1 << 30
    has_radius = True
    pace = 0.5
    fewest = 4  # queries of a batch at least
    n_threads = 0  # that it was last asked with

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        """Say why it does not take part, None where it does."""
        return None

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        raise NotImplementedError

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> Any:
        """Find the k nearest."""
        raise NotImplementedError

    def radius(self, way: str, queries: Array, radius: int, n_threads: int) -> Any:
        """Find all within the radius, inclusive."""
        raise NotImplementedError

    def lists(self, found: Any) -> tuple[Array, Array]:
        """Give (lims, distances) of what was found."""
        raise NotImplementedError

    def _bytes_of(self, codes: Array) -> Array:
        return np.ascontiguousarray(codes).view(np.uint8)


class _Faiss(Peer):
    def _use(self, n_threads: int) -> Any:
        import faiss

        if n_threads != self.n_threads:
            faiss.omp_set_num_threads(n_threads)
            self.n_threads = n_threads
        return faiss

    def _set(self, way: str) -> None:
        """Turn the one knob of the index."""

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> Any:
        self._use(n_threads)
        self._set(way)
        return self.index.search(self._bytes_of(queries), k)

    def radius(self, way: str, queries: Array, radius: int, n_threads: int) -> Any:
        self._use(n_threads)
        self._set(way)
        return self.index.range_search(self._bytes_of(queries), radius + 1)  # FAISS leaves the radius itself out

    def lists(self, found: Any) -> tuple[Array, Array]:
        if len(found) == 3:
            return found[0].astype(np.int64), found[1]
        distances, ids = found
        return _in_rows(np.where(ids < 0, FAR, distances))


class FaissFlat(_Faiss):
    """FAISS ``IndexBinaryFlat``: the exact scan, whose distances ours must equal."""

    name = "FAISS flat"
    exact = True
    pace = 1.0

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        self.index = self._use(n_threads).IndexBinaryFlat(n_bits)
        self.index.add(self._bytes_of(codes))


class FaissMultiHash(_Faiss):
    """FAISS ``IndexBinaryMultiHash``: bucket tables, probed within ``nflip`` bits of the query and no further."""

    name = "FAISS MultiHash"
    ways = ("nflip 1", "nflip 2")
    fewest = 128  # it uses threads from 101 queries on

    @staticmethod
    def hashes(n_bits: int, n: int) -> tuple[int, int]:
        """Give the number of tables and their bits: substrings that cover the code, four rows a bucket or more."""
        n_hash = int(np.ceil(n_bits / max(1, np.log2(n / 4))))
        return n_hash, n_bits // n_hash

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        n_hash, width = cls.hashes(n_bits, n)
        # A row takes 8 bytes a table, up to twice that in growing vectors; a bucket takes a node of a hash map.
        needed = n_hash * (16 * n + 80 * min(n, 1 << width))
        return f"{needed / 1e9:.0f} GB of tables" if needed > 8e9 else None

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        self.index = self._use(n_threads).IndexBinaryMultiHash(n_bits, *self.hashes(n_bits, len(codes)))
        self.index.add(self._bytes_of(codes))

    def _set(self, way: str) -> None:
        self.index.nflip = int(way.split()[1])


class FaissIVF(_Faiss):
    """FAISS ``IndexBinaryIVF``: inverted lists of a binary k-means."""

    name = "FAISS IVF"
    ways = ("nprobe 8", "nprobe 64")

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        return "a minute or more to assign the rows to lists" if n * n_bits > 4e9 else None

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        faiss = self._use(n_threads)
        n_lists = max(1, min(1024, len(codes) // 400))
        self.quantiser = faiss.IndexBinaryFlat(n_bits)
        self.index = faiss.IndexBinaryIVF(self.quantiser, n_bits, n_lists)
        rows = np.random.default_rng(0).choice(len(codes), min(len(codes), 40 * n_lists), replace=False)
        self.index.train(self._bytes_of(codes[np.sort(rows)]))
        self.index.add(self._bytes_of(codes))

    def _set(self, way: str) -> None:
        self.index.nprobe = int(way.split()[1])


def _graph_is_dear(dataset: str, n_bits: int, n: int) -> str | None:
    if n > 1_000_000:
        return "building a graph takes minutes a million codes; up to 1,000,000"
    if n > 100_000 and (n_bits, dataset) != (64, "natural"):
        return "of more than 100,000 codes a graph is only built of natural ones at 64 bits, for it takes minutes"
    return None


class FaissHNSW(_Faiss):
    """FAISS ``IndexBinaryHNSW``: a graph, 16 links a node, 40 candidates while building."""

    name = "FAISS HNSW"
    ways = ("ef 64", "ef 256")
    most_k = 100
    has_radius = False

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        return _graph_is_dear(dataset, n_bits, n)

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        self.index = self._use(n_threads).IndexBinaryHNSW(n_bits, 16)
        self.index.hnsw.efConstruction = 40
        self.index.add(self._bytes_of(codes))

    def _set(self, way: str) -> None:
        self.index.hnsw.efSearch = int(way.split()[1])


class UsearchHNSW(Peer):
    """The graph of usearch over ``b1`` vectors, built with the same numbers."""

    name = "usearch HNSW"
    ways = ("ef 64", "ef 256")
    most_k = 100
    has_radius = False

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        return _graph_is_dear(dataset, n_bits, n)

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        from usearch.index import Index, MetricKind, ScalarKind

        self.index = Index(
            ndim=n_bits, metric=MetricKind.Hamming, dtype=ScalarKind.B1, connectivity=16, expansion_add=40
        )
        self.index.add(np.arange(len(codes)), self._bytes_of(codes), threads=n_threads)

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> Any:
        self.index.expansion_search = int(way.split()[1])
        return self.index.search(self._bytes_of(queries), k, threads=n_threads)

    def lists(self, found: Any) -> tuple[Array, Array]:
        return _of_usearch(found)


class UsearchExact(Peer):
    """The exact search of usearch over ``b1`` vectors, without an index."""

    name = "usearch exact"
    exact = True
    has_radius = False
    pace = 0.3
    fewest = 2

    @classmethod
    def why_not(cls, dataset: str, n_bits: int, n: int) -> str | None:
        return "seconds a query" if n > 10_000_000 else None

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        self.codes = self._bytes_of(codes)

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> Any:
        from usearch.index import MetricKind, ScalarKind, search

        asked = self._bytes_of(queries)
        bits = {"metric": MetricKind.Hamming, "dtype": ScalarKind.B1}
        return search(self.codes, asked, k, exact=True, threads=n_threads, **bits)

    def lists(self, found: Any) -> tuple[Array, Array]:
        return _of_usearch(found)


class NumPy(Peer):
    """``bitwise_count`` and a partition; queries are spread over threads, for NumPy has none of its own."""

    name = "NumPy"
    exact = True
    pace = 0.3
    fewest = 2

    def __init__(self, codes: Array, n_bits: int, n_threads: int) -> None:
        self.codes = codes

    def knn(self, way: str, queries: Array, k: int, n_threads: int) -> list[Array]:
        def nearest(query: Array) -> Array:
            distances = self._distances(query)
            return np.sort(distances[np.argpartition(distances, k - 1)[:k]])

        return self._spread(nearest, queries, n_threads)

    def radius(self, way: str, queries: Array, radius: int, n_threads: int) -> list[Array]:
        def within(query: Array) -> Array:
            distances = self._distances(query)
            return distances[np.flatnonzero(distances <= radius)]

        return self._spread(within, queries, n_threads)

    def lists(self, found: list[Array]) -> tuple[Array, Array]:
        return np.cumsum([0, *map(len, found)]), np.concatenate(found)

    def _distances(self, query: Array) -> Array:
        counts = np.bitwise_count(self.codes ^ query)
        return counts[:, 0] if counts.shape[1] == 1 else counts.sum(axis=1, dtype=np.uint16)

    def _spread(self, call: Any, queries: Array, n_threads: int) -> list[Array]:
        if n_threads == 1 or len(queries) == 1:
            return list(map(call, queries))
        with ThreadPoolExecutor(n_threads) as pool:
            return list(pool.map(call, queries))


PEERS: tuple[type[Peer], ...] = (
    FaissFlat,
    FaissMultiHash,
    FaissIVF,
    FaissHNSW,
    UsearchExact,
    UsearchHNSW,
    NumPy,
)


def _in_rows(distances: Array) -> tuple[Array, Array]:
    return np.arange(len(distances) + 1) * distances.shape[1], distances.reshape(-1)


def _of_usearch(found: Any) -> tuple[Array, Array]:
    """Read matches of usearch: one query comes back flat, and a list of fewer than k is padded with anything."""
    distances = np.atleast_2d(found.distances).astype(np.int64)
    counts = np.asarray(getattr(found, "counts", [distances.shape[1]]))
    return _in_rows(np.where(np.arange(distances.shape[1]) < counts[:, None], distances, FAR))
