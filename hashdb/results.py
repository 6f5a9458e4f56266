"""What a query returns: always a batch, never padded, ordered by (distance, id)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[Any]


@dataclass(frozen=True)
class Neighbours:
    """The k nearest rows of each query.

    Attributes
    ----------
    ids : ndarray, shape (n_queries, min(k, n))
        int64, or fixed-width unicode where the index has string ids.
    distances : ndarray, shape (n_queries, min(k, n))
        int32 Hamming distances in bits; float32 scores of ``measure`` after re-ranking. Smaller is nearer.
    code_distances : ndarray of int32, shape (n_queries, min(k, n))
        Hamming distances in bits, whatever ``distances`` holds.
    measure : str
        ``hamming``, ``l2``, ``cosine``, ``ip`` or ``asymmetric``.
    """

    ids: Ids
    distances: NDArray[Any]
    code_distances: NDArray[np.int32]
    measure: str = "hamming"
    _reported: Callable[[], dict[str, Any]] = field(default=dict, repr=False)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the search did: path taken, segments, codes compared."""
        return self._reported()

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, query: int) -> tuple[Ids, NDArray[Any]]:
        return self.ids[query], self.distances[query]

    def __iter__(self) -> Iterator[tuple[Ids, NDArray[Any]]]:
        return zip(self.ids, self.distances, strict=True)

    def __repr__(self) -> str:
        return f"<Neighbours of {len(self)} queries: {self.ids.shape[1]} each, by {self.measure}>"


@dataclass(frozen=True)
class RadiusNeighbours:
    """Every row within a radius of each query; the rows of query i are ``lims[i]:lims[i + 1]``.

    Attributes
    ----------
    lims : ndarray of int64, shape (n_queries + 1,)
    ids : ndarray, shape (lims[-1],)
        int64, or fixed-width unicode where the index has string ids.
    distances : ndarray of int32, shape (lims[-1],)
        Hamming distances in bits.

    Notes
    -----
    ``found[i]`` gives ``(ids, distances)`` of query i.
    """

    lims: NDArray[np.int64]
    ids: Ids
    distances: NDArray[np.int32]
    _reported: Callable[[], dict[str, Any]] = field(default=dict, repr=False)

    @cached_property
    def stats(self) -> dict[str, Any]:
        """What the search did."""
        return self._reported()

    def __len__(self) -> int:
        return len(self.lims) - 1

    def __getitem__(self, query: int) -> tuple[Ids, NDArray[np.int32]]:
        if not -len(self) <= query < len(self):
            raise IndexError(f"query {query} of {len(self)}")
        query %= len(self)
        rows = slice(int(self.lims[query]), int(self.lims[query + 1]))
        return self.ids[rows], self.distances[rows]

    def __iter__(self) -> Iterator[tuple[Ids, NDArray[np.int32]]]:
        return (self[query] for query in range(len(self)))

    def __repr__(self) -> str:
        return f"<RadiusNeighbours of {len(self)} queries: {len(self.ids)} in all>"
