"""Comparing codes that lie row by row, and what else the kernels of the scan and of the buckets have in common."""

from __future__ import annotations

from typing import Any

from numba import types

from hashdb.search.kernels.compile import device
from hashdb.search.kernels.intrinsics import nearer_rows_mask, row_distance

Array = Any


@device
def distance_between(code: int, query: int, n_words: int) -> int:
    """Give the distance of two codes at two addresses."""
    if n_words == 1:
        return row_distance(code, query, 1)
    if n_words == 2:
        return row_distance(code, query, 2)
    if n_words == 4:
        return row_distance(code, query, 4)
    return row_distance(code, query, n_words)


@device
def nearer_rows(base: int, n: int, query: int, n_words: int, limit: int) -> Any:
    """Mark which of at most 64 codes are nearer than the limit; nothing beyond them is read."""
    if n == 64 and n_words == 2:
        return nearer_rows_mask(base, query, 2, limit, 64)
    if n == 64 and n_words == 4:
        return nearer_rows_mask(base, query, 4, limit, 64)
    mask = types.uint64(0)
    first = 0
    if n_words == 2 or n_words == 4:
        for i in range(0, n & ~7, 8):
            if n_words == 2:
                eight = nearer_rows_mask(base + 16 * i, query, 2, limit, 8)
            else:
                eight = nearer_rows_mask(base + 32 * i, query, 4, limit, 8)
            mask |= eight << types.uint64(i)
        first = n & ~7
    for i in range(first, n):
        near = distance_between(base + 8 * n_words * i, query, n_words) < limit
        mask |= types.uint64(near) << types.uint64(i)
    return mask


@device
def is_deleted(deleted: Array, row: int) -> bool:
    """Look a row up in a bitmap, which may be empty."""
    return deleted.shape[0] > 0 and (deleted[row >> 6] >> types.uint64(row & 63)) & types.uint64(1) != 0
