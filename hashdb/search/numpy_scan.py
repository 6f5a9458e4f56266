"""The scan in plain NumPy: for small work, which should not wait for a compiler, and as a second opinion in tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]
_AT_ONCE = 1 << 21  # distances held at a time


def distances_to(queries: Codes, codes: Codes) -> NDArray[np.uint16]:
    """Give the Hamming distances between two sets of codes.

    Parameters
    ----------
    queries : ndarray of uint64, shape (n_queries, n_words)
    codes : ndarray of uint64, shape (n, n_words)

    Returns
    -------
    ndarray of uint16, shape (n_queries, n)
        0 to 4096; one XOR and popcount per word.
    """
    distances = np.zeros((len(queries), len(codes)), np.uint16)
    for word in range(codes.shape[1]):
        distances += np.bitwise_count(queries[:, word, None] ^ codes[None, :, word])
    return distances


def alive_rows(n: int, deleted: Codes | None) -> NDArray[np.int64]:
    """List the rows of a segment that are not deleted, ascending.

    Parameters
    ----------
    n : int
        Rows of the segment.
    deleted : ndarray of uint64, shape (ceil(n / 64),), or None
        Bitmap; row r is bit r mod 64 of word r // 64.
    """
    if deleted is None:
        return np.arange(n)
    bits = np.unpackbits(np.ascontiguousarray(deleted, "<u8").view(np.uint8), count=n, bitorder="little")
    return np.flatnonzero(bits == 0)


def knn(
    blocks: Sequence[Codes], queries: Codes, k: int, deleted: Codes | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Find the k nearest rows of each query, ordered by (distance, row).

    Parameters
    ----------
    blocks : sequence of ndarray of uint64, shape (m, n_words)
    queries : ndarray of uint64, shape (n_queries, n_words)
    k : int
        At least 0.
    deleted : ndarray of uint64, optional
        Bitmap of rows to leave out.

    Returns
    -------
    rows : ndarray of int64, shape (n_queries, min(k, rows alive))
    distances : ndarray of int32, same shape
    """
    codes, alive = _alive_codes(blocks, deleted, queries.shape[1])
    width = min(k, len(alive))
    rows = np.empty((len(queries), width), np.int64)
    distances = np.empty((len(queries), width), np.int32)
    if width == 0:
        return rows, distances
    for some in _query_blocks(len(queries), len(alive)):
        near = distances_to(queries[some], codes)
        kth = np.partition(near, width - 1, axis=1)[:, width - 1]
        owner, place = np.nonzero(near <= kth[:, None])
        found = near[owner, place]
        order = np.lexsort((found, owner))  # stable, so rows of one distance stay ascending
        starts = np.searchsorted(owner, np.arange(len(near)))
        take = order[starts[:, None] + np.arange(width)]
        rows[some], distances[some] = alive[place[take]], found[take]
    return rows, distances


def radius(
    blocks: Sequence[Codes], queries: Codes, radius: int, deleted: Codes | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Find every row within ``radius`` (inclusive) of each query, ordered by (distance, row).

    Returns
    -------
    lims : ndarray of int64, shape (n_queries + 1,)
        What query i found is ``lims[i]:lims[i + 1]``.
    rows : ndarray of int64, shape (lims[-1],)
    distances : ndarray of int32, shape (lims[-1],)
    """
    codes, alive = _alive_codes(blocks, deleted, queries.shape[1])
    counts, rows, distances = [np.zeros(1, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for some in _query_blocks(len(queries), len(alive)):
        near = distances_to(queries[some], codes)
        owner, place = np.nonzero(near <= radius)
        found = near[owner, place]
        order = np.lexsort((found, owner))
        counts.append(np.bincount(owner, minlength=len(near)))
        rows.append(alive[place[order]])
        distances.append(found[order].astype(np.int32))
    return np.cumsum(np.concatenate(counts)), np.concatenate(rows), np.concatenate(distances)


def _alive_codes(blocks: Sequence[Codes], deleted: Codes | None, n_words: int) -> tuple[Codes, NDArray[np.int64]]:
    n = sum(len(block) for block in blocks)
    alive = alive_rows(n, deleted)
    codes = blocks[0] if len(blocks) == 1 else np.concatenate([np.empty((0, n_words), np.uint64), *blocks])
    return (codes if len(alive) == n else codes[alive]), alive


def _query_blocks(n_queries: int, n_codes: int) -> Iterator[slice]:
    step = max(1, _AT_ONCE // max(1, n_codes))
    return (slice(first, min(first + step, n_queries)) for first in range(0, n_queries, step))
