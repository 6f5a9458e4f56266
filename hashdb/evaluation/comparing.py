"""Comparison of float vectors by fast float32 products with proven bounds, and exact float64 values for the rest.

For a query a and a row b let the score be S = a·b - |b|²/2 (Euclidean, both relative to a common centre), or S = a·b
(inner product; cosine with both of length 1): the larger, the nearer. One matrix product gives an upper bound of all
scores of a block, because the slack is part of the product:

    P = [a, |a|, 1] · [b, g|b|, -|b|²/2 + g|b|²]        g = 1.25 γ,   γ = (d + 8) u / (1 - (d + 8) u),   u = 2^-24

A float32 sum of d + 2 products, in any order, errs by at most γ (|a||b| + |b|²/2), by Cauchy-Schwarz; rounding a, b and
|b|² to float32 adds less than the 8 in γ and the factor 1.25 leave. So, with e = g (|a||b| + |b|²) and a constant c of
the query that covers underflow and the rounding of the float64 values themselves,

    P - 2e - c <= S <= P + c.

The data are scaled by a power of two so that no |b| exceeds 1, and each query by another one, which changes no order.
What the bounds cannot tell apart is decided by float64 values: sums along one row, which depend on that row alone.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hashdb.codes import unmasked
from hashdb.errors import ArgumentError
from hashdb.search.rerank import check_metric

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Rows = NDArray[np.int64]

_VALUES_AT_ONCE = 1 << 20
# What is shorter has no direction: the product of two squares must not vanish where the squares do not.
_SHORTEST = 1e-60
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Asked:
    """A block of queries, ready for the product.

    Attributes
    ----------
    augmented : ndarray of float32, shape (n, dim + 1 or dim + 2)
    lengths, scales : ndarray of float64, shape (n,)
        |a|, and the power of two that the row of ``augmented`` was multiplied with.
    constant : ndarray of float64, shape (n,)
        The constant c.
    per_length, per_square : ndarray of float32, shape (n,)
        A row of length r has 2e of at most ``per_length * r + per_square * r²``.
    """

    augmented: Floats
    lengths: Doubles
    scales: Doubles
    constant: Doubles
    per_length: Floats
    per_square: Floats


@dataclass(frozen=True)
class Stored:
    """A block of rows, ready for the product: ``augmented`` as above and ``lengths``, float32 (n,)."""

    augmented: Floats
    lengths: Floats


class Comparison:
    """Queries and rows that are compared.

    Parameters
    ----------
    queries : array, shape (n_queries, dim)
        Numbers that float32 can hold in size; float16, integers and memory maps are read block by block.
    database : array, shape (n, dim)
    metric : str
        ``l2``, ``cosine`` or ``ip``. A vector shorter than 1e-60 has the cosine 0 with everything.

    Raises
    ------
    ArgumentError
        An unknown metric, shapes that do not fit, values that are not finite or beyond float32.

    Examples
    --------
    >>> pair = Comparison(np.array([[3.0, 4.0]]), np.zeros((2, 2)), "l2")
    >>> pair.values(np.array([0]), np.array([1])).tolist()
    [25.0]
    """

    def __init__(self, queries: Any, database: Any, metric: str) -> None:
        self.metric = check_metric(metric)
        self.queries, self.database = _numbers("queries", queries), _numbers("database", database)
        self.dim = self.database.shape[1]
        if self.queries.shape[1] != self.dim:
            raise ArgumentError(
                f"queries have dim {self.queries.shape[1]} and the database {self.dim}, expected the same"
            )
        _largest("queries", self.queries)
        largest = _largest("database", self.database)
        centre = self._mean() if metric == "l2" else np.zeros(self.dim)
        reach = (largest + float(np.abs(centre).max(initial=0))) * math.sqrt(self.dim)
        # A tenth more keeps rounding from pushing a length past 1; tiny data are left to the float64 values.
        self.exponent = max(-100, math.frexp(reach * 1.1)[1])
        self._centre = np.ldexp(centre, -self.exponent).astype(np.float32)
        gamma = (self.dim + 8) * 2.0**-24
        self._slack = 1.25 * gamma / (1 - gamma) if gamma < 0.25 else math.inf
        exact = np.float32 if self.database.dtype in _EXACT_IN_FLOAT32 else np.float64
        self._work_type = exact if metric != "cosine" and self.exponent <= 100 else np.float64

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.queries)

    @property
    def n(self) -> int:
        """Rows of the database."""
        return len(self.database)

    def ask(self, some: slice) -> Asked:
        """Make some queries ready for the product."""
        a = self._placed(np.asarray(self.queries[some], np.float64))
        lengths = np.sqrt(np.einsum("ij,ij->i", a, a))
        scales = np.ldexp(1.0, -np.frexp(np.maximum(lengths, 1))[1])
        columns = [a, lengths[:, None], np.ones((len(a), 1))][: 3 if self.metric == "l2" else 2]
        augmented = (np.concatenate(columns, axis=1) * scales[:, None]).astype(np.float32)
        tiny = (self.dim + 16) ** 1.5 * 2.0**-80
        with np.errstate(over="ignore"):
            constant = (self.dim + 4) * 2.0**-52 * (lengths + 1) ** 2 * scales + tiny
        gap = 2.2 * self._slack * scales
        per_square = gap if self.metric == "l2" else np.zeros(len(a))
        return Asked(
            augmented, lengths, scales, constant, (gap * lengths).astype(np.float32), per_square.astype(np.float32)
        )

    def store(self, some: slice | Rows) -> Stored:
        """Make some rows ready for the product."""
        b = self._placed(np.asarray(self.database[some], self._work_type))
        squares = np.einsum("ij,ij->i", b, b)
        lengths = np.sqrt(squares).astype(np.float32)
        augmented = np.empty((len(b), self.dim + (2 if self.metric == "l2" else 1)), np.float32)
        augmented[:, : self.dim] = b
        augmented[:, self.dim] = lengths * self._slack
        if self.metric == "l2":
            augmented[:, self.dim + 1] = squares * (self._slack - 0.5)
        return Stored(augmented, lengths)

    def gaps(self, asked: Asked, owners: Rows, lengths: Floats) -> Floats:
        """Give 2e for pairs of a query of the block and a row of some length."""
        gaps: Floats = asked.per_length[owners] * lengths + asked.per_square[owners] * (lengths * lengths)
        return gaps

    def values(self, owners: Rows, rows: Rows) -> Doubles:
        """Compute what orders rows, exactly as far as float64 goes: the smaller, the nearer.

        Parameters
        ----------
        owners, rows : ndarray of int64, shape (m,)
            Query and database row of each pair.

        Returns
        -------
        ndarray of float64, shape (m,)
            ``l2``: the squared Euclidean distance. ``cosine``: 1 - cos, from 0 to 2. ``ip``: minus the inner product.
        """
        found = np.empty(len(rows), np.float64)
        step = max(1, _VALUES_AT_ONCE // max(1, self.dim))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            a = np.asarray(self.queries[owners[some]], np.float64)
            found[some] = _values(a, np.asarray(self.database[rows[some]], np.float64), self.metric)
        return found

    def distances(self, values: Doubles) -> Doubles:
        """Turn values into distances, for ``l2`` the square root."""
        return np.sqrt(values) if self.metric == "l2" else values

    def _placed(self, vectors: Any) -> Any:
        """Scale and centre vectors, or bring them to length 1, in their own precision."""
        if self.metric == "cosine":
            lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
            return np.divide(vectors, lengths[:, None], out=np.zeros_like(vectors), where=lengths[:, None] > _SHORTEST)
        placed = vectors * vectors.dtype.type(2.0**-self.exponent)
        placed -= self._centre
        return placed

    def _mean(self) -> Doubles:
        """Give the mean of some rows. Any centre is right, one in the middle makes the bounds tight."""
        n_rows = max(64, _VALUES_AT_ONCE // self.dim)
        step = max(1, self.n // n_rows)
        mean: Doubles = np.asarray(self.database[::step][:n_rows], np.float64).mean(axis=0)
        return mean


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Let the linear algebra library use one thread a call, as our own threads share the work.

    The number belongs to the process: two that set it and put it back would leave it at one, so they take turns.
    """
    from threadpoolctl import threadpool_limits

    with _turn, threadpool_limits(1, user_api="blas"):
        yield


def _values(a: Doubles, b: Doubles, metric: str) -> Doubles:
    if metric == "l2":
        b -= a
        return _row_sums(np.square(b, out=b))
    products = _row_sums(a * b)
    if metric == "ip":
        return np.subtract(0.0, products)
    squares, others = _row_sums(a * a), _row_sums(b * b)
    directed = (np.sqrt(squares) > _SHORTEST) & (np.sqrt(others) > _SHORTEST)
    # The root of the product, not the product of the roots: equal vectors have a cosine of exactly 1.
    cosines = np.divide(products, np.sqrt(squares * others), out=np.zeros(len(products)), where=directed)
    values: Doubles = np.subtract(1.0, np.clip(cosines, -1.0, 1.0))
    return values


def _row_sums(rows: Doubles) -> Doubles:
    """Sum along the last axis, in an order that depends on its length alone."""
    sums: Doubles = np.sum(np.ascontiguousarray(rows), axis=1)
    return sums


def _numbers(name: str, vectors: Any) -> NDArray[Any]:
    vectors = unmasked(vectors, name)
    array = vectors if isinstance(vectors, np.ndarray) else np.asarray(vectors)
    if array.ndim != 2 or array.dtype.kind not in "biuf" or 0 in array.shape:
        raise ArgumentError(
            f"{name} are {array.dtype} of shape {array.shape}, expected numbers (n, dim) with at least one of each"
        )
    return array


def _largest(name: str, vectors: NDArray[Any]) -> float:
    """Give the largest magnitude, and refuse what is not finite or beyond float32."""
    largest = 0.0
    step = max(1, _VALUES_AT_ONCE // vectors.shape[1])
    for start in range(0, len(vectors), step):
        some = vectors[start : start + step]
        with np.errstate(invalid="ignore"):
            block = max(float(some.max()), -float(some.min()))
        if not block <= _LARGEST:
            wide = np.asarray(some, np.float64)
            row = start + int(np.flatnonzero(~(np.abs(wide) <= _LARGEST).all(axis=1))[0])
            raise ArgumentError(f"row {row} of the {name} has a value that is not finite or beyond float32; mend it")
        largest = max(largest, block)
    return largest


_EXACT_IN_FLOAT32 = tuple(map(np.dtype, (np.bool_, np.int8, np.uint8, np.int16, np.uint16, np.float16, np.float32)))


_turn = threading.RLock()


def _renew_turn() -> None:
    global _turn
    _turn = threading.RLock()


if hasattr(os, "register_at_fork"):
    # A thread of the parent may hold the lock at the moment of a fork, and does not exist in the child.
    os.register_at_fork(after_in_child=_renew_turn)
